"""The S3 operations in use, and the client methods both SDKs call them by; used by both transports."""

METHODS = {
    "GetObject": "get_object",
    "HeadBucket": "head_bucket",
    "HeadObject": "head_object",
    "PutObject": "put_object",
    "CreateMultipartUpload": "create_multipart_upload",
    "UploadPart": "upload_part",
    "CompleteMultipartUpload": "complete_multipart_upload",
    "AbortMultipartUpload": "abort_multipart_upload",
    "ListMultipartUploads": "list_multipart_uploads",
    "ListParts": "list_parts",
    "ListObjectsV2": "list_objects_v2",
}

"""Finds the S3 operation, bucket and key of a request."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from asyncstream.lab.s3 import copying, listing, multipart, operations
from asyncstream.lab.s3.lab_replies import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncstream.lab.s3.http import Request
    from asyncstream.lab.s3.lab_replies import Reply
    from asyncstream.lab.s3.operations import Call

DENIED_ACCESS_KEY = "AKIADENIED"  # requests signed with this key are denied
LONGEST_KEY = 1024


class Operation(NamedTuple):
    """An operation and its name in S3."""

    name: str
    run: Callable[[Call], Reply]


# Query parameters that do not select another operation.
PARAMETERS = {
    *("prefix", "delimiter", "max-keys", "start-after", "continuation-token", "encoding-type", "fetch-owner"),
    *(
        "x-id",
        "versionId",
        "max-parts",
        "part-number-marker",
        "max-uploads",
        "key-marker",
        "upload-id-marker",
    ),
}

# By method, level of the path, and the remaining query parameters.
OPERATIONS = {
    ("GET", "service", ""): Operation("ListBuckets", operations.list_buckets),
    ("PUT", "bucket", ""): Operation("CreateBucket", operations.create_bucket),
    ("HEAD", "bucket", ""): Operation("HeadBucket", operations.head_bucket),
    ("DELETE", "bucket", ""): Operation("DeleteBucket", operations.delete_bucket),
    ("GET", "bucket", "location"): Operation("GetBucketLocation", operations.get_bucket_location),
    ("GET", "bucket", "list-type"): Operation("ListObjectsV2", listing.list_objects_v2),
    ("GET", "bucket", "uploads"): Operation("ListMultipartUploads", multipart.list_multipart_uploads),
    ("POST", "bucket", "delete"): Operation("DeleteObjects", operations.delete_objects),
    ("GET", "key", ""): Operation("GetObject", operations.get_object),
    ("HEAD", "key", ""): Operation("HeadObject", operations.get_object),
    ("GET", "key", "partNumber"): Operation("GetObject", operations.get_object),
    ("HEAD", "key", "partNumber"): Operation("HeadObject", operations.get_object),
    ("PUT", "key", ""): Operation("PutObject", operations.put_object),
    ("DELETE", "key", ""): Operation("DeleteObject", operations.delete_object),
    ("POST", "key", "uploads"): Operation("CreateMultipartUpload", multipart.create_multipart_upload),
    ("PUT", "key", "partNumber,uploadId"): Operation("UploadPart", multipart.upload_part),
    ("GET", "key", "uploadId"): Operation("ListParts", multipart.list_parts),
    ("POST", "key", "uploadId"): Operation("CompleteMultipartUpload", multipart.complete_multipart_upload),
    ("DELETE", "key", "uploadId"): Operation("AbortMultipartUpload", multipart.abort_multipart_upload),
}


UPLOAD_PART_COPY = Operation("UploadPartCopy", copying.upload_part_copy)


def address(path: str) -> tuple[str, str]:
    """Return bucket and key from the raw path. Every byte after the bucket's slash belongs to the key."""
    bucket, _, key = path[1:].partition("/")
    try:
        bucket, key = unquote(bucket, errors="strict"), unquote(key, errors="strict")
    except UnicodeDecodeError:
        raise S3Error("InvalidURI", "Couldn't parse the specified URI: a key is UTF-8.") from None
    if len(key.encode()) > LONGEST_KEY:
        raise S3Error("KeyTooLongError", "Your key is too long", MaxSizeAllowed=LONGEST_KEY)
    return bucket, key


def find_operation(request: Request, bucket: str, key: str) -> Operation:
    """Return the operation of a request.

    Raises:
        S3Error: NotImplemented, with the name of the missing operation.
    """
    level = "key" if key else "bucket" if bucket else "service"
    subresource = ",".join(
        sorted(n for n in request.query if n not in PARAMETERS and not n.startswith("X-Amz-"))
    )
    operation = OPERATIONS.get((request.method, level, subresource))
    if operation and operation.name == "UploadPart" and "x-amz-copy-source" in request.headers:
        return UPLOAD_PART_COPY
    if operation and "x-amz-copy-source" not in request.headers:
        return operation
    copy = {"PutObject": "CopyObject"}
    asked = operation.name if operation else f"{request.method} {level} ?{subresource}"
    name = copy.get(asked, asked)
    message = f"The lab S3 does not implement {name}"
    raise S3Error("NotImplemented", message, Operation=name)


def check_access(request: Request) -> None:
    """Refuse requests with the access key `DENIED_ACCESS_KEY`. Signatures are not checked."""
    credential = request.query.get("X-Amz-Credential", "") or request.headers.get("authorization", "")
    if re.search(rf"(^|=){DENIED_ACCESS_KEY}/", credential):
        raise S3Error("AccessDenied", "Access Denied")

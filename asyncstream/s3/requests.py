"""S3 requests as parameters of the SDKs' operations; pure, used by `store.py`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from asyncstream.locations import S3Object, S3Prefix
from asyncstream.plan import ByteRange
from asyncstream.ports import CompletedPart, MultipartUpload

Params = dict[str, Any]

# Which of the user's extra_args go to which request; everything goes to PutObject and Create.
_EVERY_WRITE = ("ExpectedBucketOwner", "RequestPayer", "SSECustomerAlgorithm", "SSECustomerKey")
_SOURCE = {
    "CopySourceSSECustomerAlgorithm": "SSECustomerAlgorithm",
    "CopySourceSSECustomerKey": "SSECustomerKey",
    "RequestPayer": "RequestPayer",
}


# What lets a write through at all: keys, owners and payers; not what describes the content.
_ACCESS = (
    *_EVERY_WRITE,
    "ACL",
    "BucketKeyEnabled",
    "SSEKMSEncryptionContext",
    "SSEKMSKeyId",
    "ServerSideEncryption",
)


def report_args(extra: Mapping[str, Any]) -> Params:
    """Those of the user's settings for copied files that a report needs as well."""
    return _only(extra, _ACCESS)


def _only(args: Mapping[str, Any], names: Iterable[str]) -> Params:
    return {name: args[name] for name in names if name in args}


def get_object(
    source: S3Object, range_: ByteRange | None, etag: str | None, extra: Mapping[str, Any]
) -> Params:
    """GetObject of a range, pinned to an ETag where one is known."""
    params: Params = {"Bucket": source.bucket, "Key": source.key}
    if range_ is not None:
        params["Range"] = range_.header
    if etag is not None:
        params["IfMatch"] = etag
    if source.version_id is not None:
        params["VersionId"] = source.version_id
    return params | {name: extra[given] for given, name in _SOURCE.items() if given in extra}


def new_object(target: S3Object, kept: Mapping[str, Any], extra: Mapping[str, Any]) -> Params:
    """PutObject or CreateMultipartUpload: what is kept of the source, overridden by the user's settings."""
    wanted = {name: value for name, value in extra.items() if not name.startswith("CopySource")}
    return {"Bucket": target.bucket, "Key": target.key} | dict(kept) | wanted


def upload_part(upload: MultipartUpload, number: int, extra: Mapping[str, Any]) -> Params:
    """UploadPart without its body."""
    return _of_upload(upload) | {"PartNumber": number} | _only(extra, _EVERY_WRITE)


def complete_upload(
    upload: MultipartUpload, parts: Sequence[CompletedPart], extra: Mapping[str, Any]
) -> Params:
    """CompleteMultipartUpload; `parts` in order of their numbers."""
    listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
    return _of_upload(upload) | {"MultipartUpload": {"Parts": listed}} | _only(extra, _EVERY_WRITE)


def abort_upload(upload: MultipartUpload, extra: Mapping[str, Any]) -> Params:
    """AbortMultipartUpload."""
    return _of_upload(upload) | _only(extra, ("ExpectedBucketOwner", "RequestPayer"))


def list_page(prefix: S3Prefix, token: str | None, extra: Mapping[str, Any]) -> Params:
    """ListObjectsV2, one page of up to 1,000 keys."""
    params: Params = {"Bucket": prefix.bucket, "Prefix": prefix.prefix}
    if token is not None:
        params["ContinuationToken"] = token
    return params | _only(extra, ("RequestPayer",))


def _of_upload(upload: MultipartUpload) -> Params:
    return {"Bucket": upload.target.bucket, "Key": upload.target.key, "UploadId": upload.upload_id}

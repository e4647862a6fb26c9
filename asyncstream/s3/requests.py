"""Build S3 requests as parameters of the SDKs' operations. Does no I/O."""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from hashlib import md5
from typing import Any

from asyncstream.checksum import Checksum
from asyncstream.errors import InputError
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ByteRange, CompletedPart, CopiedRange, MultipartUpload, Origin

Params = dict[str, Any]
# A page of uploads starts after this key and upload id.
UploadMarker = tuple[str, str]

# The most bytes of names and values together (S3 user guide, "Working with object metadata").
MAX_METADATA = 2048
# The metadata that stores which version of its source an object is a copy of: its size and its ETag.
ORIGIN = "asyncstream-source"

# The user's extra_args that each request takes. PutObject and CreateMultipartUpload take all of them.
_EVERY_WRITE = ("ExpectedBucketOwner", "RequestPayer", "SSECustomerAlgorithm", "SSECustomerKey")
_SOURCE = {
    "CopySourceSSECustomerAlgorithm": "SSECustomerAlgorithm",
    "CopySourceSSECustomerKey": "SSECustomerKey",
    "RequestPayer": "RequestPayer",
}


# The settings that S3 may require for any write, such as keys, owners and payers. They do not describe the
# content.
_ACCESS = (
    *_EVERY_WRITE,
    "ACL",
    "BucketKeyEnabled",
    "SSEKMSEncryptionContext",
    "SSEKMSKeyId",
    "ServerSideEncryption",
)


def report_args(extra: Mapping[str, Any]) -> Params:
    """Return the user's settings for copied files that a report needs as well."""
    return _only(extra, _ACCESS)


def _only(args: Mapping[str, Any], names: Iterable[str]) -> Params:
    return {name: args[name] for name in names if name in args}


# The mark of a weak ETag, which If-Match never matches (RFC 9110, 8.8.3 and 13.1.1).
WEAK = "W/"
# Asks for the checksums of an object. Some servers refuse it.
CHECKSUM_MODE: Params = {"ChecksumMode": "ENABLED"}


def get_object_params(
    source: S3Object,
    range_: ByteRange | None,
    etag: str | None,
    extra: Mapping[str, Any],
    *,
    if_none_match: str | None = None,
) -> Params:
    """Build GetObject of a range, for one version if its `etag` is known.

    If the object's ETag is `if_none_match`, S3 does not send it.
    """
    params = _pinned(source, etag)
    if if_none_match is not None:
        params["IfNoneMatch"] = if_none_match
    if range_ is not None:
        params["Range"] = range_.header
    return params | {name: extra[given] for given, name in _SOURCE.items() if given in extra}


def head_source_params(source: S3Object, etag: str | None, extra: Mapping[str, Any]) -> Params:
    """Build HeadObject of a source."""
    read = {name: extra[given] for given, name in _SOURCE.items() if given in extra}
    return _pinned(source, etag) | read


def head_part_params(source: S3Object, etag: str, number: int, extra: Mapping[str, Any]) -> Params:
    """Build HeadObject of one of the parts that a source was uploaded in."""
    read = {name: extra[given] for given, name in _SOURCE.items() if given in extra}
    return _pinned(source, etag) | {"PartNumber": number} | read


def tags_params(source: S3Object, extra: Mapping[str, Any]) -> Params:
    """Build GetObjectTagging of a source, which has no condition on the ETag."""
    return _pinned(source, None) | _only(extra, ("RequestPayer",))


def head_target_params(target: S3Object, extra: Mapping[str, Any]) -> Params:
    """Build HeadObject of a destination."""
    return _pinned(target, None) | _only(extra, _EVERY_WRITE)


def _pinned(place: S3Object, etag: str | None) -> Params:
    params: Params = {"Bucket": place.bucket, "Key": place.key}
    if etag is not None and not etag.startswith(WEAK):
        params["IfMatch"] = etag
    if place.version_id is not None:
        params["VersionId"] = place.version_id
    return params


def checksum_params(checksum: Checksum | None) -> Params:
    """Return the parameter with which S3 refuses bytes of another checksum."""
    return {} if checksum is None else {f"Checksum{checksum.kind}": checksum.value}


def new_object_params(
    target: S3Object, kept: Mapping[str, Any], origin: Origin | None, extra: Mapping[str, Any]
) -> Params:
    """Build PutObject or CreateMultipartUpload: the headers kept from the source, then the user's settings.

    `origin` is added to the metadata if it fits. An object without an origin is compared by its checksum.

    Raises:
        InputError: a header is not UTF-8, or the metadata is not ASCII.
    """
    wanted = {name: value for name, value in extra.items() if not name.startswith("CopySource")}
    params = {"Bucket": target.bucket, "Key": target.key} | dict(kept) | wanted
    _check_sendable(params, target)
    if origin is None:
        return params
    metadata = {**params.get("Metadata", {}), ORIGIN: _origin_text(origin)}
    if sum(len(name.encode()) + len(text.encode()) for name, text in metadata.items()) <= MAX_METADATA:
        params["Metadata"] = metadata
    return params


def _check_sendable(params: Params, target: S3Object) -> None:
    """Check that every text can be sent with the bytes that the source has."""
    for field, value in params.items():
        if isinstance(value, str) and not _is_utf8(value):
            raise InputError(
                f"{target} was not written: the {field} of its source, {_bytes_of(value)!r:.200}, is not "
                "UTF-8. Name another with extra_args, or mend that of the source"
            )
        for name, text in value.items() if isinstance(value, Mapping) else ():
            if not (name.isascii() and text.isascii()):
                raise InputError(
                    f"{target} was not written: its {field} {name!r:.100} is {_bytes_of(text)!r:.200}, and "
                    "S3 takes only ASCII. Name others with extra_args, or mend those of the source"
                )


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes_of(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _origin_text(origin: Origin) -> str:
    return " ".join(filter(None, (str(origin.size), origin.etag, origin.transform)))


def upload_part_params(upload: MultipartUpload, number: int, extra: Mapping[str, Any]) -> Params:
    """Build UploadPart without its body."""
    return _upload_params(upload) | {"PartNumber": number} | _only(extra, _EVERY_WRITE)


def copy_part_params(
    upload: MultipartUpload, number: int, copied: CopiedRange, extra: Mapping[str, Any]
) -> Params:
    """Build UploadPartCopy."""
    place = {"Bucket": copied.place.bucket, "Key": copied.place.key}
    if copied.place.version_id is not None:
        place["VersionId"] = copied.place.version_id
    params = _upload_params(upload) | {"PartNumber": number, "CopySource": place}
    if copied.range is not None:
        params["CopySourceRange"] = copied.range.header
    if not copied.etag.startswith(WEAK):
        params["CopySourceIfMatch"] = copied.etag
    return params | _only(extra, (*_EVERY_WRITE, *_SOURCE))


def verified_upload_params(kind: str) -> Params:
    """Return the parameters with which S3 checks a whole upload, and returns the checksum of each part."""
    return {"ChecksumAlgorithm": kind, "ChecksumType": "FULL_OBJECT"}


def complete_upload_params(
    upload: MultipartUpload,
    parts: Sequence[CompletedPart],
    extra: Mapping[str, Any],
) -> Params:
    """Build CompleteMultipartUpload; `parts` in order of their numbers."""
    params = _upload_params(upload) | _only(extra, _EVERY_WRITE)
    params["MultipartUpload"] = {"Parts": [{"PartNumber": part.number, "ETag": part.etag} for part in parts]}
    return params


def whole_checksum_params(parts: Sequence[CompletedPart], checksum: Checksum | None) -> Params:
    """Return the parameters of CompleteMultipartUpload for S3 to compare the whole with its checksum."""
    if checksum is None:
        return {}
    size = sum(part.length for part in parts)
    return checksum_params(checksum) | {"ChecksumType": "FULL_OBJECT", "MpuObjectSize": size}


def abort_upload_params(upload: MultipartUpload, extra: Mapping[str, Any]) -> Params:
    """Build AbortMultipartUpload."""
    return _upload_params(upload) | _only(extra, ("ExpectedBucketOwner", "RequestPayer"))


def list_page_params(
    prefix: S3Prefix, token: str | None, extra: Mapping[str, Any], *, after: str = "", delimiter: str = ""
) -> Params:
    """Build ListObjectsV2 for one page of up to 1,000 keys that follow a token, or else a key.

    With a delimiter, S3 replaces keys by their prefixes up to it.
    """
    params: Params = {"Bucket": prefix.bucket, "Prefix": prefix.prefix}
    if token is not None:
        params["ContinuationToken"] = token
    elif after:
        params["StartAfter"] = after
    if delimiter:
        params["Delimiter"] = delimiter
    return params | _only(extra, ("RequestPayer",))


def list_uploads_params(prefix: S3Prefix, after: UploadMarker | None, extra: Mapping[str, Any]) -> Params:
    """Build ListMultipartUploads for one page of up to 1,000 uploads."""
    params: Params = {"Bucket": prefix.bucket, "Prefix": prefix.prefix}
    if after is not None:
        params["KeyMarker"], params["UploadIdMarker"] = after
    return params | _only(extra, ("ExpectedBucketOwner", "RequestPayer"))


def list_parts_params(upload: MultipartUpload, after: int | None, extra: Mapping[str, Any]) -> Params:
    """Build ListParts for one page of up to 1,000; `after` is the last part number of the page before."""
    params = _upload_params(upload) | _with_encoded_key(_only(extra, _EVERY_WRITE))
    return params if after is None else params | {"PartNumberMarker": after}


def _with_encoded_key(params: Params) -> Params:
    """Encode a customer's key as botocore does for other requests, but not for ListParts (1.43.117)."""
    key = params.get("SSECustomerKey")
    if key is None:
        return params
    given = key.encode() if isinstance(key, str) else key
    digest = md5(given, usedforsecurity=False).digest()
    return params | {
        "SSECustomerKey": b64encode(given).decode(),
        "SSECustomerKeyMD5": b64encode(digest).decode(),
    }


def _upload_params(upload: MultipartUpload) -> Params:
    target = target_of(upload)
    return {"Bucket": target.bucket, "Key": target.key, "UploadId": upload.upload_id}


def target_of(upload: MultipartUpload) -> S3Object:
    """Return the object that an upload to S3 makes."""
    assert isinstance(upload.target, S3Object)  # noqa: S101 - files have uploads of their own
    return upload.target

"""Map the SDKs' errors to asyncstream's, for both transports: both raise botocore's classes."""

import errno
from collections.abc import Mapping
from http.client import IncompleteRead
from typing import Any

import botocore.exceptions as sdk
from botocore.parsers import ResponseParserError
from urllib3.exceptions import ProtocolError
from urllib3.util.ssl_match_hostname import CertificateError

from asyncstream.error_texts import chain
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    BucketNotFound,
    ChecksumMismatch,
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    CredentialsExpired,
    InputError,
    ReplyTimeout,
    S3Error,
    ServerNotTrusted,
    ServiceBusy,
    SlowDown,
    SourceNotFound,
    TruncatedBody,
    UploadGone,
    WriteConflict,
    WrongRegion,
)
from asyncstream.http.certificates import find_refused_certificate
from asyncstream.s3.answered_by import MOST_OF_PAGE, between, first_words, is_html, words_of_page
from asyncstream.s3.sdk_errors import MAX_TEXT, advice_on_refusal, explain, first_line, proxy_login_error
from asyncstream.s3.settings import Patience

# The permission that each operation needs. The others need s3:PutObject.
PERMISSIONS = {
    "GetObject": "s3:GetObject",
    "GetObjectTagging": "s3:GetObjectTagging",
    "HeadBucket": "s3:ListBucket",
    "HeadObject": "s3:GetObject",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "ListObjectsV2": "s3:ListBucket",
    "ListParts": "s3:ListMultipartUploadParts",
    "AbortMultipartUpload": "s3:AbortMultipartUpload",
}
_BUSY_STATUS = frozenset({500, 502, 503, 504})
_BY_CODE: dict[str, type[AsyncstreamError]] = {
    "BadDigest": ChecksumMismatch,
    "XAmzContentChecksumMismatch": ChecksumMismatch,
    "ConditionalRequestConflict": WriteConflict,
    "ExpiredToken": CredentialsExpired,
    "ExpiredTokenException": CredentialsExpired,
    "TokenRefreshRequired": CredentialsExpired,
    "InternalError": ServiceBusy,
    "OperationAborted": ServiceBusy,
    "RequestTimeout": ServiceBusy,
    "ServiceUnavailable": ServiceBusy,
    "NoSuchUpload": UploadGone,
    "RequestLimitExceeded": SlowDown,
    "SlowDown": SlowDown,
    "Throttling": SlowDown,
    "ThrottlingException": SlowDown,
}
_EXPLANATIONS: dict[type[AsyncstreamError], str] = {
    ChecksumMismatch: "S3 received other bytes than were sent. S3 says: ",
    CredentialsExpired: "the credentials have expired. S3 says: ",
}
_READS = frozenset({"GetObject", "GetObjectTagging", "HeadObject"})
_NOT_FOUND = frozenset({"NoSuchKey", "NoSuchVersion", "404"})
# The codes of botocore's S3RegionRedirectorv2, and one from regions that accounts opt in to
# (IllegalLocationConstraintException). If the error does not name the region, HeadBucket does.
_REGION_CODES = frozenset(
    {
        "301",
        "307",
        "AuthorizationHeaderMalformed",
        "IllegalLocationConstraintException",
        "PermanentRedirect",
        "TemporaryRedirect",
    }
)
# What botocore raises for a Multi-Region Access Point: without awscrt, or with settings that it cannot have.
_NO_ROUTE = (sdk.MissingDependencyException, sdk.EndpointProviderError)


def convert_error(error: Exception, operation: str, params: Mapping[str, Any]) -> AsyncstreamError:
    """Return asyncstream's error for an SDK's error and the request that raised it.

    The caller raises it from the SDK's error, which keeps only text: see `_strip`.
    """
    what = _what(operation, params)
    if isinstance(error, AsyncstreamError):
        return error
    converted = _convert(error, what, operation, params)
    _strip(error)
    return converted


def _convert(  # noqa: PLR0911 - a table
    error: Exception, what: str, operation: str, params: Mapping[str, Any]
) -> AsyncstreamError:
    if is_untrusted(error):
        return ServerNotTrusted(f"{what}: {first_line(error)}")
    if isinstance(error, sdk.ClientError):
        return _refused(error, what, operation, params)
    if isinstance(error, _NO_ROUTE) and _is_multi_region(params):
        return InputError(
            f"{what}: a Multi-Region Access Point needs signatures that asyncstream does not make (SigV4A). "
            "Name the bucket, or an access point of one region"
        )
    if isinstance(error, ResponseParserError):
        return _unreadable(str(error), what)
    explained = explain(error)
    kind, text = type(explained), f"{what}: {explained}"
    if not issubclass(kind, ConnectionFailed):
        return kind(text)
    if any(map(_is_cut, chain(error))):
        return TruncatedBody(f"{what}: the reply was cut: {first_line(error)}")
    return ConnectionClosed(text) if _was_reset(error) else kind(text)


def _unreadable(text: str, what: str) -> AsyncstreamError:
    """Return the error for a reply that is not XML or JSON: an HTML page, or a document that was cut.

    Args:
        text: botocore's message. Its second line has the whole body.
        what: the request.
    """
    said, _, body = text.partition("\n")
    page = body[:MOST_OF_PAGE].strip("b'\"")
    if is_html(page):
        return S3Error(between(what, 0, first_words(page.encode())))
    return TruncatedBody(f"{what}: the reply was cut: {said[:MAX_TEXT].rstrip(':')}")


def _is_multi_region(params: Mapping[str, Any]) -> bool:
    bucket = str(params.get("Bucket"))
    return bucket.startswith("arn:") and bucket.endswith(".mrap")


def reply_timeout_error(operation: str, params: Mapping[str, Any], patience: Patience) -> ReplyTimeout:
    """Return the error for a request that was sent, and whose reply did not arrive in time."""
    return ReplyTimeout(
        f"{_what(operation, params)}: no whole reply came within {patience.seconds:g} s after the request. "
        f"Raise {patience.setting} if S3 may take longer."
    )


def broken_body_error(error: Exception, stall_timeout: float) -> ConnectionFailed:
    """Return the error for the body of a GET that broke off, or of which no byte came for `stall_timeout`."""
    what = "the connection broke while reading the source"
    if isinstance(error, TimeoutError):
        return ConnectionFailed(
            f"{what}: no byte came for {stall_timeout:g} s. Raise stall_timeout if S3 may pause for longer."
        )
    return ConnectionFailed(f"{what}: {error}")


def _strip(error: Exception) -> None:
    """Remove everything from an SDK's error except the reply's error, status and request id, and texts.

    The rest is headers, requests and connections: 20 KB for each file that fails (measured).
    """
    if isinstance(error, sdk.ClientError):
        metadata = error.response.get("ResponseMetadata", {})
        kept = {name: metadata[name] for name in ("HTTPStatusCode", "RequestId") if name in metadata}
        error.response = {"Error": error.response.get("Error", {}), "ResponseMetadata": kept}
    elif isinstance(error, sdk.BotoCoreError):
        error.kwargs = {name: str(value) for name, value in error.kwargs.items()}
    if isinstance(error, sdk.HTTPClientError):
        error.request = error.response = None


def is_untrusted(error: Exception) -> bool:
    """Whether an SDK's error reports a refused certificate, of S3 or of STS and SSO."""
    return find_refused_certificate(error, CertificateError) is not None


def _is_cut(error: BaseException) -> bool:
    """Whether an HTTP client's error reports that a reply's body ended too early; the SDKs do not say so.

    aiohttp's error is compared by name, because the blocking engines do not import aiohttp.
    """
    if isinstance(error, ProtocolError) and isinstance(error.__context__, ValueError):
        return True  # the connection ended within the line with a chunk's length
    if isinstance(error, IncompleteRead):
        return True
    return type(error).__name__ == "ClientPayloadError"


def _was_reset(error: Exception) -> bool:
    """Whether an open connection broke before a reply. aiobotocore reports that it could not connect."""
    return getattr(error.__context__, "errno", None) in (errno.ECONNRESET, errno.EPIPE)


def _refused(  # noqa: PLR0911 - a table
    error: sdk.ClientError, what: str, operation: str, params: Mapping[str, Any]
) -> AsyncstreamError:
    details = error.response.get("Error", {})
    metadata = error.response.get("ResponseMetadata", {})
    status = int(metadata.get("HTTPStatusCode", 0))
    code = str(details.get("Code", ""))
    message = str(details.get("Message", ""))[:MAX_TEXT]
    reply_text = f"{code or status} {message}".strip()
    words = words_of_page(details, metadata)
    if words:
        return _answered_between(what, status, words, metadata)
    if error.operation_name not in {operation, None}:  # it is STS or SSO that has answered
        return _no_credentials(f"{what}: {error.operation_name} was refused: {reply_text}", code, error)
    region = str(details.get("Region") or metadata.get("HTTPHeaders", {}).get("x-amz-bucket-region") or "")
    if _is_elsewhere(code, operation, region):
        place = f"the bucket is in {region}" if region else f"{reply_text}: the bucket is in another region"
        return WrongRegion(f"{what}: {place}", region)
    if code == "NoSuchBucket":
        return BucketNotFound(f"{what}: there is no bucket {params.get('Bucket')!r}: check its name")
    if code in _NOT_FOUND and operation in _READS:
        return SourceNotFound(f"{what}: there is no such object")
    if status == 403 and code in {"AccessDenied", "403", ""}:
        return AccessDenied(_denied(what, operation, params, message))
    kind = _BY_CODE.get(code) or _kind_of_status(status)
    text = f"{what}: {_EXPLANATIONS.get(kind, '')}{reply_text}"
    if issubclass(kind, S3Error):
        return kind(text, code, status)
    if issubclass(kind, ServiceBusy):
        return kind(text, _retry_after(metadata))
    return kind(text)


def _answered_between(what: str, status: int, words: str, metadata: Mapping[str, Any]) -> AsyncstreamError:
    """Return the error for a page from a proxy or a network. It says nothing about permissions in S3."""
    if status == 407:
        return ConfigError(f"{what}: {proxy_login_error()}")
    kind, text = _kind_of_status(status), between(what, status, words)
    if issubclass(kind, ServiceBusy):
        return kind(text, _retry_after(metadata))
    return S3Error(text, "", status)


def _no_credentials(text: str, code: str, error: sdk.ClientError) -> AsyncstreamError:
    """Return the error for a request for credentials that STS or SSO refused."""
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    kind = _BY_CODE.get(code) or _kind_of_status(status)
    if issubclass(kind, ServiceBusy | CredentialsExpired):
        return kind(text)
    return ConfigError(f"{text.rstrip('. ')}. {advice_on_refusal(error.operation_name, code)}")


def _is_elsewhere(code: str, operation: str, region: str) -> bool:
    """Whether an error reply means that the bucket is in another region. It may not name the region."""
    if code in _REGION_CODES:
        return True
    if operation == "HeadBucket":
        return region != ""  # also for a bucket that the caller may not list
    # A HEAD's reply has no body with an error code. Only the header shows that the 400 is about the region.
    return operation == "HeadObject" and code == "400" and region != ""


def _kind_of_status(status: int) -> type[AsyncstreamError]:
    # A HEAD's reply has no body with an error code.
    if status in {429, 503}:
        return SlowDown
    return ServiceBusy if status in _BUSY_STATUS else S3Error


def _retry_after(metadata: Mapping[str, Any]) -> float:
    """Return the seconds that S3 asks to wait (RFC 9110, 10.2.3); 0 if it does not ask, or names a date."""
    text = str(metadata.get("HTTPHeaders", {}).get("retry-after", ""))
    return float(text) if text.isdecimal() else 0.0


def _denied(what: str, operation: str, params: Mapping[str, Any], reply_text: str) -> str:
    permission = PERMISSIONS.get(operation, "s3:PutObject")
    if operation in _READS and "VersionId" in params:
        permission = permission.replace("s3:GetObject", "s3:GetObjectVersion")
    if "Tagging" in params:
        permission += " and s3:PutObjectTagging"
    hint = ""
    if operation in _READS:
        # Without s3:ListBucket S3 hides whether the key exists.
        hint = "; S3 answers the same for a missing object if the caller lacks s3:ListBucket"
    # For a KMS key or an explicit deny, S3's message names another permission.
    reason = f". S3 says: {reply_text}" if reply_text not in {"", "Access Denied", "Forbidden"} else ""
    return f"{what} was denied: the caller needs {permission} on it{hint}{reason}"


def _what(operation: str, params: Mapping[str, Any]) -> str:
    key = params.get("Key", params.get("Prefix", ""))
    part = f" part {params['PartNumber']}" if "PartNumber" in params else ""
    return f"{operation} s3://{params.get('Bucket')}/{key}{part}"

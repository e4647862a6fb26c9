"""The mapping from the SDKs' errors to asyncstream's."""

from typing import Any

import aiohttp
import botocore.exceptions as sdk
import pytest
import urllib3.exceptions

from asyncstream import errors
from asyncstream.errors import AsyncstreamError
from asyncstream.s3.failures import convert_error

PARAMS = {"Bucket": "raw", "Key": "in/a.csv"}


def refusal(
    code: str, status: int, operation: str, headers: dict[str, str] | None = None, **details: str
) -> Any:
    response = {
        "Error": {"Code": code, "Message": "S3 said so", **details},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers or {}},
    }
    return sdk.ClientError(response, operation)


@pytest.mark.parametrize(
    ("code", "status", "operation", "expected"),
    [
        ("NoSuchKey", 404, "GetObject", errors.SourceNotFound),
        ("NoSuchVersion", 404, "GetObject", errors.SourceNotFound),
        ("404", 404, "GetObject", errors.SourceNotFound),
        ("NoSuchKey", 404, "CompleteMultipartUpload", errors.S3Error),
        ("NoSuchUpload", 404, "UploadPart", errors.UploadGone),
        ("NoSuchUpload", 404, "CompleteMultipartUpload", errors.UploadGone),
        ("404", 404, "HeadObject", errors.SourceNotFound),
        ("403", 403, "HeadObject", errors.AccessDenied),
        ("412", 412, "HeadObject", errors.S3Error),
        ("NoSuchBucket", 404, "GetObject", errors.BucketNotFound),
        ("NoSuchBucket", 404, "PutObject", errors.BucketNotFound),
        ("AccessDenied", 403, "GetObject", errors.AccessDenied),
        ("403", 403, "GetObject", errors.AccessDenied),
        ("InvalidAccessKeyId", 403, "GetObject", errors.S3Error),
        ("SignatureDoesNotMatch", 403, "PutObject", errors.S3Error),
        ("InvalidObjectState", 403, "GetObject", errors.S3Error),
        ("InvalidRange", 416, "GetObject", errors.S3Error),
        ("PreconditionFailed", 412, "GetObject", errors.S3Error),
        ("InternalError", 500, "PutObject", errors.ServiceBusy),
        ("InternalError", 200, "CompleteMultipartUpload", errors.ServiceBusy),
        ("", 502, "PutObject", errors.ServiceBusy),
        ("InternalError", 500, "CompleteMultipartUpload", errors.ServiceBusy),
        ("OperationAborted", 409, "PutObject", errors.ServiceBusy),
        ("SlowDown", 503, "GetObject", errors.SlowDown),
        ("SlowDown", 200, "CompleteMultipartUpload", errors.SlowDown),
        ("Throttling", 400, "PutObject", errors.SlowDown),
        ("ThrottlingException", 400, "PutObject", errors.SlowDown),
        ("RequestLimitExceeded", 503, "PutObject", errors.SlowDown),
        ("ServiceUnavailable", 503, "GetObject", errors.ServiceBusy),
        ("504", 504, "GetObject", errors.ServiceBusy),
        ("TooManyRequests", 429, "GetObject", errors.SlowDown),
        ("BadDigest", 400, "PutObject", errors.ChecksumMismatch),
        ("XAmzContentChecksumMismatch", 400, "UploadPart", errors.ChecksumMismatch),
        ("ExpiredToken", 400, "GetObject", errors.CredentialsExpired),
        ("ExpiredTokenException", 403, "PutObject", errors.CredentialsExpired),
        ("TokenRefreshRequired", 400, "GetObject", errors.CredentialsExpired),
        ("ConditionalRequestConflict", 409, "CompleteMultipartUpload", errors.WriteConflict),
        ("NotImplemented", 501, "CreateMultipartUpload", errors.S3Error),
        ("RequestTimeout", 400, "UploadPart", errors.ServiceBusy),
        ("EntityTooSmall", 400, "CompleteMultipartUpload", errors.S3Error),
        ("PermanentRedirect", 301, "GetObject", errors.WrongRegion),  # the reply does not name the region
        ("IllegalLocationConstraintException", 400, "PutObject", errors.WrongRegion),
        ("400", 400, "HeadObject", errors.S3Error),
        ("403", 403, "HeadBucket", errors.AccessDenied),
    ],
)
def test_a_refusal_is_our_error_naming_operation_and_object(
    code: str, status: int, operation: str, expected: type[AsyncstreamError]
) -> None:
    error = convert_error(refusal(code, status, operation), operation, PARAMS)

    assert type(error) is expected
    assert str(error).startswith(f"{operation} s3://raw/in/a.csv")
    if isinstance(error, errors.S3Error):
        assert (error.code, error.status) == (code, status)
        assert "S3 said so" in str(error)


@pytest.mark.parametrize(
    "error",
    [
        refusal("PermanentRedirect", 301, "GetObject", {"x-amz-bucket-region": "eu-west-1"}),
        refusal("TemporaryRedirect", 307, "PutObject", {"x-amz-bucket-region": "eu-west-1"}),
        refusal("301", 301, "GetObject", {"x-amz-bucket-region": "eu-west-1"}),
        refusal("400", 400, "HeadObject", {"x-amz-bucket-region": "eu-west-1"}),
        refusal("403", 403, "HeadBucket", {"x-amz-bucket-region": "eu-west-1"}),
        refusal("IllegalLocationConstraintException", 400, "PutObject", {"x-amz-bucket-region": "eu-west-1"}),
        refusal("AuthorizationHeaderMalformed", 400, "GetObject", Region="eu-west-1"),
    ],
)
def test_a_redirect_names_the_buckets_region(error: sdk.ClientError) -> None:
    found = convert_error(error, error.operation_name, PARAMS)

    assert isinstance(found, errors.WrongRegion)
    assert found.region == "eu-west-1"
    assert str(found) == f"{error.operation_name} s3://raw/in/a.csv: the bucket is in eu-west-1"


@pytest.mark.parametrize(
    ("operation", "extra", "permission"),
    [
        ("GetObject", {}, "s3:GetObject on it; S3 answers the same for a missing object"),
        ("GetObject", {"VersionId": "v1"}, "s3:GetObjectVersion on it"),
        ("GetObjectTagging", {"VersionId": "v1"}, "s3:GetObjectVersionTagging on it"),
        ("PutObject", {}, "s3:PutObject on it"),
        ("PutObject", {"Tagging": "a=b"}, "s3:PutObject and s3:PutObjectTagging on it"),
        ("CreateMultipartUpload", {}, "s3:PutObject on it"),
        ("UploadPart", {"PartNumber": 7}, "s3:PutObject on it"),
        ("CompleteMultipartUpload", {}, "s3:PutObject on it"),
        ("AbortMultipartUpload", {}, "s3:AbortMultipartUpload on it"),
        ("ListObjectsV2", {}, "s3:ListBucket on it"),
        ("ListParts", {}, "s3:ListMultipartUploadParts on it"),
    ],
)
def test_a_denial_names_operation_object_and_permission(
    operation: str, extra: dict[str, Any], permission: str
) -> None:
    error = convert_error(refusal("AccessDenied", 403, operation), operation, PARAMS | extra)

    part = " part 7" if extra.get("PartNumber") else ""
    assert str(error).startswith(
        f"{operation} s3://raw/in/a.csv{part} was denied: the caller needs {permission}"
    )


def test_a_denial_passes_on_what_s3_says_of_its_reason() -> None:
    """It may concern another permission: of KMS, a bucket policy, or an organization."""
    said = "User: arn:aws:iam::1:role/r is not authorized to perform: kms:GenerateDataKey"

    error = convert_error(refusal("AccessDenied", 403, "PutObject", Message=said), "PutObject", PARAMS)

    assert "kms:GenerateDataKey" in str(error)


def test_a_listing_is_named_by_its_prefix() -> None:
    error = convert_error(
        refusal("NoSuchBucket", 404, "ListObjectsV2"), "ListObjectsV2", {"Bucket": "raw", "Prefix": "in/"}
    )

    assert str(error) == "ListObjectsV2 s3://raw/in/: there is no bucket 'raw': check its name"


URL = {"endpoint_url": "https://s3"}


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (sdk.EndpointConnectionError(**URL), errors.ConnectionFailed),
        (sdk.ConnectTimeoutError(**URL), errors.ConnectionFailed),
        (sdk.ReadTimeoutError(**URL), errors.ConnectionFailed),
        (sdk.ConnectionClosedError(**URL), errors.ConnectionClosed),
        (sdk.HTTPClientError(error="reset"), errors.ConnectionFailed),
        (sdk.SSLError(error="handshake", **URL), errors.ConnectionFailed),
        (sdk.ResponseStreamingError(error="broke"), errors.ConnectionFailed),
        (ConnectionResetError("reset"), errors.ConnectionFailed),
        (TimeoutError("slow"), errors.ConnectionFailed),
        # A reply's body that breaks while the SDK reads it, such as a listing or an upload's id.
        (urllib3.exceptions.ProtocolError("Connection broken"), errors.ConnectionFailed),
        (urllib3.exceptions.IncompleteRead(1, 2), errors.TruncatedBody),
        (aiohttp.ClientPayloadError("not completed"), errors.TruncatedBody),
        (aiohttp.ServerDisconnectedError(), errors.ConnectionFailed),
        (sdk.NoCredentialsError(), errors.ConfigError),
        (sdk.PartialCredentialsError(provider="env", cred_var="x"), errors.ConfigError),
        (sdk.CredentialRetrievalError(provider="x", error_msg="y"), errors.ConfigError),
        (sdk.NoRegionError(), errors.ConfigError),
        (sdk.ProfileNotFound(profile="x"), errors.ConfigError),
        (sdk.ParamValidationError(report="x"), errors.InputError),
        # These are not connection errors, and a retry cannot help.
        (sdk.UnsupportedS3ArnError(arn="arn:aws:sqs"), errors.InputError),
        (sdk.EndpointResolutionError(msg="no rule"), errors.ConfigError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_fails_before_s3_answers_is_an_error_of_ours(
    error: Exception, expected: type[AsyncstreamError]
) -> None:
    found = convert_error(error, "GetObject", PARAMS)

    assert type(found) is expected
    assert str(found).startswith("GetObject s3://raw/in/a.csv: ")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, 0.0),
        ({"retry-after": "-3"}, 0.0),
        ({}, 0.0),
    ],
)
@pytest.mark.parametrize(("code", "status"), [("SlowDown", 503), ("", 503), ("", 429)])
def test_a_busy_s3_may_say_in_how_many_seconds_to_come_back(
    code: str, status: int, headers: dict[str, str], seconds: float
) -> None:
    error = convert_error(refusal(code, status, "GetObject", headers), "GetObject", PARAMS)

    assert isinstance(error, errors.ServiceBusy)
    assert error.retry_after == seconds


def test_a_mismatch_says_what_it_means_and_what_s3_says() -> None:
    error = convert_error(refusal("BadDigest", 400, "PutObject"), "PutObject", PARAMS)

    assert str(error) == (
        "PutObject s3://raw/in/a.csv: S3 received other bytes than were sent. S3 says: BadDigest S3 said so"
    )


def test_a_message_is_one_line() -> None:
    assert "\n" not in str(convert_error(OSError("first\nsecond"), "GetObject", PARAMS))


def test_an_error_of_ours_stays_itself() -> None:
    error = errors.TruncatedBody("short")

    assert convert_error(error, "PutObject", PARAMS) is error

"""Every exception of the SDKs and of their HTTP libraries is mapped on purpose."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import aiobotocore
import aiohttp.client_exceptions
import botocore
import botocore.exceptions
import pytest
import urllib3.exceptions
from urllib3.exceptions import LocationParseError

from asyncstream import errors
from asyncstream.errors import AsyncstreamError
from asyncstream.s3.aio import _SDK_ERRORS as AIO_ERRORS
from asyncstream.s3.blocking import _SDK_ERRORS as BLOCKING_ERRORS
from asyncstream.s3.failures import convert_error
from asyncstream.s3.sdk_errors import explain

# For each error of asyncstream, the classes that become it, by package. If a new version of an SDK adds a
# class, decide what it means to the user, write it here, and add a row to `sdk_errors.py` if its parent's
# does not fit.
TABLE: dict[type[AsyncstreamError], dict[str, str]] = {
    errors.ChecksumMismatch: {
        "botocore": """
            ChecksumError FlexibleChecksumError
        """,
    },
    errors.ConfigError: {
        "aiohttp": """
            InvalidURL InvalidUrlClientError InvalidUrlRedirectClientError NonHttpUrlClientError
            NonHttpUrlRedirectClientError
        """,
        "botocore": """
            ApiVersionNotFoundError BaseEndpointResolverError ConfigNotFound ConfigParseError
            CredentialRetrievalError DataNotFoundError EndpointProviderError EndpointResolutionError
            EndpointVariantError InfiniteLoopConfigError InvalidChecksumConfigError InvalidConfigError
            InvalidDefaultsMode InvalidEndpointConfigurationError
            InvalidEndpointDiscoveryConfigurationError InvalidIMDSEndpointError
            InvalidIMDSEndpointModeError InvalidMaxRetryAttemptsError InvalidProxiesConfigError
            InvalidRegionError InvalidRetryConfigurationError InvalidRetryModeError
            InvalidS3AddressingStyleError InvalidS3UsEast1RegionalEndpointConfigError
            InvalidSTSRegionalEndpointsConfigError LoginAuthorizationCodeError LoginError
            LoginInsufficientPermissions LoginRefreshRequired LoginTokenLoadError MD5UnavailableError
            MissingDependencyException NoAuthTokenError NoCredentialsError NoRegionError
            PartialCredentialsError ProfileNotFound RefreshWithMFAUnsupportedError SSOError
            SSOTokenLoadError ServiceNotInRegionError TokenRetrievalError UnauthorizedSSOTokenError
            UnknownCredentialError UnknownEndpointError UnknownEndpointResolutionBuiltInName
            UnknownFIPSEndpointError UnknownRegionError UnknownServiceError UnknownServiceStyle
            UnknownSignatureVersionError UnknownTokenProviderError UnsupportedServiceProtocolsError
            UnsupportedSignatureVersionError
        """,
        "urllib3": """
            LocationParseError LocationValueError ProxySchemeUnknown URLSchemeUnknown
        """,
    },
    errors.ConnectionClosed: {
        "botocore": """
            ConnectionClosedError
        """,
    },
    errors.ConnectionFailed: {
        "aiobotocore": """
            AioReadTimeoutError
        """,
        "aiohttp": """
            ClientConnectionError ClientConnectionResetError ClientConnectorDNSError
            ClientConnectorError ClientConnectorSSLError ClientError ClientHttpProxyError ClientOSError
            ClientProxyConnectionError ClientResponseError ClientSSLError ConnectionTimeoutError
            RedirectClientError ServerConnectionError ServerDisconnectedError ServerFingerprintMismatch
            ServerTimeoutError SocketTimeoutError UnixClientConnectorError UploadAbortedError
        """,
        "botocore": """
            ConnectTimeoutError ConnectionError EndpointConnectionError HTTPClientError
            MetadataRetrievalError ProxyConnectionError ReadTimeoutError ResponseStreamingError SSLError
            UnseekableStreamError
        """,
        "urllib3": """
            BodyNotHttplibCompatible ClosedPoolError ConnectTimeoutError DecodeError EmptyPoolError
            FullPoolError HTTPError HeaderParsingError HostChangedError InvalidHeader MaxRetryError
            NameResolutionError NewConnectionError PoolError ProtocolError ProxyError ReadTimeoutError
            RequestError ResponseError ResponseNotChunked SSLError TimeoutError TimeoutStateError
            UnrewindableBodyError
        """,
    },
    errors.InputError: {
        "botocore": """
            AliasConflictParameterError InvalidDNSNameError InvalidHostLabelError MissingParametersError
            ParamValidationError RangeError UnknownKeyError UnknownParameterError
            UnsupportedOutpostResourceError UnsupportedS3AccesspointConfigurationError
            UnsupportedS3ArnError UnsupportedS3ConfigurationError UnsupportedS3ControlArnError
            UnsupportedS3ControlConfigurationError ValidationError
        """,
    },
    errors.S3Error: {
        "aiohttp": """
            ContentTypeError TooManyRedirects WSServerHandshakeError
        """,
        "botocore": """
            AwsChunkedWrapperError BotoCoreError EndpointDiscoveryException
            EndpointDiscoveryRefreshFailed EndpointDiscoveryRequired InvalidExpressionError
            OperationNotPageableError PaginationError StubAssertionError StubResponseError
            UnStubbedResponseError UnknownClientMethodError WaiterConfigError WaiterError
        """,
    },
    errors.ServerNotTrusted: {
        "aiohttp": """
            ClientConnectorCertificateError
        """,
    },
    errors.SlowDown: {
        "botocore": """
            CapacityNotAvailableError
        """,
    },
    errors.TruncatedBody: {
        "aiohttp": """
            ClientPayloadError
        """,
        "botocore": """
            IncompleteReadError ResponseParserError
        """,
        "urllib3": """
            IncompleteRead InvalidChunkLength
        """,
    },
}
# The mapping of `ClientError`, a reply of AWS with an error, goes by its code: see `test_s3_failures.py`.
BY_CODE = botocore.exceptions.ClientError
EXPECTED = {
    f"{package}.{name}": kind
    for kind, packages in TABLE.items()
    for package, names in packages.items()
    for name in names.split()
}


def modules() -> Iterator[ModuleType]:
    yield from (urllib3.exceptions, aiohttp.client_exceptions)
    for package in (botocore, aiobotocore):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not {"docs", "vendored"} & set(found.name.split(".")):  # they need docutils, or are unused
                yield importlib.import_module(found.name)


def classes() -> dict[str, type[Exception]]:
    """Return the exceptions that the transports convert, by package and name."""
    caught: tuple[type[Exception], ...] = (*AIO_ERRORS, *BLOCKING_ERRORS)
    found: dict[str, type[Exception]] = {}
    for module in modules():
        for _, each in inspect.getmembers(module, inspect.isclass):
            if each.__module__ == module.__name__ and issubclass(each, caught):
                found[f"{module.__name__.partition('.')[0]}.{each.__name__}"] = each
    return {name: each for name, each in found.items() if not issubclass(each, (BY_CODE, Warning))}


CLASSES = classes()


def instance(kind: type[Exception]) -> Exception:
    """Return an exception of a class, without its constructor."""
    plain = type(kind.__name__, (kind,), {"__str__": lambda _: "text", "__module__": kind.__module__})
    made: Exception = plain.__new__(plain)  # type: ignore[call-overload]  # a class, not a metaclass
    if isinstance(made, botocore.exceptions.BotoCoreError):
        made.kwargs = {}
    return made


def test_every_class_of_the_installed_sdks_is_in_the_table() -> None:
    assert sorted(CLASSES.keys() - EXPECTED.keys()) == []


@pytest.mark.parametrize("name", sorted(CLASSES.keys() & EXPECTED.keys()))
def test_a_class_becomes_the_error_of_the_table(name: str) -> None:
    error = convert_error(instance(CLASSES[name]), "GetObject", {"Bucket": "raw", "Key": "a"})

    assert type(error) is EXPECTED[name]
    assert str(error).startswith("GetObject s3://raw/a: ")


def test_only_the_network_and_checksums_are_retried() -> None:
    assert {kind.__name__ for kind in TABLE if kind.retryable} == {
        "ChecksumMismatch",
        "ConnectionClosed",
        "ConnectionFailed",
        "SlowDown",
        "TruncatedBody",
    }


class LaterError(botocore.exceptions.BotoCoreError):  # type: ignore[misc]  # untyped
    """A class that a later version may add."""

    fmt = "of a later version"


def test_an_unknown_class_of_botocore_is_not_retried() -> None:
    error = explain(LaterError())

    assert type(error) is errors.S3Error
    assert str(error) == "of a later version"


def wrapped(inner: Exception) -> Exception:
    """Return what botocore makes of an HTTP library's error."""
    error: Exception = botocore.exceptions.HTTPClientError(error=inner)
    error.__context__ = inner
    return error


@pytest.mark.parametrize(
    ("inner", "expected"),
    [
        (LocationParseError("user:secret@::"), "the URL of the proxy or of the endpoint cannot be parsed"),
        (ValueError("Invalid header value b'secret'"), "a key, a token or another header has characters"),
    ],
)
def test_a_text_that_may_quote_a_secret_is_hidden(inner: Exception, expected: str) -> None:
    error = wrapped(inner)
    converted = convert_error(error, "GetObject", {"Bucket": "raw", "Key": "a"})

    assert type(converted) is errors.ConfigError
    assert expected in str(converted)
    assert "secret" not in f"{converted}{error}{inner}{vars(error)}".replace("quote a secret", "")


def test_an_error_of_an_http_library_without_a_row_is_retried() -> None:
    assert type(explain(wrapped(RuntimeError("closed")))) is errors.ConnectionFailed


def test_a_role_that_asks_for_a_code_without_a_terminal_is_a_setting() -> None:
    error = explain(EOFError())

    assert type(error) is errors.ConfigError
    assert "asks for an MFA code" in str(error)

"""The table of the SDKs' exceptions: which error of asyncstream each becomes, and what the user can do.

The SDKs raise their own exceptions and let through some of urllib3, aiohttp and the sockets. The rows name
classes by package, so that no engine imports the other's libraries. A class without a row has that of its
parent; `tests/unit/test_sdk_errors.py` lists all classes, and fails for one that a new version adds.
"""

import re
from json import JSONDecodeError

from botocore.exceptions import BotoCoreError
from msgspec import Struct

from asyncstream.error_texts import chain
from asyncstream.errors import (
    AsyncstreamError,
    ChecksumMismatch,
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    InputError,
    S3Error,
    SlowDown,
    TruncatedBody,
)

# The most characters of a message: results keep it in memory, and a status line may have 64 KiB.
MAX_TEXT = 1_000
_LOGIN = "Run `aws sso login` for this profile"
_PROXY = "Check HTTPS_PROXY, HTTP_PROXY and NO_PROXY"
_BAD_URL = "the URL of the proxy or of the endpoint cannot be parsed"
_WRITE_PROXY = "Write HTTPS_PROXY as http://user:password@host:port, and percent-encode special characters"
_STALLED = "Raise stall_timeout if the server may stay silent for longer"
_AWS_FILES = "Check AWS_PROFILE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE"


class Meaning(Struct, frozen=True):
    """What an exception of an SDK means.

    Attributes:
        kind: the error that it becomes.
        advice: what the user can do; "" if the exception's own text says it.
        cause: the text in place of the exception's own, which may quote a secret; "" to keep that.
    """

    kind: type[AsyncstreamError]
    advice: str = ""
    cause: str = ""


def _rows(package: str, kind: type[AsyncstreamError], names: str, advice: str = "") -> dict[str, Meaning]:
    return {f"{package}.{name}": Meaning(kind, advice) for name in names.split()}


# A class that is here only by its parent has no row: see `tests/unit/test_sdk_errors.py`.
_MEANINGS: dict[str, Meaning] = {
    # Settings, files and credentials.
    **_rows(
        "botocore",
        ConfigError,
        "BaseEndpointResolverError EndpointProviderError EndpointVariantError InvalidChecksumConfigError "
        "InvalidConfigError InvalidDefaultsMode InvalidEndpointConfigurationError "
        "InvalidEndpointDiscoveryConfigurationError InvalidIMDSEndpointError InvalidIMDSEndpointModeError "
        "InvalidRegionError InvalidRetryConfigurationError InvalidS3AddressingStyleError "
        "InvalidS3UsEast1RegionalEndpointConfigError InvalidSTSRegionalEndpointsConfigError "
        "ServiceNotInRegionError UndefinedModelAttributeError UnknownCredentialError UnknownRegionError "
        "UnknownServiceStyle UnknownSignatureVersionError UnknownTokenProviderError "
        "UnsupportedServiceProtocolsError UnsupportedSignatureVersionError",
        "Check the AWS variables and configuration files",
    ),
    **_rows(
        "botocore",
        ConfigError,
        "ApiVersionNotFoundError DataNotFoundError MD5UnavailableError MissingDependencyException",
        "Install the whole SDK, as `pip install asyncstream` does",
    ),
    **_rows(
        "botocore",
        ConfigError,
        "CredentialRetrievalError",
        "Check the program or the service that gives these credentials",
    ),
    **_rows("botocore", ConfigError, "PartialCredentialsError", "Set that as well, or unset the rest"),
    **_rows(
        "botocore",
        ConfigError,
        "NoAuthTokenError NoCredentialsError",
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or run with an IAM role",
    ),
    **_rows("botocore", ConfigError, "NoRegionError", "Set AWS_DEFAULT_REGION, or region of S3Access"),
    **_rows("botocore", ConfigError, "ConfigNotFound ConfigParseError ProfileNotFound", _AWS_FILES),
    **_rows("botocore", ConfigError, "SSOError TokenRetrievalError", _LOGIN),
    "botocore.UnauthorizedSSOTokenError": Meaning(
        ConfigError, _LOGIN, "the SSO session of this profile has expired, or is otherwise invalid"
    ),
    **_rows("botocore", ConfigError, "LoginError", "Run `aws login` for this profile"),
    **_rows(
        "botocore",
        ConfigError,
        "RefreshWithMFAUnsupportedError",
        "Assume the role before you start, and give its temporary keys",
    ),
    "builtins.EOFError": Meaning(
        ConfigError,
        "Assume the role before you start, and give its temporary keys",
        "the role of this profile asks for an MFA code, and no terminal can give it",
    ),
    "json.JSONDecodeError": Meaning(
        ConfigError,
        "Check that program: it must print what the AWS configuration's guide describes",
        "the program of credential_process did not print JSON",
    ),
    "builtins.ValueError": Meaning(
        ConfigError, "Correct this setting; an endpoint is written https://host:port"
    ),
    # What the user named.
    **_rows(
        "botocore",
        InputError,
        "InvalidDNSNameError InvalidHostLabelError MissingParametersError ParamValidationError "
        "UnsupportedOutpostResourceError UnsupportedS3AccesspointConfigurationError UnsupportedS3ArnError "
        "UnsupportedS3ConfigurationError UnsupportedS3ControlArnError UnsupportedS3ControlConfigurationError "
        "ValidationError",
    ),
    # The network. Only these are retried.
    **_rows(
        "botocore",
        ConnectionFailed,
        # A stream that cannot be rewound: the part starts again, with a new one.
        "ConnectionError HTTPClientError MetadataRetrievalError UnseekableStreamError",
    ),
    **_rows("botocore", ConnectionFailed, "ConnectTimeoutError", _STALLED),
    # S3's own late replies have another error. This one is before a reply, or from STS or SSO.
    **_rows(
        "botocore",
        ConnectionFailed,
        "ReadTimeoutError",
        "Raise stall_timeout or reply_timeout if the server may stay silent for longer",
    ),
    **_rows("botocore", ConnectionFailed, "ProxyConnectionError", _PROXY),
    **_rows("botocore", ConnectionClosed, "ConnectionClosedError"),
    **_rows("botocore", TruncatedBody, "IncompleteReadError"),
    **_rows("botocore", ChecksumMismatch, "ChecksumError FlexibleChecksumError"),
    **_rows("botocore", SlowDown, "CapacityNotAvailableError"),
    # Faults of the SDK, or of how it is called. Another try would raise them again.
    **_rows("botocore", S3Error, "BotoCoreError"),
    **_rows("urllib3", ConnectionFailed, "HTTPError"),
    **_rows("urllib3", TruncatedBody, "IncompleteRead InvalidChunkLength"),
    **_rows("urllib3", ConnectionFailed, "TimeoutError", _STALLED),
    **_rows("urllib3", ConnectionFailed, "ProxyError", _PROXY),
    **_rows("http", TruncatedBody, "IncompleteRead"),
    **_rows("aiohttp", ConnectionFailed, "ClientError"),
    **_rows("aiohttp", ConnectionFailed, "ServerTimeoutError", _STALLED),
    **_rows("aiohttp", ConnectionFailed, "ClientHttpProxyError ClientProxyConnectionError", _PROXY),
    **_rows("aiohttp", TruncatedBody, "ClientPayloadError"),
    **_rows("aiohttp", S3Error, "ContentTypeError TooManyRedirects WSServerHandshakeError"),
    **dict.fromkeys(
        (
            "urllib3.LocationValueError",
            "urllib3.ProxySchemeUnknown",
            "urllib3.ProxySchemeUnsupported",
            "aiohttp.InvalidURL",
            "aiohttp.NonHttpUrlClientError",
            "botocore.InvalidProxiesConfigError",
        ),
        Meaning(ConfigError, _WRITE_PROXY, _BAD_URL),
    ),
}
# What to check if STS or SSO refuses to give credentials.
_WRONG_KEYS = "Check the keys that this request is signed with"
_KEY_CODES = frozenset({"InvalidClientTokenId", "SignatureDoesNotMatch", "UnrecognizedClientException"})
_ADVICE = {
    "AssumeRole": "Check the role, its trust policy and its external id",
    "AssumeRoleWithWebIdentity": "Check the role's trust policy and AWS_WEB_IDENTITY_TOKEN_FILE",
    "GetRoleCredentials": "Check sso_account_id and sso_role_name, or run `aws sso login` for this profile",
}
_OTHERS = Meaning(ConnectionFailed)
# What an HTTP client says of a header: with its value, such as a session token.
_BAD_HEADER = Meaning(
    ConfigError,
    "Look for a line break in the keys, the token and extra_args",
    "a key, a token or another header has characters that HTTP forbids",
)
_NO_TLS = "the server does not speak TLS. Write its endpoint, or the URL of the proxy, with http://"
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


def meaning(error: BaseException) -> Meaning:
    """Return the row of an exception's class, or else of its nearest parent."""
    for each in type(error).__mro__:
        row = _MEANINGS.get(f"{each.__module__.partition('.')[0]}.{each.__name__}")
        if row is not None:
            return row
    return _OTHERS


def explain(error: BaseException) -> AsyncstreamError:
    """Return asyncstream's error for an exception of the SDKs that is not a reply of S3.

    The message has one sentence of the cause, and one of what to do if there is something.
    """
    inner = _unwrapped(error)
    status = _refused_tunnel(inner)
    if status:
        return _proxy_error(inner, status)
    if isinstance(inner, OSError) and isinstance(inner.filename, str) and inner.strerror:
        return ConfigError(
            f"{inner.filename!r} cannot be used: {inner.strerror}. Correct the setting that names this "
            "file or program, such as credential_process or AWS_WEB_IDENTITY_TOKEN_FILE"
        )
    if any(map(_is_without_tls, chain(error))):
        return ConfigError(_NO_TLS)
    row = _BAD_HEADER if type(inner) is ValueError and inner is not error else meaning(inner)
    text = row.cause or first_line(inner)
    if row.cause:
        _hide_text(error)
    return row.kind(f"{text.rstrip('. ')}. {row.advice}" if row.advice else text)


def _is_without_tls(error: BaseException) -> bool:
    """Return whether the peer answered TLS with something else; for a proxy, urllib3 has only a text."""
    return getattr(error, "reason", "") == "WRONG_VERSION_NUMBER" or "only use HTTP and not HTTPS" in str(
        error
    )


def _hide_text(error: BaseException) -> None:
    """Remove the text of an exception and of its causes, which would be logged with the error's own."""
    for each in chain(error):
        each.args = ("hidden, because it may quote a secret",)
        if isinstance(each, BotoCoreError):
            each.kwargs = {}


def advice_on_refusal(operation: str, code: str) -> str:
    """Return what to check if STS or SSO refused an operation that gives credentials, by its error code."""
    return _WRONG_KEYS if code in _KEY_CODES else _ADVICE.get(operation, _WRONG_KEYS)


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text; the name of its class if it has none."""
    return str(error).partition("\n")[0][:MAX_TEXT] or type(error).__name__


def _unwrapped(error: BaseException) -> BaseException:
    """Return the exception in botocore's "An HTTP Client raised an unhandled exception", if it has a row."""
    if type(error).__name__ != "HTTPClientError":
        return error
    inner = error.__cause__ or error.__context__
    if inner is None or isinstance(inner, AsyncstreamError):  # of the body that was sent
        return error
    return error if meaning(inner) is _OTHERS else inner


def _refused_tunnel(error: BaseException) -> int:
    """Return the status with which a proxy refused to connect to S3; 0 if it did not.

    aiohttp has an exception for it, and http.client only a text.
    """
    for each in chain(error):
        if type(each).__name__ == "ClientHttpProxyError":
            return int(getattr(each, "status", 0))
        found = _TUNNEL.search(str(each)) if isinstance(each, OSError) else None
        if found is not None:
            return int(found[1])
    return 0


def _proxy_error(error: BaseException, status: int) -> AsyncstreamError:
    if status == 407:
        return proxy_login_error()
    text = f"{first_line(error)} answered {status} when it was asked to connect".replace(
        "Failed to connect to proxy URL: ", "the proxy "
    )
    if status >= 500:
        return ConnectionFailed(f"{text}. {_PROXY}")
    return ConfigError(f"{text}. Let the proxy allow this host, or name the host in NO_PROXY")


def proxy_login_error() -> ConfigError:
    """Return the error for a proxy that asks for a user and a password."""
    return ConfigError(f"the proxy asks for a user and a password (407). {_WRITE_PROXY}")


# What the SDKs let through besides their own exceptions: of a program that gives credentials.
PROGRAM_ERRORS: tuple[type[Exception], ...] = (EOFError, JSONDecodeError)

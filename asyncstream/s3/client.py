"""Set up the clients of both SDKs so that bodies are streamed."""

from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

import botocore
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth
from botocore.credentials import RefreshableCredentials

from asyncstream.errors import ConfigError
from asyncstream.http.certificates import check_bundle
from asyncstream.s3.access import S3Access
from asyncstream.s3.answered_by import FIRST_WORDS, MOST_OF_PAGE
from asyncstream.s3.call_limits import call_limits
from asyncstream.s3.failures import is_untrusted
from asyncstream.s3.listing_xml import parse_listing
from asyncstream.s3.settings import CONNECTIONS_PER_PART, ClientSettings
from asyncstream.s3.trailers import TRAILER, UNSIGNED_WITH_TRAILER, TrailerBody
from asyncstream.version import __version__

_EXPECT_SECONDS = 1.5
# Also of VPC endpoints. A partition with another domain counts as another server.
_AWS = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")
_SIGNED_IN_PYTHON = "asyncstream-s3v4"


def sdk_options(settings: ClientSettings) -> dict[str, Any]:
    """Return options for the Config of botocore or aiobotocore that let a body pass through untouched."""
    return {
        # For checksums and payload signatures botocore reads the body twice, which a stream does not allow.
        "s3": {"payload_signing_enabled": False, **_addressing(settings.access)},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        # The pipeline retries: the SDK cannot rewind a streamed body.
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": CONNECTIONS_PER_PART * settings.max_concurrency,
        "connect_timeout": settings.stall_timeout,
        "read_timeout": settings.stall_timeout,
        # A fixed string: botocore builds its own for every request, which costs 5 % of a small file's CPU.
        "user_agent": f"asyncstream/{__version__} botocore/{botocore.__version__}",
        # requests.py builds the parameters, and locations.py checks the keys.
        "parameter_validation": False,
    }


def credential_options(settings: ClientSettings) -> dict[str, Any]:
    """Return options for the Config of the clients that ask STS and SSO for credentials.

    By default they would wait a minute for a silent server, and ask five times in each try of the pipeline.
    """
    return {
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "connect_timeout": settings.stall_timeout,
        "read_timeout": settings.stall_timeout,
    }


def client_options(settings: ClientSettings, region: str | None) -> dict[str, Any]:
    """Return the options with which either SDK's session creates a client for a region (None: its own)."""
    access = settings.access
    return {
        "endpoint_url": access.endpoint_url,
        "region_name": region or access.region,
        "verify": access.ca_bundle,
    }


def _addressing(access: S3Access) -> dict[str, str]:
    return {} if access.addressing_style == "auto" else {"addressing_style": access.addressing_style}


# The services whose endpoints a client needs: S3, and those that may provide its credentials.
_ENDPOINTS = ("s3", "sts", "oidc", "portal.sso")


def prepare_session(session: Any, access: S3Access) -> None:
    """Set up a new session of either SDK: its clients load only S3's data and verify certificates.

    Raises:
        ConfigError: the file of certificates cannot be used.
    """
    if access.profile is not None:
        session.set_config_variable("profile", access.profile)
    if access.access_key_id is not None:
        session.set_credentials(access.access_key_id, access.secret_access_key, access.session_token)
    if access.region is not None:
        session.set_config_variable("region", access.region)
    check_bundle(session, access.ca_bundle)
    _make_lean(session)
    # Also of STS and SSO.
    session.register("response-received", _keep_first_words)
    session.register("needs-retry", _give_up_untrusted)


def _give_up_untrusted(caught_exception: Exception | None, **_: Any) -> None:
    """Raise an error about an untrusted certificate at once. botocore would ask STS five times."""
    if caught_exception is not None and is_untrusted(caught_exception):
        raise caught_exception


def _make_lean(session: Any) -> None:
    """Make a session return dates as text, and drop the endpoints that it does not need.

    Parsing dates costs 6 % of a small file's CPU. The endpoints of AWS's 300 other services take 5 to 8 MB of
    a process's peak memory (both measured).
    """
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    # The session's endpoint resolver will use these same dicts, because the loader caches them.
    endpoints, _ = session.get_component("data_loader").load_data_with_path("endpoints")
    for partition in endpoints["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in _ENDPOINTS if name in services}


def prepare_client(client: Any) -> None:
    """Change how a new client of either SDK signs, redirects, finds endpoints and parses listings.

    Raises:
        ConfigError: the endpoint's URL has a user and a password, which error messages would repeat.
    """
    if "@" in urlsplit(client.meta.endpoint_url).netloc:
        raise ConfigError(
            "the endpoint's URL has a user and a password, which S3 does not take. Give access_key_id and "
            "secret_access_key instead"
        )
    AUTH_TYPE_MAPS[_SIGNED_IN_PYTHON] = _Signer
    client.meta.events.register_first("choose-signer.s3", _sign_in_python)
    client.meta.events.register_last("before-call.s3", _keep_off_redirects)
    client.meta.events.register_last("before-call.s3", _announce_trailer)
    client.meta.events.register_last("before-call.s3", _leave_checksums)
    client.meta.events.register("before-parse.*.ListObjectsV2", _parse_listing)
    # botocore resolves the endpoint again for every key, because its cache includes the key. No rule of S3's
    # endpoint rule set uses the key. (28 % of a small file's CPU.)
    # https://github.com/boto/botocore/blob/1.43.117/botocore/client.py#L937
    # https://github.com/boto/botocore/blob/1.43.117/botocore/regions.py#L496
    definitions = client._ruleset_resolver._param_definitions  # noqa: SLF001
    for unused in ("Key", "Prefix", "CopySource"):
        definitions.pop(unused, None)


def fixed_keys(credentials: Any) -> tuple[str | None, ...] | None:
    """Return keys that stay as they are; None without credentials, or if these are renewed by themselves."""
    if credentials is None or isinstance(credentials, RefreshableCredentials):
        return None
    return credentials.access_key, credentials.secret_key, credentials.token


def is_aws(client: Any) -> bool:
    """Return whether a client of either SDK sends to AWS. Headers do not tell: rclone's name AmazonS3."""
    host = urlsplit(client.meta.endpoint_url).hostname or ""
    return host.endswith(_AWS)


_WORDS = 100


def _keep_first_words(response_dict: Any, parsed_response: Any, **_: Any) -> None:
    """Keep the first words of a reply that is not streamed, for an error message about it."""
    body = response_dict.get("body") if response_dict else None
    if isinstance(body, bytes) and body and isinstance(parsed_response, dict):
        most = _WORDS if response_dict["status_code"] < 300 else MOST_OF_PAGE
        parsed_response.setdefault("ResponseMetadata", {})[FIRST_WORDS] = body[:most]


def _sign_in_python(signature_version: str, **_: Any) -> str | None:
    """Make botocore sign in Python.

    With awscrt, which it uses if installed, it copies a body that cannot be rewound into memory. The signer
    has its own name, so that other clients in the process do not change.
    """
    return _SIGNED_IN_PYTHON if signature_version in {"v4", "s3v4"} else None


class _Signer(S3SigV4Auth):  # type: ignore[misc]  # untyped
    """botocore's signer, which also knows bodies with a trailer that botocore did not make."""

    def payload(self, request: Any) -> str:
        return UNSIGNED_WITH_TRAILER if TRAILER in request.headers else str(super().payload(request))


def _announce_trailer(params: dict[str, Any], **_: Any) -> None:
    """Add the headers of a body with a trailer."""
    body = getattr(params["body"], "body", None)
    if isinstance(body, TrailerBody):
        headers = params["headers"]
        headers.update(body.headers)
        own = headers.get("Content-Encoding")
        headers["Content-Encoding"] = f"{own},aws-chunked" if own else "aws-chunked"


def _keep_off_redirects(context: dict[str, Any], **_: Any) -> None:
    """Prevent botocore from following redirects: it would try to rewind the body, and fail."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def _leave_checksums(context: dict[str, Any], **_: Any) -> None:
    """Prevent botocore from verifying the body of a reply, which the pipeline does.

    botocore would wrap the body, and then fail to parse a 304 that has a checksum, as rclone's has.
    https://github.com/boto/botocore/blob/1.43.117/botocore/httpchecksum.py#L559
    """
    context.get("checksum", {}).pop("response_algorithms", None)


def _parse_listing(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Parse a listing at a quarter of botocore's CPU; see `listing_xml`.

    botocore adds the customized fields to those that it parses itself. It gets an empty body, and so only
    parses the headers. The wildcard in the event's name makes this run before botocore looks for an error in
    the body, for which it would parse the whole body, too.
    https://github.com/boto/botocore/blob/1.43.117/botocore/endpoint.py#L307
    https://github.com/boto/botocore/blob/1.43.117/botocore/handlers.py#L170
    """
    body = response_dict["body"]
    page = parse_listing(body) if response_dict["status_code"] == HTTPStatus.OK and body else None
    if page is not None:
        customized_response_dict.update(page)
        response_dict["body"] = b""


def expect_nothing(params: dict[str, Any], **_: Any) -> None:
    """Remove `Expect: 100-continue`: aiohttp would wait for the 100 without any limit."""
    params["headers"].pop("Expect", None)


def expect_for_streams(params: dict[str, Any], **_: Any) -> None:
    """Remove `Expect: 100-continue` for small bodies, which botocore wraps in BytesIO.

    For small bodies, waiting for the 100 costs a round trip, and http.client reads it byte by byte. A
    streamed body keeps the header, so that S3 can refuse a part before any of it is sent. It is removed if
    less than 1.5 s are left, because botocore waits one second for the 100.
    """
    if isinstance(params["body"], BytesIO) or call_limits.get().left() < _EXPECT_SECONDS:
        params["headers"].pop("Expect", None)

"""How clients of both SDKs are set up so that bodies pass through."""

from io import BytesIO
from typing import Any

import botocore
from botocore.auth import AUTH_TYPE_MAPS, S3SigV4Auth

from asyncstream.http.certificates import check_bundle
from asyncstream.s3.failures import is_untrusted
from asyncstream.s3.replies import FIRST_WORDS
from asyncstream.s3.settings import CONNECTIONS_PER_PART, ClientSettings
from asyncstream.s3.waits import waits
from asyncstream.version import __version__

_EXPECT_SECONDS = 1.5
_SIGNED_IN_PYTHON = "asyncstream-s3v4"


def sdk_options(settings: ClientSettings) -> dict[str, Any]:
    """Options of botocore's Config (and aiobotocore's) under which a body passes through untouched."""
    return {
        # Checksums and payload signatures make botocore read the body twice; it cannot be read twice.
        "s3": {"payload_signing_enabled": False},
        "request_checksum_calculation": "when_required",
        "response_checksum_validation": "when_required",
        # The pipeline decides about retries: the SDK cannot rewind a passed-through body.
        "retries": {"total_max_attempts": 1, "mode": "standard"},
        "max_pool_connections": CONNECTIONS_PER_PART * settings.max_concurrency,
        "connect_timeout": settings.stall_timeout,
        "read_timeout": settings.stall_timeout,
        # A fixed string: building botocore's own anew for every request costs 5 % of a small file's CPU.
        "user_agent": f"asyncstream/{__version__} botocore/{botocore.__version__}",
        # Parameters are built in requests.py, keys are checked in locations.py.
        "parameter_validation": False,
    }


# The services whose endpoints a client needs: S3's own, and those it may fetch its credentials from.
_ENDPOINTS = ("s3", "sts", "oidc", "portal.sso")


def prepare_session(session: Any) -> None:
    """Have the clients of a new session, of either SDK, keep only what S3 needs, and trust no other server.

    Raises:
        ConfigError: the environment turns the verification of certificates off.
    """
    check_bundle(session)
    _make_lean(session)
    session.register("needs-retry", _give_up_untrusted)


def _give_up_untrusted(caught_exception: Exception | None, **_: Any) -> None:
    """Have botocore ask a server with a refused certificate once: by itself it asks STS five times."""
    if caught_exception is not None and is_untrusted(caught_exception):
        raise caught_exception


def _make_lean(session: Any) -> None:
    """Have a session hand on dates as S3 writes them, and keep the endpoints that it may need.

    Parsing dates costs 6 % of a small file's CPU; the endpoints of AWS's 300 other services are 5 to 8 MB at
    the peak of a process (both measured).
    """
    session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
    # The very dicts that the session's endpoint resolver is going to take: its loader keeps what it read.
    endpoints, _ = session.get_component("data_loader").load_data_with_path("endpoints")
    for partition in endpoints["partitions"]:
        services = partition["services"]
        partition["services"] = {name: services[name] for name in _ENDPOINTS if name in services}


def prepare_client(client: Any) -> None:
    """What a new client does otherwise than botocore would have it, both SDKs alike."""
    AUTH_TYPE_MAPS[_SIGNED_IN_PYTHON] = S3SigV4Auth
    client.meta.events.register_first("choose-signer.s3", _sign_in_python)
    client.meta.events.register_last("before-call.s3", _keep_off_redirects)
    client.meta.events.register("response-received.s3", _keep_first_words)
    # botocore resolves the endpoint anew for every key, because its cache includes the key; no rule of
    # S3's endpoint rule set looks at it. (28 % of a small file's CPU.)
    definitions = client._ruleset_resolver._param_definitions  # noqa: SLF001
    for unused in ("Key", "Prefix", "CopySource"):
        definitions.pop(unused, None)


_WORDS = 100


def _keep_first_words(response_dict: Any, parsed_response: Any, **_: Any) -> None:
    """Keep the first words of a reply that is no stream, for the error that says what is missing in it."""
    body = response_dict.get("body") if response_dict else None
    if isinstance(body, bytes) and body and isinstance(parsed_response, dict):
        parsed_response.get("ResponseMetadata", {})[FIRST_WORDS] = body[:_WORDS]


def _sign_in_python(signature_version: str, **_: Any) -> str | None:
    """Have botocore sign by itself: with awscrt, which it takes where it finds it, it copies a body that
    cannot be rewound into memory. Under a name of our own, so that nobody else's clients change.
    """
    return _SIGNED_IN_PYTHON if signature_version in {"v4", "s3v4"} else None


def _keep_off_redirects(context: dict[str, Any], **_: Any) -> None:
    """Have botocore leave a redirect to us: it would rewind the body, and fail."""
    context.setdefault("s3_redirect", {})["redirected"] = True


def expect_nothing(params: dict[str, Any], **_: Any) -> None:
    """Drop `Expect: 100-continue`, for aiohttp: it would wait for the 100 without any limit."""
    params["headers"].pop("Expect", None)


def expect_for_streams(params: dict[str, Any], **_: Any) -> None:
    """Drop `Expect: 100-continue` for small bodies, which botocore wraps in BytesIO.

    Waiting for the 100 costs them a round trip, and http.client reads it byte by byte. A streamed body
    keeps it: S3 can then refuse a part before any of it was sent. Not where the second for which botocore
    waits for the 100 may not be left.
    """
    if isinstance(params["body"], BytesIO) or waits.get().left() < _EXPECT_SECONDS:
        params["headers"].pop("Expect", None)

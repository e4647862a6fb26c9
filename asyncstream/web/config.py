"""`FetchConfig`: every limit for fetching pages, checked before any I/O."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from asyncstream.deadline import LONGEST_INVOCATION
from asyncstream.errors import ConfigError, InputError
from asyncstream.locations.urls import parse_url, shown
from asyncstream.retry import RetryPolicy
from asyncstream.settings import Settings
from asyncstream.units import KiB
from asyncstream.version import __version__
from asyncstream.web.addresses import parse_networks

ENV_PREFIX = "GATHER_"
# No Lambda invocation lasts longer, and a socket does not accept an infinite timeout.
_Seconds = Annotated[float, Meta(gt=0, le=LONGEST_INVOCATION)]
# RFC 9110, 5.6.2 and 5.5, limited to ASCII.
_NAME, _VALUE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"), re.compile(r"[\x20-\x7e\t]*")
# Headers that the fetcher sets itself, since they control how request and reply are sent, and the user agent,
# which has a setting of its own.
_RESERVED_HEADERS = frozenset(
    {
        *("host", "connection", "content-length", "transfer-encoding", "te", "upgrade", "expect"),
        *("accept-encoding", "if-none-match", "if-modified-since", "user-agent"),
    }
)


class FetchConfig(Settings, frozen=True, kw_only=True):
    """The limits for fetching pages.

    Attributes:
        max_body: the most bytes of a page's body, both as sent and as decompressed. Default: 768 KiB, so that
            sixty pages fit in 64 MiB: a page in progress takes up to a quarter more.
        max_redirects: the most redirects followed for one page; 0: none. Default: 5.
        connections_per_host: the most connections to one host (scheme, name and port) at once. Default: 6, as
            in browsers.
        connect_timeout: seconds to look up a host, and again to connect to one of its addresses. Default: 5.
        stall_timeout: seconds without a byte after which a connection counts as broken. Default: 10.
        page_timeout: seconds that one attempt may take in all, including redirects. Default: 30. Waiting for
            a free connection to the host does not count; only the deadline limits it.
        max_attempts: the most attempts for one page, including the first. Default: 4.
        retry_base_delay: seconds; the bound of the first wait (full jitter, doubled each time). Default: 0.5.
        retry_max_delay: seconds; no wait is longer, unless the server asks for it (Retry-After). Default: 5.
        retry_max_wait: seconds of waiting in all before the fetcher gives up on a page. Default: 30.
        allowed_networks: networks that may be connected to although their addresses are special, such as
            "10.20.0.0/16"; default: none. See `addresses.py`.
        user_agent: the User-Agent header. Default: "asyncstream/VERSION". Many sites want a contact address.
        headers: additional headers by origin: `{"https://api.example.com": {"Authorization": "..."}}`. The
            fetcher sends them to no other origin, not even after a redirect. Default: none.

    Raises:
        ConfigError: a value has the wrong type or is outside its limits; the message names it.
    """

    max_body: Annotated[int, Meta(ge=1)] = 768 * KiB
    max_redirects: Annotated[int, Meta(ge=0, le=20)] = 5
    connections_per_host: Annotated[int, Meta(ge=1, le=1000)] = 6
    connect_timeout: _Seconds = 5.0
    stall_timeout: _Seconds = 10.0
    page_timeout: _Seconds = 30.0
    max_attempts: Annotated[int, Meta(ge=1, le=100)] = 4
    retry_base_delay: _Seconds = 0.5
    retry_max_delay: _Seconds = 5.0
    retry_max_wait: _Seconds = 30.0
    allowed_networks: tuple[str, ...] = ()
    user_agent: Annotated[str, Meta(pattern=r"\A[\x20-\x7e]+\Z")] = f"asyncstream/{__version__}"
    headers: dict[str, dict[str, str]] = msgspec.field(default_factory=dict)

    _prefix: ClassVar[str] = ENV_PREFIX

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_networks(self.allowed_networks)
        for origin, headers in self.headers.items():
            _check_headers(origin, headers)

    @classmethod
    def read_variables(cls, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the settings given by `GATHER_MAX_BODY`, `GATHER_ALLOWED_NETWORKS` (separated by commas),
        `GATHER_HEADERS` (JSON) and so on.

        Raises:
            ConfigError: the JSON is malformed. The message does not repeat it, since it may contain keys.
        """
        given = super().read_variables(variables)
        if "allowed_networks" in given:
            given["allowed_networks"] = given["allowed_networks"].split(",")
        if "headers" in given:
            try:
                given["headers"] = msgspec.json.decode(given["headers"])
            except msgspec.DecodeError:
                raise ConfigError(
                    f"{ENV_PREFIX}HEADERS is not JSON: write an object of origins, each with its headers"
                ) from None
        return given

    def _masked(self) -> dict[str, Any]:
        # Headers may contain keys, so only their origins are shown.
        return {"headers": dict.fromkeys(self.headers, "...")}

    @property
    def retry_policy(self) -> RetryPolicy:
        """The retry settings as one value."""
        return RetryPolicy(
            self.max_attempts, self.retry_base_delay, self.retry_max_delay, self.retry_max_wait
        )


def _check_headers(origin: str, headers: Mapping[str, str]) -> None:
    """Raise ConfigError if the headers cannot be sent. The message repeats no value."""
    try:
        meant = parse_url(origin).origin
    except InputError as error:
        raise ConfigError(f"headers: {error}") from None
    if meant != origin:
        raise ConfigError(f"headers: {shown(origin)!r} is not an origin: write {meant!r}")
    for name, value in headers.items():
        if name.lower() in _RESERVED_HEADERS:
            raise ConfigError(
                f"headers of {origin}: {name!r} cannot be set here: it is fixed, or has its own setting"
            )
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise ConfigError(
                f"headers of {origin}: {name!r} is not a header name, or its value is not ASCII"
            )

"""URLs of pages, parsed and checked without I/O, and an order in which hosts take turns.

Nothing here decides whether a host may be connected to: that is asked of its addresses, when it is connected
to. What is refused is what two readers of the same URL could understand differently: credentials before an
`@`, backslashes, control characters, and hosts that are numbers but no address in its one usual form
(`2130706433`, `0x7f.1`, `127.1`), which some libraries refuse and others read as 127.0.0.1.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from msgspec import Struct

from asyncstream.errors import InputError

DEFAULT_PORTS = {"http": 80, "https": 443}
# Browsers and servers take a few thousand; what is longer is no address of a page.
LONGEST_URL = 8000
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# How WHATWG's URL Standard tells a host that is meant as a number: by its last label.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
# What stands in a path or query as it is; a `%` too, which begins an escape already there.
_KEPT = "!$%&'()*+,/:;=?@~"
# An escape, or a `%` that begins none. urllib3 has them in capitals (RFC 3986, 6.2.2.1) whatever it is given.
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")


class Url(Struct, frozen=True):
    """A page's address, normalised: what is sent, and to whom.

    Attributes:
        scheme: "http" or "https".
        host: in lower case and ASCII; an IPv6 address without its brackets.
        port: as told, or the scheme's own.
        target: path and query, percent-encoded. The fragment is not sent, so it is dropped.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and port: what connections are made to, and counted by."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def text(self) -> str:
        """The whole, with its query: not for logs."""
        return self.origin + self.target

    def __str__(self) -> str:
        """For messages: without its query, which may hold somebody's key."""
        path, mark, _ = self.target.partition("?")
        return f"{self.origin}{path}{'?...' if mark else ''}"


def parse_url(text: str) -> Url:
    """Read a URL.

    Raises:
        InputError: it is none of a page. The message does not repeat credentials or the query.
    """
    if not isinstance(text, str):
        raise InputError(f"a URL must be a string, not {type(text).__name__}")
    text = text.strip()
    if len(text) > LONGEST_URL:
        raise InputError(
            f"a URL of {len(text)} characters, beginning {shown(text)!r}, is too long: {LONGEST_URL} at most"
        )
    if _CONTROL.search(text):
        raise InputError(f"{shown(text)!r} has a backslash or a control character in it")
    try:
        text.encode()  # half of a surrogate pair, as JSON can have it, has no form in bytes
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise InputError(f"{shown(text)!r} is not a URL") from _told_safely(error)
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise InputError(f"{shown(text)!r} is not the URL of a page: write http://host/path or https://...")
    if "@" in parts.netloc:
        raise InputError(f"{shown(text)!r} has credentials in it, which are not sent: leave them out")
    if port == 0:
        raise InputError(f"{shown(text)!r} names port 0, which nobody listens at")
    try:
        name = _host(host)
    except ValueError as error:
        raise InputError(f"{shown(text)!r} has no host that can be asked: {error}") from error
    return Url(parts.scheme, name, port or DEFAULT_PORTS[parts.scheme], _target(parts))


def joined(url: Url, location: str) -> Url:
    """Where a redirect leads that `url` was answered with.

    Raises:
        InputError: not to a page.
    """
    try:
        target = urljoin(url.text, location.strip())
    except ValueError as error:
        raise InputError(f"{shown(location)!r} is not a URL") from _told_safely(error)
    return parse_url(target)


def shown(text: str) -> str:
    """What logs may repeat of something that may not even be a URL: no credentials, and no query."""
    if not _names_a_host(text):
        # Where a password ends nobody knows.
        scheme, mark, rest = text.partition("://")
        text = f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else text.rpartition("@")[2]
    return re.split(r"[?#]", text, maxsplit=1)[0][:200]


def _names_a_host(text: str) -> bool:
    """Whether it has a host, and nothing before it, as far as it can be read at all."""
    try:
        parts = urlsplit(text)
        return parts.port != 0 and bool(parts.netloc) and "@" not in parts.netloc
    except ValueError:
        return False


def interleaved(urls: Iterable[str]) -> list[str]:
    """The same URLs in an order in which their hosts take turns, each host's in the order they had.

    For a list of known length: sorted by host, as many are, it would have all workers wait for one of them.
    """
    hosts: dict[str, list[str]] = {}
    for url in urls:
        hosts.setdefault(_host_of(url), []).append(url)
    order: list[str] = []
    waiting = list(hosts.values())
    turn = 0
    while waiting:
        order += [of_host[turn] for of_host in waiting]
        turn += 1
        waiting = [of_host for of_host in waiting if len(of_host) > turn]
    return order


def _host_of(url: str) -> str:
    try:
        return parse_url(url).host
    except InputError:
        return ""  # it fails without asking anybody


def _host(host: str) -> str:
    """A host in its one normal form; ValueError if it is none."""
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        if address.scope_id is not None:
            raise ValueError("an address of one network card")
        return str(address)
    if not host.isascii():
        import idna  # noqa: PLC0415 - yarl's, so aiohttp's; its tables are large, and few hosts need them

        host = idna.encode(host, uts46=True).decode()
    host = host.lower().removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        return str(ipaddress.IPv4Address(host))
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("it is neither a name of letters, digits, hyphens and dots nor an address")
    return host


def _target(parts: SplitResult) -> str:
    path = _escaped(parts.path or "/")
    return f"{path}?{_escaped(parts.query)}" if parts.query else path


def _escaped(text: str) -> str:
    return _ESCAPE.sub(lambda escape: escape[0].upper() if escape[1] else "%25", quote(text, safe=_KEPT))


def _told_safely(error: ValueError) -> ValueError:
    """A parser's error without the text it was made of, which may hold a password."""
    return ValueError(type(error).__name__)

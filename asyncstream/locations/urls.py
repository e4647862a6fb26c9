"""Parse and check the URLs of pages without I/O, and order them so that hosts take turns.

This module does not decide whether a host may be connected to: its addresses are checked when the connection
is made. It refuses URLs that two parsers could understand differently: with credentials before an `@`, a
backslash, or a control character. It also refuses hosts that are numbers, but not an address in its usual
form (`2130706433`, `0x7f.1`, `127.1`). Some libraries refuse such hosts, others read them as 127.0.0.1.
"""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from msgspec import Struct

from asyncstream.errors import InputError

DEFAULT_PORTS = {"http": 80, "https": 443}
# Characters. Browsers and servers accept a few thousand.
LONGEST_URL = 8000
_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
# The last label of a host that is a number, as WHATWG's URL Standard defines it.
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
# Characters that a path or query keeps unescaped; `%` is one, since it starts an existing escape.
_KEPT = "!$%&'()*+,/:;=?@~"
# An escape, or a `%` that does not start one. urllib3 always sends escapes in capitals (RFC 3986, 6.2.2.1).
_ESCAPE = re.compile(r"%([0-9A-Fa-f]{2})?")


class Url(Struct, frozen=True):
    """The normalised URL of a page.

    Attributes:
        scheme: "http" or "https".
        host: the host in lower case and ASCII; an IPv6 address without its brackets.
        port: the port as given, or the scheme's default.
        target: path and query, percent-encoded. The fragment is dropped, since it is never sent.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """Scheme, host and port; connections are counted per origin."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def text(self) -> str:
        """The whole URL with its query, which must not be logged."""
        return self.origin + self.target

    def __str__(self) -> str:
        """Return the URL for messages, without its query, which may hold a key."""
        path, mark, _ = self.target.partition("?")
        return f"{self.origin}{path}{'?...' if mark else ''}"


def parse_url(text: str) -> Url:
    """Parse a URL.

    Raises:
        InputError: it is not the URL of a page. The message does not repeat credentials or the query.
    """
    if not isinstance(text, str):
        raise InputError(f"a URL must be a string, not {type(text).__name__}")
    text = text.strip()
    if len(text) > LONGEST_URL:
        raise InputError(
            f"a URL of {len(text)} characters, starting {shown(text)!r}, is too long: at most {LONGEST_URL}"
        )
    if _CONTROL.search(text):
        raise InputError(f"{shown(text)!r} has a backslash or a control character: percent-encode it")
    try:
        text.encode()  # fails for half of a surrogate pair, which JSON can have
        parts = urlsplit(text)
        port = parts.port
        host = parts.hostname or ""
    except ValueError as error:
        raise InputError(
            f"{shown(text)!r} is not a URL: write http://host/path or https://..."
        ) from _without_text(error)
    if parts.scheme not in DEFAULT_PORTS or not host:
        raise InputError(f"{shown(text)!r} is not the URL of a page: write http://host/path or https://...")
    if "@" in parts.netloc:
        raise InputError(f"{shown(text)!r} has credentials in it, which are not sent: leave them out")
    if port == 0:
        raise InputError(
            f"{shown(text)!r} names port 0, which no server listens on: give its port, or leave it out"
        )
    try:
        name = _host(host)
    except ValueError as error:
        raise InputError(f"{shown(text)!r} has no valid host: {error}") from error
    return Url(parts.scheme, name, port or DEFAULT_PORTS[parts.scheme], _target(parts))


def joined(url: Url, location: str) -> Url:
    """Return the target of a redirect from `url` with this Location.

    Raises:
        InputError: the target is not the URL of a page.
    """
    try:
        target = urljoin(url.text, location.strip())
    except ValueError as error:
        raise InputError(f"{shown(location)!r} is not a URL") from _without_text(error)
    return parse_url(target)


def shown(text: str) -> str:
    """Return a text, maybe not a valid URL, for logs: no credentials, no query, at most 200 characters."""
    if not _names_a_host(text):
        # It is not clear where a password ends, so drop everything before the last `@`.
        scheme, mark, rest = text.partition("://")
        text = f"{scheme}{mark}{rest.rpartition('@')[2]}" if mark else text.rpartition("@")[2]
    return re.split(r"[?#]", text, maxsplit=1)[0][:200]


def _names_a_host(text: str) -> bool:
    """Return whether the text is a readable URL that has a host and no credentials before it."""
    try:
        parts = urlsplit(text)
        return parts.port != 0 and bool(parts.netloc) and "@" not in parts.netloc
    except ValueError:
        return False


def interleaved(urls: Iterable[str]) -> list[str]:
    """Return the URLs reordered so that their hosts take turns; the URLs of one host keep their order.

    Many lists are sorted by host. In that order, all workers would wait for one host at a time.
    """
    hosts: dict[str, list[str]] = {}
    for url in urls:
        hosts.setdefault(_host_or_empty(url), []).append(url)
    order: list[str] = []
    waiting = list(hosts.values())
    turn = 0
    while waiting:
        order += [host_urls[turn] for host_urls in waiting]
        turn += 1
        waiting = [host_urls for host_urls in waiting if len(host_urls) > turn]
    return order


def _host_or_empty(url: str) -> str:
    try:
        return parse_url(url).host
    except InputError:
        return ""  # fetching it fails without a request


def _host(host: str) -> str:
    """Return a host in its normal form; raise ValueError if it is not a valid host."""
    if ":" in host:
        address = ipaddress.IPv6Address(host)
        if address.scope_id is not None:
            raise ValueError("an address of one network card")
        return str(address)
    if not host.isascii():
        import idna  # noqa: PLC0415 - a dependency of aiohttp's; its tables are large, and few hosts need it

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


def _without_text(error: ValueError) -> ValueError:
    """Return a parser's error without its text, which may hold a password."""
    return ValueError(type(error).__name__)

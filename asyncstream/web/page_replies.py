"""Interpret the status and headers of a web server's reply. Pure."""

from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime

from asyncstream.errors import (
    AsyncstreamError,
    BodyTooLarge,
    InputError,
    PageFailed,
    PageNotFound,
    RedirectRefused,
    ServiceBusy,
    SlowDown,
)
from asyncstream.locations.urls import Url, joined

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_FOUND = frozenset({404, 410})
_SLOW_DOWN = frozenset({429, 503})
# The statuses below 500 that ask the client to try later (RFC 9110, RFC 8470).
_LATER = frozenset({408, 425})


def join_headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return a reply's headers by name in lower case, with the values of repeated headers joined by commas.

    Values are decoded as UTF-8 if possible, as browsers decode a Location, and as Latin-1 otherwise. The two
    libraries would decode them differently.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def redirect_target(status: int, headers: Mapping[str, str], url: Url) -> Url | None:
    """Return the URL that a reply redirects to; None if it is not a redirect.

    Raises:
        RedirectRefused: the redirect must not be followed.
    """
    if status not in _REDIRECTS or "location" not in headers:
        return None
    try:
        target = joined(url, headers["location"])
    except InputError as error:
        raise RedirectRefused(f"{url} does not redirect to a page: {error}") from error
    if url.scheme == "https" and target.scheme == "http":
        raise RedirectRefused(f"{url} redirects to {target}, without TLS: to allow it, give that URL instead")
    return target


def failure(status: int, headers: Mapping[str, str], url: Url, now: float) -> AsyncstreamError | None:
    """Return the error that a status means; None if the reply has a page.

    Args:
        status: the reply's status; not a redirect that can be followed.
        headers: the reply's headers.
        url: the URL requested.
        now: seconds since the epoch.
    """
    if 200 <= status < 300:
        return None
    message = f"{url}: the server answered {status}"
    if status in _NOT_FOUND:
        return PageNotFound(f"{message}: there is no such page", status)
    if status in _SLOW_DOWN:
        return SlowDown(message, retry_after(headers, now))
    if status >= 500 or status in _LATER:
        return ServiceBusy(message, retry_after(headers, now))
    return PageFailed(message, status)


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Return the seconds that Retry-After asks to wait (RFC 9110, 10.2.3); 0 if missing or unreadable."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):  # ValueError: not a date; OverflowError: a year out of range
        return 0.0


def check_length(headers: Mapping[str, str], url: Url, most: int) -> None:
    """Raise BodyTooLarge if the Content-Length is more than `most` bytes."""
    text = headers.get("content-length", "")
    if text.isascii() and text.isdigit() and (len(text) > 18 or int(text) > most):
        raise too_large(url, f"{text[:20]} bytes", most)


def too_large(url: Url, size: str, most: int) -> BodyTooLarge:
    """Return the error for a body of this size."""
    return BodyTooLarge(f"{url} has {size}, more than the {most} that a page may have: raise max_body")

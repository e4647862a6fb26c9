"""What a web server's reply means. Pure."""

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
from asyncstream.gathering.web.urls import Url, joined

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NOT_FOUND = frozenset({404, 410})
_SLOW_DOWN = frozenset({429, 503})
# Of the statuses below 500, those that say "later" (RFC 9110, RFC 8470).
_LATER = frozenset({408, 425})


def headers_of(told: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """A reply's headers by their names in lower case; values of one told several times are joined by commas.

    What is not ASCII is read as UTF-8 if it can be, as browsers do with a Location, else as Latin-1: the
    libraries each have a way of their own.
    """
    headers: dict[str, str] = {}
    for raw_name, raw_value in told:
        name = raw_name.decode("latin-1").lower()
        try:
            value = raw_value.decode()
        except UnicodeDecodeError:
            value = raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def redirect_target(status: int, headers: Mapping[str, str], url: Url) -> Url | None:
    """Where a reply sends us; None if it is no redirect.

    Raises:
        RedirectRefused: to where we do not go.
    """
    if status not in _REDIRECTS or "location" not in headers:
        return None
    try:
        target = joined(url, headers["location"])
    except InputError as error:
        raise RedirectRefused(f"{url} redirects to no page: {error}") from error
    if url.scheme == "https" and target.scheme == "http":
        raise RedirectRefused(f"{url} redirects to {target}, without TLS: ask for that if it is meant")
    return target


def failure(status: int, headers: Mapping[str, str], url: Url, now: float) -> AsyncstreamError | None:
    """What a status means that is no page and no redirect that is followed; None if it is a page.

    Args:
        status: of the reply.
        headers: of the reply.
        url: that was asked.
        now: seconds since the epoch.
    """
    if 200 <= status < 300:
        return None
    told = f"{url}: the server answered {status}"
    if status in _NOT_FOUND:
        return PageNotFound(f"{told}: there is no such page", status)
    if status in _SLOW_DOWN:
        return SlowDown(told, retry_after(headers, now))
    if status >= 500 or status in _LATER:
        return ServiceBusy(told, retry_after(headers, now))
    return PageFailed(told, status)


def retry_after(headers: Mapping[str, str], now: float) -> float:
    """Seconds to wait as the server asks (RFC 9110, 10.2.3); 0 where it does not, or not readably."""
    text = headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now)
    except (ValueError, OverflowError):  # ValueError: it is none; OverflowError: of a year that there is not
        return 0.0


def check_length(headers: Mapping[str, str], url: Url, most: int) -> None:
    """Raise BodyTooLarge where the reply's head says so already."""
    text = headers.get("content-length", "")
    if text.isascii() and text.isdigit() and (len(text) > 18 or int(text) > most):
        raise too_large(url, f"{text[:20]} bytes", most)


def too_large(url: Url, size: str, most: int) -> BodyTooLarge:
    """A body of that size."""
    return BodyTooLarge(f"{url} has {size}, more than the {most} that a page may have: raise max_body")

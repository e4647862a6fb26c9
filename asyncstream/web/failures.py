"""Convert the errors of the HTTP libraries into asyncstream's."""

import errno
import ssl
from typing import NoReturn
from urllib.parse import unquote_plus

from asyncstream.error_texts import chain
from asyncstream.errors import (
    AsyncstreamError,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    ServerNotTrusted,
    TruncatedBody,
)
from asyncstream.locations.urls import Url

_SHORTEST_KEY = 4
Kinds = tuple[type[BaseException], ...]


def raise_no_reply(error: BaseException, url: Url, closed: Kinds, *, reused: bool) -> NoReturn:
    """Raise asyncstream's error for a library's error before a reply arrived.

    Args:
        error: the library's error, or one of asyncstream's that the library has wrapped.
        url: the URL requested.
        closed: the library's errors for a connection that was closed before the reply started.
        reused: whether the connection had served another request before.
    """
    errors = list(chain(error))
    for each in reversed(errors):
        if isinstance(each, AsyncstreamError):
            raise each from each.__cause__  # not from the library's error, whose cause it is
        if isinstance(each, ssl.SSLCertVerificationError):
            raise ServerNotTrusted(f"{url}: {each.verify_message}") from each
    is_closed = any(isinstance(each, closed) or _is_reset(each) for each in errors)
    message = f"{url}: no reply: {_innermost_message(errors, url)}"
    if not is_closed:
        raise ConnectionFailed(message) from _loggable_cause(errors, url)
    closed_error = ConnectionClosed(message)
    closed_error.reused = reused
    raise closed_error from _loggable_cause(errors, url)


def raise_broken_body(error: BaseException, url: Url, truncated: Kinds) -> NoReturn:
    """Raise asyncstream's error for a library's error while a body was read.

    Args:
        error: the library's error.
        url: the URL requested.
        truncated: the library's errors for a body that ended before its length or its last chunk.
    """
    errors = list(chain(error))
    kind = TruncatedBody if any(isinstance(each, truncated) for each in errors) else ConnectionFailed
    raise kind(f"{url}: the body broke off: {_innermost_message(errors, url)}") from _loggable_cause(
        errors, url
    )


def turn_timeout(url: Url) -> DeadlineExceeded:
    """Return the error for a deadline that passed while waiting for a free connection."""
    return DeadlineExceeded(f"{url}: the deadline passed while waiting for a free connection to the host")


def _is_reset(error: BaseException) -> bool:
    if isinstance(error, ConnectionResetError | BrokenPipeError):  # aiohttp's own have no errno
        return True
    return isinstance(error, OSError) and error.errno in {errno.ECONNRESET, errno.EPIPE}


def _loggable_cause(errors: list[BaseException], url: Url) -> BaseException | None:
    """Return the first error without secrets: aiohttp's repeat the whole URL, some also sent headers."""
    harmless = (
        each for each in errors if not hasattr(each, "request_info") and not _has_query(str(each), url)
    )
    return next(harmless, None)


def _has_query(text: str, url: Url) -> bool:
    """Return whether the text repeats part of the URL's query, which may hold a key: a name, or a value as
    sent or decoded. Parts shorter than any key are ignored, since they may occur by chance.
    """
    query = url.target.partition("?")[2]
    parts = [part for pair in query.split("&") for part in pair.split("=", 1)]
    return any(len(part) >= _SHORTEST_KEY and part in text for part in (*parts, *map(unquote_plus, parts)))


def _innermost_message(errors: list[BaseException], url: Url) -> str:
    """Return the message of the innermost error; timeouts, which have no errno, have no useful message."""
    if any(isinstance(each, TimeoutError) and not each.errno for each in errors):
        return "nothing came in time"
    innermost = errors[-1]
    # aiohttp's messages have several lines and repeat what the server sent, which may repeat the request.
    message = " ".join(str(innermost).split())[:200]
    return message if message and not _has_query(message, url) else type(innermost).__name__

"""The libraries' errors as asyncstream's, mapped once."""

import errno
import ssl
from typing import NoReturn
from urllib.parse import unquote_plus

from asyncstream.errors import (
    AsyncstreamError,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    ServerNotTrusted,
    TruncatedBody,
    chain,
)
from asyncstream.gathering.web.urls import Url

_SHORTEST_KEY = 4
Kinds = tuple[type[BaseException], ...]


def raise_no_reply(error: BaseException, url: Url, closed: Kinds) -> NoReturn:
    """Raise what it means that a library raised this instead of a reply.

    Args:
        error: the library's, or one of ours that the library has wrapped.
        url: that was asked.
        closed: the library's errors that say a connection was closed before a reply began.
    """
    errors = list(chain(error))
    for each in reversed(errors):
        if isinstance(each, AsyncstreamError):
            raise each from each.__cause__  # not from the library's, which is raised from it
        if isinstance(each, ssl.SSLCertVerificationError):
            raise ServerNotTrusted(f"{url}: {each.verify_message}") from each
    is_closed = any(isinstance(each, closed) or _is_reset(each) for each in errors)
    kind = ConnectionClosed if is_closed else ConnectionFailed
    raise kind(f"{url}: no reply: {_told(errors, url)}") from _that_may_be_logged(errors, url)


def raise_broken_body(error: BaseException, url: Url, truncated: Kinds) -> NoReturn:
    """Raise what it means that a library raised this in the midst of a body.

    Args:
        error: the library's.
        url: that was asked.
        truncated: the library's errors that say a body ended before its length or its last chunk.
    """
    errors = list(chain(error))
    kind = TruncatedBody if any(isinstance(each, truncated) for each in errors) else ConnectionFailed
    raise kind(f"{url}: the body broke: {_told(errors, url)}") from _that_may_be_logged(errors, url)


def no_turn(url: Url) -> DeadlineExceeded:
    """The time was up while others asked the host."""
    return DeadlineExceeded(f"{url}: the time was up before its host could be asked by one more")


def _is_reset(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.ECONNRESET, errno.EPIPE}


def _that_may_be_logged(errors: list[BaseException], url: Url) -> BaseException | None:
    """The first without secrets: aiohttp's errors repeat the whole URL, some the headers it was sent."""
    harmless = (
        each for each in errors if not hasattr(each, "request_info") and not _has_query(str(each), url)
    )
    return next(harmless, None)


def _has_query(text: str, url: Url) -> bool:
    """Whether it repeats any of the URL's query, which may hold somebody's key: a name, or a value as it was
    sent or meant. What is shorter than any key may be there by chance.
    """
    query = url.target.partition("?")[2]
    said = [part for pair in query.split("&") for part in pair.split("=", 1)]
    return any(len(part) >= _SHORTEST_KEY and part in text for part in (*said, *map(unquote_plus, said)))


def _told(errors: list[BaseException], url: Url) -> str:
    """What the innermost error says; timeouts, which have no number, say nothing."""
    if any(isinstance(each, TimeoutError) and not each.errno for each in errors):
        return "nothing came in time"
    innermost = errors[-1]
    # aiohttp's go over several lines, and repeat what the server has sent: maybe what it was asked for.
    said = " ".join(str(innermost).split())[:200]
    return said if said and not _has_query(said, url) else type(innermost).__name__

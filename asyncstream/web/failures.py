"""The libraries' errors as asyncstream's, mapped once; used by `blocking.py` and `aio.py`."""

import errno
import ssl
from collections.abc import Iterator

from asyncstream.errors import (
    AsyncstreamError,
    ConnectionClosed,
    ConnectionFailed,
    DeadlineExceeded,
    ServerNotTrusted,
    TruncatedBody,
)
from asyncstream.web.urls import Url

Kinds = tuple[type[BaseException], ...]


def no_reply(error: BaseException, url: Url, closed: Kinds) -> AsyncstreamError:
    """What it means that a library raised this instead of a reply; to be raised from it.

    Args:
        error: the library's, or one of ours that the library has wrapped.
        url: that was asked.
        closed: the library's errors that say a connection was closed before a reply began.
    """
    chain = list(_chain(error))
    for each in reversed(chain):
        if isinstance(each, AsyncstreamError):
            return each
        if isinstance(each, ssl.SSLCertVerificationError):
            return ServerNotTrusted(f"{url}: {each.verify_message}")
    kind = ConnectionClosed if any(isinstance(e, closed) or _is_reset(e) for e in chain) else ConnectionFailed
    return kind(f"{url}: no reply: {_told(chain)}")


def broken_body(error: BaseException, url: Url, truncated: Kinds) -> ConnectionFailed:
    """What it means that a library raised this in the midst of a body.

    Args:
        error: the library's.
        url: that was asked.
        truncated: the library's errors that say a body ended before its length or its last chunk.
    """
    chain = list(_chain(error))
    kind = TruncatedBody if any(isinstance(each, truncated) for each in chain) else ConnectionFailed
    return kind(f"{url}: the body broke: {_told(chain)}")


def no_turn(url: Url) -> DeadlineExceeded:
    """The time was up while others asked the host."""
    return DeadlineExceeded(f"{url}: the time was up before its host could be asked by one more")


def _is_reset(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.ECONNRESET, errno.EPIPE}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _told(chain: list[BaseException]) -> str:
    """What the innermost error says; timeouts of asyncio say nothing."""
    innermost = chain[-1]
    if isinstance(innermost, TimeoutError) and not innermost.errno:
        return "nothing came in time"
    # aiohttp's go over several lines, and repeat what the server has sent.
    return " ".join(str(innermost).split())[:200] or type(innermost).__name__

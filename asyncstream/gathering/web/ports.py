"""`Http`: how pages are asked for, over one HTTP library or the other.

As all ports, `async def`; the blocking implementation blocks and never suspends.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from asyncstream.gathering.web.urls import Url
from asyncstream.ports import ByteStream, TimeLeft


class Reply(Struct, frozen=True):
    """A reply's head, and its body as it is sent: compressed, if it is.

    `headers` have names in lower case; what came several times is joined by commas.
    """

    status: int
    headers: Mapping[str, str]
    stream: ByteStream


class Host(Protocol):
    """One host, while it is this caller's turn to ask it."""

    async def get(self, url: Url, headers: Mapping[str, str], left: TimeLeft) -> Reply:
        """Ask it for a page; the reply's stream must be closed before the turn is over.

        Nothing is waited for, until the last byte of the body, that is not there when no seconds are `left`.

        Raises:
            AddressRefused, HostNotFound, ServerNotTrusted: no request was sent.
            ConnectionFailed: no reply came, or not all of its head.
        """


class Http(Protocol):
    """One HTTP library: the only code that differs between urllib3 and aiohttp.

    It follows no redirect, keeps no cookie, asks no proxy, tries nothing again, and connects to no address
    that is refused (`addresses.py`).
    """

    def turn(self, url: Url, left: TimeLeft) -> AbstractAsyncContextManager[Host]:
        """Wait until the host of `url` may be asked by one more, and be that one until this is left.

        Raises:
            DeadlineExceeded: no seconds were `left` before that.
        """

    async def close(self) -> None:
        """Close all connections. No turn may be under way."""

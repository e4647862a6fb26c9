"""`Http`: the interface of the two HTTP libraries that request pages.

Like all ports it has `async def` methods; those of the blocking implementation block and never suspend.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from msgspec import Struct

from asyncstream.locations.urls import Url
from asyncstream.ports import ByteStream, TimeLeft


class Reply(Struct, frozen=True):
    """A reply's head, and its body as sent, which may be compressed.

    Names in `headers` are in lower case. The values of a header sent several times are joined by commas.
    """

    status: int
    headers: Mapping[str, str]
    stream: ByteStream


class Host(Protocol):
    """One host, during this caller's turn to send it a request."""

    async def get(self, url: Url, headers: Mapping[str, str], left: TimeLeft) -> Reply:
        """Request a page. The caller must close the reply's stream before its turn ends.

        `left` limits all waiting until the last byte of the body.

        Raises:
            AddressRefused, HostNotFound, ServerNotTrusted: no request was sent.
            ConnectionFailed: no complete head of a reply arrived.
            ConnectionClosed: the connection ended before a reply; it has `reused`.
        """


class Http(Protocol):
    """The adapter of one HTTP library: the only code that differs between urllib3 and aiohttp.

    It does not follow redirects, keep cookies, use proxies, retry, or connect to a refused address
    (`addresses.py`).
    """

    def turn(self, url: Url, left: TimeLeft) -> AbstractAsyncContextManager[Host]:
        """Wait for a free connection to the host of `url`, and occupy it until the context is left.

        Raises:
            DeadlineExceeded: no seconds were `left` before a connection was free.
        """

    async def close(self) -> None:
        """Close all connections. No caller may have a turn."""

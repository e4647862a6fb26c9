"""The event loop of the asyncio engine: asyncio's own, with buffers sized for many streams; used by `aio.py`.

asyncio reads 256 KiB at a time and lets 512 KiB pile up on either side of a TLS connection. With 64 parts
in flight that is most of the memory they cost. The sizes are private constants of asyncio, set here on the
connections of this loop only; a test sees that they are still there in every supported Python.
"""

import asyncio
from typing import Any

from asyncstream.plan import KiB, MiB

# Bytes that all streams together read from their sockets at once, and the bounds of one stream's share.
# Larger reads wake the peer less often, which saves CPU: 384 KiB takes three quarters of what 256 KiB
# does. But what was read waits in memory: at 10 streams 512 KiB costs 6 MB more (both measured).
RECEIVE_TOGETHER = 10 * MiB
MIN_RECEIVE = 64 * KiB
MAX_RECEIVE = 384 * KiB
# TLS keeps its buffer for as long as the connection lives. 64 KiB costs 5 % more CPU than 128 KiB and
# saves 7 MB at 10 streams, 15 MB at 64 (measured).
TLS_RECEIVE = 64 * KiB
# Bytes that may wait on either side of a TLS connection before its peer is paused.
TLS_WAITING = 64 * KiB


class StreamingLoop(asyncio.SelectorEventLoop):
    """`asyncio.SelectorEventLoop` whose connections hold less."""

    receive = MAX_RECEIVE

    def share_among(self, streams: int) -> None:
        """Size the connections made from now on for so many streams at once."""
        self.receive = max(MIN_RECEIVE, min(MAX_RECEIVE, RECEIVE_TOGETHER // streams))

    def _make_socket_transport(self, *args: Any, **kwargs: Any) -> asyncio.Transport:
        transport: Any = super()._make_socket_transport(*args, **kwargs)  # type: ignore[misc]
        transport.max_size = self.receive
        return transport  # type: ignore[no-any-return]

    def _make_ssl_transport(self, *args: Any, **kwargs: Any) -> asyncio.Transport:
        transport: Any = super()._make_ssl_transport(*args, **kwargs)  # type: ignore[misc]
        tls = transport._ssl_protocol  # noqa: SLF001
        tls.max_size = TLS_RECEIVE
        tls._ssl_buffer = bytearray(TLS_RECEIVE)  # noqa: SLF001
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)  # noqa: SLF001
        transport.set_read_buffer_limits(TLS_WAITING)
        transport.set_write_buffer_limits(TLS_WAITING)
        return transport  # type: ignore[no-any-return]

"""How much an asyncio connection may hold.

asyncio reads 256 KiB at a time, and over TLS lets 512 KiB pile up on either side of a connection: with 64
parts in flight that is most of the memory they cost. The sizes are private to asyncio and set here on our
connections only, on whatever event loop; a test sees that they are still there in every supported Python.
"""

from typing import Any

from asyncstream.units import KiB, MiB

# Bytes that all streams together read from their sockets at once, and the bounds of one stream's share.
# Larger reads wake the peer less often, which saves CPU: 512 KiB takes three quarters of what 256 KiB
# does. But what was read waits in memory: at 10 streams it costs 8 MB more (both measured).
RECEIVE_TOGETHER = 10 * MiB
MIN_RECEIVE = 64 * KiB
MAX_RECEIVE = 320 * KiB
# TLS keeps its buffer for as long as the connection lives. 64 KiB costs 5 % more CPU than 128 KiB and
# saves 7 MB at 10 streams, 15 MB at 64 (measured).
TLS_RECEIVE = 64 * KiB
# Bytes that may wait on either side of a TLS connection before its peer is paused.
TLS_WAITING = 64 * KiB
# aiohttp's buffer of a GET's body: it reads on until twice as much waits. Its own default costs 16 MB at
# 64 streams and wins nothing (measured).
READ_BUFFER = 64 * KiB

# What one part in flight costs, over HTTP or TLS: what was read and waits, what is being sent, and what
# aiohttp, asyncio and OpenSSL keep for two connections (measured at 10 and 64 parts, rounded up).
SLOT = 1 * MiB


def limit_buffers(transport: Any, streams: int) -> None:
    """Size a new connection, of which there are two for each of so many streams."""
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is None:
        transport.max_size = max(MIN_RECEIVE, min(MAX_RECEIVE, RECEIVE_TOGETHER // streams))
        return
    tls.max_size = TLS_RECEIVE
    tls._ssl_buffer = bytearray(TLS_RECEIVE)  # noqa: SLF001
    tls._ssl_buffer_view = memoryview(tls._ssl_buffer)  # noqa: SLF001
    transport.set_read_buffer_limits(TLS_WAITING)
    transport.set_write_buffer_limits(TLS_WAITING)

"""Buffer sizes of asyncio connections.

asyncio reads 256 KiB at a time, and over TLS buffers up to 512 KiB in each direction of a connection. With 64
parts in flight, that is most of the memory they use. The sizes are private attributes of asyncio. They are
set here only on this package's connections, on any event loop. A test checks that the attributes exist in
every supported Python.
"""

from typing import Any

from asyncstream.units import KiB, MiB

# Bytes that all streams together read from their sockets at once, and the bounds of one stream's share.
# Larger reads wake the peer less often, which saves CPU: 512 KiB takes three quarters of the CPU of 256 KiB.
# But the bytes read wait in memory: with 10 streams, 8 MB more (both measured).
RECEIVE_TOGETHER = 10 * MiB
MIN_RECEIVE = 64 * KiB
MAX_RECEIVE = 320 * KiB
# TLS keeps its buffer as long as the connection lives. 64 KiB costs 5 % more CPU than 128 KiB and saves 7 MB
# at 10 streams, 15 MB at 64 (measured).
TLS_RECEIVE = 64 * KiB
# Bytes that may wait in each direction of a TLS connection before asyncio pauses the sender.
TLS_WAITING = 64 * KiB
# aiohttp's buffer for the body of a GET: aiohttp reads until it holds twice as much. Its default costs 16 MB
# at 64 streams and is not faster (measured).
READ_BUFFER = 64 * KiB

# The memory of one part in flight, over HTTP or TLS: bytes read and waiting, bytes being sent, and the state
# that aiohttp, asyncio and OpenSSL keep for two connections (measured at 10 and 64 parts, rounded up).
SLOT = 1 * MiB


def limit_buffers(transport: Any, streams: int) -> None:
    """Set the buffer sizes of a new connection. Each of the `streams` has two connections."""
    # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/sslproto.py#L86
    tls = getattr(transport, "_ssl_protocol", None)
    if tls is None:
        # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/selector_events.py#L755
        transport.max_size = max(MIN_RECEIVE, min(MAX_RECEIVE, RECEIVE_TOGETHER // streams))
        return
    # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/sslproto.py#L261
    # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/sslproto.py#L275-L276
    tls.max_size = TLS_RECEIVE
    tls._ssl_buffer = bytearray(TLS_RECEIVE)  # noqa: SLF001
    tls._ssl_buffer_view = memoryview(tls._ssl_buffer)  # noqa: SLF001
    transport.set_read_buffer_limits(TLS_WAITING)
    transport.set_write_buffer_limits(TLS_WAITING)

"""Buffer sizes of asyncio connections.

asyncio reads 256 KiB at a time, and over TLS buffers up to 512 KiB in each direction of a connection. With 64
parts in flight, that is most of the memory they use. The sizes are private attributes of asyncio. They are
set here only on this package's connections. A test checks that the attributes exist in every supported
Python. Other event loops, such as uvloop's, lack them: there, a part takes more memory.
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
# The same with another event loop than asyncio's own (uvloop: 1.7 MB over TLS, 0.3 MB over HTTP).
SLOT_ON_OTHER_LOOPS = 2 * MiB


def limit_buffers(transport: Any, streams: int) -> None:
    """Set the buffer sizes of a new connection. Each of the `streams` has two connections.

    Another event loop's transport may lack an attribute. Then that size stays as the loop has it.
    """
    if transport.get_extra_info("sslcontext") is None:
        # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/selector_events.py#L755
        if hasattr(transport, "max_size"):
            transport.max_size = max(MIN_RECEIVE, min(MAX_RECEIVE, RECEIVE_TOGETHER // streams))
        return
    # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/sslproto.py#L86
    tls: Any = getattr(transport, "_ssl_protocol", None)
    # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/sslproto.py#L261
    # https://github.com/python/cpython/blob/v3.11.7/Lib/asyncio/sslproto.py#L275-L276
    if all(hasattr(tls, name) for name in ("max_size", "_ssl_buffer", "_ssl_buffer_view")):
        tls.max_size = TLS_RECEIVE
        tls._ssl_buffer = bytearray(TLS_RECEIVE)  # noqa: SLF001
        tls._ssl_buffer_view = memoryview(tls._ssl_buffer)  # noqa: SLF001
    # asyncio documents this for pipes and sockets, but only its TLS connections have it.
    if hasattr(transport, "set_read_buffer_limits"):
        transport.set_read_buffer_limits(TLS_WAITING)
    transport.set_write_buffer_limits(TLS_WAITING)

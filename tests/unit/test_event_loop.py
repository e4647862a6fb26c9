import asyncio
import ssl
from collections.abc import Iterator

import pytest
import trustme

from asyncstream.engines.aio import AsyncioEngine
from asyncstream.engines.event_loop import MAX_RECEIVE, MIN_RECEIVE, TLS_RECEIVE, TLS_WAITING


@pytest.fixture
def engine() -> Iterator[AsyncioEngine]:
    engine = AsyncioEngine()
    yield engine
    engine.close()


def sizes_of(transport) -> dict[str, int]:
    """What the connection may hold. The names are private to asyncio: here it shows if one goes."""
    if not hasattr(transport, "_ssl_protocol"):
        return {"receive": transport.max_size}
    tls = transport._ssl_protocol
    return {
        "receive": len(tls._ssl_buffer),
        "decrypt": tls.max_size,
        "waiting to be read": tls._incoming_high_water,
        "waiting to be sent": transport.get_write_buffer_limits()[1],
    }


async def connection_sizes(
    slots: int, server_tls: ssl.SSLContext | None = None, client_tls: ssl.SSLContext | None = None
) -> dict[str, int]:
    """The sizes of a connection made with so many slots, once a byte has passed through it both ways."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(1))
        await writer.drain()
        await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_tls)
    async with server, AsyncioEngine().slots(slots):
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("localhost", port, ssl=client_tls)
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        sizes = sizes_of(writer.transport)
        writer.close()
        await writer.wait_closed()
        return sizes


@pytest.mark.parametrize(("slots", "receive"), [(1, MAX_RECEIVE), (10, MAX_RECEIVE), (1000, MIN_RECEIVE)])
def test_a_connection_reads_its_share_of_what_all_may_read(
    engine: AsyncioEngine, slots: int, receive: int
) -> None:
    assert engine.run(lambda: connection_sizes(slots)) == {"receive": receive}


def test_a_tls_connection_holds_less_than_asyncio_would_let_it(engine: AsyncioEngine) -> None:
    authority = trustme.CA()
    server_tls, client_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(server_tls)
    authority.configure_trust(client_tls)

    assert engine.run(lambda: connection_sizes(10, server_tls, client_tls)) == {
        "receive": TLS_RECEIVE,
        "decrypt": TLS_RECEIVE,
        "waiting to be read": TLS_WAITING,
        "waiting to be sent": TLS_WAITING,
    }

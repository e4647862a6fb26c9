import asyncio
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.locations import S3Prefix
from asyncstream.s3 import requests
from asyncstream.s3.access import S3Access
from asyncstream.s3.aio import AsyncioTransport
from asyncstream.s3.buffers import MAX_RECEIVE, MIN_RECEIVE, TLS_RECEIVE, TLS_WAITING
from asyncstream.s3.settings import ClientSettings


async def connection_sizes(lab: LabS3, max_concurrency: int) -> dict[str, int]:
    """Return the buffer sizes of a transport's connection, after its use and back in aiohttp's pool."""
    settings = ClientSettings(
        S3Access(endpoint_url=lab.endpoint_url), max_concurrency, 2**18, 10.0, 60.0, 600.0
    )
    transport = await AsyncioTransport.open(settings)
    try:
        await transport.call("ListObjectsV2", requests.list_page_params(S3Prefix("bucket"), None, {}), None)
        [session] = transport._clients[None]._endpoint.http_session._sessions.values()
        [[(protocol, _)]] = session.connector._conns.values()
        return buffer_sizes(protocol.transport)
    finally:
        await transport.close()


def buffer_sizes(connection: Any) -> dict[str, int]:
    """Read sizes by the private names of asyncio and aiohttp; the test fails if one disappears."""
    if not hasattr(connection, "_ssl_protocol"):
        return {"receive": connection.max_size}
    tls = connection._ssl_protocol
    return {
        "receive": len(tls._ssl_buffer),
        "decrypt": tls.max_size,
        "waiting to be read": tls._incoming_high_water,
        "waiting to be sent": connection.get_write_buffer_limits()[1],
    }


@pytest.fixture
def lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    with LabS3(tls=request.param) as lab:
        lab.create_bucket("bucket", keep=False)
        for name, value in lab.environment().items():
            monkeypatch.setenv(name, value)
        yield lab


@pytest.mark.parametrize("lab", [False], indirect=True)
@pytest.mark.parametrize(("parts", "receive"), [(1, MAX_RECEIVE), (10, MAX_RECEIVE), (1000, MIN_RECEIVE)])
def test_a_connection_reads_its_share_of_what_all_may_read(lab: LabS3, parts: int, receive: int) -> None:
    assert asyncio.run(connection_sizes(lab, parts)) == {"receive": receive}


@pytest.mark.parametrize("lab", [True], indirect=True)
def test_a_tls_connection_holds_less_than_asyncio_would_let_it(lab: LabS3) -> None:
    assert asyncio.run(connection_sizes(lab, 10)) == {
        "receive": TLS_RECEIVE,
        "decrypt": TLS_RECEIVE,
        "waiting to be read": TLS_WAITING,
        "waiting to be sent": TLS_WAITING,
    }

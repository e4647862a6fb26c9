"""How long the lab S3 waits for its network model or a fault, by a clock that only its waiting advances."""

import http.client
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from asyncstream.lab.s3 import Fault, injection
from asyncstream.lab.s3.faults import FaultPlan
from asyncstream.lab.s3.model import Network, NetworkModel
from asyncstream.lab.s3.server import Server

from .fake_time import FakeTime

SIZE = 1_000_000
BODY = bytes(SIZE)

Ask = Callable[[str], bytes]


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    time = FakeTime()
    monkeypatch.setattr(injection._Site, "wait", lambda _, seconds: time.sleep(seconds))
    return time


@pytest.fixture
def server(tmp_path: Path) -> Server:
    """Return a server in this process, which has the fake clock, with a bucket and the object `k`."""
    server = Server(tmp_path, NetworkModel())
    server.state.store.create_bucket("bucket", keep=False)
    server.state.store.declare(server.state.store.bucket("bucket"), [("k", SIZE)], None, None)
    return server


@pytest.fixture
def ask(server: Server) -> Ask:
    """Return a function that sends a request, with a body if it is a PUT, and returns the reply's body."""
    port = server.listen(0)

    def ask(method: str) -> bytes:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
            connection.request(method, "/bucket/k", BODY if method == "PUT" else None)
            reply = connection.getresponse()
            assert reply.status == 200
            return reply.read()

    return ask


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_the_model_slows_transfers_down(server: Server, ask: Ask, time: FakeTime, method: str) -> None:
    server.state.network = Network(NetworkModel.parse("5/0/50"), time, time.sleep)
    began = time()
    assert len(ask(method)) == (SIZE if method == "GET" else 0)
    assert time() - began == pytest.approx(0.05 + SIZE / 5e6)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_stall_takes_its_time_once(server: Server, ask: Ask, time: FakeTime, method: str) -> None:
    server.state.faults = FaultPlan([Fault("stall", seconds=7.0)])
    began = time()
    ask(method)
    assert (time() - began, time.sleeps) == (7.0, 1)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_slow_keeps_to_its_speed(server: Server, ask: Ask, time: FakeTime, method: str) -> None:
    server.state.faults = FaultPlan([Fault("slow", bytes_per_second=SIZE / 10)])
    began = time()
    ask(method)
    assert time() - began == pytest.approx(10)
    assert method == "PUT" or time.sleeps > 100

"""Sessions that live across transfers, with threads, peers that stop reading, and deadlines."""

import socket
import threading

import anyio
import pytest

from asyncstream import (
    ConfigError,
    ConnectionFailed,
    DeadlineExceeded,
    Event,
    S3Object,
    S3Prefix,
    TransferConfig,
    TransferSession,
    transfer_async,
)
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import LabS3
from tests.servers.base import GUARD_SECONDS, until

from .command_line import LabWith

SIZE = 200_000


@pytest.fixture
def lab(lab_with: LabWith) -> LabS3:
    return lab_with(3, SIZE)


def pair(number: int = 0) -> tuple[S3Object, S3Object]:
    key = f"x/{number:06d}"
    return S3Object("sources", key), S3Object("copies", key)


def test_a_session_at_work_refuses_a_second_transfer(lab: LabS3) -> None:
    began, ended = threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        began.set()
        ended.wait(GUARD_SECONDS)

    with TransferSession("threads", endpoint_url=lab.endpoint_url) as session:
        first = threading.Thread(target=session.transfer, args=([pair()], None, hold))
        first.start()
        began.wait(GUARD_SECONDS)
        with pytest.raises(ConfigError, match="session is busy"):
            session.transfer([pair()])
        ended.set()
        first.join(GUARD_SECONDS)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_listing_ends_with_the_deadline(lab: LabS3, engine: EngineName) -> None:
    pairs = [(S3Prefix("sources", "x/"), S3Prefix("copies", "x/"))]
    with (
        TransferSession(engine, endpoint_url=lab.endpoint_url) as session,
        pytest.raises(DeadlineExceeded),
    ):
        session.transfer(pairs, TransferConfig(deadline=1e-9))
    assert lab.checksums("copies") == {}


@pytest.mark.asyncio
async def test_a_cancelled_anyio_scope_leaves_no_connection_open(lab: LabS3) -> None:
    lab.set_model("1/1/10")
    with anyio.move_on_after(0.3):
        await transfer_async([pair(number) for number in range(3)], endpoint_url=lab.endpoint_url)
    until(lambda: lab.stats()["open_connections"] == 0)


class StopsReading:
    """A proxy between a client and the lab. It passes GETs; of a PUT it reads the head and nothing more."""

    def __init__(self, lab: LabS3) -> None:
        self._target = ("127.0.0.1", int(lab.endpoint_url.rsplit(":", 1)[1]))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._held: list[socket.socket] = []
        self.endpoint_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()
        for connection in self._held:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self._held.append(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        head = client.recv(65536)
        if head.startswith(b"PUT"):
            return
        server = socket.create_connection(self._target)
        self._held.append(server)
        server.sendall(head)
        try:
            while received := server.recv(65536):
                client.sendall(received)
        except OSError:
            return  # the client closed the connection


@pytest.mark.varied("limits", engine=("threads", "asyncio"))
@pytest.mark.parametrize("limits", ["Linux", "macOS"])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_destination_that_stops_reading_fails_the_connection(
    lab: LabS3, engine: EngineName, limits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also without the kernel's limit for unacknowledged bytes, which only Linux has."""
    if limits == "macOS":
        monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    lab.declare_many("sources", "large-", 1, 20_000_000)
    files = [(S3Object("sources", "large-000000"), S3Object("copies", "large"))]
    config = TransferConfig(stall_timeout=1.0, max_attempts=1)
    between = StopsReading(lab)
    try:
        with TransferSession(engine, endpoint_url=between.endpoint_url) as session:
            [result] = session.transfer(files, config).files
    finally:
        between.close()
    assert isinstance(result.error, ConnectionFailed)

"""A simulated distance to a server: bytes are unchanged, no answer is early, round trips are counted."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from asyncstream.lab.distance import Distance
from asyncstream.lab.distance.proxy import Proxy
from tests.servers.base import GUARD_SECONDS

from .fake_time import FakeTime

ROUND_TRIP = 0.02
SIZE = 300_000


@pytest.fixture
def serving() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Return a function that serves one connection with a given function and returns the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = []

        def serve(with_it: Callable[[socket.socket], None]) -> int:
            def accept() -> None:
                connected, _ = listener.accept()
                with connected:
                    with_it(connected)

            threads.append(threading.Thread(target=accept))
            threads[0].start()
            return int(listener.getsockname()[1])

        yield serve
        for thread in threads:
            thread.join(GUARD_SECONDS)


def echo(connected: socket.socket) -> None:
    while data := connected.recv(65536):
        connected.sendall(data)


def received(connected: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += connected.recv(65536)
    return data


Serving = Callable[[Callable[[socket.socket], None]], int]


def test_no_answer_comes_before_its_time(serving: Serving) -> None:
    time = FakeTime()
    proxy = Proxy(serving(echo), ROUND_TRIP, time, time.sleep)
    with closing(socket.create_connection(("127.0.0.1", proxy.port))) as connected:
        for number in range(10):
            began = time()
            connected.sendall(b"%d" % number)
            assert received(connected, 1) == b"%d" % number
            assert time() - began == pytest.approx(ROUND_TRIP)
    assert proxy.count() == 10


def test_each_round_trip_is_counted(serving: Serving) -> None:
    with (
        Distance(serving(echo), ROUND_TRIP) as distance,
        closing(socket.create_connection(("127.0.0.1", distance.port))) as connected,
    ):
        for number in range(10):
            connected.sendall(b"%d" % number)
            assert received(connected, 1) == b"%d" % number
        assert distance.round_trips() == 10
        distance.reset()
        assert distance.round_trips() == 0


def test_bytes_sent_at_once_are_one_round_trip_and_unchanged(serving: Serving) -> None:
    sent = bytes(number % 251 for number in range(SIZE))

    def answer(connected: socket.socket) -> None:
        connected.sendall(received(connected, SIZE)[::-1])

    with (
        Distance(serving(answer), ROUND_TRIP) as distance,
        closing(socket.create_connection(("127.0.0.1", distance.port))) as connected,
    ):
        connected.sendall(sent)
        assert received(connected, SIZE) == sent[::-1]
        assert distance.round_trips() == 1


def test_the_server_sees_a_client_leave(serving: Serving) -> None:
    left = threading.Event()

    def wait(connected: socket.socket) -> None:
        assert connected.recv(1) == b""
        left.set()

    with Distance(serving(wait), ROUND_TRIP) as distance:
        socket.create_connection(("127.0.0.1", distance.port)).close()
        assert left.wait(GUARD_SECONDS)


def test_a_client_sees_the_server_leave(serving: Serving) -> None:
    with (
        Distance(serving(lambda connected: connected.close()), ROUND_TRIP) as distance,
        closing(socket.create_connection(("127.0.0.1", distance.port))) as connected,
    ):
        assert connected.recv(1) == b""


def test_a_server_that_is_not_there_closes_each_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        nobodys: int = listener.getsockname()[1]
    with Distance(nobodys, ROUND_TRIP) as distance:
        for _ in range(2):
            with closing(socket.create_connection(("127.0.0.1", distance.port))) as connected:
                assert connected.recv(1) == b""

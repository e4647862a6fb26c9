"""How asyncio's connections notice a peer that does not read, where the kernel has no limit for that."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream.s3.aio_connections import _Protocol


class Timers:
    """An event loop of which only the timers run, when the test says so."""

    def __init__(self) -> None:
        self.waiting: dict[object, Callable[[], None]] = {}

    def call_later(self, seconds: float, call: Callable[..., None], *arguments: Any) -> Any:
        timer = Timer(self)
        self.waiting[timer] = lambda: call(*arguments)
        return timer

    def pass_time(self) -> None:
        for timer in list(self.waiting):
            self.waiting.pop(timer)()


class Timer:
    def __init__(self, loop: Timers) -> None:
        self._loop = loop

    def cancel(self) -> None:
        self._loop.waiting.pop(self, None)


class Connection:
    """A transport that has bytes to send."""

    aborted = False
    unsent = 300_000

    def get_extra_info(self, name: str) -> None:
        return None

    def get_write_buffer_size(self) -> int:
        return self.unsent

    def abort(self) -> None:
        self.aborted = True


def test_a_peer_that_reads_keeps_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    loop, connection = Timers(), Connection()
    protocol = _Protocol(1, 10.0, loop=loop)
    protocol.connection_made(connection)

    protocol.pause_writing()
    for _ in range(3):
        connection.unsent -= 1
        loop.pass_time()
    protocol.resume_writing()
    assert loop.waiting == {}

    protocol.pause_writing()  # with as many bytes as before
    assert not connection.aborted
    loop.pass_time()
    assert connection.aborted

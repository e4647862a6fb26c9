"""The proxy: forwards requests at once, and delays answers to a minimum round trip.

Each connection has two threads that sleep. `time.sleep` is accurate to 0.1 ms, while an event loop's timers
have a resolution of 1 ms.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

SIZE = 1 << 16


class Proxy:
    """A proxy that listens on 127.0.0.1 until the process ends.

    Args:
        to: the server's port on 127.0.0.1.
        round_trip: minimum seconds from a request to its answer.
        clock: returns monotonic seconds.
        sleep: waits a number of seconds.

    Attributes:
        port: the proxy's port.
    """

    def __init__(
        self,
        to: int,
        round_trip: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.round_trip = round_trip
        self.now = clock
        self.sleep = sleep
        self._to = to
        self._lock = threading.Lock()
        self._round_trips = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        _start(self._accept)

    def count(self) -> int:
        """Return the number of round trips since the last `reset`."""
        with self._lock:
            return self._round_trips

    def reset(self) -> None:
        """Reset the count."""
        with self._lock:
            self._round_trips = 0

    def add_round_trip(self) -> None:
        """Count a round trip."""
        with self._lock:
            self._round_trips += 1

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # the server is down: the client sees its connection end, as without a proxy
                client.close()
                continue
            for connected in (client, server):
                connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _start(_Connection(self, client, server).pass_on)


class _Connection:
    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._asked = proxy.now()
        # Further data before the answer belong to the same round trip.
        self._answered = True

    def pass_on(self) -> None:
        """Forward data until both sides have ended."""
        with self._client, self._server:
            requests = _start(self._pass_requests)
            self._pass_answers()
            requests.join()

    def _pass_requests(self) -> None:
        for data in _receive(self._client):
            self._asked = self._proxy.now()
            if self._answered:
                self._answered = False
                self._proxy.add_round_trip()
            if not _send(self._server, data):
                break
        _end(self._server)

    def _pass_answers(self) -> None:
        for data in _receive(self._server):
            self._proxy.sleep(max(0.0, self._asked + self._proxy.round_trip - self._proxy.now()))
            self._answered = True
            if not _send(self._client, data):
                break
        _end(self._client)


def _receive(connected: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            data = connected.recv(SIZE)
        except OSError:  # reset
            return
        if not data:
            return
        yield data


def _send(connected: socket.socket, data: bytes) -> bool:
    try:
        connected.sendall(data)
    except OSError:  # the receiver has closed
        return False
    return True


def _end(connected: socket.socket) -> None:
    """Shut the connection down, which also ends its peer and the thread that reads from it."""
    with suppress(OSError):  # already ended
        connected.shutdown(socket.SHUT_RDWR)


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread

"""The proxy: passes on what a client says at once, and what the server answers not before its time.

Two threads a connection, which sleep: `time.sleep` is right to a tenth of a millisecond, where an event loop
counts in whole ones.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

SIZE = 1 << 16


class Proxy:
    """Listens on a port of 127.0.0.1, from the start to the end of the process.

    Args:
        to: the server's port on 127.0.0.1.
        round_trip: seconds, at the least, from what a client says to what it is answered.
        clock: seconds, monotonic.
        sleep: waits so many seconds.

    Attributes:
        port: where it listens.
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
        """Round trips since the last `reset`."""
        with self._lock:
            return self._round_trips

    def reset(self) -> None:
        """Count anew."""
        with self._lock:
            self._round_trips = 0

    def begun(self) -> None:
        """One more."""
        with self._lock:
            self._round_trips += 1

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:  # it is gone: the client sees its connection end, as it would there
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
        # A client that says more before it was answered waits but once.
        self._answered = True

    def pass_on(self) -> None:
        """Until both sides have ended."""
        with self._client, self._server:
            requests = _start(self._pass_requests)
            self._pass_answers()
            requests.join()

    def _pass_requests(self) -> None:
        for data in _received(self._client):
            self._asked = self._proxy.now()
            if self._answered:
                self._answered = False
                self._proxy.begun()
            if not _sent(self._server, data):
                break
        _end(self._server)

    def _pass_answers(self) -> None:
        for data in _received(self._server):
            self._proxy.sleep(max(0.0, self._asked + self._proxy.round_trip - self._proxy.now()))
            self._answered = True
            if not _sent(self._client, data):
                break
        _end(self._client)


def _received(connected: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            data = connected.recv(SIZE)
        except OSError:  # reset
            return
        if not data:
            return
        yield data


def _sent(connected: socket.socket, data: bytes) -> bool:
    try:
        connected.sendall(data)
    except OSError:  # nobody wants it any more
        return False
    return True


def _end(connected: socket.socket) -> None:
    """Tell its peer, and wake whoever reads from it: both end as well."""
    with suppress(OSError):  # it has ended
        connected.shutdown(socket.SHUT_RDWR)


def _start(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread

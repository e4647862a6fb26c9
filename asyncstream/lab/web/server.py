"""`Origin`: an HTTP server with many hosts, whose answers the caller chooses.

Each host is a loopback address, 127.0.0.1, 127.0.0.2 and so on (all of 127.0.0.0/8 is loopback on Linux),
with the same port. So names need no lookup, and accepted connections can be counted by host.
"""

from __future__ import annotations

import logging
import select
import selectors
import socket
import struct
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

from asyncstream.engines.closing import Closing
from asyncstream.lab.s3.http import MalformedRequestError, parse_request, reply_head

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Mapping

LONGEST_HEAD = 64 * 1024
# Pieces of a body that reset the connection, or close it as if the whole body had been sent.
RESET, CLOSE = object(), object()

logger = logging.getLogger(__name__)


class Asked(NamedTuple):
    """One request. `nth` is its number among those for this host and path, from 1."""

    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    nth: int


class Answer(NamedTuple):
    """An answer. Its body is a sequence of bytes to send, seconds to wait, and `RESET` or `CLOSE`.

    `delay` is the wait in seconds before the head. `length` is the Content-Length, true or not. Without it
    the body is chunked.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: Iterable[bytes | float | object] = ()
    length: int | None = None
    delay: float = 0.0

    @classmethod
    def of(cls, body: bytes, status: int = 200, delay: float = 0.0, **headers: str) -> Answer:
        """Return an answer with a complete body. Write `_` for `-` in names of headers."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, named, (body,), len(body), delay)


class Origin(Closing):
    """An HTTP server with one thread per connection; a context manager.

    Args:
        answer: returns the answer to a request. It runs on the connection's thread.
        hosts: number of hosts.
        tls: the context for https; None: http.
    """

    def __init__(
        self, answer: Callable[[Asked], Answer], hosts: int = 1, tls: ssl.SSLContext | None = None
    ) -> None:
        self._answer = answer
        self._tls = tls
        self._lock = threading.Lock()
        self._nth: Counter[tuple[str, str]] = Counter()
        self._open: defaultdict[str, set[int]] = defaultdict(set)  # by their file descriptors
        self._most: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()
        self._ending = threading.Event()
        self._listeners = _listeners(hosts)
        self._woken, self._waking = socket.socketpair()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        self.port: int = self._listeners[0].getsockname()[1]
        scheme = "https" if tls else "http"
        self.urls = [f"{scheme}://{listener.getsockname()[0]}:{self.port}" for listener in self._listeners]

    def counts(self) -> dict[str, Any]:
        """Return counts by host: `requests`, `connections`, and `max_at_once` (peak of open connections)."""
        with self._lock:
            requests: Counter[str] = Counter()
            for (host, _), count in self._nth.items():
                requests[host] += count
            return {
                "requests": dict(requests),
                "connections": dict(self._connections),
                "max_at_once": dict(self._most),
            }

    def reset(self) -> None:
        """Reset the counts. The next request for each path has number 1."""
        with self._lock:
            self._nth.clear()
            self._connections.clear()
            self._most = Counter({host: self._open_now(host) for host in self._open})

    def close(self) -> None:
        """Stop listening, and end waits within answers."""
        self._ending.set()
        self._waking.close()
        self._thread.join()
        self._woken.close()
        for listener in self._listeners:
            listener.close()

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            for listener in (*self._listeners, self._woken):
                selector.register(listener, selectors.EVENT_READ)
            while not self._ending.is_set():
                for key, _ in selector.select():
                    if key.fileobj is self._woken or not isinstance(key.fileobj, socket.socket):
                        return
                    accepted, _ = key.fileobj.accept()
                    threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        host: str = accepted.getsockname()[0]
        descriptor = accepted.fileno()  # TLS keeps it
        with self._lock:
            self._connections[host] += 1
            self._open[host].add(descriptor)
            self._most[host] = max(self._most[host], self._open_now(host))
        connected = accepted
        try:
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls:
                connected = self._tls.wrap_socket(accepted, server_side=True, do_handshake_on_connect=False)
                connected.do_handshake()
            with connected.makefile("rb") as reading:
                while self._serve_request(host, connected, reading):
                    continue
        except (OSError, MalformedRequestError) as error:  # clients may break connections at any time
            logger.debug("connection ended: %r", error)
        finally:
            with self._lock:  # before another connection reuses the descriptor
                self._open[host].discard(descriptor)
                connected.close()

    def _open_now(self, host: str) -> int:
        """Return the number of open connections, without those that the client has closed."""
        return sum(not _is_left(each) for each in self._open[host])

    def _serve_request(self, host: str, connected: socket.socket, reading: Any) -> bool:
        """Answer one request, and return whether another one may follow."""
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = reading.readline(LONGEST_HEAD)
            if not line or len(head) > LONGEST_HEAD:
                return False
            head += line
        request = parse_request(head)
        with self._lock:
            self._nth[host, request.path] += 1
            nth = self._nth[host, request.path]
        answer = self._answer(Asked(host, request.path, request.query, request.headers, nth))
        self._wait(connected, answer.delay)
        chunked = answer.length is None
        framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(answer.length)}
        connected.sendall(reply_head(answer.status, {**answer.headers, **framing}))
        for piece in answer.body:
            if self._ending.is_set() or piece is CLOSE:
                return False
            if piece is RESET:
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return False
            if isinstance(piece, bytes):
                connected.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            elif isinstance(piece, float):
                self._wait(connected, piece)
        if chunked:
            connected.sendall(b"0\r\n\r\n")
        return request.keep_alive and answer.headers.get("Connection") != "close"

    def _wait(self, connected: socket.socket, seconds: float) -> None:
        """Wait until the time is over, the client closes, or the origin is closed.

        Raises:
            ConnectionError: the client or the origin closed.
        """
        poller = select.poll()
        poller.register(connected, select.POLLRDHUP)
        poller.register(self._woken, select.POLLIN)
        if poller.poll(seconds * 1000):
            raise ConnectionError("the client or the origin closed during a wait")


def _is_left(descriptor: int) -> bool:
    """Return whether the client has closed a connection."""
    poller = select.poll()
    poller.register(descriptor, select.POLLRDHUP)
    return bool(poller.poll(0))


def _listeners(hosts: int) -> list[socket.socket]:
    """Return sockets that listen on the same port of `hosts` addresses."""
    first = _listener("127.0.0.1", 0)
    port = first.getsockname()[1]
    listeners = [first]
    try:
        for number in range(2, hosts + 1):
            listeners.append(_listener(f"127.0.0.{number}", port))  # noqa: PERF401 - the others are closed if one fails
    except OSError:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _listener(address: str, port: int) -> socket.socket:
    listener = socket.socket()
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(1024)
    except OSError:
        listener.close()
        raise
    return listener

"""`Origin`: an HTTP server of many hosts, whose answers its caller decides.

Each host is a loopback address of its own, 127.0.0.1, 127.0.0.2 and so on (all of 127.0.0.0/8 is loopback on
Linux), at one port: so no name has to be looked up, and connections are counted by host as they are accepted.
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
# Among the pieces of a body: the connection is reset there, or closed as if all had been sent.
RESET, CLOSE = object(), object()

logger = logging.getLogger(__name__)


class Asked(NamedTuple):
    """One request. `nth` counts those of this host and path, from 1."""

    host: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    nth: int


class Answer(NamedTuple):
    """What to answer: bytes of the body as they are sent, between them seconds to wait, or an end.

    `delay` is waited before the head. `length` is told as Content-Length, true or not; without it the body is
    sent in chunks.
    """

    status: int = 200
    headers: Mapping[str, str] = {}
    body: Iterable[bytes | float | object] = ()
    length: int | None = None
    delay: float = 0.0

    @classmethod
    def of(cls, body: bytes, status: int = 200, delay: float = 0.0, **headers: str) -> Answer:
        """A body that is at hand; headers with `_` for `-`."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, named, (body,), len(body), delay)


class Origin(Closing):
    """A thread a connection. A context manager.

    Args:
        answer: decides, on the connection's thread.
        hosts: how many there are.
        tls: of https; None: http.
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
        """What has happened so far, by host: `requests`, `connections`, and the most of these at once."""
        with self._lock:
            requests: Counter[str] = Counter()
            for (host, _), count in self._nth.items():
                requests[host] += count
            return {
                "requests": dict(requests),
                "connections": dict(self._connections),
                "most_at_once": dict(self._most),
            }

    def reset(self) -> None:
        """Count anew: the next request of each path is its first."""
        with self._lock:
            self._nth.clear()
            self._connections.clear()
            self._most = Counter({host: self._open_now(host) for host in self._open})

    def close(self) -> None:
        """Listen no more. What waits in an answer ends."""
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
        except (OSError, MalformedRequestError) as error:  # clients break connections whenever they like
            logger.debug("connection ended: %r", error)
        finally:
            with self._lock:  # before another connection gets the same number
                self._open[host].discard(descriptor)
                connected.close()

    def _open_now(self, host: str) -> int:
        """Of connections; one that the client has closed is none, whether or not its thread knows by now."""
        return sum(not _is_left(each) for each in self._open[host])

    def _serve_request(self, host: str, connected: socket.socket, reading: Any) -> bool:
        """Answer one request; return whether another one may follow."""
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
        """Wait, unless the client leaves or the origin is closed."""
        poller = select.poll()
        poller.register(connected, select.POLLRDHUP)
        poller.register(self._woken, select.POLLIN)
        if poller.poll(seconds * 1000):
            raise ConnectionError("nobody waits for it any more")


def _is_left(descriptor: int) -> bool:
    """Whether the client has closed a connection."""
    poller = select.poll()
    poller.register(descriptor, select.POLLRDHUP)
    return bool(poller.poll(0))


def _listeners(hosts: int) -> list[socket.socket]:
    """Sockets that listen at one port of so many addresses."""
    first = _listener("127.0.0.1", 0)
    port = first.getsockname()[1]
    listeners = [first]
    try:
        for number in range(2, hosts + 1):
            listeners.append(_listener(f"127.0.0.{number}", port))  # noqa: PERF401 - some are closed if one fails
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

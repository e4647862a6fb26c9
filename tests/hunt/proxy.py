"""A TCP proxy that plays faults: one thread for each direction of a connection, and no HTTP library."""

from __future__ import annotations

import contextlib
import queue
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import messages
from .messages import PIECE, Incoming
from .sending import Exchange, Over, Sender

if TYPE_CHECKING:
    from collections.abc import Callable

    from .faults import Fault

# A guard: a thread normally ends when its sockets are shut down.
JOIN_SECONDS = 20.0
# Bytes that the kernel buffers in each direction. A larger buffer would hide stalls.
_BUFFER = 256 * 1024
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER with a timeout of 0, which resets on close
_SEND_TIMEOUT = struct.pack("ll", 10, 0)  # a timeval of 10 seconds; a guard, too
# Faults that can strike a 100 Continue.
_INTERIM = frozenset({"reply closed", "reply reset", "reply half-closed", "reply stalls", "reply is late"})
_SUM = b"x-amz-checksum-crc"
_SUM_IN_XML = b"<ChecksumCRC"


@dataclass
class Wire:
    """A record of what passed. The proxy's threads write it; it is read after they have ended.

    Attributes:
        played: the faults that struck, each as the request, the fault, and the byte or line.
        with_checksum: the operation and bucket of each reply that contained an object's checksum.
    """

    played: list[tuple[str, str, str]] = field(default_factory=list)
    with_checksum: set[tuple[str, str]] = field(default_factory=set)


class FaultProxy:
    """Forwards connections to a port of this machine; a context manager.

    Args:
        target: the port.
        fault_for: returns the fault that a request meets, by the request's name and the number of the try.
    """

    def __init__(self, target: int, fault_for: Callable[[str, int], Fault | None]) -> None:
        self.wire = Wire()
        self._target = target
        self._fault_for = fault_for
        self._tries: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._open: list[_Conversation] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepting = threading.Thread(target=self._accept, name="proxy")
        self._accepting.start()

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(self, *_: object) -> None:
        """End every connection, and wait for the threads."""
        self.cut()
        self._accepting.join(JOIN_SECONDS)
        self._listener.close()
        for conversation in self._open:
            conversation.end()
        for conversation in self._open:
            conversation.join()

    def cut(self) -> None:
        """End every connection, and accept no new one."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        for conversation in self._open:
            conversation.end()

    def exchange(self, head: bytes) -> Exchange:
        """Return a request's name, method and fault."""
        operation, name = messages.request_name(head)
        with self._lock:
            self._tries[name] += 1
            number = self._tries[name]
        return Exchange(operation, name, head.partition(b" ")[0], self._fault_for(name, number))

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._target), JOIN_SECONDS)
                except OSError:
                    client.close()
                    continue
                self._open.append(_Conversation(self, client, server))


class _Conversation:
    """A client's connection, and the connection to the server that it is forwarded to."""

    def __init__(self, proxy: FaultProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy = proxy
        self._wire = proxy.wire
        self._client = client
        self._server = server
        self._over = threading.Event()
        self._asked: queue.SimpleQueue[Exchange] = queue.SimpleQueue()
        for each in (client, server):
            each.settimeout(None)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _SEND_TIMEOUT)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._server_ended = False
        self._working = 2
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=work, name="proxy") for work in (self._run_requests, self._run_replies)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait until both threads have ended."""
        for thread in self._threads:
            thread.join(JOIN_SECONDS)
            assert not thread.is_alive(), "A thread of the proxy hangs."

    def end(self, *, reset: bool = False) -> None:
        """Shut down both connections; they are closed after both threads have ended."""
        if self._over.is_set():
            return
        if reset:
            for each in (self._client, self._server):
                with contextlib.suppress(OSError):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._over.set()
        with contextlib.suppress(OSError):
            # Shutting down the sending side would send FIN before the reset.
            self._client.shutdown(socket.SHUT_RD if reset else socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)

    def _run_requests(self) -> None:
        with contextlib.suppress(OSError, Over):
            try:
                self._pass_requests()
            except OSError:
                if not self._server_ended:
                    raise
                self._swallow(Incoming(self._client))  # the reply came early, and the client must read it
        self.end()
        self._leave()

    def _run_replies(self) -> None:
        with contextlib.suppress(OSError, Over):
            self._pass_replies()
        self._server_ended = True
        self._end_softly()
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._working -= 1
            if self._working:
                return
        # Earlier, another socket could get the number of a closed one before a thread uses it.
        self._client.close()
        self._server.close()

    def _end_softly(self) -> None:
        """Let the client read its reply: closing a socket with unread bytes resets the connection."""
        if not self._over.is_set():
            with contextlib.suppress(OSError):
                self._client.shutdown(socket.SHUT_WR)

    def _pass_requests(self) -> None:
        incoming = Incoming(self._client)
        while head := incoming.head():
            exchange = self._proxy.exchange(head)
            fault = exchange.fault if exchange.fault and exchange.fault.side == "request" else None
            if fault is not None and "not done" in fault.name:
                self._refuse(incoming, head, exchange, fault)
                continue
            self._asked.put(exchange)
            length = messages.body_length(head) or 0
            sender = Sender(self, self._server, exchange, fault, len(head), length)
            self._pass_on(incoming, head, length, sender)

    def _refuse(self, incoming: Incoming, head: bytes, exchange: Exchange, fault: Fault) -> None:
        """Answer without asking the server. Half of the time the connection stays open."""
        self.note(exchange, "")
        close = fault.fraction < 0.5
        self._client.sendall(messages.made_reply(fault.name, exchange.method, close=close))
        if close:
            self._end_softly()
            self._swallow(incoming)
        # A client that waits for 100 Continue and is refused sends no body.
        if not messages.field(head, "Expect"):
            self._read(incoming, messages.body_length(head) or 0)

    def _pass_replies(self) -> None:
        incoming = Incoming(self._server)
        exchange: Exchange | None = None
        while head := incoming.head():
            exchange = exchange or self._next_asked()
            fault = exchange.fault if exchange.fault and exchange.fault.side == "reply" else None
            interim = messages.parse_status(head) < 200
            if interim:
                played = fault if fault is not None and fault.interim and fault.name in _INTERIM else None
                self._pass_on(incoming, head, 0, Sender(self, self._client, exchange, played, len(head), 0))
                continue
            self._look_for_checksums(exchange, head)
            self._pass_reply(incoming, head, exchange, fault)
            exchange = None

    def _pass_reply(self, incoming: Incoming, head: bytes, exchange: Exchange, fault: Fault | None) -> None:
        length = messages.reply_length(head, exchange.method)
        if length is None:  # until the connection ends
            fault, length = None, 1 << 62
        body = b""
        if length < PIECE and exchange.operation != "GetObject":
            body = self._read(incoming, length)
            if exchange.operation == "CompleteMultipartUpload" and _SUM_IN_XML in body:
                self._wire.with_checksum.add(exchange.about)
        if fault is not None and fault.name.endswith(", done"):
            self._replace(exchange, fault, whole=length == len(body))
            return
        ends = False
        if fault is not None and fault.name == "line dropped":
            head, body, line = messages.without_line(head, body, fault.fraction)
            ends = line == "Content-Length" and exchange.method != b"HEAD"
            length = len(body) if line.startswith("<") else length
            if line:
                self.note(exchange, line)
            fault = None
        sender = Sender(self, self._client, exchange, fault, len(head), length)
        sender.send(head)
        sender.send(body)
        self._pass_on(incoming, b"", length - len(body), sender)
        if ends:
            self._end_softly()
            self.wait()

    def _replace(self, exchange: Exchange, fault: Fault, *, whole: bool) -> None:
        """Answer in place of the server after it did the work. Half of the time the connection stays open."""
        self.note(exchange, "")
        close = fault.fraction < 0.5
        self._client.sendall(messages.made_reply(fault.name, exchange.method, close=close))
        if close or not whole:
            self._end_softly()
            self.wait()

    def _pass_on(self, incoming: Incoming, head: bytes, length: int, sender: Sender) -> None:
        sender.send(head)
        while length > 0:
            some = incoming.some(min(length, PIECE))
            if not some:
                raise Over
            length -= len(some)
            sender.send(some)

    @staticmethod
    def _read(incoming: Incoming, length: int) -> bytes:
        body = b""
        while len(body) < length:
            some = incoming.some(length - len(body))
            if not some:
                return body
            body += some
        return body

    def _next_asked(self) -> Exchange:
        with contextlib.suppress(queue.Empty):
            return self._asked.get_nowait()
        return Exchange("other", "other", b"GET", None)  # the server sent a reply without a request

    def _look_for_checksums(self, exchange: Exchange, head: bytes) -> None:
        if _SUM in head.lower():
            self._wire.with_checksum.add(exchange.about)

    def _swallow(self, incoming: Incoming) -> None:
        """Read until the client closes, so that it can read the reply; then end."""
        while incoming.some():
            pass
        raise Over

    def note(self, exchange: Exchange, where: str) -> None:
        """Record that an exchange's fault struck, and where."""
        assert exchange.fault is not None
        self._wire.played.append((exchange.name, exchange.fault.name, where))

    def wait(self, seconds: float | None = None) -> None:
        """Wait for the seconds of a fault, or until the connection ends, which raises Over."""
        if self._over.wait(seconds):
            raise Over

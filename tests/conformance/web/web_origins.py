"""Shared parts of the fetching tests: settings, listeners that count, names, a span."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import pytest
import trustme

ALLOWED = ("127.0.0.0/8",)
FOR_EVER = 3600.0
QUICK: dict[str, Any] = {
    "allowed_networks": ALLOWED,
    "retry_base_delay": 0.001,
    "retry_max_delay": 0.001,
    # A busy machine may be silent for long. Tests of timeouts set their own.
    "connect_timeout": 60.0,
    "stall_timeout": 60.0,
    "page_timeout": 60.0,
}


class Listener:
    """Listens and never accepts: connections wait in its queue."""

    def __init__(self, address: str = "127.0.0.1") -> None:
        self._family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._socket = socket.socket(self._family)
        self._socket.bind((address, 0))
        self._socket.listen(100)
        self._socket.setblocking(False)
        self.port = self._socket.getsockname()[1]

    def connections(self) -> int:
        """Return the number of connections since the last call."""
        count = 0
        while True:
            try:
                self._socket.accept()[0].close()
            except BlockingIOError:
                return count
            count += 1

    def close(self) -> None:
        self._socket.close()


class RawServer:
    """Sends each client the bytes that no well-behaved server would send, and closes the connection.

    Args:
        say: returns the pieces to send, for the requested path.
        pause: seconds between two pieces.
    """

    def __init__(self, say: Callable[[str], Iterable[bytes]], pause: float = 0.0) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._say, self._pause = say, pause
        self._ending = threading.Event()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                accepted = self._listener.accept()[0]
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._answer, args=(accepted,), daemon=True))
            self._threads[-1].start()

    def _answer(self, accepted: socket.socket) -> None:
        with accepted, suppress(OSError):
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += accepted.recv(65536) or b"\r\n\r\n"
            for piece in self._say(asked.split(b" ")[1].decode()):
                accepted.sendall(piece)
                if self._ending.wait(self._pause):
                    return

    def close(self) -> None:
        self._ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


class KeptSpan:
    """A span that records its children."""

    def __init__(self, name: str = "item", **annotations: Any) -> None:
        self.name = name
        self.annotations = annotations
        self.children: list[KeptSpan] = []
        self.error: BaseException | None = None

    def child(self, name: str, **annotations: Any) -> "KeptSpan":
        self.children.append(KeptSpan(name, **annotations))
        return self.children[-1]

    def annotate(self, **annotations: Any) -> None:
        self.annotations.update(annotations)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.error = error


def served_by(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def named(monkeypatch: pytest.MonkeyPatch, **addresses: Iterable[str]) -> list[str]:
    """Resolve names under `.test` to these addresses, the next one at each lookup."""
    asked = []
    told = {name: iter(found) for name, found in addresses.items()}

    def getaddrinfo(host: str, port: int, *_: object, **__: object) -> list[Any]:
        asked.append(host)
        found = next(told[host.removesuffix(".test")])
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in found.split()]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked

"""Servers that others would have to trust: any certificate, what they were sent, and a proxy on the way."""

import re
import select
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress

from asyncstream.closing import Closing

# A guard: nothing here waits for so long.
_SECONDS = 30.0


class _Listener(Closing):
    """Serves each connection on a thread of its own, until closed."""

    def __init__(self) -> None:
        self.connections = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # wakes accept
        self._accepting.join()
        self._socket.close()
        for thread in self._threads:
            thread.join()

    def serve(self, connection: socket.socket) -> None:
        """Answer on one connection."""
        raise NotImplementedError

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                self.connections += 1
                connection.settimeout(_SECONDS)
                self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.serve(connection)


class TlsServer(_Listener):
    """Shows a certificate, keeps the head of each request, and answers it.

    Args:
        context: with the certificate.
        answer: the whole reply to a request's head.
    """

    def __init__(self, context: ssl.SSLContext, answer: Callable[[bytes], bytes]) -> None:
        self._context, self._answer = context, answer
        self.heads: list[bytes] = []
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(connection, server_side=True) as tls:
            head, _, body = read_head(tls).partition(b"\r\n\r\n")
            if not head:
                return
            self.heads.append(head)
            sized = re.search(rb"(?i)content-length: (\d+)", head)
            while sized and len(body) < int(sized[1]):  # what is closed with bytes unread resets the reply
                body += tls.recv(65_536)
            tls.sendall(self._answer(head))


class ConnectProxy(_Listener):
    """An HTTP proxy that connects to this machine, whatever host it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        method, target = read_head(connection).decode().split()[:2]
        self.asked.append(f"{method} {target}")
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2])), _SECONDS) as origin:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(connection, origin)


def read_head(connection: socket.socket) -> bytes:
    """A request's first line and headers, and what came with them."""
    head = b""
    while b"\r\n\r\n" not in head and (received := connection.recv(65_536)):
        head += received
    return head


def _relay(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], _SECONDS)
        for each in ready:
            received = each.recv(65_536)
            if not received:
                return
            (other if each is one else one).sendall(received)
        if not ready:
            return

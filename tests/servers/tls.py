"""TLS servers with any certificate, which record what clients send them, and an HTTP proxy."""

import select
import socket
import ssl
from collections.abc import Callable

from .listener import SECONDS, Listener, RawReply, read_head, read_request, say


class TlsServer(Listener):
    """Shows a certificate, keeps the head of each request, and answers it.

    Args:
        context: has the certificate.
        answer: returns the whole reply to a request's head.
    """

    def __init__(self, context: ssl.SSLContext, answer: Callable[[str], RawReply]) -> None:
        self._context, self._answer = context, answer
        self.heads: list[str] = []
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        with self._context.wrap_socket(connection, server_side=True) as tls:
            head = read_request(tls)
            if head:
                self.heads.append(head)
                say(tls, self._answer(head))


class ConnectProxy(Listener):
    """An HTTP proxy that connects to this machine, regardless of the host in the request.

    Args:
        answer: returns the reply to CONNECT; the proxy then does not connect.
    """

    def __init__(self, answer: Callable[[str], RawReply] | None = None) -> None:
        self._answer = answer
        self.asked: list[str] = []
        super().__init__()

    def serve(self, connection: socket.socket) -> None:
        method, target = read_head(connection).decode().split()[:2]
        self.asked.append(f"{method} {target}")
        if self._answer is not None:
            say(connection, self._answer(target))
            return
        with socket.create_connection(("127.0.0.1", int(target.rpartition(":")[2])), SECONDS) as origin:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            _relay(connection, origin)


def _relay(one: socket.socket, other: socket.socket) -> None:
    while True:
        ready, _, _ = select.select([one, other], [], [], SECONDS)
        for each in ready:
            received = each.recv(65_536)
            if not received:
                return
            (other if each is one else one).sendall(received)
        if not ready:
            return

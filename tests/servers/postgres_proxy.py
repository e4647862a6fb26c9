"""A proxy between the tests' Postgres and its clients that cuts connections or adds TLS."""

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from functools import partial
from typing import Self

from .base import GUARD_SECONDS

# The first message of a client that asks for TLS: its length, and a number that is not a protocol version.
SSL_REQUEST = struct.pack("!ii", 8, 80877103)


class Proxy:
    """Forwards connections to a port of this machine; a context manager.

    Args:
        target: the port.
        tls: holds the certificate that clients see. If None, the proxy offers no TLS, like the server itself.
    """

    def __init__(self, target: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = target
        self._tls = tls
        self._marker: bytes | None = None
        self._threads: list[threading.Thread] = []
        self.cuts = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)

    def cut_reply_to(self, marker: bytes) -> None:
        """Drop the reply to the next message with these bytes, and close: Postgres has executed it."""
        self._marker = marker

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(GUARD_SECONDS)
            assert not thread.is_alive()

    def _start(self, work: Callable[[], None]) -> None:
        self._threads.append(threading.Thread(target=work))
        self._threads[-1].start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                client, _ = self._listener.accept()
                self._start(partial(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self._tls is None:
                self._pass_on(client)
                return
            assert client.recv(len(SSL_REQUEST), socket.MSG_WAITALL) == SSL_REQUEST
            client.sendall(b"S")
            with self._tls.wrap_socket(client, server_side=True) as secured:
                self._pass_on(secured)

    def _pass_on(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as server:
            cutting = False
            while True:
                for source in self._readable(client, server):
                    data = source.recv(65536)
                    if source is client and self._marker and self._marker in data:
                        cutting, self._marker = True, None
                    elif source is server and cutting:
                        self.cuts += 1
                        return
                    if not data:
                        return
                    (server if source is client else client).sendall(data)

    @staticmethod
    def _readable(client: socket.socket, server: socket.socket) -> list[socket.socket]:
        if isinstance(client, ssl.SSLSocket) and client.pending():
            return [client]
        return select.select([client, server], [], [])[0]

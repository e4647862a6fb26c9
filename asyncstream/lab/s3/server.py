"""The server: its listening socket and the threads of its connections."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
from typing import TYPE_CHECKING

from asyncstream.lab.s3.connection import Connection
from asyncstream.lab.s3.state import State

if TYPE_CHECKING:
    from pathlib import Path

    from asyncstream.lab.s3.model import NetworkModel

# With larger buffers, megabytes in the kernel would hide the model's pauses.
SOCKET_BUFFER = 256 * 1024

logger = logging.getLogger(__name__)


class Server:
    """The server, with one thread per connection."""

    def __init__(
        self, directory: Path, model: NetworkModel, *, tls: ssl.SSLContext | None = None, log_size: int = 0
    ) -> None:
        self.state = State(directory, model, log_size=log_size)
        self._tls = tls

    def listen(self, port: int) -> int:
        """Start to accept connections on a new thread, and return the port."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit these.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(1024)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        bound_port: int = listener.getsockname()[1]
        return bound_port

    def _accept(self, listener: socket.socket) -> None:
        while True:
            accepted, _ = listener.accept()
            threading.Thread(target=self._serve, args=(accepted,), daemon=True).start()

    def _serve(self, accepted: socket.socket) -> None:
        try:
            connected = self._tls.wrap_socket(accepted, server_side=True) if self._tls else accepted
        except OSError as error:
            logger.debug("no TLS connection: %r", error)
            accepted.close()
            return
        try:
            Connection(self.state, connected).serve()
        finally:
            self.state.connections.close(connected)


def self_signed(directory: Path) -> tuple[ssl.SSLContext, Path]:
    """Make a certificate for this machine. Return its TLS context and the CA file that clients must trust."""
    import trustme  # noqa: PLC0415 -- slow to import, and most servers use plain HTTP

    authority = trustme.CA()
    bundle = directory / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context, bundle

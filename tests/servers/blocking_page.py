"""A page and a silence in place of S3's reply, as a proxy, a firewall or a network's sign-in sends them."""

from typing import Any

from .listener import Listener
from .odd_s3 import reply

PAGE = b"<!DOCTYPE html><html><title>Blocked by the office</title><body>Ask IT<br>&copy;</body></html>"


def page(status: str, head: str = "") -> bytes:
    """Return a reply with the page, or with its headers if the request is a HEAD."""
    body = b"" if head.startswith("head") else PAGE
    return reply(status, body, len(PAGE), Content_Type="text/html")


class Silent(Listener):
    """A server that accepts connections, sends a piece, and then nothing until the client hangs up."""

    def __init__(self, first: bytes = b"") -> None:
        self._first = first
        super().__init__()
        self.url = f"127.0.0.1:{self.port}"

    def serve(self, connection: Any) -> None:
        connection.sendall(self._first)
        while connection.recv(65_536):
            continue

"""HTTP messages for the proxy, without an HTTP library: heads, their fields, and made-up replies."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket

PIECE = 65_536
_LONGEST_HEAD = 65_536
_BODILESS = frozenset({204, 304})
_REQUEST = re.compile(rb"([A-Z]+) /([^/? ]*)/?([^? ]*)(?:\?(\S*))? HTTP/1\.[01]\r\n")
_OPERATIONS = {
    ("GET", ""): "GetObject",
    ("HEAD", ""): "HeadObject",
    ("PUT", ""): "PutObject",
    ("POST", "uploads"): "CreateMultipartUpload",
    ("GET", "uploads"): "ListMultipartUploads",
    ("PUT", "uploadId"): "UploadPart",
    ("GET", "uploadId"): "ListParts",
    ("POST", "uploadId"): "CompleteMultipartUpload",
    ("DELETE", "uploadId"): "AbortMultipartUpload",
}


class Incoming:
    """The bytes that arrive over a socket: heads, and the bytes after them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held = b""

    def head(self) -> bytes:
        """Return the next head with its blank line; empty if the connection ended before it."""
        while b"\r\n\r\n" not in self._held:
            received = self._connection.recv(PIECE)
            if not received or len(self._held) > _LONGEST_HEAD:
                return b""
            self._held += received
        head, blank, self._held = self._held.partition(b"\r\n\r\n")
        return head + blank

    def some(self, most: int = PIECE) -> bytes:
        """Return the next bytes, at most `most`; empty if the connection has ended."""
        if not self._held:
            return self._connection.recv(min(most, PIECE))
        some, self._held = self._held[:most], self._held[most:]
        return some


def field(head: bytes, name: str) -> str:
    """Return the value of a header; empty if there is none."""
    found = re.search(rb"\r\n" + name.encode() + rb":[ \t]*([^\r]*)\r\n", head, re.IGNORECASE)
    return found[1].decode("latin-1") if found else ""


def request_name(head: bytes) -> tuple[str, str]:
    """Return the operation that a request's head asks for, and the name that identifies the request."""
    found = _REQUEST.match(head)
    if found is None:
        return "other", "other"
    method, bucket, _, query = (
        part.decode("latin-1") for part in (found[1], found[2], found[3], found[4] or b"")
    )
    names = {pair.partition("=")[0] for pair in query.split("&")}
    about = next((name for name in ("uploadId", "uploads") if name in names), "")
    operation = _OPERATIONS.get((method, about), method)
    part = re.search(r"partNumber=(\d+)", query)
    return operation, f"{operation} {bucket} {part[1] if part else ''} {field(head, 'Range')}".strip()


def body_length(head: bytes) -> int | None:
    """Return the number of bytes after a head; None if they last until the connection ends."""
    length = field(head, "Content-Length")
    if field(head, "Transfer-Encoding"):
        return None
    return int(length) if length.isdigit() else 0


def parse_status(head: bytes) -> int:
    """Return the status of a reply."""
    return int(head[9:12])


def reply_length(head: bytes, method: bytes) -> int | None:
    """Return the number of bytes after a reply's head; None if they last until the connection ends."""
    if method == b"HEAD" or parse_status(head) in _BODILESS:
        return 0
    if not field(head, "Content-Length"):
        return None
    return body_length(head)


def made_reply(name: str, method: bytes, *, close: bool) -> bytes:
    """Return the reply that a fault sends in place of the server's."""
    status, kind, body = {
        "503": (b"503 Slow Down", b"application/xml", _error(b"SlowDown")),
        "500": (b"500 Internal Server Error", b"application/xml", _error(b"InternalError")),
        "HTML 200": (b"200 OK", b"text/html", b"<html><body>Please log in to this network.</body></html>"),
        "empty 200": (b"200 OK", b"application/xml", b""),
    }[name.partition(",")[0]]
    ending = b"Connection: close\r\n" if close else b""
    head = b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b\r\n" % (
        status,
        kind,
        len(body),
        ending,
    )
    return head if method == b"HEAD" else head + body


def _error(code: bytes) -> bytes:
    declared = b'<?xml version="1.0" encoding="UTF-8"?>\n'
    return b"%b<Error><Code>%b</Code><Message>Please try again.</Message></Error>" % (declared, code)


def without_line(head: bytes, body: bytes, fraction: float) -> tuple[bytes, bytes, str]:
    """Return a reply without one line that a client needs, and that line's name, "" if it has none."""
    found = [name for name in ("ETag", "Content-Length", "Content-Range") if field(head, name)]
    found += [f"<{tag}>" for tag in ("UploadId", "ETag") if f"<{tag}>".encode() in body]
    if not found:
        return head, body, ""
    name = found[int(fraction * len(found))]
    if not name.startswith("<"):
        return re.sub(rb"\r\n" + name.encode() + rb":[^\r]*", b"", head, flags=re.IGNORECASE), body, name
    tag = name.strip("<>").encode()
    shorter = re.sub(rb"<%b>.*?</%b>" % (tag, tag), b"", body, flags=re.DOTALL)
    return re.sub(rb"(?i)(\r\nContent-Length:[ \t]*)\d+", rb"\g<1>%d" % len(shorter), head), shorter, name


def within_digits(head: bytes, fraction: float) -> int | None:
    """Return the offset of a digit of Content-Length after the first one; None if there is none."""
    found = re.search(rb"\r\nContent-Length:[ \t]*(\d{2,})", head, re.IGNORECASE)
    return found and found.start(1) + 1 + int(fraction * (len(found[1]) - 1))

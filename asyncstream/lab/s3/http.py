"""HTTP/1.1 without sockets: request heads, reply heads, chunked bodies."""

from __future__ import annotations

from dataclasses import dataclass
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_CHUNK_LINE = 8192


class MalformedRequestError(Exception):
    """The bytes are not valid HTTP for this server, and the connection must be closed."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request's head. The path stays as sent, because only S3 knows which slashes belong to a key."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]  # names in lower case
    keep_alive: bool

    @property
    def body_length(self) -> int | None:
        """Bytes of the body in HTTP's framing; None if it is chunked."""
        if encoding := self.headers.get("transfer-encoding"):
            if encoding.lower() != "chunked":
                raise MalformedRequestError(f"Transfer-Encoding {encoding!r} is not supported")
            return None
        length = self.headers.get("content-length", "0")
        if not (length.isascii() and length.isdigit()):
            raise MalformedRequestError(f"Content-Length {length!r} is not a number")
        return int(length)


def parse_request(head: bytes) -> Request:
    """Parse a request's head, from the request line to the empty line, which is optional."""
    request_line, *header_lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    words = request_line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.1", "HTTP/1.0") or not words[1].startswith("/"):
        raise MalformedRequestError(f"not a request line: {request_line[:100]!r}")
    method, target, version = words
    headers: dict[str, str] = {}
    for line in header_lines:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise MalformedRequestError(f"not a header: {line[:100]!r}")
        name, value = name.lower(), value.strip(" \t")
        headers[name] = f"{headers[name]},{value}" if name in headers else value
    path, _, query = target.partition("?")
    connection = headers.get("connection", "close" if version == "HTTP/1.0" else "").lower()
    return Request(
        method,
        path,
        dict(parse_qsl(query, keep_blank_values=True)),
        headers,
        keep_alive=connection != "close",
    )


def reply_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Return a reply's head, including the final empty line."""
    lines = [f"HTTP/1.1 {status} {responses.get(status, '')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "\r\n"]).encode("latin-1")


class ChunkedDecoder:
    """Decodes a chunked body: HTTP's chunks, and `aws-chunked`, which has the same grammar.

    The payload is returned as views of the input, without copies.
    """

    def __init__(self) -> None:
        self.finished = False
        self.trailers: dict[str, str] = {}
        self._payload_left = 0
        self._line = bytearray()  # a line may be split over two feeds
        self._read_line = self._read_size

    def feed(self, data: memoryview) -> Iterator[memoryview]:
        """Yield the payload in `data`. Exhaust the iterator before the next feed."""
        position = 0
        while position < len(data):
            if self.finished:
                raise MalformedRequestError("bytes follow the last chunk")
            if self._payload_left:
                piece = data[position : position + self._payload_left]
                self._payload_left -= len(piece)
                yield piece
                position += len(piece)
            else:
                position += self._collect_line(data[position : position + LONGEST_CHUNK_LINE])

    def _collect_line(self, data: memoryview) -> int:
        """Add to the current line, process it when it is complete, and return the number of bytes used."""
        text = bytes(data)
        end = text.find(b"\n") + 1
        self._line += text[:end] if end else text
        if len(self._line) > LONGEST_CHUNK_LINE:
            raise MalformedRequestError("a chunk's header or trailer is too long")
        if not end:
            return len(text)
        line = self._line.decode("latin-1").removesuffix("\n").removesuffix("\r")
        self._line.clear()
        self._read_line(line)
        return end

    def _read_size(self, line: str) -> None:
        digits = line.partition(";")[0].strip()  # aws-chunked signs its chunks in an extension
        try:
            self._payload_left = int(digits, 16)
        except ValueError:
            raise MalformedRequestError(f"not a chunk's size: {line[:50]!r}") from None
        if self._payload_left < 0:
            raise MalformedRequestError(f"not a chunk's size: {line[:50]!r}")
        self._read_line = self._read_chunk_end if self._payload_left else self._read_trailer

    def _read_chunk_end(self, line: str) -> None:
        if line:
            raise MalformedRequestError("a chunk is longer than its size says")
        self._read_line = self._read_size

    def _read_trailer(self, line: str) -> None:
        if not line:
            self.finished = True
            return
        name, _, value = line.partition(":")
        self.trailers[name.strip().lower()] = value.strip()

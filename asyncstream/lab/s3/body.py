"""A request's body: decodes, paces, verifies, and stores or drops it."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncstream.lab.s3.checksums import ALGORITHMS, crc64nvme, declared_digests, encoded
from asyncstream.lab.s3.content import FileContent
from asyncstream.lab.s3.http import ChunkedDecoder, MalformedRequestError
from asyncstream.lab.s3.lab_replies import S3Error

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from asyncstream.lab.s3.http import Request
    from asyncstream.lab.s3.model import Pace

LONGEST_DOCUMENT = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Received:
    """The result of reading a body."""

    size: int
    crc: int
    checksums: dict[str, str]  # by header: the declared ones, verified, and the requested ones
    content: FileContent | None


class Body:
    """One request's body. It is read at most once, after the request was accepted."""

    def __init__(
        self,
        request: Request,
        first: memoryview,
        receive: Callable[[int], memoryview],
        send_continue: Callable[[], None],
        pace: Pace,
    ) -> None:
        self._headers = request.headers
        length = request.body_length
        self._framing = ChunkedDecoder() if length is None else None
        self._length = length or 0
        if len(first) > self._length and not self._framing:
            raise MalformedRequestError("bytes follow the request")
        self._first = first  # arrived together with the head
        self._receive = receive
        self._send_continue = send_continue
        self._pace = pace
        self.received = 0
        self.finished = length == 0
        # A fault that changes the bytes before `save` computes checksums, as if it happened on the network.
        self.interference: Callable[[Iterator[memoryview]], Iterator[memoryview]] | None = None

    @property
    def payload_length(self) -> int:
        """The declared length of the payload in bytes, or 0."""
        decoded = self._headers.get("x-amz-decoded-content-length", "")
        return int(decoded) if decoded.isascii() and decoded.isdigit() else self._length

    def read(self) -> bytes:
        """Read and return a short body: S3's XML or the control API's JSON."""
        document = bytearray()
        for piece in self._pieces():
            document += piece
            if len(document) > LONGEST_DOCUMENT:
                raise S3Error("EntityTooLarge", "The document is too long")
        return bytes(document)

    def save(self, path: Path | None, *, verify: bool = True, compute: Collection[str] = ()) -> Received:
        """Verify the body's checksums, and store it in a new file, or only its checksum if `path` is None.

        Args:
            path: the file, which does not exist yet.
            verify: False: behave as a server without checksums.
            compute: headers of checksums to compute in addition to the declared ones.
        """
        declared = declared_digests(self._headers) if verify else {}
        digests = {name: ALGORITHMS[name]() for name in compute} | declared
        content = FileContent(path) if path else None
        crc = size = 0
        with content.path.open("xb") if content else nullcontext() as file:
            pieces = self._pieces()
            for piece in self.interference(pieces) if self.interference else pieces:
                crc = crc64nvme(piece, crc)
                size += len(piece)
                for digest in digests.values():
                    digest.update(piece)
                if file:
                    file.write(piece)
        if self._headers.get("x-amz-decoded-content-length", str(size)) != str(size):
            raise S3Error("IncompleteBody", f"The body has {size} bytes, not as many as its header declares")
        checksums = {name: encoded(digest) for name, digest in digests.items()}
        self._verify({name: checksums[name] for name in declared})
        return Received(size, crc, checksums, content)

    def _verify(self, computed: dict[str, str]) -> None:
        for name, checksum in computed.items():
            declared = self._headers.get(name)
            if declared is None:
                raise S3Error("MalformedTrailerError", f"The trailer {name} is missing")
            if declared != checksum:
                message = f"The {name} you specified did not match the calculated checksum"
                raise S3Error("BadDigest", message, Declared=declared, Calculated=checksum)

    def _pieces(self) -> Iterator[memoryview]:
        """Yield the payload, and add trailers to the headers."""
        pieces = self._wire()
        if self._framing:
            pieces = self._decoded(pieces, self._framing)
        if "aws-chunked" in self._headers.get("content-encoding", ""):
            # In addition to HTTP's chunks, in which boto3 wraps these over https.
            pieces = self._decoded(pieces, ChunkedDecoder())
        yield from pieces
        self.finished = True

    def _decoded(self, pieces: Iterator[memoryview], decoder: ChunkedDecoder) -> Iterator[memoryview]:
        while not decoder.finished:
            if (piece := next(pieces, None)) is None:
                raise S3Error("IncompleteBody", "The body ended before its last chunk")
            yield from decoder.feed(piece)
        if next(pieces, None) is not None:  # this lets the layer below reach its end
            raise S3Error("IncompleteBody", "Bytes follow the last chunk")
        self._headers = {**self._headers, **decoder.trailers}

    def _wire(self) -> Iterator[memoryview]:
        """Yield the bytes as they arrive, at the network model's pace."""
        if "expect" in self._headers and not self._first:
            self._send_continue()
        pace = self._pace
        unpaced = 0
        piece = self._first
        while not self._framing.finished if self._framing else self.received < self._length:
            if not piece:
                left = pace.quantum if self._framing else self._length - self.received
                piece = self._receive(min(left, pace.quantum))
            self.received += len(piece)
            unpaced += len(piece)
            if unpaced >= pace.quantum:
                pace.wait(unpaced)
                unpaced = 0
            yield piece
            piece = piece[:0]
        pace.wait(unpaced)

"""Bodies followed by their checksum, which S3 then verifies although it is known only after the last byte.

This is S3's encoding aws-chunked with an unsigned payload (API reference, "Signature calculations for the
Authorization header: Including trailing headers"). botocore's own `AwsChunkedWrapper` copies each byte more
than once, and does not know the length of the body that it sends.
"""

from asyncstream.checksum import CRC64NVME, Digests
from asyncstream.ports import Body
from asyncstream.units import MiB

# What is signed in place of the payload's hash.
UNSIGNED_WITH_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
TRAILER = "X-Amz-Trailer"
_CHECKSUM = f"x-amz-checksum-{CRC64NVME.lower()}"
_CHECKSUM_LENGTH = 12  # the base64 of 8 bytes
# Bytes of a chunk, as botocore cuts them. S3 wants at least 8 KiB of all but the last; the pieces that arrive
# from a source may be shorter.
CHUNK = MiB


class TrailerBody:
    """The chunks of a body, followed by its CRC64NVME.

    Args:
        body: the body; its own checksum is used if it has one.

    Attributes:
        length: the number of bytes sent, with the framing.
        headers: describe the framing.
    """

    def __init__(self, body: Body) -> None:
        self._body = body
        has_checksum = CRC64NVME in body.digests.checksums()
        self._digests = body.digests if has_checksum else Digests([CRC64NVME])
        self._running = None if has_checksum else self._digests
        self._unsent = body.length
        self._in_chunk = 0
        self._piece = memoryview(b"")
        self._framing = self._next_framing(b"")
        self.length = _encoded_length(body.length)
        self.headers = {
            TRAILER: _CHECKSUM,
            "X-Amz-Decoded-Content-Length": str(body.length),
        }

    async def next_chunk(self) -> bytes | memoryview:
        """Return the next bytes; empty at the end. A memoryview is one of the body's own, uncopied."""
        if self._framing:
            framing, self._framing = self._framing, b""
            return framing
        if not self._in_chunk:
            return b""
        if not self._piece:
            self._piece = memoryview(await self._body.next_chunk())
            if self._running is not None:
                self._running.update(self._piece)
        sent, self._piece = self._piece[: self._in_chunk], self._piece[self._in_chunk :]
        self._in_chunk -= len(sent)
        self._unsent -= len(sent)
        if not self._in_chunk:
            self._framing = self._next_framing(b"\r\n")
        return sent

    def _next_framing(self, before: bytes) -> bytes:
        """Start the next chunk and return the line of its size; after the last chunk, the trailer."""
        self._in_chunk = min(CHUNK, self._unsent)
        size = b"%b%x\r\n" % (before, self._in_chunk)
        if self._in_chunk:
            return size
        return size + f"{_CHECKSUM}:{self._digests.checksums()[CRC64NVME].value}\r\n\r\n".encode()


def _encoded_length(length: int) -> int:
    whole, last = divmod(length, CHUNK)
    trailer = len("0\r\n") + len(_CHECKSUM) + len(":") + _CHECKSUM_LENGTH + len("\r\n\r\n")
    return whole * _chunk_length(CHUNK) + (_chunk_length(last) if last else 0) + trailer


def _chunk_length(length: int) -> int:
    return len(f"{length:x}\r\n") + length + len("\r\n")

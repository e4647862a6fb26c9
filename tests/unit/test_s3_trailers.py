"""Bodies with a trailer: the framing, its length, and that it copies nothing."""

import pytest

from asyncstream.checksum import Digests
from asyncstream.engines.driver import drive
from asyncstream.lab.s3.http import ChunkedDecoder
from asyncstream.s3.trailers import CHUNK, TrailerBody
from asyncstream.units import KiB
from tests.servers import content

from .memory_store import checksum_of


class Pieces:
    """A body in pieces of any length: views of its content."""

    error: Exception | None = None

    def __init__(self, whole: bytes, piece: int) -> None:
        self.length = len(whole)
        self.digests = Digests([])
        self._views = iter([memoryview(whole)[at : at + piece] for at in range(0, len(whole), piece)])

    async def next_chunk(self) -> bytes | memoryview:
        return next(self._views, b"")

    def check(self) -> None:
        """Do nothing: it is never stopped."""

    async def close(self) -> None:
        """Do nothing: there is no source."""


@pytest.mark.parametrize("piece", [5 * KiB, 256 * KiB, 3 * CHUNK])
@pytest.mark.parametrize("length", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 5])
def test_the_bytes_are_framed_as_announced_and_not_copied(length: int, piece: int) -> None:
    """S3 wants chunks of 8 KiB or more, although pieces may be shorter. Only the framing is new bytes."""
    whole = content(length)
    body = TrailerBody(Pieces(whole, piece))
    sent = []
    while chunk := drive(body.next_chunk()):
        sent.append(chunk)

    encoded = b"".join(sent)
    assert len(encoded) == body.length
    decoder = ChunkedDecoder()
    assert b"".join(decoder.feed(memoryview(encoded))) == whole
    assert decoder.finished
    assert decoder.trailers == {"x-amz-checksum-crc64nvme": checksum_of(whole).value}
    assert body.headers["X-Amz-Decoded-Content-Length"] == str(length)
    assert all(each.obj is whole for each in sent if isinstance(each, memoryview))
    assert sum(len(each) for each in sent if isinstance(each, bytes)) == body.length - length
    sizes = [int(each, 16) for each in sent if isinstance(each, bytes) and b":" not in each]
    assert sizes == [CHUNK] * (length // CHUNK) + [length % CHUNK] * (length % CHUNK > 0)

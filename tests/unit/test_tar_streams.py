"""Archives read in order: over connections that break, and decoded, with any reads and skips."""

import bz2
import gzip
import lzma
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.archives.tar_headers import tar_header
from asyncstream.archives.tar_streams import ArchiveReader, DecodedStream, find_decoder
from asyncstream.deadline import NO_DEADLINE
from asyncstream.engines.sequential import SequentialEngine
from asyncstream.errors import ConnectionFailed, NothingYet, SourceChanged, TruncatedBody
from asyncstream.objects import ByteRange
from asyncstream.ports import ByteStream
from asyncstream.retry import Retrying, RetryPolicy
from asyncstream.transforms import Running
from asyncstream.transforms.codecs import ZSTD
from asyncstream.transforms.gzip import library
from tests.servers import content

ENGINE = SequentialEngine()
# Half of it can be compressed.
PLAIN = content(400_000).hex().encode()


class Stream:
    """The bytes of one range, in chunks; it breaks after some of them."""

    def __init__(self, data: bytes, chunk: int, breaks_after: int | None, error: Exception) -> None:
        self._data = data
        self._chunk = chunk
        self._left = len(data) if breaks_after is None else breaks_after
        self._error = error
        self._silent = True
        self.closed = False

    async def read(self) -> bytes:
        assert not self.closed
        if self._silent:
            self._silent = False
            raise NothingYet("wait")
        if self._left <= 0 and self._data:
            raise self._error
        piece = self._data[: min(self._chunk, self._left)]
        self._data, self._left = self._data[len(piece) :], self._left - len(piece)
        return piece

    async def close(self) -> None:
        self.closed = True


async def no_sleep(seconds: float) -> None:
    """Return at once."""


def reader(
    data: bytes, breaks: list[int], chunk: int = 1000, error: Exception | None = None, attempts: int = 4
) -> tuple[ArchiveReader, list[Stream]]:
    """Return a reader of an archive whose connections break after so many bytes each, and its streams."""
    opened: list[Stream] = []
    left = list(breaks)

    async def read_range(range_: ByteRange) -> ByteStream:
        broken = left.pop(0) if left else None
        stream = Stream(data[range_.start : range_.stop], chunk, broken, error or ConnectionFailed("broke"))
        opened.append(stream)
        return stream

    retrying = Retrying(RetryPolicy(max_attempts=attempts), NO_DEADLINE, no_sleep)
    return ArchiveReader(read_range, ByteRange(0, len(data)), retrying), opened


async def read_all(source: ArchiveReader) -> bytes:
    found = b""
    while chunk := await source.read():
        found += chunk
    await source.close()
    return found


@given(st.lists(st.integers(1, 3000), max_size=20), st.integers(1, 4000))
def test_broken_connections_resume_at_the_byte_reached(breaks: list[int], chunk: int) -> None:
    """Each that has brought bytes resets the count of tries."""
    data = content(20_000)
    source, opened = reader(data, breaks, chunk)
    assert ENGINE.run(lambda: read_all(source)) == data
    assert all(stream.closed for stream in opened)


def test_connections_without_progress_are_given_up() -> None:
    source, opened = reader(content(1000), [0] * 10, attempts=3)
    with pytest.raises(ConnectionFailed):
        ENGINE.run(lambda: read_all(source))
    assert len(opened) == 3
    assert all(stream.closed for stream in opened)


def test_a_changed_archive_is_not_read_on() -> None:
    source, opened = reader(content(1000), [500], 100, SourceChanged("changed"))
    with pytest.raises(SourceChanged):
        ENGINE.run(lambda: read_all(source))
    assert len(opened) == 1


def test_a_body_that_ends_early_is_a_broken_one() -> None:
    async def read_range(_: ByteRange) -> ByteStream:
        return Stream(b"x", 10, None, ConnectionFailed("broke"))

    retrying = Retrying(RetryPolicy(max_attempts=2), NO_DEADLINE, no_sleep)
    source = ArchiveReader(read_range, ByteRange(0, 10_000), retrying)
    # Every connection brings a byte, so none of them is one try too many.
    assert len(ENGINE.run(source.read)) == 1

    async def empty(_: ByteRange) -> ByteStream:
        return Stream(b"", 10, None, ConnectionFailed("broke"))

    with pytest.raises(TruncatedBody):
        ENGINE.run(ArchiveReader(empty, ByteRange(0, 10), retrying).read)


def zstd(plain: bytes) -> bytes:
    packed: bytes = library(ZSTD).compress(plain)
    return packed


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd,
}
PACKED = {name: encode(PLAIN) for name, encode in ENCODERS.items()}


def decoded(packed: bytes, chunk: int = 1000) -> DecodedStream:
    decoder = find_decoder(packed)
    assert decoder is not None
    return DecodedStream(ENGINE, reader(packed, [], chunk)[0], Running(decoder))


@given(
    st.sampled_from(sorted(PACKED)),
    st.lists(st.tuples(st.integers(0, 300_000), st.integers(0, 100_000)), max_size=8),
    st.sampled_from([1000, 50_000, 1 << 20]),
)
def test_any_reads_and_skips_return_the_bytes_of_their_places(
    coding: str, steps: list[tuple[int, int]], chunk: int
) -> None:
    stream = decoded(PACKED[coding], chunk)

    async def run() -> None:
        position = 0
        for skipped, length in steps:
            position = min(position + skipped, len(PLAIN))
            await stream.skip_to(position)
            assert stream.position == position
            taken = min(length, len(PLAIN) - position)
            assert await stream.take(taken) == PLAIN[position : position + taken]
            position += taken
        piece = await stream.read(10)
        assert piece == PLAIN[position : position + len(piece)]
        assert piece or position == len(PLAIN)

    ENGINE.run(run)


@pytest.mark.parametrize("coding", PACKED)
def test_a_walk_passes_all_bytes_in_order(coding: str) -> None:
    found = bytearray()

    def on_piece(at: int, piece: bytes | memoryview) -> None:
        assert at == len(found)
        found.extend(piece)

    stream = decoded(PACKED[coding])
    assert ENGINE.run(lambda: stream.walk(on_piece)) == len(PLAIN)
    assert found == PLAIN


def test_more_than_there_is_cannot_be_taken() -> None:
    stream = decoded(PACKED["gz"])
    with pytest.raises(TruncatedBody):
        ENGINE.run(lambda: stream.take(len(PLAIN) + 1))


def test_the_format_is_told_by_the_first_bytes() -> None:
    assert all(find_decoder(packed) is not None for packed in PACKED.values())
    assert find_decoder(b"\x50\x2a\x4d\x18" + bytes(4) + PACKED["zst"]) is find_decoder(PACKED["zst"])
    assert find_decoder(b"PK\x03\x04") is None
    assert find_decoder(b"") is None
    # The name of a file may start as compressed data do.
    assert find_decoder(tar_header("BZh91AY&SY", 0, 0)) is None

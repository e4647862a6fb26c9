"""If its source breaks, a body resumes at the byte reached over another connection, within limits."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.checksum import CRC64NVME, Digests
from asyncstream.deadline import Deadline
from asyncstream.engines.driver import drive
from asyncstream.errors import AsyncstreamError, Cancelled, ConnectionFailed, SourceChanged, TruncatedBody
from asyncstream.pipeline.body import LONGEST_PAUSE, PROGRESS, ChunkBody, StopFlag
from asyncstream.ports import ByteStream
from asyncstream.units import MiB

from .memory_store import checksum_of

RESET = ConnectionFailed("reset")
CONTENT = bytes(range(200))


class Source:
    """Bytes behind connections that each break after some bytes; the last one does not.

    Args:
        content: all bytes.
        breaks: bytes that each connection carries before it breaks.
        chunk: bytes per read.
        takes: seconds that each failing read and each opening takes.
        most: failures in a row after which `resume` opens no other connection.
    """

    def __init__(
        self,
        content: bytes,
        breaks: list[int],
        *,
        chunk: int = 7,
        takes: float = 0.0,
        most: int = 10**6,
        error: Exception = RESET,
    ) -> None:
        self.content = content
        self.breaks = iter(breaks)
        self.chunk = chunk
        self.takes = takes
        self.most = most
        self.error = error
        self.now = 1000.0
        self.open = 0
        self.asked: list[tuple[int, int]] = []
        self.moved: list[int] = []
        self.clock: Callable[[], float] = lambda: self.now
        self.stop = StopFlag(Deadline(None, lambda: self.clock()))  # noqa: PLW0108 - tests change the clock

    def stream(self, start: int) -> "Connection":
        self.open += 1
        return Connection(self, start, next(self.breaks, None))

    async def resume(
        self, broke: AsyncstreamError, moved: int, failures: int, pause_ends: float
    ) -> ByteStream | None:
        assert broke in (self.error, RESET) or isinstance(broke, TruncatedBody)
        assert self.open == 0, "the broken connection is still open"
        self.asked.append((moved, failures))
        self.now += self.takes
        return None if failures >= self.most else self.stream(moved)

    def body(self, *, clock: Callable[[], float] | None = None) -> ChunkBody:
        self.clock = clock or self.clock
        return ChunkBody(
            self.stream(0),
            len(self.content),
            stop=self.stop,
            digests=Digests([CRC64NVME]),
            expected=checksum_of(self.content),
            on_bytes=self.moved.append,
            resume=self.resume,
        )


class Connection:
    def __init__(self, source: Source, start: int, left: int | None) -> None:
        self._source = source
        self._start = start
        self._left = left
        self._closed = False

    async def read(self) -> bytes:
        assert not self._closed, "read after it was closed"
        source = self._source
        if self._left == 0:
            source.now += source.takes
            raise source.error
        size = source.chunk if self._left is None else min(source.chunk, self._left)
        chunk = source.content[self._start : self._start + size]
        self._start += len(chunk)
        if self._left is not None:
            self._left -= len(chunk)
        return chunk

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._source.open -= 1


def pulled(body: ChunkBody) -> bytes:
    content = bytearray()
    while chunk := drive(body.next_chunk()):
        content += chunk
    return bytes(content)


@given(
    content=st.binary(min_size=1, max_size=200),
    breaks=st.lists(st.integers(0, 60), max_size=8),
    chunk=st.integers(1, 30),
)
def test_a_broken_body_resumes_at_the_byte_reached(content: bytes, breaks: list[int], chunk: int) -> None:
    """Content, count and checksum have every byte once."""
    source = Source(content, breaks, chunk=chunk)
    body = source.body()

    assert pulled(body) == content  # it also has the expected checksum
    assert sum(source.moved) == body.moved == len(content)
    reached = [sum(breaks[: n + 1]) for n in range(len(source.asked))]
    assert [moved for moved, _ in source.asked] == reached
    assert body.error is None
    assert source.open == 0


def test_a_connection_that_ends_early_is_a_broken_one() -> None:
    source = Source(CONTENT, [])
    stream = source.stream(0)

    async def ends() -> bytes:
        return b""

    body = source.body()
    drive(stream.close())
    body._stream.read = ends  # type: ignore[method-assign]

    assert pulled(body) == CONTENT
    assert source.asked == [(0, 1)]


def test_nothing_is_reopened_once_the_upload_waited_too_long() -> None:
    """S3 ends a PUT that pauses for 20 seconds; the client then sends all of it again anyway."""
    source = Source(CONTENT, [50, 0, 0, 0, 0, 0], takes=LONGEST_PAUSE / 4)
    body = source.body()

    with pytest.raises(ConnectionFailed) as raised:
        pulled(body)
    # Each failing read and each opening takes a quarter of the pause, which ends at the second opening.
    assert raised.value is RESET
    assert body.error is RESET
    assert [moved for moved, _ in source.asked] == [50, 50]
    assert body.moved == 50


def test_the_longest_pause_applies_to_each_chunk() -> None:
    source = Source(CONTENT, [50] * 3, takes=LONGEST_PAUSE / 4)

    assert pulled(source.body()) == CONTENT
    assert source.now - 1000.0 > LONGEST_PAUSE


def test_an_opening_that_outlasts_the_pause_is_given_up() -> None:
    """Its stream is closed with the body."""
    source = Source(CONTENT, [50])
    body = source.body()
    resume = source.resume

    async def late(*args: object) -> ByteStream | None:
        stream = await resume(*args)  # type: ignore[arg-type]
        source.now += LONGEST_PAUSE
        return stream

    body._resume = late
    with pytest.raises(ConnectionFailed):
        pulled(body)
    assert source.open == 1  # the body owns it now
    drive(body.close())
    assert source.open == 0


def test_failures_without_progress_are_counted_and_end_it() -> None:
    source = Source(CONTENT, [50, 0, 0, 0, 0, 0], most=4)
    body = source.body()

    with pytest.raises(ConnectionFailed):
        pulled(body)
    assert source.asked == [(50, 1), (50, 2), (50, 3), (50, 4)]
    assert body.error is RESET


def test_enough_progress_resets_the_failure_count() -> None:
    """This holds for any number of breaks in a large part."""
    content = bytes(40 * MiB)
    source = Source(content, [PROGRESS] * 8, chunk=MiB, most=2)

    assert len(pulled(source.body())) == len(content)
    assert [failures for _, failures in source.asked] == [1] * 8


def test_too_little_progress_keeps_the_failure_count() -> None:
    source = Source(bytes(40 * MiB), [PROGRESS - 1] * 8, chunk=MiB, most=3)

    with pytest.raises(ConnectionFailed):
        pulled(source.body())
    assert [failures for _, failures in source.asked] == [1, 2, 3]


def test_what_opening_it_again_finds_out_is_what_happened() -> None:
    source = Source(CONTENT, [50])
    changed = SourceChanged("overwritten")

    async def refuse(*_: object) -> ByteStream:
        raise changed

    body = source.body()
    body._resume = refuse
    with pytest.raises(SourceChanged):
        pulled(body)
    assert body.error is changed


def test_a_body_that_is_stopped_meanwhile_is_not_read_on() -> None:
    source = Source(CONTENT, [50])
    resume = source.resume

    async def stopped(*args: object) -> ByteStream | None:
        source.stop.set()
        return await resume(*args)  # type: ignore[arg-type]

    body = source.body()
    body._resume = stopped
    with pytest.raises(Cancelled):
        pulled(body)
    assert body.moved == 50


def test_a_bug_in_a_stream_is_no_broken_connection() -> None:
    source = Source(CONTENT, [50], error=LookupError("a bug"))

    with pytest.raises(LookupError):
        pulled(source.body())
    assert source.asked == []

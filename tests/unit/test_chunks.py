"""The one body: the chunks that `next_chunk` returns, and when it stops."""

from collections.abc import Awaitable, Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME, KINDS, Checksum, Composite, Digests
from asyncstream.deadline import Deadline
from asyncstream.engines.driver import drive
from asyncstream.errors import (
    AsyncstreamError,
    Cancelled,
    ChecksumMismatch,
    ConnectionFailed,
    DeadlineExceeded,
    TruncatedBody,
)
from asyncstream.pipeline.body import BytesBody, ChunkBody, StopFlag
from asyncstream.ports import Body, ByteStream

from .memory_store import checksum_of, composite_of, damaged

FOREVER = Deadline(None, lambda: 0.0)


class Chunks:
    """A stream of the given chunks; an exception among them is raised."""

    def __init__(self, chunks: Iterable[bytes | Exception]) -> None:
        self._chunks = iter(chunks)
        self.reads = 0
        self.closed = False

    async def read(self) -> bytes:
        assert not self.closed, "read after it was closed"
        self.reads += 1
        chunk = next(self._chunks, b"")
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def close(self) -> None:
        self.closed = True


def ignore(_: int) -> None:
    """Ignore progress."""


async def no_other(*_: object) -> None:
    """Offer no other connection."""


def make_body(
    chunks: Iterable[bytes | Exception] | Chunks,
    length: int,
    *,
    stop: StopFlag | None = None,
    deadline: Deadline = FOREVER,
    digests: Iterable[str] = (),
    expected: Checksum | Composite | None = None,
    on_bytes: Callable[[int], None] = ignore,
    resume: Callable[[AsyncstreamError, int, int, float], Awaitable[ByteStream | None]] = no_other,
) -> ChunkBody:
    return ChunkBody(
        chunks if isinstance(chunks, Chunks) else Chunks(chunks),
        length,
        stop=StopFlag(deadline) if stop is None else stop,
        digests=Digests(digests, expected if isinstance(expected, Composite) else None),
        expected=expected,
        on_bytes=on_bytes,
        resume=resume,
    )


def pulled(body: Body) -> bytes:
    content = b""
    while chunk := drive(body.next_chunk()):
        content += chunk
    return content


@given(st.lists(st.binary(min_size=1, max_size=20)))
def test_chunks_are_handed_on_as_they_come_each_counted_once(chunks: list[bytes]) -> None:
    counted: list[int] = []
    length = sum(map(len, chunks))
    body = make_body(chunks, length, on_bytes=counted.append)

    assert pulled(body) == b"".join(chunks)
    assert counted == [len(chunk) for chunk in chunks]
    assert body.moved == length
    assert body.error is None


def test_after_its_last_byte_a_body_reads_no_more() -> None:
    stream = Chunks([b"abc", b"of the next reply"])
    body = make_body(stream, 3)

    assert [drive(body.next_chunk()) for _ in range(3)] == [b"abc", b"", b""]
    assert stream.reads == 1


@pytest.mark.parametrize(("chunks", "moved"), [([b"abc"], 3), ([], 0), ([b"a", b""], 1)])
def test_a_source_that_ends_early_is_truncated_and_retryable(chunks: list[bytes], moved: int) -> None:
    body = make_body(chunks, 5)

    with pytest.raises(TruncatedBody, match=f"after {moved} of 5 bytes") as raised:
        pulled(body)
    assert raised.value.retryable
    assert body.error is raised.value


def test_a_chunk_that_passes_the_end_of_its_range_is_cut() -> None:
    """The stream may cover the whole file even if the first part ends earlier."""
    counted: list[int] = []
    body = make_body([b"abc", b"def"], 5, digests=[CRC64NVME], on_bytes=counted.append)

    assert [bytes(drive(body.next_chunk())) for _ in range(3)] == [b"abc", b"de", b""]
    assert (body.moved, counted) == (5, [3, 2])
    assert body.digests.checksums() == {CRC64NVME: checksum_of(b"abcde")}


@pytest.mark.parametrize("set_flag", ["own", "parent"])
def test_a_stop_flag_stops_a_body_at_the_next_chunk(set_flag: str) -> None:
    """The flag is the file's or the transfer's."""
    transfer = StopFlag()
    file = StopFlag(parent=transfer)
    body = make_body([b"abc", b"def"], 6, stop=file)
    drive(body.next_chunk())

    (file if set_flag == "own" else transfer).set()

    with pytest.raises(Cancelled):
        drive(body.next_chunk())
    assert isinstance(body.error, Cancelled)


def test_a_files_stop_flag_is_not_its_siblings() -> None:
    transfer = StopFlag()
    StopFlag(parent=transfer).set()

    assert not StopFlag(parent=transfer)
    assert not transfer


def test_the_first_chunk_after_the_deadline_is_refused() -> None:
    now = 100.0
    deadline = Deadline(2.5, lambda: now)
    body = make_body([b"a", b"b", b"c"], 3, deadline=deadline)
    now = 102.4
    drive(body.next_chunk())
    now = 102.5

    with pytest.raises(DeadlineExceeded, match=r"deadline of 2\.5 s"):
        drive(body.next_chunk())


def test_without_a_deadline_time_never_ends() -> None:
    Deadline(None, lambda: float("inf")).check()


def test_the_error_of_a_broken_stream_is_kept_in_the_body() -> None:
    """An SDK may hide it from the caller."""
    broken = ConnectionFailed("reset")
    body = make_body([b"abc", broken], 6)

    with pytest.raises(ConnectionFailed):
        pulled(body)
    assert body.error is broken
    assert body.moved == 3


def test_what_the_progress_callback_raises_is_raised_and_kept() -> None:
    def refuse(_: int) -> None:
        raise LookupError("a callback's bug")

    body = make_body([b"abc"], 3, on_bytes=refuse)

    with pytest.raises(LookupError):
        drive(body.next_chunk())
    assert isinstance(body.error, LookupError)


@pytest.mark.parametrize("content", [b"", b"a report"])
def test_bytes_in_memory_are_a_body(content: bytes) -> None:
    body = BytesBody(content)

    assert body.length == len(content)
    assert pulled(body) == content
    assert body.error is None
    assert body.digests.checksums() == {CRC64NVME: checksum_of(content)}


def test_a_stream_is_closed_with_its_last_byte() -> None:
    """Its connection is free for another GET while the upload waits for its reply."""
    stream = Chunks([b"abc", b"de", b"f"])
    body = make_body(stream, 5)
    drive(body.next_chunk())
    assert not stream.closed

    drive(body.next_chunk())
    assert stream.closed


def test_closing_a_body_closes_its_stream() -> None:
    stream = Chunks([b"abc"])
    drive(make_body(stream, 5).close())

    assert stream.closed


@pytest.mark.parametrize("kind", KINDS)
@given(chunks=st.lists(st.binary(min_size=1, max_size=9), min_size=1))
def test_the_last_chunk_is_withheld_if_the_checksum_differs(kind: str, chunks: list[bytes]) -> None:
    whole = b"".join(chunks)
    good = make_body(chunks, len(whole), digests=KINDS, expected=checksum_of(whole, kind))
    assert pulled(good) == whole

    counted: list[int] = []
    bad = make_body(
        chunks,
        len(whole),
        digests=KINDS,
        expected=checksum_of(damaged(whole), kind),
        on_bytes=counted.append,
    )
    with pytest.raises(ChecksumMismatch, match=kind) as raised:
        pulled(bad)
    assert raised.value.retryable
    assert bad.error is raised.value
    assert sum(counted) == len(whole) - len(chunks[-1])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != CRC64NVME])
@given(chunks=st.lists(st.binary(min_size=1, max_size=9), min_size=1), part_size=st.integers(1, 20))
def test_the_last_chunk_is_withheld_if_a_part_checksum_differs(
    kind: str, chunks: list[bytes], part_size: int
) -> None:
    """The parts are those in which the source was uploaded."""
    whole = b"".join(chunks)
    sizes = [min(part_size, len(whole) - start) for start in range(0, len(whole), part_size)]
    good = replace(composite_of(whole, kind, sizes), part_size=part_size)
    bad = replace(composite_of(damaged(whole), kind, sizes), part_size=part_size)
    counted: list[int] = []

    assert pulled(make_body(chunks, len(whole), expected=good)) == whole
    with pytest.raises(ChecksumMismatch, match=f"{kind} .*-{len(sizes)}, their source .*-{len(sizes)}:"):
        pulled(make_body(chunks, len(whole), expected=bad, on_bytes=counted.append))
    assert sum(counted) == len(whole) - len(chunks[-1])

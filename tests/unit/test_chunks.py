"""The one body: what `next_chunk` hands on, and what stops it."""

from collections.abc import Callable, Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.chunks import BytesBody, ChunkBody, Deadline, StopFlag
from asyncstream.engines.driver import drive
from asyncstream.errors import AsyncstreamError, Cancelled, ConnectionFailed, DeadlineExceeded, TruncatedBody
from asyncstream.ports import Body

FOREVER = Deadline(None, lambda: 0.0)


class Chunks:
    """A stream of given chunks, then of nothing; an exception among them is raised."""

    def __init__(self, chunks: Iterable[bytes | Exception]) -> None:
        self._chunks = iter(chunks)
        self.reads = 0

    async def read(self) -> bytes:
        self.reads += 1
        chunk = next(self._chunks, b"")
        if isinstance(chunk, Exception):
            raise chunk
        return chunk

    async def close(self) -> None:
        raise AssertionError("closed by what opened it, not by the body")


def ignore(_: int) -> None:
    """A body that nobody watches."""


def body_of(
    chunks: Iterable[bytes | Exception],
    length: int,
    *,
    stop: StopFlag | None = None,
    deadline: Deadline = FOREVER,
    on_bytes: Callable[[int], None] = ignore,
) -> ChunkBody:
    return ChunkBody(Chunks(chunks), length, StopFlag() if stop is None else stop, deadline, on_bytes)


def pulled(body: Body) -> bytes:
    content = b""
    while chunk := drive(body.next_chunk()):
        content += chunk
    return content


@given(st.lists(st.binary(min_size=1, max_size=20)))
def test_chunks_are_handed_on_as_they_come_each_counted_once(chunks: list[bytes]) -> None:
    counted: list[int] = []
    length = sum(map(len, chunks))
    body = body_of(chunks, length, on_bytes=counted.append)

    assert pulled(body) == b"".join(chunks)
    assert counted == [len(chunk) for chunk in chunks]
    assert body.moved == length
    assert body.error is None


def test_after_its_last_byte_a_body_stays_at_its_end_and_reads_no_more() -> None:
    stream = Chunks([b"abc", b"of the next reply"])
    body = ChunkBody(stream, 3, StopFlag(), FOREVER, ignore)

    assert [drive(body.next_chunk()) for _ in range(3)] == [b"abc", b"", b""]
    assert stream.reads == 1


@pytest.mark.parametrize(("chunks", "moved"), [([b"abc"], 3), ([], 0), ([b"a", b""], 1)])
def test_a_source_that_ends_early_is_truncated_and_may_be_tried_again(
    chunks: list[bytes], moved: int
) -> None:
    body = body_of(chunks, 5)

    with pytest.raises(TruncatedBody, match=f"after {moved} of 5 bytes") as raised:
        pulled(body)
    assert raised.value.retryable
    assert body.error is raised.value


def test_a_source_that_sends_too_much_is_an_error_and_its_chunk_kept_back() -> None:
    counted: list[int] = []
    body = body_of([b"abc", b"def"], 5, on_bytes=counted.append)

    assert drive(body.next_chunk()) == b"abc"
    with pytest.raises(AsyncstreamError, match="more than the 5 bytes") as raised:
        drive(body.next_chunk())
    assert not raised.value.retryable
    assert (body.moved, counted) == (3, [3])


@pytest.mark.parametrize("set_flag", ["own", "parent"])
def test_a_stop_flag_of_the_file_or_the_transfer_stops_at_the_next_chunk(set_flag: str) -> None:
    transfer = StopFlag()
    file = StopFlag(transfer)
    body = body_of([b"abc", b"def"], 6, stop=file)
    drive(body.next_chunk())

    (file if set_flag == "own" else transfer).set()

    with pytest.raises(Cancelled):
        drive(body.next_chunk())
    assert isinstance(body.error, Cancelled)


def test_a_files_stop_flag_is_not_its_siblings() -> None:
    transfer = StopFlag()
    StopFlag(transfer).set()

    assert not StopFlag(transfer)
    assert not transfer


def test_the_first_chunk_after_the_deadline_is_refused() -> None:
    now = 100.0
    deadline = Deadline(2.5, lambda: now)
    body = body_of([b"a", b"b", b"c"], 3, deadline=deadline)
    now = 102.4
    drive(body.next_chunk())
    now = 102.5

    with pytest.raises(DeadlineExceeded, match=r"deadline of 2\.5 s"):
        drive(body.next_chunk())


def test_without_a_deadline_time_never_ends() -> None:
    Deadline(None, lambda: float("inf")).check()


def test_what_breaks_the_stream_is_kept_for_those_whom_an_sdk_hides_it_from() -> None:
    broken = ConnectionFailed("reset")
    body = body_of([b"abc", broken], 6)

    with pytest.raises(ConnectionFailed):
        pulled(body)
    assert body.error is broken
    assert body.moved == 3


def test_what_the_progress_callback_raises_is_raised_and_kept() -> None:
    def refuse(_: int) -> None:
        raise LookupError("a callback's bug")

    body = body_of([b"abc"], 3, on_bytes=refuse)

    with pytest.raises(LookupError):
        drive(body.next_chunk())
    assert isinstance(body.error, LookupError)


@pytest.mark.parametrize("content", [b"", b"a report"])
def test_bytes_in_memory_are_a_body_of_one_chunk(content: bytes) -> None:
    body = BytesBody(content)

    assert body.length == len(content)
    assert pulled(body) == content
    assert body.error is None

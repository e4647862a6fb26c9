"""Transforms reserve memory before they use it: never more than there is, and no file waits for ever."""

import lzma
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncstream.errors import (
    AsyncstreamError,
    ConfigError,
    ConnectionFailed,
    MemoryNeeded,
    SlowDown,
    UploadGone,
)
from asyncstream.pipeline import progress
from asyncstream.pipeline.budget import more_memory
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.output import transform_settings
from asyncstream.pipeline.results import FileResult
from asyncstream.ports import Engine
from asyncstream.transforms import Held, Unxz, Zstd, chain, held_by
from asyncstream.transforms.protocol import PIECE
from asyncstream.units import MiB

from .memory_store import OPERATIONS, SLOT_BYTES, Failure, MemoryStore, pause_under
from .test_transforming import make_setup, run
from .transfers import ATTEMPTS, source, target

USUAL = 100  # most bytes that a `Window` holds before it raises MemoryNeeded


class Holding:
    """The bytes that all windows hold together."""

    lock = threading.RLock()
    now = peak = 0

    @classmethod
    def add(cls, size: int) -> None:
        with cls.lock:
            cls.now += size
            cls.peak = max(cls.peak, cls.now)


class Window:
    """Passes bytes on and holds up to a window of them. The byte before them is its size in hundreds.

    A zero ends a member; the byte after it is the size of the next window.
    """

    memory = USUAL

    def __init__(self) -> None:
        self._window: int | None = None
        self._held = 0

    def allow(self, memory: int) -> None:
        self._allowed = memory

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        for byte in bytes(chunk):
            if self._window is None:
                self._window = byte * 100
            elif not byte:
                self._end()
            else:
                if self._held < self._window:
                    if self._held == self._allowed:
                        window = self._window
                        self._end()
                        raise MemoryNeeded(f"a window of {window}", window)
                    self._held += 1
                    Holding.add(1)
                yield bytes([byte])

    def finish(self) -> bytes:
        self._end()
        return b"."

    def _end(self) -> None:
        Holding.add(-self._held)
        self._window, self._held = None, 0

    def __del__(self) -> None:
        self._end()


def member(window: int, length: int) -> bytes:
    return bytes([window]) + b"x" * length + b"\0"


MEMBERS = st.tuples(st.integers(1, 9), st.integers(0, 700))
FILES = st.lists(st.lists(MEMBERS, min_size=1, max_size=3), min_size=1, max_size=6)


def transferred(
    files: list[list[tuple[int, int]]],
    engine: Engine,
    *,
    memory: int,
    slots: int,
    first: int = 50,
    failures: list[Failure] | None = None,
    on_event: progress.OnEvent = progress.ignore,
) -> tuple[MemoryStore, Sequence[FileResult]]:
    """Transform files of members, each a window and a length, with that much memory for transforms."""
    Holding.now = Holding.peak = 0
    contents = {source(n): b"".join(member(*each) for each in file) for n, file in enumerate(files)}
    store = MemoryStore(contents, chunk_size=60, pause=pause_under(engine.name), failures=failures or [])
    setup = make_setup(
        Window, first=first, limit=SLOT_BYTES + first + memory, slots=slots, memory=USUAL, on_event=on_event
    )
    results = run(setup, [len(content) for content in contents.values()], store, engine)
    assert Holding.peak <= memory
    assert Holding.now == 0
    return store, results


def made(file: list[tuple[int, int]]) -> bytes:
    return b"".join(b"x" * length for _, length in file) + b"."


def needed(file: list[tuple[int, int]]) -> int:
    """Return the most bytes that a file holds at once."""
    return max(min(window * 100, length) for window, length in file)


def test_progress_is_taken_back_once_each_time_a_file_opens_again(engine: Engine) -> None:
    events: list[progress.Event] = []
    file = [(2, 300), (4, 500), (9, 900)]

    _, [result] = transferred([file], engine, memory=2000, slots=1, on_event=events.append)

    assert result.status == "copied"
    moved = sum(event.bytes for event in events if isinstance(event, progress.BytesMoved))
    taken_back = [event.bytes for event in events if isinstance(event, progress.PartRetried)]
    assert len(taken_back) == 3
    assert moved - sum(taken_back) == result.bytes


def test_a_file_that_starts_over_keeps_the_memory_it_had(engine: Engine) -> None:
    """It opens with the usual memory, with more, and with as much after its upload was gone."""
    gone = Failure("complete_upload", UploadGone("gone", "NoSuchUpload", 404), last=1)

    store, [result] = transferred([[(4, 500)]], engine, memory=2000, slots=1, failures=[gone])

    assert result.status == "copied"
    assert result.restarted is not None
    assert store.calls["open", None] == 3


@pytest.mark.slow
@settings(max_examples=25)
@given(FILES, st.integers(0, 2500), st.integers(1, 5), st.integers(1, 200))
def test_windows_stay_within_what_there_is(
    engine: Engine, files: list[list[tuple[int, int]]], memory: int, slots: int, first: int
) -> None:
    store, results = transferred(files, engine, memory=memory, slots=slots, first=first)

    for number, (file, result) in enumerate(zip(files, results, strict=True)):
        if needed(file) <= memory:
            assert result.error is None
            assert store.objects[target(number)] == made(file)
        else:
            assert isinstance(result.error, MemoryNeeded)
            assert target(number) not in store.objects


ERRORS: st.SearchStrategy[Callable[[], BaseException]] = st.sampled_from(
    [
        partial(AsyncstreamError, "no"),
        partial(ConnectionFailed, "reset"),
        partial(SlowDown, "slower"),
        partial(OSError, "bug"),
    ]
)


@st.composite
def failures(draw: st.DrawFn) -> Failure:
    first = draw(st.integers(1, 8))
    operation = draw(st.sampled_from([name for name in OPERATIONS if name != "abort_upload"]))
    return Failure(operation, draw(ERRORS), first, first + draw(st.integers(0, ATTEMPTS)))


@settings(max_examples=25)
@given(FILES, st.integers(100, 2500), st.integers(1, 5), st.lists(failures(), min_size=1, max_size=3))
def test_windows_give_back_their_memory_on_any_failure(
    engine: Engine,
    files: list[list[tuple[int, int]]],
    memory: int,
    slots: int,
    failures: list[Failure],
) -> None:
    store, results = transferred(files, engine, memory=memory, slots=slots, failures=failures)

    for number, (file, result) in enumerate(zip(files, results, strict=True)):
        assert (target(number) in store.objects) == (result.status == "copied")
        assert result.status != "copied" or store.objects[target(number)] == made(file)


def test_fewer_files_with_large_windows_run_at_once(engine: Engine) -> None:
    """Two of ten fit. Each starts twice: its first GET shows the size of its window."""
    retried: list[progress.PartRetried] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.PartRetried):
            retried.append(event)

    files = [[(6, 700)]] * 10
    store, results = transferred(files, engine, memory=1300, slots=10, on_event=on_event)

    assert [result.error for result in results] == [None] * 10
    assert 600 <= Holding.peak <= 1300
    assert store.calls["open", None] == 20
    assert [type(event.error) for event in retried] == [MemoryNeeded] * 10
    assert {result.restarted for result in results} == {None}


def test_a_window_larger_than_all_memory_fails_only_its_file(engine: Engine) -> None:
    """The error says to raise `memory_limit`."""
    store, results = transferred([[(9, 300)], [(1, 700)]], engine, memory=200, slots=2)

    assert [result.status for result in results] == ["failed", "copied"]
    text = str(results[0].error)
    assert text.startswith(f"{source(0)}: a window of 900. The transfer has 200 bytes for that")
    assert text.endswith("Raise memory_limit, in Lambda the function's memory")
    assert target(1) in store.objects


def test_a_file_whose_windows_grow_begins_few_times(engine: Engine) -> None:
    """The file has nine windows, each larger than the one before."""
    file = [(window, 950) for window in range(1, 10)]
    store, [result] = transferred([file], engine, memory=1000, slots=1)

    assert result.error is None
    assert store.calls["open", None] == 5  # 100, 200, 400, 800, 1000


@pytest.mark.parametrize(
    ("needs", "had", "more"),
    [(200, 100, 200), (250, 200, 400), (900, 200, 900), (700, 600, 1000), (1001, 100, 1000)],
)
def test_more_memory_is_at_least_double_the_second_time(needs: int, had: int, more: int) -> None:
    assert more_memory(needs, had, usual=100, most=1000) == more


@pytest.mark.parametrize(("needs", "had"), [(1001, 1000), (100, 100), (50, 100)])
def test_there_is_no_more_memory_than_all_of_it(needs: int, had: int) -> None:
    """A transform that got the memory it asked for and asks again does not start over for ever."""
    assert more_memory(needs, had, usual=100, most=1000) is None


def test_a_chain_holds_what_its_transforms_hold() -> None:
    held = held_by(chain(Unxz, partial(Zstd, 19), Passing))

    assert (held.least, held.usual) == (90 * MiB, 90 * MiB + Unxz.memory)
    assert held.needed(65 * MiB) == 155 * MiB


class Passing:
    """A transform that does not declare its memory."""

    def feed(self, chunk: bytes | memoryview) -> bytes:
        return bytes(chunk)

    def finish(self) -> bytes:
        return b""


@pytest.mark.parametrize(
    ("factory", "limit", "slots", "memory", "first"),
    [
        (Passing, 64, 10, 0, 6.4),
        (Unxz, 64, 10, 9.5, 5),
        (Unxz, 64, 1, 39, 25),
        (Unxz, 12, 1, 6.25, 5),
        (Unxz, 512, 10, 26.2, 25),
        (partial(Zstd, 3), 64, 10, 4, 5),
    ],
)
def test_a_file_has_its_share_of_memory_or_the_usual(
    factory: Callable[[], object], limit: int, slots: int, memory: float, first: float
) -> None:
    """Sizes are in MiB; a slot takes none here."""
    held = held_by(factory)  # type: ignore[arg-type]
    made = transform_settings("name", factory, held, TransferConfig(), limit * MiB, slots, 0)  # type: ignore[arg-type]

    assert made.memory / MiB == pytest.approx(memory)
    assert made.part_size(1) / MiB == pytest.approx(first)
    kept = slots * 3 / 4 if held.grows else 0  # by the allocators of threads
    assert made.max_memory == (limit - 5 - kept) * MiB


def test_a_compressor_too_large_is_refused_before_any_file() -> None:
    factory = partial(Zstd, 19)
    with pytest.raises(ConfigError, match=r"94371840 for what the transform holds\. Raise memory_limit"):
        transform_settings("zstd", factory, held_by(factory), TransferConfig(), 64 * MiB, 10, 0)


def test_a_limit_of_its_own_is_not_asked_for_twice(engine: Engine) -> None:
    """`Unxz(memory_limit)` sets a limit for each file, even if there is more memory."""
    packed = lzma.compress(bytes(4 * MiB), preset=9)
    store = MemoryStore({source(0): packed}, chunk_size=10_000, pause=pause_under(engine.name))
    setup = make_setup(partial(Unxz, 2 * MiB), first=MiB, limit=200 * MiB, memory=Unxz.memory)
    [result] = run(setup, [len(packed)], store, engine)

    assert isinstance(result.error, MemoryNeeded)
    assert "2097152 are allowed" in str(result.error)
    assert store.calls["open", None] == 2


def test_a_transform_is_fed_little_at_once(engine: Engine) -> None:
    """Chunks may have any size: an event may ask for 16 MiB, which take many times as much as lines."""
    fed: list[int] = []

    class Sizes(Passing):
        def feed(self, chunk: bytes | memoryview) -> bytes:
            fed.append(len(chunk))
            return bytes(chunk)

    whole = random.Random(1).randbytes(3 * MiB + 5)
    store = MemoryStore({source(0): whole}, chunk_size=2 * MiB, pause=pause_under(engine.name))
    run(make_setup(Sizes, first=5 * MiB), [len(whole)], store, engine)

    assert store.objects[target(0)] == whole
    assert max(fed) == PIECE


def test_what_transforms_hold_is_known_of_users_own() -> None:
    class Counting(Passing):
        memory = 7 * MiB

    assert Held(Counting()).least == 7 * MiB

"""The coordinator with a transform over an in-memory store, with each engine: results and memory."""

import gzip
import math
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from mmap import mmap
from typing import Any, Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncstream.checksum import CRC64NVME
from asyncstream.engines.sequential import SequentialEngine
from asyncstream.errors import (
    AsyncstreamError,
    ConnectionFailed,
    CorruptInput,
    DeadlineExceeded,
    OutputTooLarge,
    SlowDown,
    SourceNotFound,
    TransformError,
    WriteConflict,
)
from asyncstream.locations import S3Object
from asyncstream.objects import MultipartUpload, Origin
from asyncstream.pipeline import output, plan, progress, transforming
from asyncstream.pipeline.output import OutputPart, PartBuffers, TransformSettings
from asyncstream.pipeline.results import FileResult
from asyncstream.ports import Engine
from asyncstream.transforms import Factory, Gunzip

from .memory_store import (
    OPERATIONS,
    SLOT_BYTES,
    Damage,
    Failure,
    MemoryStore,
    etag_of,
    pause_under,
)
from .transfers import (
    ATTEMPTS,
    UNLIMITED,
    Setup,
    assert_nothing_is_left,
    content,
    jobs_of,
    source,
    source_checksums,
    stored,
    target,
)


class Repeated:
    """Repeats each byte, in pieces of up to 50 bytes; zero times makes nothing before the end."""

    def __init__(self, times: int) -> None:
        self._times = times

    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        whole = repeated(bytes(chunk), self._times)
        for start in range(0, len(whole), 50):
            yield whole[start : start + 50]

    def finish(self) -> bytes:
        return b"."


def repeated(whole: bytes, times: int) -> bytes:
    return b"".join(bytes([byte]) * times for byte in whole)


def made(number: int, size: int, times: int) -> bytes:
    return repeated(content(number, size), times) + b"."


def make_setup(
    factory: Factory, *, first: int, limit: int = UNLIMITED, memory: int = 0, **others: Any
) -> Setup:
    """Return a transfer with a transform, with the size of its first parts and its reserved memory."""
    part_size = partial(plan.output_part_size, first=first, most=limit - SLOT_BYTES)
    max_memory = limit - SLOT_BYTES - first
    of = TransformSettings(factory, "a transform", part_size, None, None, min(memory, max_memory), max_memory)
    return Setup(limit=limit, transforming=of, **others)


class Mapped(mmap):
    """A part's memory that counts the memory of all parts."""

    lock = threading.RLock()  # reentrant: a mapping may be collected while another is counted
    held = peak = mapped = 0

    def __new__(cls, fileno: int, length: int, **how: int) -> Self:
        new = super().__new__(cls, fileno, length, **how)
        with cls.lock:
            Mapped.mapped += 1
            Mapped.held += length
            Mapped.peak = max(Mapped.peak, Mapped.held)
        weakref.finalize(new, cls.unmapped, length)
        return new

    @classmethod
    def unmapped(cls, length: int) -> None:
        with cls.lock:
            Mapped.held -= length


def run(setup: Setup, sizes: list[int], store: MemoryStore, engine: Engine) -> Sequence[FileResult]:
    """Return the results; assert that parts and their reservations stay within the limit."""
    Mapped.held = Mapped.peak = Mapped.mapped = 0
    coordinator = setup.coordinator(jobs_of(sizes), store, engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "mmap", Mapped)
        results = engine.run(coordinator.run)
    reservations = coordinator._reservations
    assert reservations.free == setup.limit
    assert reservations.peak <= setup.limit
    assert Mapped.peak <= reservations.peak
    assert Mapped.held == 0
    assert store.peak_in_flight <= min(setup.slots, engine.max_slots)
    assert_nothing_is_left(store)
    return results


def run_growing(
    step: int, setup: Setup, sizes: list[int], store: MemoryStore, engine: Engine
) -> Sequence[FileResult]:
    """Like `run`, with parts that grow every `step` parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "OUTPUT_STEP", step)
        return run(setup, sizes, store, engine)


FILES = st.lists(st.integers(0, 400), min_size=1, max_size=6)
TIMES = st.integers(0, 12)
# A limit in which one part of a size fits, or several.
ROOMS = st.tuples(st.integers(1, 1500), st.integers(0, 7000))
quick = settings(max_examples=40)


@quick
@given(FILES, TIMES, ROOMS, st.integers(1, 5), st.integers(1, 200), st.integers(1, 4))
def test_every_file_is_made_whole_within_the_limit(
    engine: Engine,
    sizes: list[int],
    times: int,
    room: tuple[int, int],
    slots: int,
    chunk_size: int,
    step: int,
) -> None:
    first, more = room
    store = MemoryStore(stored(sizes), chunk_size=chunk_size, pause=pause_under(engine.name))
    moved: list[int] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            moved.append(event.bytes)

    setup = make_setup(
        partial(Repeated, times), first=first, limit=SLOT_BYTES + first + more, slots=slots, on_event=on_event
    )
    results = run_growing(step, setup, sizes, store, engine)

    assert [result.error for result in results] == [None] * len(sizes)
    for number, size in enumerate(sizes):
        whole = made(number, size, times)
        assert store.objects[target(number)] == whole
        assert results[number].etag == etag_of(whole)
    assert sum(moved) == sum(sizes)
    assert store.calls["open", None] == len(sizes)


ERRORS: st.SearchStrategy[Callable[[], BaseException]] = st.sampled_from(
    [
        partial(AsyncstreamError, "no"),
        partial(ConnectionFailed, "reset"),
        partial(SlowDown, "slower"),
        partial(WriteConflict, "start over"),
        partial(RuntimeError, "a bug"),
    ]
)


@st.composite
def failures(draw: st.DrawFn) -> Failure:
    first = draw(st.integers(1, 8))
    operation = draw(st.sampled_from([name for name in OPERATIONS if name != "abort_upload"]))
    return Failure(operation, draw(ERRORS), first, first + draw(st.integers(0, ATTEMPTS)))


@pytest.mark.slow
@settings(quick, max_examples=60)
@given(
    FILES,
    TIMES,
    ROOMS,
    st.integers(1, 5),
    st.integers(1, 4),
    st.lists(failures(), min_size=1, max_size=4),
)
def test_after_any_failure_every_file_has_an_end(
    engine: Engine,
    sizes: list[int],
    times: int,
    room: tuple[int, int],
    slots: int,
    step: int,
    failures: list[Failure],
) -> None:
    """All memory is given back."""
    first, more = room
    store = MemoryStore(stored(sizes), chunk_size=100, pause=pause_under(engine.name), failures=failures)
    net: Counter[Any] = Counter()

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            net[event.source] += event.bytes
        elif isinstance(event, progress.PartRetried):
            net[event.source] -= event.bytes

    setup = make_setup(
        partial(Repeated, times), first=first, limit=SLOT_BYTES + first + more, slots=slots, on_event=on_event
    )
    results = run_growing(step, setup, sizes, store, engine)

    for number, result in enumerate(results):
        assert (target(number) in store.objects) == (result.status == "copied")
        if result.status == "copied":
            assert store.objects[target(number)] == made(number, sizes[number], times)
            assert net[source(number)] == sizes[number]


class SlowToOpenOthers(MemoryStore):
    """Opens the uploads of all files but the first after a while."""

    async def create_upload(
        self,
        target: S3Object,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        for _ in range(0 if target.key == "key-0" else 50):
            await self._pause()
        return await super().create_upload(target, attributes, origin, kind)


def test_a_part_is_sent_before_the_next_waits_for_room(engine: Engine) -> None:
    """S3 asks for fewer requests.

    Three parts are filled when one slot is left; the second part of a file is twice as long as the first.
    """
    first, sizes = 3 * SLOT_BYTES, [1000] * 3
    busy = [Failure("create_upload", SlowDown("slower"), 1, 1, key="key-0")]
    store = SlowToOpenOthers(
        stored(sizes), chunk_size=500, pause=pause_under(engine.name, 0.001), failures=busy
    )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "OUTPUT_STEP", 1)
        setup = make_setup(partial(Repeated, 9), first=first, limit=3 * (first + SLOT_BYTES), slots=3)
        results = run(setup, sizes, store, engine)

    assert [result.error for result in results] == [None] * 3
    assert [store.objects[target(n)] for n in range(3)] == [made(n, 1000, 9) for n in range(3)]


@pytest.mark.parametrize("part", [50, 51, 100, 101])
def test_parts_grow_with_their_number_as_far_as_there_is_memory(engine: Engine, part: int) -> None:
    sizes: list[int] = []

    class Sized(OutputPart):
        def __init__(self, start: int, size: int, buffers: PartBuffers, kinds: Iterable[str]) -> None:
            sizes.append(size)
            super().__init__(start, size, buffers, kinds)

    store = MemoryStore(stored([400]), pause=pause_under(engine.name))
    setup = make_setup(partial(Repeated, 3), first=part, limit=SLOT_BYTES + 3 * part, slots=2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "OUTPUT_STEP", 2)
        patch.setattr(transforming, "OutputPart", Sized)
        [result] = setup.run(jobs_of([400]), store, engine)

    whole = made(0, 400, 3)
    grown = [part, part, 2 * part, 2 * part, *[3 * part] * len(whole)]
    assert sizes == grown[: len(sizes)]
    assert sum(sizes[:-1]) <= len(whole) < sum(sizes)
    assert store.objects[target(0)] == whole
    assert result.parts == len(sizes) - (sum(sizes[:-1]) == len(whole))


def test_reading_a_source_is_no_attempt_of_a_transform(engine: Engine) -> None:
    """Only tries to send count."""
    store = MemoryStore({}, pause=pause_under(engine.name))

    [result] = run(make_setup(partial(Repeated, 1), first=100), [5], store, engine)

    assert isinstance(result.error, SourceNotFound)
    assert result.attempts == 0


@pytest.mark.parametrize(("size", "fits"), [(89, True), (299, True), (300, False), (900, False)])
def test_an_output_of_more_parts_than_s3_takes_leaves_nothing(engine: Engine, size: int, fits: bool) -> None:
    """The file fails. Three parts of a hundred bytes may be written: 299 bytes and the last just fit."""
    store = MemoryStore(stored([size, 5]), pause=pause_under(engine.name))
    with pytest.MonkeyPatch.context() as patch:
        for module in (plan, transforming):
            patch.setattr(module, "MAX_PARTS", 3)
        results = run(make_setup(partial(Repeated, 1), first=100), [size, 5], store, engine)

    assert [result.status for result in results] == ["copied" if fits else "failed", "copied"]
    if not fits:
        assert isinstance(results[0].error, OutputTooLarge)
        assert "more than S3's maximum of 3 parts" in str(results[0].error)
        assert target(0) not in store.objects


def test_a_source_read_again_from_its_beginning_is_reported_once(engine: Engine) -> None:
    """Its last byte changes on the way, which shows only after parts are written."""
    moved: list[int] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            moved.append(event.bytes)
        elif isinstance(event, progress.PartRetried):
            moved.append(-event.bytes)

    store = MemoryStore(
        stored([35]),
        pause=pause_under(engine.name),
        checksums=source_checksums(),
        damages=[Damage("read", 5, 5)],
    )
    [result] = run(make_setup(partial(Repeated, 2), first=20, on_event=on_event), [35], store, engine)

    assert result.error is None
    assert result.restarted is not None
    assert result.read_verified == "CRC64NVME"
    assert sum(moved) == 35
    assert store.objects[target(0)] == made(0, 35, 2)


@pytest.mark.parametrize("last", [20, math.inf])
def test_damaged_input_is_read_once_more(engine: Engine, last: float) -> None:
    """The damage may have happened on the way."""
    whole = content(0, 500)
    damage = Damage("read", 20, last)
    store = MemoryStore(
        {source(0): gzip.compress(whole)}, pause=pause_under(engine.name), damages=[damage], chunk_size=10
    )
    [result] = run(make_setup(Gunzip, first=20), [500], store, engine)

    assert result.restarted is not None
    if last == 20:
        assert (result.error, store.objects[target(0)]) == (None, whole)
    else:
        assert isinstance(result.error, CorruptInput)
        assert target(0) not in store.objects


@pytest.mark.parametrize("operation", ["upload_part", "put", "complete_upload"])
def test_what_is_sent_again_comes_from_memory(engine: Engine, operation: str) -> None:
    size = 10 if operation == "put" else 100
    passing = Failure(operation, ConnectionFailed("reset"), 1, ATTEMPTS - 1)
    store = MemoryStore(stored([size]), pause=pause_under(engine.name), failures=[passing])
    [result] = run(make_setup(partial(Repeated, 1), first=30), [size], store, engine)
    assert result.error is None
    assert store.calls["open", None] == 1
    assert store.bytes_read == size


@pytest.mark.parametrize("failures", [0, 1])
def test_the_memory_of_a_part_is_used_again(failures: int) -> None:
    refused = Failure("upload_part", ConnectionFailed("reset"), 1, failures)
    store = MemoryStore(stored([100]), pause=pause_under("sequential"), failures=[refused])
    [result] = run(make_setup(partial(Repeated, 1), first=10), [100], store, SequentialEngine())
    assert (result.status, result.parts) == ("copied", 11)
    assert Mapped.mapped == 1


class Failing(Repeated):
    def feed(self, chunk: bytes | memoryview) -> Iterator[bytes]:
        yield from super().feed(chunk)
        raise ValueError("a bug in a function")


def test_what_an_error_keeps_alive_holds_no_part(engine: Engine) -> None:
    """Results keep every file's error, and an error would keep the frames that it passed through."""
    sizes = [10, 100, 100]
    denied = [Failure("put", AsyncstreamError("no")), Failure("upload_part", AsyncstreamError("no"))]
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name), failures=denied)
    results = run(make_setup(partial(Repeated, 1), first=30, slots=2), sizes, store, engine)
    failing = run(make_setup(partial(Failing, 1), first=30, slots=2), sizes, store, engine)

    assert {type(result.error) for result in results} == {AsyncstreamError}
    assert {type(result.error) for result in failing} == {TransformError}
    assert store.objects == stored(sizes)


def test_a_deadline_leaves_no_half_made_file_to_be_continued(engine: Engine) -> None:
    """Half-made output cannot be kept, but a file that has not started can wait."""
    sizes = [5000, 5000]
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name))
    setup = make_setup(partial(Repeated, 1), first=100, slots=2, deadline=1000, pauses=True)
    # One file at a time; each byte read takes a second.
    one_at_a_time = replace(setup, limit=SLOT_BYTES * 2 + 150, clock=lambda: store.bytes_read)
    results = run(one_at_a_time, sizes, store, engine)

    assert [result.status for result in results] == ["failed", "pending"]
    assert isinstance(results[0].error, DeadlineExceeded)
    assert results[1].continuation is None
    assert 1000 <= store.bytes_read < 1100

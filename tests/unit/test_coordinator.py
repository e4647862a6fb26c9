"""The coordinator and its part mover over an in-memory store, with each engine."""

from collections.abc import Mapping
from dataclasses import replace as replaced
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME
from asyncstream.errors import (
    AsyncstreamError,
    ConnectionFailed,
    DeadlineExceeded,
    InputError,
    ServiceBusy,
)
from asyncstream.locations import S3Object, SourceFile
from asyncstream.objects import ByteRange, MultipartUpload, Origin
from asyncstream.pipeline import plan, progress
from asyncstream.ports import Engine, Opened

from .held_store import HeldStore
from .memory_store import OPERATIONS, SLOT_BYTES, Failure, MemoryStore, etag_of, pause_under
from .transfers import (
    ATTEMPTS,
    SETUPS,
    SIZES,
    UNLIMITED,
    Setup,
    assert_nothing_is_left,
    content,
    jobs_of,
    source,
    stored,
    target,
)


@settings(max_examples=60)
@given(SIZES, SETUPS, st.booleans(), st.integers(1, 30))
def test_every_byte_is_moved_once_within_slots_and_limit(
    engine: Engine, sizes: list[int], setup: Setup, listed: bool, chunk_size: int
) -> None:
    """Every byte arrives at its place."""
    store = MemoryStore(stored(sizes), chunk_size=chunk_size, pause=pause_under(engine.name))
    moved: list[int] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            moved.append(event.bytes)

    results = replaced(setup, on_event=on_event).run(jobs_of(sizes, listed=listed), store, engine)

    assert [(r.source, r.destination, r.status, r.bytes) for r in results] == [
        (source(n), target(n), "copied", size) for n, size in enumerate(sizes)
    ]
    for number, size in enumerate(sizes):
        assert store.objects[target(number)] == content(number, size)
        assert results[number].etag == etag_of(content(number, size))
        max_range = plan.max_range(setup.part_size, setup.multipart, chained=False)
        parts = plan.plan_parts(size, plan.part_length(size, max_range)).planned
        assert results[number].parts == results[number].attempts == parts
    assert sum(moved) == sum(sizes)
    # The first GET of a file of unknown size asks for all of it, so a chunk may pass the first part's end.
    past = 0 if listed or not setup.multipart else len(sizes) * (chunk_size - 1)
    assert sum(sizes) <= store.bytes_read <= sum(sizes) + past
    assert store.peak_in_flight <= min(setup.slots, engine.max_slots)
    assert store.peak_in_flight * SLOT_BYTES <= setup.limit
    assert store.peak_open_streams * SLOT_BYTES <= setup.limit
    assert_nothing_is_left(store)


@pytest.mark.parametrize(
    ("slots", "limit", "at_once"), [(3, UNLIMITED, 3), (8, 3 * SLOT_BYTES + 999, 3), (1, UNLIMITED, 1)]
)
def test_as_many_tasks_run_as_slots_and_limit_allow_and_no_more(
    engine: Engine, slots: int, limit: int, at_once: int
) -> None:
    sizes = [40] * 6
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name, 0.001))

    Setup(slots=slots, limit=limit).run(jobs_of(sizes), store, engine)

    assert store.peak_in_flight == min(at_once, engine.max_slots)


def test_no_more_sources_are_open_than_there_are_slots(engine: Engine) -> None:
    """Each open source holds a connection and its buffers, which `slot_bytes` counts."""
    sizes = [40] * 12
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name))

    Setup(slots=4).run(jobs_of(sizes), store, engine)

    assert store.peak_open_streams <= 4


def test_a_file_begins_only_when_no_part_of_an_earlier_one_waits(engine: Engine) -> None:
    sizes = [50, 50, 50]
    started: list[SourceFile] = []
    finished_at_begin: list[int] = []
    finished: list[progress.FileFinished] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.FileStarted):
            started.append(event.source)
            finished_at_begin.append(len(finished))
        if isinstance(event, progress.FileFinished):
            finished.append(event)

    store = MemoryStore(stored(sizes), pause=pause_under(engine.name))
    results = Setup(slots=1, on_event=on_event).run(jobs_of(sizes), store, engine)

    assert started == [source(0), source(1), source(2)]
    assert finished_at_begin == [0, 1, 2]
    assert [event.result for event in finished] == results


def test_results_are_in_the_order_of_the_jobs(engine: Engine) -> None:
    """The order in which files end does not matter."""
    sizes = [60, 0, 1, 35]
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name, 0.0005))

    results = Setup(part_size=5).run(jobs_of(sizes), store, engine)

    assert [result.bytes for result in results] == sizes


@pytest.mark.parametrize("size", [5, 25], ids=["single put", "multipart"])
def test_the_copy_gets_the_attributes_of_the_source(engine: Engine, size: int) -> None:
    kept = {"ContentType": "text/csv", "Metadata": {"a": "b"}}
    store = MemoryStore(stored([size]), pause=pause_under(engine.name), attributes=kept)

    Setup().run(jobs_of([size]), store, engine)

    assert store.written == {target(0): kept}


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=2, max_size=5),
    setup=SETUPS,
    operation=st.sampled_from([name for name in OPERATIONS if name != "abort_upload"]),
    nth=st.integers(1, 5),
    error=st.sampled_from([AsyncstreamError("no"), ServiceBusy("busy"), RuntimeError("a bug")]),
    data=st.data(),
)
def test_a_failed_file_leaves_nothing_and_spares_the_others(
    engine: Engine,
    sizes: list[int],
    setup: Setup,
    operation: str,
    nth: int,
    error: Exception,
    data: st.DataObject,
) -> None:
    """Any operation on the file may fail."""
    victim = data.draw(st.integers(0, len(sizes) - 1), label="victim")
    failure = Failure(operation, error, first=nth, key=f"key-{victim}")
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name), failures=[failure])

    results = setup.run(jobs_of(sizes), store, engine)

    reached = store.calls[operation, f"key-{victim}"] >= nth
    assert [result.status for result in results] == [
        "failed" if reached and number == victim else "copied" for number in range(len(sizes))
    ]
    copied = {number for number in range(len(sizes)) if not reached or number != victim}
    assert {number for number in range(len(sizes)) if target(number) in store.objects} == copied
    assert all(store.objects[target(number)] == content(number, sizes[number]) for number in copied)
    if reached:
        assert results[victim].error is error
        assert (results[victim].bytes, results[victim].etag) == (0, None)
    assert_nothing_is_left(store)


@settings(max_examples=60)
@given(
    operation=st.sampled_from(OPERATIONS),
    nth=st.integers(1, 4),
    times=st.integers(1, ATTEMPTS - 1),
    setup=SETUPS,
)
def test_after_a_passing_error_each_byte_is_counted_once(
    engine: Engine, operation: str, nth: int, times: int, setup: Setup
) -> None:
    """The files are copied."""
    sizes = [35, 12]
    passing = Failure(operation, ConnectionFailed("reset"), nth, nth + times - 1)
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name), failures=[passing])
    net: list[int] = []
    retried: list[progress.PartRetried] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            net.append(event.bytes)
        elif isinstance(event, progress.PartRetried):
            net.append(-event.bytes)
            retried.append(event)

    results = replaced(setup, on_event=on_event).run(jobs_of(sizes), store, engine)

    assert [result.status for result in results] == ["copied", "copied"]
    assert all(store.objects[target(number)] == content(number, size) for number, size in enumerate(sizes))
    assert sum(net) == sum(sizes)
    assert all(event.error is passing.error for event in retried)
    assert sum(result.attempts for result in results) == store.calls["open", None]
    assert_nothing_is_left(store)


def test_retries_stop_at_max_attempts(engine: Engine) -> None:
    failures = [Failure("upload_part", ServiceBusy("busy"))]
    store = MemoryStore(stored([25]), pause=pause_under(engine.name), failures=failures)

    Setup(slots=1).run(jobs_of([25]), store, engine)

    assert store.calls["upload_part", None] == ATTEMPTS


def test_the_first_error_of_a_file_stops_its_other_parts(engine: Engine) -> None:
    """It becomes the error of the file, and the other parts stop midway."""
    broken = AsyncstreamError("the second part broke")
    options = {"failures": [Failure("upload_part", broken, first=2, last=2)]}
    # With one part after the other, none is midway when another fails.
    held = None if engine.name == "sequential" else "key-0"
    store = HeldStore(stored([20_000]), held=held, pause=pause_under(engine.name, 0.001), **options)

    [result] = Setup(slots=3, part_size=2000).run(jobs_of([20_000]), store, engine)

    assert result.error is broken
    assert store.calls["upload_part", None] <= 3
    assert store.bytes_read < 3000  # of 20,000; the sequential engine has read all of the first part
    assert_nothing_is_left(store)


def test_an_upload_that_cannot_be_aborted_is_noted_on_the_error(engine: Engine) -> None:
    """The error stays the one that failed the file."""
    broken = AsyncstreamError("broken")
    failures = [Failure("upload_part", broken), Failure("abort_upload", AsyncstreamError("denied"))]
    store = MemoryStore(stored([25, 5]), pause=pause_under(engine.name), failures=failures)

    failed, copied = Setup().run(jobs_of([25, 5]), store, engine)

    assert copied.status == "copied"
    assert failed.error is broken
    assert broken.__notes__ == ["upload upload-1 of s3://clean/key-0 could not be aborted: denied"]
    assert store.open_streams == set()


class SlowToCreate(MemoryStore):
    """Opens uploads so slowly that the deadline passes before the first part."""

    now = 0.0

    async def create_upload(
        self,
        target: S3Object,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        upload = await super().create_upload(target, attributes, origin, kind)
        self.now = 5.0
        return upload


@pytest.mark.parametrize("failures", [[], [Failure("close", OSError("reset"))]], ids=["closes", "fails to"])
def test_an_upload_stopped_before_its_first_part_is_aborted(engine: Engine, failures: list[Failure]) -> None:
    """The first range is still open then. Even if closing it fails, the upload must not remain."""
    store = SlowToCreate(stored([25]), pause=pause_under(engine.name), failures=failures)

    [result] = Setup(deadline=4.0, clock=lambda: store.now).run(jobs_of([25]), store, engine)

    assert isinstance(result.error, DeadlineExceeded)
    assert store.calls["create_upload", None] == 1
    assert_nothing_is_left(store)


def test_a_missing_source_fails_its_file_only(engine: Engine) -> None:
    objects = stored([5, 5, 5])
    del objects[source(1)]
    store = MemoryStore(objects, pause=pause_under(engine.name))

    results = Setup().run(jobs_of([5, 5, 5]), store, engine)

    assert [result.status for result in results] == ["copied", "failed", "copied"]
    assert isinstance(results[1].error, FileNotFoundError)


class ClaimsToBeHuge(MemoryStore):
    """Reports that every object is larger than S3's limit."""

    async def open(
        self, source: S3Object, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        opened = await super().open(source, range_, etag, if_none_match)
        return replace(opened, size=plan.MAX_OBJECT + 1) if source.key == "key-0" else opened


@pytest.mark.parametrize("size", [plan.MAX_OBJECT + 1, None], ids=["size listed", "size learned"])
def test_a_file_over_s3s_limit_fails_and_spares_the_others(engine: Engine, size: int | None) -> None:
    store = ClaimsToBeHuge(stored([25, 25]), pause=pause_under(engine.name))
    huge, fine = jobs_of([25, 25])

    results = Setup().run([replace(huge, size=size), fine], store, engine)

    assert [result.status for result in results] == ["failed", "copied"]
    assert isinstance(results[0].error, InputError)
    assert_nothing_is_left(store)

"""Retries and restarts after changed bytes, lost uploads or a busy S3, and their limits."""

import pytest

from asyncstream.checksum import CRC64NVME
from asyncstream.errors import (
    AsyncstreamError,
    ChecksumMismatch,
    SlowDown,
    UploadGone,
    WriteConflict,
)
from asyncstream.pipeline import progress
from asyncstream.pipeline.results import FileResult
from asyncstream.ports import Engine

from .memory_store import Damage, Failure, MemoryStore, damaged, pause_under
from .transfers import (
    ATTEMPTS,
    GONE,
    SIZE,
    WHOLE,
    Setup,
    assert_copied,
    assert_nothing_is_left,
    jobs_of,
    source_checksums,
    stored,
    target,
)


def assert_nothing_is_written(result: FileResult, store: MemoryStore) -> None:
    assert (result.status, result.bytes, result.etag) == ("failed", 0, None)
    assert target(0) not in store.objects
    assert_nothing_is_left(store)


def test_a_part_that_arrives_changed_is_sent_again(engine: Engine) -> None:
    store = MemoryStore(
        stored([SIZE]), pause=pause_under(engine.name), damages=[Damage("upload_part", first=2, last=2)]
    )
    retried: list[progress.PartRetried] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.PartRetried):
            retried.append(event)

    [result] = Setup(on_event=on_event).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert store.calls["upload_part", None] == 5
    assert result.attempts == 5
    [event] = retried
    assert isinstance(event.error, ChecksumMismatch)
    assert result.restarted is None


def test_a_part_changed_on_every_try_fails_its_file(engine: Engine) -> None:
    """The file starts over once before it fails."""
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), damages=[Damage("upload_part")])

    [result] = Setup(slots=1).run(jobs_of([SIZE]), store, engine)

    assert_nothing_is_written(result, store)
    assert isinstance(result.error, ChecksumMismatch)
    assert store.calls["upload_part", None] == 2 * ATTEMPTS
    assert store.calls["create_upload", None] == 2


@pytest.mark.parametrize("at_once", [0, SIZE])
def test_verify_after_writes_a_changed_object_again(engine: Engine, at_once: int) -> None:
    store = MemoryStore(
        stored([SIZE]), pause=pause_under(engine.name), damages=[Damage("put", last=1)], at_once=at_once
    )

    [result] = Setup(multipart=False, verify="after").run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert store.calls["put", None] == 2
    assert result.write_verified == CRC64NVME


def test_verify_after_says_that_a_changed_object_is_visible(engine: Engine) -> None:
    """It arrives changed on every try."""
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), damages=[Damage("put")])

    [result] = Setup(multipart=False, verify="after").run(jobs_of([SIZE]), store, engine)

    assert isinstance(result.error, ChecksumMismatch)
    assert "visible until it is overwritten" in str(result.error)
    assert store.objects[target(0)] == damaged(WHOLE)


def test_bytes_of_a_put_that_are_read_changed_are_read_again(engine: Engine) -> None:
    """They are read again before they are written."""
    store = MemoryStore(
        stored([SIZE]),
        pause=pause_under(engine.name),
        damages=[Damage("read", last=1)],
        checksums=source_checksums(),
    )

    [result] = Setup(multipart=False).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.restarted is None
    assert (result.attempts, store.calls["open", None]) == (2, 2)


@pytest.mark.parametrize("kind", [CRC64NVME, "CRC32", "CRC32C"])
def test_a_file_starts_over_if_its_parts_differ_from_the_source(engine: Engine, kind: str) -> None:
    """Each part arrived as it was read, so one was read changed, and the client cannot tell which."""
    store = MemoryStore(
        stored([SIZE]),
        pause=pause_under(engine.name),
        damages=[Damage("read", last=1)],
        checksums=source_checksums(kind),
    )

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.restarted is not None
    assert kind in result.restarted
    assert (result.read_verified, result.write_verified) == (kind, CRC64NVME)
    assert store.calls["create_upload", None] == 2
    assert store.calls["complete_upload", None] == 1
    assert result.attempts == 8


def test_a_file_read_changed_again_after_starting_over_fails(engine: Engine) -> None:
    """It leaves nothing behind."""
    store = MemoryStore(
        stored([SIZE, 12]),
        pause=pause_under(engine.name),
        damages=[Damage("read", key="key-0")],
        checksums=source_checksums(),
    )

    failed, other = Setup().run(jobs_of([SIZE, 12]), store, engine)

    assert_nothing_is_written(failed, store)
    assert isinstance(failed.error, ChecksumMismatch)
    assert failed.restarted is not None
    assert store.calls["create_upload", "key-0"] == 2
    assert (other.status, other.restarted) == ("copied", None)


@pytest.mark.parametrize("error", [GONE, WriteConflict("409", "ConditionalRequestConflict", 409)])
@pytest.mark.parametrize(("operation", "nth"), [("upload_part", 3), ("complete_upload", 1)])
def test_an_upload_gone_or_outrun_starts_its_file_over(
    engine: Engine, error: AsyncstreamError, operation: str, nth: int
) -> None:
    store = MemoryStore(
        stored([SIZE]), pause=pause_under(engine.name), failures=[Failure(operation, error, nth, nth)]
    )

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.restarted == str(error)
    assert store.calls["create_upload", None] == store.calls["abort_upload", None] + 1 == 2


def test_an_upload_that_is_gone_twice_fails_its_file(engine: Engine) -> None:
    store = MemoryStore(
        stored([SIZE]), pause=pause_under(engine.name), failures=[Failure("upload_part", GONE, first=2)]
    )

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert_nothing_is_written(result, store)
    assert result.error is GONE
    assert result.restarted == str(GONE)
    assert store.calls["create_upload", None] == 2


def test_a_file_whose_upload_stays_does_not_start_over(engine: Engine) -> None:
    """The upload cannot be aborted.

    The user learns of the upload that remains; a second upload might remain as well.
    """
    gone = UploadGone("gone", "NoSuchUpload", 404)
    failures = [Failure("upload_part", gone, 2), Failure("abort_upload", AsyncstreamError("denied"))]
    store = MemoryStore(stored([SIZE]), pause=pause_under(engine.name), failures=failures)

    [result] = Setup().run(jobs_of([SIZE]), store, engine)

    assert result.error is gone
    assert result.restarted is None
    assert "could not be aborted: denied" in gone.__notes__[0]


@pytest.mark.parametrize(("operation", "nth"), [("upload_part", 3), ("complete_upload", 1)])
def test_bytes_of_a_file_that_starts_over_are_counted_once(engine: Engine, operation: str, nth: int) -> None:
    store = MemoryStore(
        stored([SIZE]), pause=pause_under(engine.name), failures=[Failure(operation, GONE, nth, nth)]
    )
    moved: list[int] = []
    taken_back: list[int] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            moved.append(event.bytes)
        elif isinstance(event, progress.PartRetried):
            taken_back.append(event.bytes)

    [result] = Setup(on_event=on_event).run(jobs_of([SIZE]), store, engine)

    assert_copied(result, store)
    assert result.restarted == str(GONE)
    assert sum(taken_back) > 0
    assert sum(moved) - sum(taken_back) == SIZE


def test_slow_downs_reduce_the_requests_in_flight(engine: Engine) -> None:
    sizes = [5] * 90
    slots = 8
    busy = [Failure("put", SlowDown("busy"), last=1, key=f"key-{number}") for number in range(30)]
    # Long enough for all threads to be at work together, also on a busy machine.
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name, 0.01), failures=busy)
    peaks: list[int] = []
    finished = 0

    def on_event(event: progress.Event) -> None:
        nonlocal finished
        if isinstance(event, progress.FileFinished):
            finished += 1
            # After 8 + 4 + 2 ends the slots were halved three times.
            if finished in {20, 30}:
                peaks.append(store.peak_in_flight)
                store.peak_in_flight = 0

    results = Setup(slots=slots, on_event=on_event).run(jobs_of(sizes), store, engine)

    assert {result.status for result in results} == {"copied"}
    most = min(slots, engine.max_slots)
    at_first, while_busy = peaks
    assert most / 2 < at_first <= most
    assert while_busy == 1
    assert most / 2 < store.peak_in_flight <= most  # the slots came back
    assert_nothing_is_left(store)

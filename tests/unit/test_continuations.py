"""Files left pending by the deadline: their state, and how another transfer continues them."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import cache
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from asyncstream.checksum import CRC64NVME
from asyncstream.engines import ENGINES, open_engine
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    DeadlineExceeded,
    SlowDown,
    SourceChanged,
    UploadGone,
)
from asyncstream.locations import S3Object
from asyncstream.objects import ByteRange, CompletedPart, MultipartUpload, Origin, Written
from asyncstream.pipeline import progress
from asyncstream.pipeline.continuation import MOST_RUNS, Continuation, PartRun
from asyncstream.pipeline.file_ends import MOST_FRUITLESS
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.results import FileResult
from asyncstream.ports import Body, Engine, Opened
from tests.places import key_of

from .memory_store import Damage, Failure, MemoryStore, checksum_of, etag_of, pause_under
from .transfers import (
    SIZE,
    WHOLE,
    Setup,
    assert_copied,
    assert_nothing_is_left,
    content,
    cut,
    jobs_of,
    run_of,
    source,
    source_checksums,
    stored,
    target,
)


class Ticking(MemoryStore):
    """Only work advances the clock: a second per confirmed part, and `seconds_to_open` per GET."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.now = 0.0
        self.seconds_to_open = 0.0
        self.sent: list[int] = []  # numbers of the confirmed parts

    def clock(self) -> float:
        return self.now

    async def open(
        self, source: S3Object, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        opened = await super().open(source, range_, etag, if_none_match)
        self.now += self.seconds_to_open
        return opened

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        written = await super().upload_part(upload, number, start, body)
        self.now += 1
        self.sent.append(number)
        return written


def in_json(left: Continuation) -> Continuation:
    return msgspec.json.decode(msgspec.json.encode(left), type=Continuation)


def jobs_to_continue(results: Sequence[FileResult]) -> list[Job]:
    """Return the jobs of the next transfer for the files left pending."""
    return [
        Job(left.source, left.destination, continuation=left.continuation and in_json(left.continuation))
        for left in results
        if left.status == "pending"
    ]


def run(
    store: Ticking,
    engine: Engine,
    jobs: Sequence[Job],
    seconds: float | None,
    on_event: progress.OnEvent = progress.ignore,
    **setup: Any,
) -> Sequence[FileResult]:
    paused = Setup(deadline=seconds, pauses=True, clock=store.clock, on_event=on_event, **setup)
    results = paused.run(jobs, store, engine)
    assert store.open_streams == set()
    assert store.violations == []
    return results


@settings(max_examples=50)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    slots=st.integers(1, 4),
    part_size=st.integers(3, 25),
    seconds=st.floats(2, 6),
    kind=st.sampled_from([None, CRC64NVME, "CRC32", "SHA256"]),
    uploaded=st.integers(0, 70),
    listed=st.booleans(),
)
def test_files_continue_from_json_until_all_are_copied(
    engine: Engine,
    sizes: list[int],
    slots: int,
    part_size: int,
    seconds: float,
    kind: str | None,
    uploaded: int,
    listed: bool,
) -> None:
    """Every file left pending is consistent.

    A source has a checksum of all its bytes, a checksum of its uploaded parts, or none.
    """
    names = {source(n): size for n, size in enumerate(sizes)}
    whole = {at: checksum_of(content(n, names[at]), kind) for n, at in enumerate(names)} if kind else None
    in_parts = {at: (kind, cut(size, uploaded)) for at, size in names.items() if size} if kind else None
    kept = {"uploaded": in_parts} if uploaded else {"checksums": whole}
    store = Ticking(stored(sizes), pause=pause_under(engine.name), **kept)
    jobs = jobs_of(sizes, listed=listed)
    copied: list[FileResult] = []
    for _ in range(sum(sizes) + 1):
        results = run(store, engine, jobs, seconds, slots=slots, part_size=part_size)
        assert {result.status for result in results} <= {"copied", "pending"}
        left = [result.continuation for result in results if result.continuation is not None]
        assert [in_json(one) for one in left] == left
        assert {one.upload_id for one in left} == store.uploads.keys()
        copied += [result for result in results if result.status == "copied"]
        jobs = jobs_to_continue(results)
        if not jobs:
            break

    assert len(copied) == len(sizes)
    for number, size in enumerate(sizes):
        assert store.objects[target(number)] == content(number, size)
    assert all(result.write_verified == CRC64NVME and result.restarted is None for result in copied)
    if kind in {CRC64NVME, "CRC32"}:
        # An empty source has no parts to compare.
        assert all(result.read_verified == kind for result in copied if result.bytes or not uploaded)
    assert_nothing_is_left(store)


def test_the_next_transfer_sends_only_the_parts_that_are_missing(engine: Engine) -> None:
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name), checksums=source_checksums())
    moved: list[int] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            moved.append(event.bytes)

    [left] = run(store, engine, jobs_of([SIZE]), 1.5, slots=1)

    assert (left.status, left.bytes, left.etag, left.error) == ("pending", 0, None, None)
    assert left.continuation == Continuation(
        upload_id="upload-1",
        etag=etag_of(WHOLE),
        size=SIZE,
        first=10,
        step=10,
        verified=True,
        checksum=checksum_of(WHOLE),
        digests=[CRC64NVME],
        runs=[run_of(1, 2, 0, 20)],
    )
    assert target(0) not in store.objects
    assert store.calls["abort_upload", None] == 0

    [result] = run(store, engine, jobs_to_continue([left]), None, on_event, slots=1)

    assert_copied(result, store)
    assert store.sent == [1, 2, 3, 4]
    assert (result.parts, result.attempts, store.calls["create_upload", None]) == (4, 2, 1)
    assert (result.read_verified, result.write_verified) == (CRC64NVME, CRC64NVME)
    assert moved[0] == 20  # the parts already confirmed count at once
    assert sum(moved) == SIZE


@pytest.mark.parametrize("part_size", [3, 8, 10, 17, SIZE])
def test_the_last_transfer_verifies_a_multipart_source(engine: Engine, part_size: int) -> None:
    """It compares the checksum of the parts that all transfers have read."""
    uploaded = {source(0): ("CRC32", cut(SIZE, part_size))}
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name), uploaded=uploaded)
    [left] = run(store, engine, jobs_of([SIZE]), 1.5, slots=1)
    assert left.continuation is not None
    assert left.continuation.composite is not None
    assert left.continuation.composite.part_size == part_size
    asked = store.calls["part_size", None]

    [result] = run(store, engine, jobs_to_continue([left]), None)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == ("CRC32", CRC64NVME)
    assert store.calls["part_size", None] == asked


def test_a_later_transfer_finds_a_byte_changed_earlier(engine: Engine) -> None:
    store = Ticking(
        stored([SIZE]),
        pause=pause_under(engine.name),
        uploaded={source(0): ("CRC32", cut(SIZE, 8))},
        damages=[Damage("read", last=1)],
    )
    [left] = run(store, engine, jobs_of([SIZE]), 1.5, slots=1)

    [result] = run(store, engine, jobs_to_continue([left]), None)

    assert_copied(result, store)
    assert result.read_verified == "CRC32"
    assert "the data read in parts from s3://raw/key-0" in str(result.restarted)


def test_a_file_with_all_parts_confirmed_is_only_completed(engine: Engine) -> None:
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    [left] = run(store, engine, jobs_of([SIZE]), 3.5, slots=1)
    assert left.continuation is not None
    assert left.continuation.runs == [run_of(1, 4, 0, SIZE)]

    [result] = run(store, engine, jobs_to_continue([left]), None)

    assert_copied(result, store)
    assert (result.attempts, store.calls["open", None], store.calls["complete_upload", None]) == (0, 4, 1)


def test_a_file_not_started_is_left_as_it_was_given(engine: Engine) -> None:
    store = Ticking(stored([SIZE, SIZE]), pause=pause_under(engine.name))
    finished: list[FileResult] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.FileFinished):
            finished.append(event.result)

    started, other = run(store, engine, jobs_of([SIZE, SIZE]), 0.5, on_event, slots=1)

    assert started.continuation is not None
    assert (other.status, other.continuation, other.attempts) == ("pending", None, 0)
    assert sorted(finished, key=lambda result: key_of(result.source)) == [started, other]

    given_again = run(store, engine, jobs_to_continue([started, other]), 0.0)
    assert [left.continuation for left in given_again] == [started.continuation, None]


def test_a_file_without_a_confirmed_part_leaves_nothing(engine: Engine) -> None:
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    store.seconds_to_open = 1.0

    [left] = run(store, engine, jobs_of([SIZE]), 0.5)

    assert (left.status, left.continuation, left.error) == ("pending", None, None)
    assert_nothing_is_left(store)


class ConfirmedLate(Ticking):
    """The deadline fails the first part; then S3 confirms the second, all of whose bytes had arrived."""

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        parts = self.uploads[upload.upload_id]
        if number == 1:
            while 2 not in parts:
                await self._pause()
            raise DeadlineExceeded("the time is up")
        written = await super().upload_part(upload, number, start, body)
        for _ in range(20):
            await self._pause()
        return written


@pytest.mark.parametrize("engine", ["threads", "asyncio"], indirect=True)
def test_a_part_confirmed_after_the_deadline_is_not_resent(engine: Engine) -> None:
    """With the engines that have two parts in flight."""
    store = ConfirmedLate(stored([15]), pause=pause_under(engine.name, 0.001))

    [left] = run(store, engine, jobs_of([15]), 1e6)

    assert store.sent == [2]
    assert left.continuation is not None
    assert [(confirmed.first, confirmed.last) for confirmed in left.continuation.runs] == [(2, 2)]


class SlowToCreate(Ticking):
    async def create_upload(
        self,
        target: S3Object,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        upload = await super().create_upload(target, attributes, origin, kind)
        self.now += 1
        return upload


def test_an_upload_without_a_part_is_continued(engine: Engine) -> None:
    store = SlowToCreate(stored([SIZE]), pause=pause_under(engine.name))

    [left] = run(store, engine, jobs_of([SIZE]), 0.5)
    assert (left.status, store.uploads) == ("pending", {"upload-1": {}})
    [result] = run(store, engine, jobs_to_continue([left]), None)

    assert (result.status, result.restarted) == ("copied", None)
    assert store.calls["create_upload", None] == 1
    assert_nothing_is_left(store)


def test_a_file_continued_in_vain_too_often_fails(engine: Engine) -> None:
    """It leaves nothing behind."""
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    results = run(store, engine, jobs_of([SIZE]), 0.5, slots=1)
    store.seconds_to_open = 1.0
    for fruitless in range(1, MOST_FRUITLESS):
        results = run(store, engine, jobs_to_continue(results), 0.5)
        [left] = results
        assert left.continuation is not None
        assert (left.continuation.fruitless, left.continuation.runs) == (fruitless, [run_of(1, 1, 0, 10)])

    [result] = run(store, engine, jobs_to_continue(results), 0.5)

    assert (result.status, result.continuation) == ("failed", None)
    assert isinstance(result.error, DeadlineExceeded)
    assert f"no part was confirmed in {MOST_FRUITLESS} transfers in a row" in str(result.error)
    assert_nothing_is_left(store)


def test_a_confirmed_part_resets_the_fruitless_count(engine: Engine) -> None:
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    results = run(store, engine, jobs_of([SIZE]), 0.5, slots=1)
    counts = []
    for seconds_to_open in (1.0, 1.0, 0.0, 1.0):
        store.seconds_to_open = seconds_to_open
        results = run(store, engine, jobs_to_continue(results), 0.5, slots=1)
        assert results[0].continuation is not None
        counts.append(results[0].continuation.fruitless)

    assert counts == [1, 2, 0, 1]


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        ("open", SourceChanged("overwritten meanwhile")),
        ("upload_part", UploadGone("a lifecycle rule was quicker", "NoSuchUpload", 404)),
    ],
)
def test_an_outdated_continuation_starts_its_file_over(
    engine: Engine, operation: str, error: AsyncstreamError
) -> None:
    first = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    results = run(first, engine, jobs_of([SIZE]), 1.5, slots=1)
    store = Ticking(
        stored([SIZE]), pause=pause_under(engine.name), failures=[Failure(operation, error, last=1)]
    )
    store.calls["create_upload", None] = 1
    store.uploads = first.uploads
    net: list[int] = []

    def on_event(event: progress.Event) -> None:
        if isinstance(event, progress.BytesMoved):
            net.append(event.bytes)
        elif isinstance(event, progress.PartRetried):
            net.append(-event.bytes)

    [result] = run(store, engine, jobs_to_continue(results), None, on_event)

    assert_copied(result, store)
    assert result.restarted == str(error)
    assert (store.calls["abort_upload", None], store.calls["create_upload", None]) == (1, 2)
    assert sum(net) == SIZE


MANY, CONFIRMED = 2_600, 2_500


@cache
def large_upload(name: str) -> tuple[bytes, dict[int, bytes]]:
    """Return an engine's continuation, in JSON, of a file of many one-byte parts, and the parts in S3."""
    store = Ticking(stored([MANY]), pause=pause_under(name))
    with closing(open_engine(name)) as engine:
        [left] = run(store, engine, jobs_of([MANY]), CONFIRMED - 0.5, part_size=1)
    [parts] = store.uploads.values()
    return msgspec.json.encode(left.continuation), parts


@pytest.mark.parametrize("before", ENGINES)
def test_an_upload_of_many_parts_is_taken_up_by_each_engine(engine: Engine, before: str) -> None:
    """The continuation is small, and no part is sent twice."""
    encoded, parts = large_upload(before)
    store = Ticking(stored([MANY]), pause=pause_under(engine.name))
    store.uploads, store.written[target(0)] = {"upload-1": dict(parts)}, {}
    job = Job(source(0), target(0), continuation=msgspec.json.decode(encoded, type=Continuation))

    [result] = run(store, engine, [job], None, part_size=1)

    assert len(encoded) < 1_000
    assert len(parts) >= CONFIRMED
    assert (result.status, result.parts, result.write_verified) == ("copied", MANY, CRC64NVME)
    assert store.calls["list_parts", None] == 3
    assert sorted([*parts, *store.sent]) == [*range(1, MANY + 1)]
    assert store.objects[target(0)] == content(0, MANY)
    assert_nothing_is_left(store)


def leave_pending(store: Ticking, engine: Engine, seconds: float = 2.5) -> Sequence[FileResult]:
    """Transfer one file until the deadline, with three of its four parts confirmed one by one."""
    results = run(store, engine, jobs_of([SIZE]), seconds, slots=1)
    assert [left.status for left in results] == ["pending"]
    assert store.sent == [1, 2, 3]
    return results


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("kind", [CRC64NVME, "CRC32"])
def test_parts_that_s3_has_no_more_are_sent_again(engine: Engine, kind: str, lost: int) -> None:
    """If S3 lists no checksums of that kind, all parts that share one with the lost part are resent."""
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name), checksums=source_checksums(kind))
    results = leave_pending(store, engine)
    del store.uploads["upload-1"][lost]
    store.replaceable_parts = True

    [result] = run(store, engine, jobs_to_continue(results), None)

    assert_copied(result, store)
    assert (result.read_verified, result.write_verified) == (kind, CRC64NVME)
    again = [lost] if kind == CRC64NVME else [1, 2, 3]
    assert sorted(store.sent[3:]) == [*again, 4]


def test_parts_of_another_length_are_sent_again(engine: Engine) -> None:
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    results = leave_pending(store, engine)
    store.uploads["upload-1"][2] = b"of another"[:9]
    store.replaceable_parts = True

    [result] = run(store, engine, jobs_to_continue(results), None)

    assert_copied(result, store)
    assert sorted(store.sent[3:]) == [2, 4]


def test_parts_that_were_never_confirmed_are_sent_again(engine: Engine) -> None:
    """S3 received the part, but the reply with its checksum was lost: the part may have any bytes."""
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    results = leave_pending(store, engine)
    store.uploads["upload-1"][4] = bytes(5)
    store.replaceable_parts = True

    [result] = run(store, engine, jobs_to_continue(results), None)

    assert_copied(result, store)
    assert store.sent[3:] == [4]


def test_a_part_that_another_has_written_is_found_out(engine: Engine) -> None:
    """Complete declares the checksum of the parts as sent, not as S3 lists them."""
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name), checks_declared=True)
    results = leave_pending(store, engine)
    store.uploads["upload-1"][2] = bytes(10)

    [result] = run(store, engine, jobs_to_continue(results), None)

    assert_copied(result, store)
    assert "BadDigest" in str(result.restarted)


def test_parts_that_are_not_planned_are_not_completed(engine: Engine) -> None:
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name))
    results = leave_pending(store, engine)
    listed = store.list_parts

    async def list_parts(
        upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        page, following = await listed(upload, after)
        return [*page, CompletedPart(7, '"7"', 10, {})], following

    store.list_parts = list_parts  # type: ignore[method-assign]

    [result] = run(store, engine, jobs_to_continue(results), None)

    assert_copied(result, store)
    assert result.parts == 4


def test_a_listing_that_fails_for_now_is_asked_again(engine: Engine) -> None:
    failures = [Failure("list_parts", SlowDown("later"), last=1)]
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name), failures=failures)

    [result] = run(store, engine, jobs_to_continue(leave_pending(store, engine)), None)

    assert_copied(result, store)
    assert store.sent == [1, 2, 3, 4]


def test_a_role_that_may_not_list_parts_is_named(engine: Engine) -> None:
    """Starting the file over would end in the same error, and so would every later transfer."""
    failures = [Failure("list_parts", AccessDenied("the caller needs s3:ListMultipartUploadParts"))]
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name), failures=failures)

    [result] = run(store, engine, jobs_to_continue(leave_pending(store, engine)), None)

    assert (result.status, result.continuation, result.restarted) == ("failed", None, None)
    assert "s3:ListMultipartUploadParts" in str(result.error)
    assert_nothing_is_left(store)


def test_a_deadline_while_parts_are_listed_loses_no_part(engine: Engine) -> None:
    failures = [Failure("list_parts", DeadlineExceeded("the time is up"), last=MOST_FRUITLESS)]
    store = Ticking(stored([SIZE]), pause=pause_under(engine.name), failures=failures)
    before = leave_pending(store, engine)

    results = run(store, engine, jobs_to_continue(before), 1.0)

    assert before[0].continuation is not None
    assert results[0].continuation == replace(before[0].continuation, fruitless=1)
    results = run(store, engine, jobs_to_continue(results), 1.0)
    [failed] = run(store, engine, jobs_to_continue(results), 1.0)
    assert isinstance(failed.error, DeadlineExceeded)
    assert_nothing_is_left(store)


def test_files_taken_up_wait_for_the_parts_of_those_before(engine: Engine) -> None:
    """Otherwise the first file's parts fill all slots, and the other file fails for lack of progress."""
    sizes = [200, 35]
    store = Ticking(stored(sizes), pause=pause_under(engine.name))
    jobs = [
        Job(source(n), target(n), continuation=left_with_one_part(store, n, size))
        for n, size in enumerate(sizes)
    ]
    for _ in range(30):
        results = run(store, engine, jobs, 2.0, slots=2)
        assert [result.error for result in results] == [None] * len(results)
        jobs = jobs_to_continue(results)
        if not jobs:
            break

    assert store.objects[target(0)] == content(0, 200)
    assert store.objects[target(1)] == content(1, 35)
    assert_nothing_is_left(store)


def left_with_one_part(store: Ticking, number: int, size: int) -> Continuation:
    whole = content(number, size)
    upload_id = f"earlier-{number}"
    store.uploads[upload_id] = {1: whole[:10]}
    store.written[target(number)] = {}
    crc = {CRC64NVME: checksum_of(whole[:10]).value}
    return Continuation(
        upload_id=upload_id,
        etag=etag_of(whole),
        size=size,
        first=10,
        step=10,
        verified=True,
        digests=[CRC64NVME],
        runs=[PartRun(1, 1, 10, crc)],
    )


def test_an_upload_that_became_its_object_is_not_repeated(engine: Engine) -> None:
    """The transfer ended after S3 had completed the upload and before its reply arrived."""
    lost = Failure("complete_upload", DeadlineExceeded("the time is up"), last=1, lost=True)
    store = Ticking(
        stored([SIZE]), pause=pause_under(engine.name), failures=[lost], checksums=source_checksums()
    )
    results = run(store, engine, jobs_of([SIZE]), 100.0, slots=1)
    assert [left.status for left in results] == ["pending"]

    [result] = run(store, engine, jobs_to_continue(results), None)

    assert_copied(result, store)
    assert (result.restarted, result.attempts, result.etag) == (None, 0, etag_of(WHOLE))
    assert (result.read_verified, result.write_verified) == (CRC64NVME, CRC64NVME)


def test_runs_beyond_the_most_are_sent_again(engine: Engine) -> None:
    size = 4 * MOST_RUNS
    store = Ticking(stored([size]), pause=pause_under(engine.name))
    store.replaceable_parts = True
    numbers = [*range(1, size, 2)]  # every second part: twice as many runs as a continuation may have
    store.uploads["earlier"] = {n: content(0, size)[n - 1 : n] for n in numbers}
    store.written[target(0)] = {}
    given = Continuation(
        upload_id="earlier",
        etag=etag_of(content(0, size)),
        size=size,
        first=1,
        step=1,
        verified=True,
        digests=[CRC64NVME],
        runs=[PartRun(n, n, 1, {CRC64NVME: checksum_of(content(0, size)[n - 1 : n]).value}) for n in numbers],
    )

    [left] = run(store, engine, [Job(source(0), target(0), continuation=given)], 0.0)
    assert left.continuation == given
    store.seconds_to_open = 1.0
    results = run(store, engine, [Job(source(0), target(0), continuation=given)], 0.5)
    assert results[0].continuation is not None
    assert len(results[0].continuation.runs) == MOST_RUNS
    assert len(msgspec.json.encode(results[0].continuation)) < 2_500
    [result] = run(store, engine, jobs_to_continue(results), None)

    assert result.status == "copied"
    assert store.objects[target(0)] == content(0, size)

"""A batch of a run: its outcome, what is left of it, and the last step of the run."""

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from asyncstream import MiB, S3Object, S3Prefix, TransferConfig, TransferSession
from asyncstream.deadline import Notice
from asyncstream.errors import DeadlineExceeded, InputError, OtherVersion, SourceNotFound, UploadGone
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.runs.descriptions import Description, Totals
from asyncstream.runs.finishing import abort_run, finish_run
from asyncstream.runs.moving import Worker, move_batch
from asyncstream.runs.outcomes import BatchOutcome, RowLeft
from asyncstream.runs.places import Run
from asyncstream.runs.rows import LineRanges, Row
from asyncstream.runs.run_store import RunStore
from asyncstream.runs.unzipping import Entries
from tests.servers import Bucket, content

from .fixture_types import NewSession
from .test_shared_uploads import FOUR_PARTS, finish, move, opened

CONFIG = TransferConfig(retry_base_delay=0.001, retry_max_delay=0.001, part_size=5 * MiB)
# Writes a run of these batches, and of these uploads.
Plan = Callable[..., RunStore]


@pytest.fixture
def session(new_session: NewSession) -> TransferSession:
    return new_session()


@pytest.fixture
def worker(session: TransferSession) -> Worker:
    return Worker(session, lambda: CONFIG)


@pytest.fixture
def plan(session: TransferSession, bucket: Bucket) -> Plan:
    def plan(*batches: Sequence[Row], uploads: Sequence[Row] = (), **description: Any) -> RunStore:
        store = RunStore(Run(S3Prefix(bucket.name, "run/")), session, lambda: CONFIG)
        for number, rows in enumerate(batches):
            store.write_rows(store.run.batch(number), rows)
        if uploads:
            store.write_rows(store.run.uploads(0), uploads)
        totals = Totals(batches=len(batches), upload_lists=int(bool(uploads)))
        described = Description(source="s3://a/", destination="s3://b/", totals=totals, **description)
        store.write_json(store.run.description, described)
        return store

    return plan


def row(bucket: Bucket, key: str, **fields: Any) -> Row:
    return Row(f"s3://{bucket.name}/in/{key}", f"s3://{bucket.name}/out/{key}", **fields)


def listed(bucket: Bucket, key: str, body: bytes) -> Row:
    """Store a file, and return its row with what a listing tells of it."""
    bucket.put(f"in/{key}", body)
    return row(bucket, key, size=len(body), etag=bucket.head(f"in/{key}")["ETag"])


def zipped(files: Mapping[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return packed.getvalue()


def out(bucket: Bucket) -> set[str]:
    return bucket.keys("out/")


def test_a_batch_copies_its_files_once(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    rows = [listed(bucket, name, name.encode()) for name in "abc"]
    store = plan(rows)

    outcome = move_batch(store, 0, worker)
    again = move_batch(store, 0, worker)

    assert (outcome.files, outcome.bytes, outcome.left, outcome.runs) == (3, 3, [], 1)
    assert out(bucket) == {"out/a", "out/b", "out/c"}
    assert again == outcome
    assert "run/done/000000.json" in bucket.keys("run/")
    assert finish_run(store, worker).whole


def test_what_failed_is_run_again_by_itself(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    store = plan([listed(bucket, "a", b"a"), row(bucket, "b"), listed(bucket, "c", b"c")])

    first = move_batch(store, 0, worker)
    report = finish_run(store, worker)
    bucket.delete("out/a")
    bucket.put("in/b", b"b")
    second = move_batch(store, 0, worker)

    [left] = first.left
    assert (left.row, left.source, first.again) == (1, f"s3://{bucket.name}/in/b", False)
    assert left.error is not None
    assert left.error.type == SourceNotFound.__name__
    assert (report.batches_left, report.failed) == (1, 1)
    assert [each.source for each in report.failures] == [left.source]
    assert (second.files, second.left, second.runs) == (3, [], 2)
    assert out(bucket) == {"out/b", "out/c"}
    assert finish_run(store, worker).whole


def test_a_malformed_row_fails_alone(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    wrong = Row("s3://UPPER..", "nowhere")
    store = plan([wrong, listed(bucket, "a", b"a")])

    outcome = move_batch(store, 0, worker)

    assert [(each.row, each.error and each.error.type) for each in outcome.left] == [(0, InputError.__name__)]
    assert out(bucket) == {"out/a"}


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_row_that_cannot_be_copied_fails_alone(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    """Such as a file that a list names twice, or onto itself."""
    a, b = listed(bucket, "a", b"a"), listed(bucket, "b", b"b")
    store = plan([a, b, replace(b, destination=a.destination), replace(b, destination=b.source)])

    outcome = move_batch(store, 0, worker)

    assert [each.row for each in outcome.left] == [2, 3]
    assert {each.error.type for each in outcome.left if each.error} == {InputError.__name__}
    assert (bucket.get("out/a"), bucket.get("out/b")) == (b"a", b"b")


@pytest.mark.parametrize("server", ["lab"], indirect=True)
@pytest.mark.parametrize(("batch", "rows", "row"), [(0, 1, 8), (0, 1, -1), (0, 9, 0), (1, 1, 0)])
def test_an_outcome_of_another_batch_is_refused(
    plan: Plan, worker: Worker, bucket: Bucket, batch: int, rows: int, row: int
) -> None:
    store = plan([listed(bucket, "a", b"a")])
    outcome = BatchOutcome(batch=batch, rows=rows, left=[RowLeft(row, "s3://a/b", "s3://c/d")])
    store.write_json(store.run.left(0), outcome)

    with pytest.raises(InputError, match="elete it, and run the batch again"):
        move_batch(store, 0, worker)
    assert out(bucket) == set()


def test_a_changed_file_is_copied_as_it_is_now(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    store = plan([listed(bucket, "a", b"before")])
    bucket.put("in/a", b"after it")

    outcome = move_batch(store, 0, worker)

    assert (outcome.files, outcome.left) == (1, [])
    assert bucket.get("out/a") == b"after it"


def test_a_notice_leaves_the_rest(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    store = plan([listed(bucket, name, name.encode()) for name in "abc"])
    notice = Notice()
    notice.give()

    outcome = move_batch(store, 0, replace(worker, notice=notice))

    assert (outcome.files, outcome.pending, outcome.again, outcome.fruitless) == (0, 3, True, 0)
    assert move_batch(store, 0, worker).left == []
    assert out(bucket) == {"out/a", "out/b", "out/c"}


def test_a_batch_without_any_time_fails_at_last(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    def late() -> TransferConfig:
        raise DeadlineExceeded("no time is left")

    store = plan([listed(bucket, "a", b"a")])
    outcomes = [move_batch(store, 0, replace(worker, timed=late)) for _ in range(3)]

    assert [outcome.again for outcome in outcomes] == [True, True, False]
    [left] = outcomes[-1].left
    assert left.error is not None
    assert left.error.type == DeadlineExceeded.__name__


def test_archives_and_objects_share_a_batch(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    bucket.put("in/a.zip", zipped({"x": b"1", "y": b"22"}))
    archive = Row(f"s3://{bucket.name}/in/a.zip", f"s3://{bucket.name}/out/a/", entries=Entries())
    store = plan([archive, listed(bucket, "b", b"b")])

    outcome = move_batch(store, 0, worker)

    assert (outcome.files, outcome.left) == (3, [])
    assert out(bucket) == {"out/a/x", "out/a/y", "out/b"}


@pytest.fixture
def giant(bucket: Bucket, session: TransferSession) -> Row:
    """A file of four parts, whose upload is open."""
    bucket.put("in/giant", FOUR_PARTS)
    pair = S3Object(bucket.name, "in/giant"), S3Object(bucket.name, "out/giant")
    left = opened(session, pair)
    return row(bucket, "giant", size=len(FOUR_PARTS), etag=left.etag, continuation=left)


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_range_without_any_time_fails_at_last(
    plan: Plan, worker: Worker, bucket: Bucket, giant: Row
) -> None:
    """Its continuation is the one that it came with: that is no progress."""
    store = plan(*ranges(giant, (1, 4)), uploads=[giant])
    late = replace(worker, timed=lambda: CONFIG.override({"deadline": 1e-9}))

    outcomes = [move_batch(store, 0, late) for _ in range(3)]

    assert [outcome.again for outcome in outcomes] == [True, True, False]
    assert move_batch(store, 0, worker).left == []
    assert finish_run(store, worker).whole


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_listed_archive_without_time_fails_at_last(
    lab: LabS3, plan: Plan, worker: Worker, bucket: Bucket
) -> None:
    """Its files are listed in each run, and none of them is done: the first run chooses them, that is all."""
    bucket.put("in/a.zip", zipped({"x": b"1"}))
    archive = Row(f"s3://{bucket.name}/in/a.zip", f"s3://{bucket.name}/out/a/", entries=Entries())
    store = plan([archive])
    lab.set_faults([Fault("stall", "PutObject", key="out/a/x")])
    late = replace(worker, timed=lambda: CONFIG.override({"deadline": 0.3}))

    outcomes = [move_batch(store, 0, late) for _ in range(4)]
    lab.set_faults([])

    assert not outcomes[-1].again
    assert move_batch(store, 0, worker).left == []


def ranges(giant: Row, *numbers: tuple[int, int]) -> list[list[Row]]:
    assert giant.continuation is not None
    return [[replace(giant, continuation=replace(giant.continuation, only=only))] for only in numbers]


def test_ranges_of_a_giant_become_one_object(plan: Plan, worker: Worker, bucket: Bucket, giant: Row) -> None:
    store = plan(*ranges(giant, (1, 2), (3, 4)), uploads=[giant])

    outcomes = [move_batch(store, number, worker) for number in range(2)]
    report = finish_run(store, worker)

    assert [(each.files, each.bytes) for each in outcomes] == [(0, 10 * MiB), (0, 5 * MiB + 7)]
    assert (report.completed, report.whole) == (1, True)
    assert bucket.get("out/giant") == FOUR_PARTS


def test_a_giant_without_all_parts_is_not_completed(
    plan: Plan, worker: Worker, bucket: Bucket, giant: Row
) -> None:
    store = plan(*ranges(giant, (1, 2), (3, 4)), uploads=[giant])
    move_batch(store, 1, worker)

    report = finish_run(store, worker)

    assert (report.completed, report.batches_left, report.failed) == (0, 1, 1)
    assert "parts are missing, 1-2" in str(report.failures)
    assert len(bucket.uploads()) == 1
    move_batch(store, 0, worker)
    assert finish_run(store, worker).whole


@pytest.mark.parametrize("server", ["lab", "moto"], indirect=True)
def test_a_batch_killed_at_its_end_finds_the_giant(
    plan: Plan, worker: Worker, bucket: Bucket, giant: Row
) -> None:
    """It had moved all parts, but not told so, when the last step made them an object."""
    store = plan(*ranges(giant, (1, 2), (3, 4)), uploads=[giant])
    for number in range(2):
        move_batch(store, number, worker)
    bucket.delete("run/done/000001.json")
    early = finish_run(store, worker)

    outcome = move_batch(store, 1, worker)

    assert (early.completed, early.batches_left) == (1, 1)
    assert (outcome.files, outcome.bytes, outcome.left) == (0, 5 * MiB + 7, [])
    assert finish_run(store, worker).whole


@pytest.mark.parametrize("server", ["lab", "moto"], indirect=True)
def test_an_older_giant_is_not_taken_for_the_new(
    plan: Plan, worker: Worker, bucket: Bucket, session: TransferSession
) -> None:
    """Even one that was made of as many parts."""
    pair = S3Object(bucket.name, "in/giant"), S3Object(bucket.name, "out/giant")
    bucket.put("in/giant", FOUR_PARTS)
    before = opened(session, pair)
    move(session, pair, before, 1, 4)
    finish(session, pair, before)
    older = bucket.head("out/giant")["ETag"]
    bucket.put("in/giant", FOUR_PARTS[::-1])
    left = replace(opened(session, pair), checksum=None)
    giant = row(bucket, "giant", size=len(FOUR_PARTS), etag=left.etag, continuation=left)
    store = plan(*ranges(giant, (1, 4)), uploads=[giant])
    abort_run(store, worker)

    outcome = move_batch(store, 0, worker)

    assert older.endswith('-4"')
    assert [each.error and each.error.type for each in outcome.left] == [UploadGone.__name__]
    assert finish_run(store, worker).failed == 2


def test_a_giant_overwritten_meanwhile_leaves_nothing(
    plan: Plan, worker: Worker, bucket: Bucket, giant: Row
) -> None:
    store = plan(*ranges(giant, (1, 2), (3, 4)), uploads=[giant])
    move_batch(store, 0, worker)
    bucket.put("in/giant", FOUR_PARTS[::-1])

    outcome = move_batch(store, 1, worker)
    report = finish_run(store, worker)

    [left] = outcome.left
    assert left.error is not None
    assert (left.error.type, left.error.temporary) == (OtherVersion.__name__, False)
    assert (report.failed, report.batches_left, report.whole) == (2, 1, False)
    assert out(bucket) == set()
    assert bucket.uploads() == []


def test_an_aborted_run_leaves_no_upload(plan: Plan, worker: Worker, bucket: Bucket, giant: Row) -> None:
    store = plan(*ranges(giant, (1, 4)), uploads=[giant])
    move_batch(store, 0, worker)

    assert abort_run(store, worker) is None

    assert bucket.uploads() == []
    assert not finish_run(store, worker).whole


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_run_cannot_give_its_workers_more_time(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    store = plan([listed(bucket, "a", b"a")], settings={"deadline": 1e9, "at_deadline": "fail"})

    outcome = move_batch(store, 0, replace(worker, timed=lambda: CONFIG.override({"deadline": 1e-9})))

    assert (outcome.pending, out(bucket)) == (1, set())


@pytest.fixture
def late(lab: LabS3, worker: Worker) -> Worker:
    """A worker that has no time for the second part of an upload."""
    lab.set_faults([Fault("stall", "UploadPart", part_number=2, seconds=3.0)])
    return replace(worker, timed=lambda: CONFIG.override({"deadline": 1.0, "multipart": True}))


TEXT = b"".join(b"%07d,a line of a text\n" % n for n in range(900_000))


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_ranges_of_a_text_are_continued(
    lab: LabS3, plan: Plan, worker: Worker, late: Worker, bucket: Bucket
) -> None:
    text = replace(listed(bucket, "text", TEXT), destination=f"s3://{bucket.name}/out/")
    store = plan([replace(text, lines=LineRanges(2, "0-1"))])

    first = move_batch(store, 0, late)
    lab.set_faults([])
    second = move_batch(store, 0, worker)

    assert (first.pending, first.fruitless) == (1, 0)
    assert (second.files, second.left) == (2, [])
    assert second.requests["CreateMultipartUpload"] == 2
    assert b"".join(bucket.get(key) for key in sorted(out(bucket))) == TEXT
    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_an_aborted_run_leaves_nothing_pending(
    lab: LabS3, plan: Plan, worker: Worker, late: Worker, bucket: Bucket, session: TransferSession
) -> None:
    """A file, a range of a text, and a file in an archive are left with uploads."""
    file = listed(bucket, "file", FOUR_PARTS)
    text = replace(listed(bucket, "text", TEXT), destination=f"s3://{bucket.name}/out/")
    archive = Row(f"s3://{bucket.name}/in/a.zip", f"s3://{bucket.name}/out/a/", entries=Entries())
    store = plan([file], [replace(text, lines=LineRanges(1, "0"))], [archive])
    pending = [move_batch(store, number, late).pending for number in range(2)]
    lab.set_faults([])
    left = opened(session, (S3Object(bucket.name, "in/file"), S3Object(bucket.name, "out/a/x")))
    started = RowLeft(0, archive.source, archive.destination, entries=Entries(started={"x": left}))
    store.write_outcome(BatchOutcome(batch=2, rows=1, left=[started]))
    uploads = len(bucket.uploads())

    assert abort_run(store, worker) is None
    assert (pending, uploads, bucket.uploads()) == ([1, 1], 3, [])


def test_a_check_refuses_rows_and_settings(plan: Plan, worker: Worker, bucket: Bucket) -> None:
    def check(pairs: Any, settings: Any) -> None:
        if settings or any(source.key == "in/b" for source, _ in pairs):
            raise InputError("not allowed")

    rows = [listed(bucket, "a", b"a"), listed(bucket, "b", b"b")]
    [left] = move_batch(plan(rows), 0, replace(worker, check=check)).left
    with pytest.raises(InputError, match="not allowed"):
        move_batch(plan(rows, settings={"transform": "os:system"}), 0, replace(worker, check=check))

    assert left.row == 1
    assert out(bucket) == {"out/a"}


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_temporary_failures_are_tried_again(lab: LabS3, plan: Plan, worker: Worker, bucket: Bucket) -> None:
    store = plan([listed(bucket, "a", b"a"), listed(bucket, "b", content(100, 1))])
    lab.set_faults([Fault("refuse", "PutObject", key="out/b", status=503, code="SlowDown")])

    outcome = move_batch(store, 0, worker)
    lab.set_faults([])

    assert outcome.again
    assert move_batch(store, 0, worker).left == []

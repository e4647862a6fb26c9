"""A plan, its batches moved one by one, and the last step: the same objects as those of one transfer."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from asyncstream import MiB, S3Object, S3Prefix, TransferConfig, TransferSession
from asyncstream.deadline import Notice
from asyncstream.errors import InputError, NothingToTransfer, SourceNotFound
from asyncstream.runs import counting
from asyncstream.runs.costs import Speeds
from asyncstream.runs.counting import count_run
from asyncstream.runs.finishing import abort_run, finish_run
from asyncstream.runs.moving import Worker, move_batch
from asyncstream.runs.places import Run
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.planning import plan_run
from asyncstream.runs.run_store import RunStore
from tests.servers import Bucket, content

from .fixture_types import NewSession

SERVERS = ["lab", "moto"]
# Slow enough that a file of 20 MiB is a giant, and a part of 5 MiB takes a while.
SLOW = Speeds(stream_mb=0.5, card_mb=1.0, slots=2)
CONFIG = TransferConfig(retry_base_delay=0.001, retry_max_delay=0.001)
SMALL = {f"in/{n // 5}/{n}": content(1 + 7 * n, n) for n in range(23)}
FILES = {**SMALL, "in/giant": content(52 * MiB, 99)}


@pytest.fixture
def session(new_session: NewSession) -> TransferSession:
    return new_session()


@pytest.fixture
def store(session: TransferSession, bucket: Bucket) -> RunStore:
    return RunStore(Run(S3Prefix(bucket.name, "run/")), session, lambda: CONFIG)


@pytest.fixture
def worker(session: TransferSession) -> Worker:
    return Worker(session, lambda: CONFIG)


@pytest.fixture
def asked(bucket: Bucket) -> PlanRequest:
    return PlanRequest(
        source=f"s3://{bucket.name}/in/", destination=f"s3://{bucket.name}/out/", functions=2, speeds=SLOW
    )


def move_all(store: RunStore, worker: Worker) -> None:
    for number in range(store.read_description().totals.batches):
        assert move_batch(store, number, worker).left == []


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def copies(bucket: Bucket) -> dict[str, bytes]:
    return {key.replace("out/", "in/", 1): bucket.get(key) for key in bucket.keys("out/")}


def fill(bucket: Bucket, files: Mapping[str, bytes] = FILES) -> None:
    for key, body in files.items():
        bucket.put(key, body)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_planned_run_copies_every_file(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    fill(bucket)
    bucket.put("in/folder/", b"")

    progress = plan_run(store, asked, worker)
    move_all(store, worker)
    report = finish_run(store, worker)

    totals = progress.totals
    assert (totals.files, totals.giants, totals.largest) == (24, 1, 52 * MiB)
    assert totals.bytes == sum(map(len, FILES.values()))
    assert totals.left_out == {"folder_marker": 1}
    assert (report.completed, report.whole) == (1, True)
    assert copies(bucket) == FILES
    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_todo_has_an_event_for_each_batch(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    bucket.put("in/a", b"a")

    plan_run(store, asked, worker)

    assert json.loads(bucket.get("run/todo.json")) == [{"batch": f"s3://{bucket.name}/run/plan/000000.jsonl"}]


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_plan_in_many_steps_is_the_same(
    store: RunStore,
    worker: Worker,
    bucket: Bucket,
    asked: PlanRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each step has time for one page, and the folders have a page each."""
    fill(bucket)
    monkeypatch.setattr(counting, "SECONDS_TO_WRITE", math.inf)
    monkeypatch.setattr(counting, "SHARE_TO_WRITE", 1.0)
    timed = replace(worker, timed=lambda: CONFIG.override({"deadline": 500.0}))
    steps = 1
    while not plan_run(store, asked, timed).whole:
        steps += 1
    move_all(store, worker)

    assert steps > 1

    assert finish_run(store, worker).whole
    assert copies(bucket) == FILES
    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_planning_twice_changes_nothing(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    fill(bucket)
    first, second = (plan_run(store, asked, worker) for _ in range(2))

    assert first.totals == second.totals
    assert len(bucket.uploads()) == 1
    abort_run(store, worker)
    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["lab"], indirect=True)
@pytest.mark.parametrize("lost", ["progress.json", "run.json", "todo.json"])
def test_a_plan_killed_at_any_write_keeps_its_batches(
    store: RunStore,
    worker: Worker,
    bucket: Bucket,
    asked: PlanRequest,
    lost: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers may have moved some before the plan is repeated: it must not pack them in another way."""
    fill(bucket, SMALL)
    write = RunStore.write_json

    def write_until_killed(self: RunStore, place: S3Object, value: Any) -> None:
        if place.key.endswith(lost):
            raise KeyboardInterrupt
        write(self, place, value)

    monkeypatch.setattr(RunStore, "write_json", write_until_killed)
    with pytest.raises(KeyboardInterrupt):
        plan_run(store, asked, worker)
    monkeypatch.setattr(RunStore, "write_json", write)
    described = "run/run.json" in bucket.keys("run/")
    bucket.put("in/0/later", b"x" * 10_000_000)

    again = plan_run(store, asked, worker)

    assert again.whole
    assert not described
    move_all(store, worker)
    assert copies(bucket).keys() - {"in/0/later"} == SMALL.keys()


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_giant_named_twice_is_cut_once(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    """The other giants are cut, too."""
    giants = {"in/a": content(52 * MiB, 1), "in/b": content(52 * MiB, 2)}
    fill(bucket, giants)
    lines = [
        json.dumps({"source": f"s3://{bucket.name}/{key}", "size": 52 * MiB}) for key in [*giants, "in/a"]
    ]
    bucket.put("list.jsonl", "\n".join(lines).encode())
    listed = replace(asked, source=f"s3://{bucket.name}/list.jsonl", kind="jsonl", strip="in/")

    progress = plan_run(store, listed, worker)

    assert progress.totals.giants == 2
    for number in range(progress.totals.batches):
        move_batch(store, number, worker)
    assert finish_run(store, worker).completed == 2
    assert copies(bucket) == giants


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_killed_step_of_a_plan_leaves_no_upload(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It had created uploads, and listed them, when it was killed before it wrote its progress."""
    fill(bucket)
    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "write_progress", _killed)
        with pytest.raises(KeyboardInterrupt):
            plan_run(store, asked, worker)
    assert len(bucket.uploads()) == 1

    plan_run(store, asked, worker)
    assert len(bucket.uploads()) == 1
    move_all(store, worker)

    assert finish_run(store, worker).whole
    assert bucket.uploads() == []
    assert copies(bucket) == FILES


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_killed_plan_can_be_aborted(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(bucket)
    plan_run(store, asked, replace(worker, timed=lambda: CONFIG.override({"deadline": 500.0})))
    bucket.delete("run/run.json")

    assert abort_run(store, worker) is None

    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_giant_without_time_is_opened_by_the_next_step(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    """The notice comes before its upload is created."""
    fill(bucket)
    notice = Notice()
    notice.give()

    late = plan_run(store, asked, replace(worker, notice=notice))
    whole = plan_run(store, asked, worker)

    assert (late.whole, late.totals.giants, len(late.giants)) == (False, 0, 1)
    assert (whole.whole, whole.totals.giants, whole.giants) == (True, 1, [])
    move_all(store, worker)
    assert finish_run(store, worker).whole
    assert copies(bucket) == FILES


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_another_run_at_the_place_is_refused(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    bucket.put("in/a", b"a")
    plan_run(store, asked, worker)

    with pytest.raises(InputError, match="has another run"):
        plan_run(store, replace(asked, functions=3), worker)
    with pytest.raises(InputError, match="would be among the files"):
        plan_run(store, replace(asked, source=f"s3://{bucket.name}/"), worker)


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_run_without_a_plan_says_so(store: RunStore, worker: Worker, bucket: Bucket) -> None:
    with pytest.raises(SourceNotFound, match=r"has no whole plan, because .*run\.json does not exist"):
        finish_run(store, worker)


@pytest.mark.parametrize("server", ["moto"], indirect=True)
def test_archived_objects_are_left_out(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    """S3 refuses to read them until they are restored."""
    bucket.put("in/a", b"a")
    bucket.put("in/b", b"b", StorageClass="GLACIER")

    totals = plan_run(store, asked, worker).totals

    assert (totals.files, totals.left_out) == (1, {"archived": 1})


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_prefix_without_files_is_no_run(store: RunStore, worker: Worker, asked: PlanRequest) -> None:
    with pytest.raises(NothingToTransfer):
        plan_run(store, asked, worker)


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_the_estimate_counts_what_the_plan_does(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    fill(bucket)

    counted = count_run(asked, worker).totals
    planned = plan_run(store, asked, worker).totals

    # Not the requests of listings: how a prefix is cut depends on which reply comes first.
    same = ("files", "bytes", "largest", "batches", "giants", "ranges", "puts", "uploads", "parts", "gets")
    assert {name: getattr(counted, name) for name in same} == {name: getattr(planned, name) for name in same}
    assert counted.seconds == pytest.approx(planned.seconds)


@pytest.mark.parametrize("server", SERVERS, indirect=True)
def test_a_list_names_files_and_destinations(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    fill(bucket)
    rows: list[dict[str, Any]] = [
        {"source": f"s3://{bucket.name}/in/0/1"},
        {"source": f"s3://{bucket.name}/in/0/2", "destination": f"s3://{bucket.name}/out/named"},
    ]
    bucket.put("list.jsonl", b"".join(json.dumps(row).encode() + b"\n" for row in rows))

    plan_run(store, replace(asked, source=f"s3://{bucket.name}/list.jsonl", kind="jsonl"), worker)
    move_all(store, worker)

    assert bucket.keys("out/") == {"out/in/0/1", "out/named"}


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_lines_are_cut_and_put_together(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    text = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(5_000))
    bucket.put("text.csv", text)
    lines = replace(
        asked,
        source=f"s3://{bucket.name}/text.csv",
        kind="lines",
        ranges=4,
        header=True,
        settings={"extra_args": {"CacheControl": "no-store"}},
        join=f"s3://{bucket.name}/joined.csv",
    )

    totals = plan_run(store, lines, worker).totals
    move_all(store, worker)
    report = finish_run(store, worker)

    assert totals.largest == -(-len(text) // 4)
    assert len(bucket.keys("out/")) == 4
    assert all(bucket.get(key).startswith(b"a,b\n") for key in bucket.keys("out/"))
    assert report.joined == f"s3://{bucket.name}/joined.csv"
    assert bucket.get("joined.csv") == text
    assert bucket.head("joined.csv")["CacheControl"] == "no-store"


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_joined_text_has_only_the_ranges_of_its_run(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    """The destination may hold other files, and ranges of an earlier run that had more of them."""
    text = b"a,b\n" + b"".join(b"%d,%d\n" % (n, n * n) for n in range(500))
    bucket.put("text.csv", text)
    for key in ("out/0-first", "out/part-00004", "out/part-x", "out/zzz"):
        bucket.put(key, b"a,b\nnot,of this run\n")
    joined = f"s3://{bucket.name}/out/all.csv"
    lines = replace(
        asked, source=f"s3://{bucket.name}/text.csv", kind="lines", ranges=4, header=True, join=joined
    )

    plan_run(store, lines, worker)
    move_all(store, worker)

    for _ in range(2):
        assert finish_run(store, worker).joined == joined
        assert bucket.get("out/all.csv") == text


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_s3_copies_the_parts_of_giants_if_asked(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    fill(bucket)

    plan_run(store, replace(asked, copy_parts=True), worker)
    requests = [
        move_batch(store, number, worker).requests
        for number in range(store.read_description().totals.batches)
    ]

    assert finish_run(store, worker).whole
    assert sum(each.get("UploadPartCopy", 0) for each in requests) > 1
    assert not any("UploadPart" in each for each in requests)
    assert copies(bucket) == FILES


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_files_of_a_transform_are_not_cut(
    store: RunStore, worker: Worker, bucket: Bucket, asked: PlanRequest
) -> None:
    fill(bucket)

    totals = plan_run(store, replace(asked, settings={"transform": "gzip"}), worker).totals

    assert totals.giants == 0
    assert bucket.uploads() == []

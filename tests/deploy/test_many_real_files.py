"""The state machine over real batches: 2,000 files and a giant, some requests refused, then redriven."""

from functools import partial
from typing import Any

import pytest
from msgspec.structs import replace

from asyncstream import MiB, S3Object
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from asyncstream.pipeline.run import Step
from asyncstream.pipeline.shared_uploads import OpenTasks
from asyncstream.runs import planning
from asyncstream.runs.descriptions import Description, Totals
from asyncstream.runs.planning import PlanProgress, PlanRequest
from asyncstream.runs.rows import Row
from asyncstream.runs.run_store import RunStore
from asyncstream.runs.running import Worker

from .asl_machine import StepFunctions
from .many_files import Function, failure

FILES, IN_BATCH = 2_000, 100
PART, PARTS = 5 * MiB, 8
RANGES = [(1, 2), (3, 4), (5, 6), (7, 8)]
BATCHES = FILES // IN_BATCH + len(RANGES)
REFUSED = Fault("refuse", "PutObject", key="out/in/*", status=403, code="AccessDenied", rate=0.01)
# Each try of these parts in the first runs of their batch.
BUSY = Fault("refuse", "UploadPart", part_number=5, times=list(range(1, 5)))


def plan_run(store: RunStore, asked: PlanRequest, worker: Worker, position: Any) -> PlanProgress:
    """Write the batches of `raw/in/`, and open the upload of `raw/giant`."""
    rows = [
        Row(f"s3://raw/in/{number:06d}", f"s3://clean/out/in/{number:06d}", size=100)
        for number in range(FILES)
    ]
    batches = [rows[first : first + IN_BATCH] for first in range(0, FILES, IN_BATCH)]
    step = Step(tasks=partial(OpenTasks, part_length=lambda _: PART))
    pair = S3Object("raw", "giant"), S3Object("clean", "out/giant")
    [upload] = worker.session.transfer_step([pair], worker.timed(), step).continuations.values()
    giant = Row("s3://raw/giant", "s3://clean/out/giant", size=PART * PARTS, continuation=upload)
    batches += [[replace(giant, continuation=replace(upload, only=parts))] for parts in RANGES]
    for number, batch in enumerate(batches):
        store.write_rows(store.run.batch(number), batch)
    store.write_rows(store.run.uploads(0), [giant])
    store.write_todo(range(len(batches)))
    totals = Totals(files=FILES + 1, batches=len(batches), giants=1, upload_lists=1)
    described = Description(source=asked.source, destination=asked.destination, totals=totals)
    store.write_json(store.run.description, described)
    return PlanProgress(totals)


@pytest.fixture(autouse=True)
def planned(lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store the files, and replace the plan."""
    monkeypatch.setattr(planning, "plan_run", plan_run)
    monkeypatch.setenv("ASYNCSTREAM_RETRY_BASE_DELAY", "0.001")
    monkeypatch.setenv("ASYNCSTREAM_RETRY_MAX_DELAY", "0.001")
    lab.declare("raw", [(f"in/{number:06d}", 100) for number in range(FILES)])
    lab.declare("raw", [("giant", PART * PARTS)])


@pytest.fixture
def start(machine: Any, s3: Any, function: Function) -> StepFunctions:
    """An account of 10 functions."""
    return StepFunctions(machine, s3, function, functions=10)


def written(lab: LabS3) -> list[str]:
    """Return the keys of the copies that were written, with their repetitions."""
    rows = lab.request_log()
    return [row["key"] for row in rows if row["operation"] == "PutObject" and "/in/" in row["key"]]


def copied(lab: LabS3) -> set[str]:
    return {key.removeprefix("out/") for key in lab.checksums("clean", "out/in/")}


def test_a_redrive_moves_only_the_files_that_are_left(
    start: StepFunctions, lab: LabS3, function: Function
) -> None:
    lab.set_faults([REFUSED, BUSY])
    execution = start.start({"source": "s3://raw/"})
    lab.set_faults([])

    left = {f"in/{number:06d}" for number in range(FILES)} - copied(lab)
    told = failure(execution)
    assert 5 < len(left) < 60
    assert told.startswith(f"{len(left)} of 2,001 files failed, and ")
    assert "s3://raw/in/" in told
    assert len(start.waits) > BATCHES - 10  # throttled
    assert start.largest < 50_000
    done = {key.rpartition("/")[2] for key in lab.checksums("clean", "out/many-files/run/done/")}
    lab.reset_stats()
    function.payloads.clear()

    assert start.redrive(execution).status == "SUCCEEDED"
    assert set(function.batches) == {n for n in range(BATCHES) if f"{n:06d}.json" not in done}
    assert sorted(written(lab)) == sorted(f"out/{key}" for key in left)
    check_copies(lab)


def test_functions_that_die_cost_no_file(start: StepFunctions, lab: LabS3, function: Function) -> None:
    """The environment of a batch of files dies twice, and so does that of a range of the giant."""
    function.deaths |= {3: ["Lambda.Unknown"] * 2, BATCHES - 1: ["Runtime.OutOfMemory"]}
    execution = start.start({"source": "s3://raw/"})

    assert f"2 of {BATCHES} batches" in failure(execution)
    function.payloads.clear()
    assert start.redrive(execution).status == "SUCCEEDED"
    assert function.batches == [3, BATCHES - 1]
    check_copies(lab)


def test_an_aborted_run_leaves_no_upload(start: StepFunctions, s3: Any, function: Function) -> None:
    function.deaths[BATCHES - 1] = ["Runtime.OutOfMemory"]
    start.start({"source": "s3://raw/"})
    assert len(s3.list_multipart_uploads(Bucket="clean")["Uploads"]) == 1

    run = "s3://clean/out/many-files/run/"
    assert start.start({"action": "abort", "run": run}, "abort").status == "SUCCEEDED"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="clean")


def check_copies(lab: LabS3) -> None:
    """Check that every file is there, with the checksum of its source."""
    sources, copies = lab.checksums("raw"), lab.checksums("clean", "out/")
    assert {key: copies[f"out/{key}"].crc64nvme for key in sources} == {
        key: each.crc64nvme for key, each in sources.items()
    }

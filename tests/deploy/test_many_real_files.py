"""The state machine over real runs: 2,000 files and a giant, some requests refused, then redriven."""

from typing import Any

import pytest

from asyncstream import MiB
from asyncstream.events import run_input
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from asyncstream.runs.costs import Speeds

from .asl_machine import StepFunctions
from .many_files import Function, failure

FILES, GIANT, PART = 2_000, 40 * MiB, 5 * MiB
GIVEN = {"source": "s3://raw/in/", "functions": 5}
REFUSED = Fault("refuse", "PutObject", key="out/in/0*", status=403, code="AccessDenied", rate=0.01)
# Each try of this part in the first runs of its batch.
BUSY = Fault("refuse", "UploadPart", part_number=5, times=list(range(1, 5)))


@pytest.fixture(autouse=True)
def source(lab: LabS3, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store the files, and plan for functions so slow that the largest is a giant."""
    slow = Speeds(first_byte=1.0, stream_mb=0.2, card_mb=1, part_bytes=PART)
    monkeypatch.setattr(run_input, "_speeds", lambda _: slow)
    monkeypatch.setenv("ASYNCSTREAM_RETRY_BASE_DELAY", "0.001")
    monkeypatch.setenv("ASYNCSTREAM_RETRY_MAX_DELAY", "0.001")
    lab.declare("raw", [(f"in/{number:06d}", 100) for number in range(FILES)])
    lab.declare("raw", [("in/giant", GIANT)])


@pytest.fixture
def start(machine: Any, s3: Any, function: Function) -> StepFunctions:
    """An account of 10 functions."""
    return StepFunctions(machine, s3, function, functions=10)


def written(lab: LabS3) -> list[str]:
    """Return the keys of the copies that were written by one PUT, with their repetitions."""
    rows = lab.request_log()
    return [row["key"] for row in rows if row["operation"] == "PutObject" and "/in/" in row["key"]]


def batches_of(lab: LabS3, folder: str) -> list[int]:
    """Return the numbers of a run's objects."""
    keys = lab.checksums("clean", f"out/many-files/run/{folder}/")
    return sorted(int(key.rpartition("/")[2].partition(".")[0]) for key in keys)


def check_copies(lab: LabS3) -> None:
    """Check that every file is there, with the checksum of its source."""
    sources, copies = lab.checksums("raw"), lab.checksums("clean", "out/in/")
    assert {key: copies[f"out/{key}"].crc64nvme for key in sources} == {
        key: each.crc64nvme for key, each in sources.items()
    }


def test_a_redrive_moves_only_the_files_that_are_left(
    start: StepFunctions, lab: LabS3, function: Function
) -> None:
    lab.set_faults([REFUSED, BUSY])
    execution = start.start(GIVEN)
    lab.set_faults([])

    told = failure(execution)
    copied = lab.checksums("clean", "out/in/")
    left = sorted({f"out/in/{number:06d}" for number in range(FILES)} - copied.keys())
    assert 5 < len(left) < 60
    assert told.startswith(f"{len(left)} of 2,001 files failed, and ")
    assert "out/in/giant" in copied
    planned, done = batches_of(lab, "plan"), batches_of(lab, "done")
    assert len(planned) >= 20
    assert start.largest < 50_000
    lab.reset_stats()
    function.payloads.clear()

    assert start.redrive(execution).status == "SUCCEEDED"
    assert function.batches == sorted(set(planned) - set(done))
    assert sorted(written(lab)) == left
    check_copies(lab)


def test_an_account_of_10_functions_throttles_and_moves_all(
    start: StepFunctions, lab: LabS3, function: Function
) -> None:
    execution = start.start(GIVEN | {"functions": 50})

    assert execution.status == "SUCCEEDED"
    assert execution.value["completed"] == 1
    assert len(start.waits) > 40
    assert sorted(written(lab)) == [f"out/in/{number:06d}" for number in range(FILES)]
    check_copies(lab)


def test_functions_that_die_cost_no_file(start: StepFunctions, lab: LabS3, function: Function) -> None:
    """The environment of one batch dies twice, and that of another runs out of memory."""
    function.deaths |= {3: ["Lambda.Unknown"] * 2, 0: ["Runtime.OutOfMemory"]}
    execution = start.start(GIVEN)

    assert f"2 of {len(batches_of(lab, 'plan'))} batches" in failure(execution)
    function.payloads.clear()
    assert start.redrive(execution).status == "SUCCEEDED"
    assert function.batches == [0, 3]
    check_copies(lab)


def test_an_aborted_run_leaves_no_upload(
    start: StepFunctions, lab: LabS3, s3: Any, function: Function
) -> None:
    lab.set_faults([Fault("refuse", "UploadPart", status=403, code="AccessDenied")])
    assert start.start(GIVEN).status == "FAILED"
    lab.set_faults([])
    assert len(s3.list_multipart_uploads(Bucket="clean")["Uploads"]) == 1

    run = "s3://clean/out/many-files/run/"
    assert start.start({"action": "abort", "run": run}, "abort").status == "SUCCEEDED"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket="clean")


def test_an_estimate_counts_what_a_run_moves(start: StepFunctions, lab: LabS3) -> None:
    estimate = start.start(GIVEN | {"action": "estimate"}, "estimate").value["estimate"]
    moved = start.start(GIVEN).value

    assert (estimate["files"], estimate["giants"], estimate["batches"]) == (2_001, 1, moved["batches"])
    assert estimate["bytes"] == moved["totals"]["bytes"] == FILES * 100 + GIANT

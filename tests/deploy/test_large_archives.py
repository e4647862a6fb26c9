"""The state machine of `deploy/template.yaml` over the slices of one archive, run by the test double."""

import json
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.handlers.archives.packing import mark_encrypted, objects, pack

from .asl_machine import StepFunctions
from .many_files import Function, results

FILES = {f"{number // 100}/{number:04d}.txt": b"%d" % number for number in range(950)}
GIVEN = {"kind": "unzip", "bucket": "raw", "key": "in/big.zip", "slice_size": 100}


@pytest.fixture
def archive(s3: Any, lab: LabS3) -> bytes:
    archive = pack(FILES)
    s3.put_object(Bucket="raw", Key="in/big.zip", Body=archive)
    return archive


def unpacked(lab: LabS3, prefix: str = "out/in/big/") -> set[str]:
    return {key.removeprefix(prefix) for key in lab.checksums("clean", prefix)}


def test_each_slice_is_a_batch(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, archive: bytes
) -> None:
    execution = start.start(GIVEN)

    assert execution.status == "SUCCEEDED"
    assert unpacked(lab) == FILES.keys()
    planned, *batches = function.payloads
    assert planned["list_uri"] == "s3://clean/out/many-files/run/slices.jsonl"
    assert [len(batch["Items"]) for batch in batches] == [1] * 10
    assert max(len(json.dumps(batch)) for batch in batches) < 400
    rows = results(s3, execution.value)["SUCCEEDED"]
    assert sum(json.loads(row["Output"])["copied"] for row in rows) == len(FILES)


def test_it_unpacks_what_the_input_says(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, archive: bytes
) -> None:
    given = {"destination": "s3://clean/out/x/", "select": "3/*", "encoding": "cp932", "batch_size": 7}
    execution = start.start(GIVEN | given)

    assert execution.status == "SUCCEEDED"
    assert unpacked(lab, "out/x/") == {name for name in FILES if name.startswith("3/")}
    assert {item["entries"]["encoding"] for batch in function.payloads[1:] for item in batch["Items"]} == {
        "cp932"
    }


def test_a_batch_reads_its_part_of_the_directory_and_its_files_only(
    start: StepFunctions,
    lab: LabS3,
    function: Function,
    archive: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_MAX_CONCURRENCY", "1")  # several slots would read small files at once
    function.before_call[2] = lab.reset_stats
    start.start(GIVEN)

    log = lab.request_log()
    reads = [row["range"] for row in log if (row["operation"], row["key"]) == ("GetObject", "in/big.zip")]
    assert len(reads) <= 3 * 10  # for its rows, and for two windows of files
    ranges = [tuple(map(int, each.removeprefix("bytes=").split("-"))) for each in reads]
    assert sum(last + 1 - first for first, last in ranges) <= len(archive)


def test_a_redriven_run_does_only_the_files_that_are_missing(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, archive: bytes
) -> None:
    lab.set_faults([Fault("refuse", "PutObject", key="*/0?77.txt", status=403, code="AccessDenied")])
    execution = start.start(GIVEN | {"tolerated_failure_percentage": 0})
    lab.set_faults([])

    assert (execution.status, execution.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    assert len(unpacked(lab)) == 99
    lab.reset_stats()
    function.payloads.clear()
    assert start.redrive(execution).status == "SUCCEEDED"

    assert unpacked(lab) == FILES.keys()
    written = [row["key"] for row in lab.request_log() if row["operation"] == "PutObject"]
    assert len([key for key in written if key.endswith(".txt")]) == len(FILES) - 99
    assert "slices" not in function.payloads[0]


def test_another_run_unpacks_the_files_that_failed(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, archive: bytes
) -> None:
    """The Cause of a batch names the rows of its files."""
    lab.set_faults([Fault("refuse", "PutObject", key="*[13579].txt", status=403, code="AccessDenied")])
    first = start.start(GIVEN | {"tolerated_failure_percentage": 100, "slice_size": 1000})
    lab.set_faults([])

    assert first.status == "SUCCEEDED"
    assert len(unpacked(lab)) == len(FILES) / 2
    [row] = results(s3, first.value)["FAILED"]
    assert len(row["Cause"]) <= 32_768
    [item] = json.loads(json.loads(row["Cause"])["errorMessage"])["Items"]
    assert item["entries"]["slice"]["rows"].startswith("1,3,5,")

    lab.reset_stats()
    place = first.value["ResultWriterDetails"]
    failed = place["Key"].replace("manifest.json", "FAILED_0.json")
    second = start.start({"kind": "failed", "bucket": place["Bucket"], "key": failed}, "again")

    assert second.status == "SUCCEEDED"
    assert unpacked(lab) == FILES.keys()
    written = [row["key"] for row in lab.request_log() if row["operation"] == "PutObject"]
    assert len([key for key in written if key.endswith(".txt")]) == len(FILES) / 2


def test_a_function_without_time_is_invoked_for_the_rest(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, archive: bytes
) -> None:
    lab.set_faults([Fault("stall", "PutObject", key="*/005?.txt", seconds=3600)])
    function.seconds = 4.0

    def hurry() -> None:
        lab.set_faults([])
        function.seconds = 60.0

    function.before_call[3] = hurry  # after the plan and the first batch
    execution = start.start(GIVEN | {"slice_size": 1000})

    assert execution.status == "SUCCEEDED"
    assert unpacked(lab) == FILES.keys()
    _, first, second = function.payloads
    assert "rows" not in first["Items"][0]["entries"]["slice"]
    assert second["Items"][0]["entries"]["slice"]["rows"]
    [row] = results(s3, execution.value)["SUCCEEDED"]
    assert json.loads(row["Output"])["copied"] == len(FILES)


def test_an_archive_that_cannot_be_read_fails_the_run(
    start: StepFunctions, s3: Any, function: Function
) -> None:
    s3.put_object(Bucket="raw", Key="in/big.zip", Body=b"no archive")
    execution = start.start(GIVEN)

    assert (execution.status, execution.error) == ("FAILED", "CorruptInput")
    assert "s3://raw/in/big.zip: it is not a ZIP archive" in execution.cause
    assert len(function.payloads) == 1


def test_a_file_that_fails_leaves_the_others(
    start: StepFunctions, s3: Any, lab: LabS3, archive: bytes
) -> None:
    s3.put_object(Bucket="raw", Key="in/big.zip", Body=mark_encrypted(archive, "0/0042.txt"))
    execution = start.start(GIVEN)

    assert execution.status == "SUCCEEDED"
    assert unpacked(lab) == FILES.keys() - {"0/0042.txt"}
    [row] = results(s3, execution.value)["FAILED"]
    [error] = json.loads(json.loads(row["Cause"])["errorMessage"])["errors"]
    assert "0/0042.txt: it is encrypted" in error["message"]
    assert objects(s3, "raw")["in/big.zip"] != archive

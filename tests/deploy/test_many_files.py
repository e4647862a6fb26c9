"""The state machine of `deploy/template.yaml` over many files: a test double runs it with a real function."""

import json
from collections import Counter
from typing import Any

import pytest

from asyncstream import MiB
from asyncstream.lab.s3 import LabS3

from .asl_machine import StepFunctions
from .many_files import ALL, FILES, MISSING, Function, copied, put_csv, results


def test_another_run_finishes_the_files_that_failed(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
    """The first run copies the rest of a thousand files and names the failed ones."""
    first = start.start(put_csv(s3, ALL))

    assert first.status == "SUCCEEDED"
    assert copied(lab) == sorted(set(ALL) - set(MISSING))
    assert max(len(payload["Items"]) for payload in function.payloads) == 40
    rows = results(s3, first.value)
    assert len(rows["SUCCEEDED"]) + len(rows["FAILED"]) == FILES / 40
    named = [json.loads(json.loads(row["Cause"])["errorMessage"]) for row in rows["FAILED"]]
    assert sorted(item["source"] for each in named for item in each["Items"]) == [
        f"s3://raw/{key}" for key in MISSING
    ]
    assert all(
        [error["type"] for error in each["errors"]] == ["SourceNotFound"] * each["failed"] for each in named
    )

    lab.declare("raw", [(key, 100) for key in MISSING])
    lab.reset_stats()
    place = first.value["ResultWriterDetails"]
    failed = place["Key"].replace("manifest.json", "FAILED_0.json")
    second = start.start({"kind": "failed", "bucket": place["Bucket"], "key": failed}, "again")

    assert second.status == "SUCCEEDED"
    assert copied(lab) == ALL
    assert results(s3, second.value)["FAILED"] == []
    read = lab.stats()["operations"]["GetObject"]
    assert read - len(MISSING) < 10  # besides the ten files, only lists that the double and this test read


def test_the_next_invocation_continues_an_unfinished_file(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_MULTIPART", "true")
    monkeypatch.setenv("ASYNCSTREAM_PART_SIZE", str(5 * MiB))
    monkeypatch.setenv("ASYNCSTREAM_MAX_CONCURRENCY", "2")
    lab.declare("raw", [("in/large", 40 * MiB)])
    event = put_csv(s3, ["in/large", "in/000000", "in/none"]) | {"tolerated_failure_percentage": 100}
    lab.reset_stats()
    lab.set_model("10/20/1")
    function.seconds = 2.0  # of these the handler reserves the time that its answer needs

    execution = start.start(event)

    lab.set_model("off")
    rows = results(s3, execution.value)
    [failed] = rows["FAILED"]
    assert [item["source"] for item in json.loads(json.loads(failed["Cause"])["errorMessage"])["Items"]] == [
        "s3://raw/in/none"
    ]
    source, copy = lab.checksums("raw", "in/large"), lab.checksums("clean", "out/in/large")
    assert copy["out/in/large"].crc64nvme == source["in/large"].crc64nvme
    went_on = [any("continuation" in item for item in each["Items"]) for each in function.payloads]
    assert went_on[:2] == [False, True]
    assert max(len(json.dumps(each)) for each in function.payloads) < 2_000
    sent = Counter(
        row["part_number"]
        for row in lab.request_log()
        if row["operation"] == "UploadPart" and row["status"] == 200
    )
    assert sent == dict.fromkeys(map(str, range(1, 9)), 1)


def test_a_redriven_run_does_only_the_files_that_are_missing(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
    """The first run ended after too many failures."""
    execution = start.start(put_csv(s3, ALL) | {"tolerated_failure_percentage": 0})
    done = copied(lab)

    assert (execution.status, execution.error) == ("FAILED", "States.ExceedToleratedFailureThreshold")
    assert done == [f"in/{number:06d}" for number in range(40) if number != 7]

    lab.declare("raw", [(key, 100) for key in MISSING])
    function.payloads.clear()
    start.redrive(execution)

    assert execution.status == "SUCCEEDED"
    assert copied(lab) == ALL
    assert function.sources == sorted(set(ALL) - set(done))


def test_a_redrive_starts_over_a_file_whose_upload_is_gone(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After some days, a lifecycle rule may have aborted the upload that the chain would continue."""
    monkeypatch.setenv("ASYNCSTREAM_MULTIPART", "true")
    monkeypatch.setenv("ASYNCSTREAM_PART_SIZE", str(5 * MiB))
    monkeypatch.setenv("ASYNCSTREAM_MAX_CONCURRENCY", "2")
    lab.declare("raw", [("in/large", 40 * MiB)])
    lab.set_model("10/20/1")
    function.seconds = 2.0
    function.before_call[2] = lambda: function.refusals.append("Runtime.OutOfMemory")

    execution = start.start(put_csv(s3, ["in/large"]) | {"tolerated_failure_percentage": 0})

    lab.set_model("off")
    [upload] = s3.list_multipart_uploads(Bucket="clean")["Uploads"]
    [item] = function.payloads[1]["Items"]
    assert execution.status == "FAILED"
    assert item["continuation"]["upload_id"] == upload["UploadId"]
    s3.abort_multipart_upload(Bucket="clean", Key=upload["Key"], UploadId=upload["UploadId"])
    function.seconds = 60.0

    assert start.redrive(execution).status == "SUCCEEDED"
    assert function.payloads[2] == function.payloads[1]
    source, copy = lab.checksums("raw", "in/large"), lab.checksums("clean", "out/in/large")
    assert copy["out/in/large"].crc64nvme == source["in/large"].crc64nvme


@pytest.mark.parametrize("lost", [1, 2])
def test_after_a_lost_reply_the_same_event_does_no_harm(
    start: StepFunctions,
    s3: Any,
    lab: LabS3,
    function: Function,
    monkeypatch: pytest.MonkeyPatch,
    lost: int,
) -> None:
    """The lost reply is that of the first or of the second invocation of a chain.

    The first one's upload is left over. The second one's upload has become the object when the third is asked
    to continue it.
    """
    monkeypatch.setenv("ASYNCSTREAM_MULTIPART", "true")
    monkeypatch.setenv("ASYNCSTREAM_PART_SIZE", str(5 * MiB))
    monkeypatch.setenv("ASYNCSTREAM_MAX_CONCURRENCY", "2")
    lab.declare("raw", [("in/large", 40 * MiB)])
    lab.set_model("10/20/1")
    function.seconds = 2.0
    function.lost_replies[lost] = "States.Timeout"

    def hurry() -> None:
        lab.set_model("off")
        function.seconds = 60.0

    function.before_call[2] = hurry
    execution = start.start(put_csv(s3, ["in/large", "in/000000"]) | {"tolerated_failure_percentage": 0})

    assert execution.status == "SUCCEEDED"
    assert function.payloads[lost] == function.payloads[lost - 1]
    source, copy = lab.checksums("raw", "in/large"), lab.checksums("clean", "out/in/large")
    assert copy["out/in/large"].crc64nvme == source["in/large"].crc64nvme
    [row] = results(s3, execution.value)["SUCCEEDED"]
    assert json.loads(row["Output"])["copied"] == 2


def test_a_listing_is_copied(start: StepFunctions, s3: Any, lab: LabS3, function: Function) -> None:
    execution = start.start({"kind": "listing", "bucket": "raw", "prefix": "in/0000", "batch_size": 7})

    assert execution.status == "SUCCEEDED"
    assert copied(lab) == [key for key in ALL[:100] if key not in MISSING]
    assert max(len(payload["Items"]) for payload in function.payloads) == 7


def test_json_lines_are_copied(start: StepFunctions, s3: Any, lab: LabS3) -> None:
    rows = [
        {"source": "s3://raw/in/000001"},
        {"source": "s3://raw/in/000002", "destination": "s3://clean/out/in/x"},
    ]
    s3.put_object(Bucket="raw", Key="lists/f.jsonl", Body="\n".join(map(json.dumps, rows)).encode())

    assert start.start({"kind": "jsonl", "bucket": "raw", "key": "lists/f.jsonl"}).status == "SUCCEEDED"
    assert copied(lab) == ["in/000001", "in/x"]


def test_a_throttled_batch_waits_a_minute_at_most(start: StepFunctions, s3: Any, function: Function) -> None:
    function.refusals = ["Lambda.TooManyRequestsException"] * 200

    assert start.start(put_csv(s3, ["in/000000"])).status == "SUCCEEDED"
    assert start.waits == [1, 2, 4, 8, 16, 32, *[60] * 194]


def test_each_kind_of_refusal_is_counted_by_itself(start: StepFunctions, s3: Any, function: Function) -> None:
    function.refusals = ["Lambda.TooManyRequestsException", "Lambda.ServiceException"] * 6

    assert start.start(put_csv(s3, ["in/000000"])).status == "SUCCEEDED"
    assert start.waits == [1, 1, 2, 2, 4, 4, 8, 8, 16, 16, 32, 32]


@pytest.mark.parametrize(
    "error", ["Lambda.Unknown", "Sandbox.Timedout", "Runtime.ExitError", "States.Timeout"]
)
def test_a_function_that_died_is_invoked_once_more(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, error: str
) -> None:
    given = put_csv(s3, ALL[:3]) | {"tolerated_failure_percentage": 100}
    function.refusals = [error]
    once = start.start(given).value
    function.refusals = [error] * 2
    twice = start.start(given).value

    assert [len(rows) for rows in results(s3, once).values()] == [0, 0, 1]
    assert [row["Error"] for row in results(s3, twice)["FAILED"]] == [error]
    assert copied(lab) == ALL[:3]


def test_a_batch_whose_function_died_fails_and_is_named_whole(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
    function.refusals = ["Runtime.OutOfMemory"]
    first = start.start(put_csv(s3, ALL[:3]) | {"tolerated_failure_percentage": 100})
    place = first.value["ResultWriterDetails"]
    failed = place["Key"].replace("manifest.json", "FAILED_0.json")

    assert start.start({"kind": "failed", "bucket": "clean", "key": failed}).status == "SUCCEEDED"
    assert copied(lab) == ALL[:3]


def test_of_an_execution_that_was_aborted_all_is_done(start: StepFunctions, s3: Any, lab: LabS3) -> None:
    batch = {"Items": [{"source": f"s3://raw/{key}"} for key in ALL[:2]]}
    rows = [{"ExecutionArn": "arn", "Input": json.dumps(batch), "Name": "child", "Status": "ABORTED"}]
    s3.put_object(Bucket="clean", Key="out/FAILED_0.json", Body=json.dumps(rows).encode())

    done = start.start({"kind": "failed", "bucket": "clean", "key": "out/FAILED_0.json"})

    assert done.status == "SUCCEEDED"
    assert copied(lab) == ALL[:2]


def test_an_unknown_kind_is_told(start: StepFunctions) -> None:
    execution = start.start({"kind": "tape"})

    assert (execution.status, execution.error) == ("FAILED", "UnknownKind")


@pytest.mark.parametrize("character", ["a", "ä", "\N{GRINNING FACE}", '"', "\\", ","])
def test_the_largest_batch_of_failures_fits_into_a_cause(
    start: StepFunctions, s3: Any, character: str
) -> None:
    long = [f"in/none-{character * (900 // len(character.encode()))}-{number}" for number in range(40)]
    first = start.start(put_csv(s3, long) | {"tolerated_failure_percentage": 100})
    rows = results(s3, first.value)["FAILED"]
    named = [json.loads(json.loads(row["Cause"])["errorMessage"]) for row in rows]

    assert max(len(each["Items"]) for each in named) > 1
    assert [item["source"] for each in named for item in each["Items"]] == [f"s3://raw/{key}" for key in long]
    assert max(len(row["Cause"]) for row in rows) <= 32_768


def test_the_files_of_an_execution_that_failed_twice_are_copied(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
    given = put_csv(s3, ALL[:3]) | {"tolerated_failure_percentage": 100}
    for _ in range(2):
        function.refusals = ["Runtime.OutOfMemory"]
        place = start.start(given).value["ResultWriterDetails"]
        failed = place["Key"].replace("manifest.json", "FAILED_0.json")
        given = {"kind": "failed", "bucket": "clean", "key": failed, "tolerated_failure_percentage": 100}

    assert start.start(given).status == "SUCCEEDED"
    assert copied(lab) == ALL[:3]

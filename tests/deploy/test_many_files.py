"""The state machine of `deploy/template.yaml` over many files: a test double runs it with a real function."""

import csv
import gzip
import io
import json
import re
import traceback
import uuid
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import boto3
import pytest
from asl_fields import Unknown, check_machine
from asl_machine import Failed, StepFunctions
from awslambdaric.bootstrap import make_error
from awslambdaric.lambda_runtime_marshaller import to_json
from samtranslator.yaml_helper import yaml_parse

from asyncstream import AsyncstreamError, MiB
from asyncstream.engines.keeping import close_all_kept
from asyncstream.lab.s3 import LabS3

FILES = 1000
ALL = [f"in/{number:06d}" for number in range(FILES)]
MISSING = [f"in/{number:06d}" for number in range(7, FILES, 100)]


class Context:
    """Lambda's time."""

    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


@pytest.fixture
def lab() -> Iterator[LabS3]:
    """All of the 1,000 objects but the ten that are missing, and a bucket for copies and results."""
    close_all_kept()
    with LabS3() as server, pytest.MonkeyPatch.context() as environ:
        environ.delenv("AWS_PROFILE", raising=False)
        environ.setenv("DEPLOYED_SOURCE", "s3://raw/")
        environ.setenv("DEPLOYED_DESTINATION", "s3://clean/out/")
        for name, value in server.environment().items():
            environ.setenv(name, value)
        server.create_bucket("raw", keep=True)
        server.create_bucket("clean", keep=True)
        server.declare("raw", [(key, 100) for key in ALL if key not in MISSING])
        yield server
        close_all_kept()


@pytest.fixture
def s3(lab: LabS3) -> Iterator[Any]:
    client = boto3.client("s3")
    yield client
    client.close()


@pytest.fixture(scope="module")
def machine(template: Path) -> Any:
    """The definition, with what CloudFormation would put in."""
    resource = yaml_parse(template.read_text())["Resources"]["ManyFiles"]["Properties"]
    values = {"Partition": "aws", "Winner": "w", "ResultBucket": "clean", "ResultPrefix": "out/many-files/"}
    assert resource["DefinitionSubstitutions"].keys() == values.keys()
    text = json.dumps(resource["Definition"])
    return json.loads(re.sub(r"\$\{(\w+)\}", lambda found: values[found[1]], text))


class Function:
    """The winner: each payload is kept, and errors are what Lambda's runtime client makes of them."""

    def __init__(self) -> None:
        self.seconds = 60.0
        self.payloads: list[Any] = []
        self.refusals: list[str] = []

    def __call__(self, payload: Any) -> Any:
        self.payloads.append(payload)
        if self.refusals:
            raise Failed(self.refusals.pop(), "{}")
        context = Context(self.seconds)
        try:
            return json.loads(json.dumps(import_module("handlers.threads").handler(payload, context)))
        except AsyncstreamError as error:
            trace = traceback.format_list(traceback.extract_tb(error.__traceback__))
            told = make_error(str(error), type(error).__name__, trace, str(uuid.uuid4()))
            raise Failed(type(error).__name__, to_json(told)) from None

    @property
    def sources(self) -> list[str]:
        """Keys of all items it was invoked with."""
        return sorted(
            {item["source"].removeprefix("s3://raw/") for p in self.payloads for item in p["Items"]}
        )


@pytest.fixture
def function() -> Function:
    return Function()


@pytest.fixture
def start(machine: Any, s3: Any, function: Function) -> StepFunctions:
    return StepFunctions(machine, s3, function)


def put_csv(s3: Any, keys: list[str]) -> dict[str, str]:
    """A CSV of files; the execution's input that names it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["source"])
    writer.writerows([f"s3://raw/{key}"] for key in keys)
    s3.put_object(Bucket="raw", Key="lists/files.csv", Body=text.getvalue().encode())
    return {"kind": "csv", "bucket": "raw", "key": "lists/files.csv"}


def copied(lab: LabS3) -> list[str]:
    return sorted(key.removeprefix("out/") for key in lab.checksums("clean", "out/in/"))


def results(s3: Any, manifest: Any) -> dict[str, list[Any]]:
    """What ResultWriter wrote: the rows of each status."""
    place = manifest["ResultWriterDetails"]
    files = json.loads(s3.get_object(**place)["Body"].read())["ResultFiles"]
    return {
        status: [
            row
            for file in listed
            for row in json.loads(s3.get_object(Bucket=place["Bucket"], Key=file["Key"])["Body"].read())
        ]
        for status, listed in files.items()
    }


def test_of_a_thousand_the_rest_is_done_and_what_failed_is_named_and_finished_by_another_run(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
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
    assert read - len(MISSING) < 10  # the ten files, and the lists that the double and this test read


def test_a_file_that_outlasts_the_function_is_a_chain_of_invocations(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_MULTIPART", "true")
    monkeypatch.setenv("ASYNCSTREAM_PART_SIZE", str(5 * MiB))
    monkeypatch.setenv("ASYNCSTREAM_MAX_CONCURRENCY", "2")
    lab.declare("raw", [("in/large", 40 * MiB)])
    event = put_csv(s3, ["in/large", "in/000000", "in/none"]) | {"tolerated_failure_percentage": 100}
    lab.reset_stats()
    lab.set_model("10/20/1")
    function.seconds = 2.0  # of which the handler keeps back what it needs to answer

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
    sent = Counter(
        row["part_number"]
        for row in lab.request_log()
        if row["operation"] == "UploadPart" and row["status"] == 200
    )
    assert sent == dict.fromkeys(map(str, range(1, 9)), 1)


def test_redriven_after_too_many_failures_it_finishes_and_leaves_the_others_alone(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
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


def test_an_inventory_is_copied_its_keys_decoded(start: StepFunctions, s3: Any, lab: LabS3) -> None:
    lab.declare("raw", [("in/ä +%.csv", 100)])
    rows = b'"raw","in/%C3%A4+%2B%25.csv","100"\n"raw","in/000001","100"\n'
    s3.put_object(Bucket="raw", Key="lists/data.csv.gz", Body=gzip.compress(rows))
    manifest = {
        "sourceBucket": "raw",
        "destinationBucket": "arn:aws:s3:::raw",
        "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, Size",
        "files": [{"key": "lists/data.csv.gz"}],
    }
    s3.put_object(Bucket="raw", Key="lists/manifest.json", Body=json.dumps(manifest).encode())

    execution = start.start({"kind": "inventory", "bucket": "raw", "key": "lists/manifest.json"})

    assert execution.status == "SUCCEEDED"
    assert copied(lab) == ["in/000001", "in/ä +%.csv"]


def test_what_lambda_refuses_is_tried_again(start: StepFunctions, s3: Any, function: Function) -> None:
    function.refusals = ["Lambda.TooManyRequestsException"] * 3

    assert start.start(put_csv(s3, ["in/000000"])).status == "SUCCEEDED"
    assert start.waits == [1, 2, 4]


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


@pytest.mark.parametrize(
    "change",
    [
        {"Retries": 3},
        {"Type": "Wait"},
        {"ItemReader": {"Resource": "arn", "Version": 2}},
        {"ItemProcessor": {"StartAt": "a", "States": {"a": {"Type": "Pass", "Assign": {}}}}},
    ],
)
def test_the_double_refuses_what_it_does_not_know(machine: Any, change: Any) -> None:
    states = machine["States"]
    check_machine(machine)

    with pytest.raises(Unknown):
        check_machine(machine | {"States": states | {"Listing": states["Listing"] | change}})

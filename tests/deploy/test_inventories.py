"""S3 inventories in the state machine: which rows are copied, left out and counted."""

import csv
import gzip
import io
import json
from typing import Any
from urllib.parse import quote_plus

from asyncstream.lab.s3 import LabS3

from .asl_machine import LONGEST_CAUSE, StepFunctions
from .many_files import ALL, MISSING, Function, copied, results

ALL_VERSIONS = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, StorageClass, IntelligentTieringAccessTier"
)


def put_inventory(s3: Any, schema: str, rows: list[list[str]]) -> dict[str, str]:
    """Store an inventory of the bucket `raw`; return the execution's input that names it."""
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows(rows)
    s3.put_object(Bucket="raw", Key="lists/data.csv.gz", Body=gzip.compress(text.getvalue().encode()))
    manifest = {
        "sourceBucket": "raw",
        "destinationBucket": "arn:aws:s3:::raw",
        "fileFormat": "CSV",
        "fileSchema": schema,
        "files": [{"key": "lists/data.csv.gz"}],
    }
    s3.put_object(Bucket="raw", Key="lists/manifest.json", Body=json.dumps(manifest).encode())
    return {"kind": "inventory", "bucket": "raw", "key": "lists/manifest.json"}


def test_an_inventory_is_copied_its_keys_decoded(start: StepFunctions, s3: Any, lab: LabS3) -> None:
    lab.declare("raw", [("in/ä +%.csv", 100)])
    rows = [["raw", "in/%C3%A4+%2B%25.csv", "100"], ["raw", "in/000001", "100"]]

    execution = start.start(put_inventory(s3, "Bucket, Key, Size", rows))

    assert execution.status == "SUCCEEDED"
    assert copied(lab) == ["in/000001", "in/ä +%.csv"]


ALL_VERSIONS = (
    "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, StorageClass, IntelligentTieringAccessTier"
)


def test_of_all_versions_the_current_ones_are_copied(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
    """Each key is copied once. The results count the other versions, also for a batch that is chained."""
    rows = [["raw", key, "v2", "true", "false", "100", "STANDARD", ""] for key in ALL[:5]]
    rows += [["raw", key, "v1", "false", "false", "90", "STANDARD", ""] for key in ALL[:5]]
    rows += [["raw", "in/deleted", "v3", "true", "true", "", "", ""]]
    rows += [["raw", key, "v1", "true", "false", "9", "GLACIER", ""] for key in ("in/x", "in/y")]
    rows += [["raw", "in/z", "v1", "true", "false", "9", "INTELLIGENT_TIERING", "DEEP_ARCHIVE"]]
    # This row fails at first and is left for the second step.
    rows += [["raw", MISSING[0], "v1", "true", "false", "100", "STANDARD", ""]]
    function.before_call[2] = lambda: lab.declare("raw", [(MISSING[0], 100)])

    execution = start.start(put_inventory(s3, ALL_VERSIONS, rows))

    assert copied(lab) == sorted({*ALL[:5], MISSING[0]})
    assert len(function.payloads) == 2
    [row] = results(s3, execution.value)["SUCCEEDED"]
    result = json.loads(row["Output"])
    assert result["left_out"] == {"older_version": 5, "delete_marker": 1, "archived": 3}
    assert (result["copied"], result["failed"], result["Items"]) == (6, 0, [])


def test_a_batch_of_nothing_but_old_versions_succeeds(start: StepFunctions, s3: Any, lab: LabS3) -> None:
    rows = [["raw", key, "v1", "false", "false", "100", "STANDARD", ""] for key in ALL[:90]]

    execution = start.start(put_inventory(s3, ALL_VERSIONS, rows) | {"tolerated_failure_percentage": 0})

    assert execution.status == "SUCCEEDED"
    outputs = [json.loads(row["Output"]) for row in results(s3, execution.value)["SUCCEEDED"]]
    assert [each["left_out"] for each in outputs] == [{"older_version": n} for n in (40, 40, 10)]
    assert copied(lab) == []


def test_an_inventory_whose_cause_was_cut_is_done_again(
    start: StepFunctions, s3: Any, lab: LabS3, function: Function
) -> None:
    keys = [f"in/{'ä' * 300}-{number}" for number in range(30)]
    rows = [["raw", quote_plus(key, safe="/").replace("%C3%A4", "ä"), "100"] for key in keys]
    given = put_inventory(s3, "Bucket, Key, Size", rows) | {"tolerated_failure_percentage": 100}
    first = start.start(given)
    [row] = results(s3, first.value)["FAILED"]
    lab.declare("raw", [(key, 100) for key in keys])

    assert len(row["Cause"]) == LONGEST_CAUSE
    failed = first.value["ResultWriterDetails"]["Key"].replace("manifest.json", "FAILED_0.json")
    assert start.start({"kind": "failed", "bucket": "clean", "key": failed}).status == "SUCCEEDED"
    assert copied(lab) == sorted(keys)

"""The four Lambda functions that copy, invoked directly: their copies and their replies."""

import json
import threading
import urllib.request
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest

from asyncstream import MiB
from asyncstream.events.direct_reply import schema
from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline import clients

from .invocations import BIG, PART, Invoke, files_of

KEYS = ("in/000000", "in/000001", "in/000002", "big/000000")
TOTAL = 3 * 1000 + BIG


def assert_copied(lab: LabS3, source: str, target: str, *keys: str) -> None:
    """Check that the target has the same keys with the same content, by size and CRC64NVME."""
    asked, found = lab.checksums(source), lab.checksums(target)
    assert {key: found[key][:2] for key in keys if key in found} == {key: asked[key][:2] for key in keys}


def operations(lab: LabS3) -> dict[str, int]:
    counted: dict[str, int] = lab.stats()["operations"]
    return counted


def test_files_are_copied_and_counted(
    invoke: Invoke, function: str, lab: LabS3, source: str, target: str
) -> None:
    reply = invoke({"files": files_of(source, target, *KEYS), "config": {"part_size": PART}})

    parts = 3 if function.endswith("multipart") else 1
    puts = {"PutObject": 3, "CreateMultipartUpload": 1, "UploadPart": 3, "CompleteMultipartUpload": 1}
    requests = {"GetObject": 3 + parts} | (puts if parts == 3 else {"PutObject": 4})
    assert reply["status"] == "copied"
    assert reply["engine"] == function.removesuffix("_multipart")
    assert reply["totals"] | {"seconds": 0, "cpu_seconds": 0, "memory_limit": 0, "slots": 0} == {
        "files": 4,
        "copied": 4,
        "skipped": 0,
        "pending": 0,
        "failed": 0,
        "bytes": TOTAL,
        "requests": requests,
        "seconds": 0,
        "cpu_seconds": 0,
        "memory_limit": 0,
        "slots": 0,
    }
    assert reply["totals"]["slots"] == (1 if function == "sequential" else 10)
    assert operations(lab) == requests
    assert_copied(lab, source, target, *KEYS)


def test_a_prefix_is_listed_and_copied_under_the_destination(
    invoke: Invoke, lab: LabS3, source: str, target: str
) -> None:
    reply = invoke({"source_prefix": f"s3://{source}/in/", "destination": f"s3://{target}/out/2025-"})

    found = lab.checksums(target)
    assert (reply["status"], reply["totals"]["copied"]) == ("copied", 3)
    assert {key.replace("out/2025-", "in/"): checksum[:2] for key, checksum in found.items()} == {
        key: checksum[:2] for key, checksum in lab.checksums(source, "in/").items()
    }
    assert operations(lab) == {"ListObjectsV2": 1, "GetObject": 3, "PutObject": 3}


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        ({"multipart": False, "part_size": PART}, 0),
        ({"multipart": True, "part_size": PART}, 3),
        ({"multipart": True, "part_size": 7 * MiB}, 2),
        ({"multipart": True}, 0),  # 12 MiB is smaller than an automatic part
    ],
)
def test_an_events_config_overrides_the_functions_own(
    invoke: Invoke, lab: LabS3, source: str, target: str, config: dict[str, Any], parts: int
) -> None:
    reply = invoke({"files": files_of(source, target, "big/000000"), "config": config})

    assert reply["status"] == "copied"
    assert operations(lab).get("UploadPart", 0) == parts
    assert operations(lab).get("PutObject", 0) == (0 if parts else 1)
    assert_copied(lab, source, target, "big/000000")


def test_the_environment_configures_the_function(
    invoke: Invoke, lab: LabS3, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_MULTIPART", "true")
    monkeypatch.setenv("ASYNCSTREAM_PART_SIZE", str(PART))

    invoke({"files": files_of(source, target, "big/000000")})

    assert operations(lab)["UploadPart"] == 3


def test_a_low_memory_limit_lowers_the_slots(
    invoke: Invoke, function: str, lab: LabS3, source: str, target: str
) -> None:
    reply = invoke({"files": files_of(source, target, *KEYS), "config": {"memory_limit": 2 * MiB}})

    assert reply["totals"]["memory_limit"] == 2 * MiB
    assert reply["totals"]["slots"] < 10
    assert (reply["totals"]["slots"] > 1) == (function != "sequential")
    assert lab.stats()["peak_data_requests"] <= 2 * reply["totals"]["slots"]
    assert_copied(lab, source, target, *KEYS)


def test_a_report_is_written_where_the_event_wants_it(
    invoke: Invoke, lab: LabS3, source: str, target: str
) -> None:
    uri = f"s3://{target}/reports/run 1.json"
    event = {"files": files_of(source, target, "in/000000", "in/missing"), "report_uri": uri}

    reply = invoke(event)

    assert reply["report_uri"] == uri
    assert "error" not in reply
    with urllib.request.urlopen(f"{lab.endpoint_url}/{target}/reports/run%201.json") as response:
        document = json.load(response)
        assert response.headers["Content-Type"] == "application/json"
    rows = jsonschema.Draft202012Validator(schema() | {"$ref": "#/$defs/FileReply"})
    for row in document["files"]:
        rows.validate(row)
    assert document["engine"] == reply["engine"]
    assert [(row["destination"], row["status"]) for row in document["files"]] == [
        (f"s3://{target}/in/000000", "copied"),
        (f"s3://{target}/in/missing", "failed"),
    ]
    assert document["files"][0]["etag"] == lab.checksums(target)["in/000000"].etag


def test_a_copy_counts_even_if_its_report_cannot_be_written(
    invoke: Invoke, lab: LabS3, source: str, target: str
) -> None:
    """The reply contains the report's error."""
    event = {"files": files_of(source, target, "in/000000"), "report_uri": "s3://no-such-bucket/r.json"}

    reply = invoke(event)

    assert (reply["status"], reply["totals"]["copied"]) == ("copied", 1)
    assert "report_uri" not in reply
    assert reply["error"]["type"] == "BucketNotFound"
    assert "no-such-bucket" in reply["error"]["message"]
    assert_copied(lab, source, target, "in/000000")


@pytest.mark.parametrize(
    ("keys", "status"), [(("in/000000", "in/missing"), "partial"), (("in/missing",), "failed")]
)
def test_a_missing_key_fails_its_file_only(
    invoke: Invoke, lab: LabS3, source: str, target: str, keys: tuple[str, ...], status: str
) -> None:
    reply = invoke({"files": files_of(source, target, *keys)})

    assert (reply["status"], reply["totals"]["failed"]) == (status, 1)
    [failure] = reply["failures"]
    assert failure["source"] == f"s3://{source}/in/missing"
    assert failure["error"] == {
        "type": "SourceNotFound",
        "message": f"GetObject s3://{source}/in/missing: there is no such object",
    }
    assert set(lab.checksums(target)) == set(keys) - {"in/missing"}


@pytest.mark.parametrize("wrong", ["source", "target"])
def test_a_missing_bucket_fails_the_files_that_name_it(
    invoke: Invoke, source: str, target: str, wrong: str
) -> None:
    files = files_of(source, target, "in/000000")
    files += files_of(
        *(("no-such-bucket", target) if wrong == "source" else (source, "no-such-bucket")), "in/000001"
    )

    reply = invoke({"files": files})

    assert reply["status"] == "partial"
    [failure] = reply["failures"]
    assert failure["error"]["type"] == "BucketNotFound"
    assert "no bucket 'no-such-bucket'" in failure["error"]["message"]


def test_nothing_begins_when_the_invocations_time_is_nearly_over(
    invoke: Invoke, lab: LabS3, source: str, target: str
) -> None:
    reply = invoke({"files": files_of(source, target, "in/000000")}, seconds=0.4)

    assert (reply["status"], reply["error"]["type"]) == ("rejected", "DeadlineExceeded")
    assert operations(lab) == {}


@pytest.fixture
def slow(lab: LabS3) -> Iterator[LabS3]:
    """Limit a connection to 10 MB/s with 0.4 s to the first byte."""
    lab.set_model("10/0/400")
    yield lab
    lab.set_model("off")


def test_a_file_out_of_time_is_left_to_the_next_invocation(
    invoke: Invoke, slow: LabS3, source: str, target: str
) -> None:
    event = {"files": files_of(source, target, "big/000000"), "config": {"part_size": PART}}

    reply = invoke(event, seconds=1.3)

    assert reply["status"] == "pending"
    assert (reply["totals"]["pending"], reply["totals"]["copied"]) == (1, 0)
    assert slow.checksums(target) == {}
    slow.set_model("off")
    assert invoke(event | {"files": reply["pending"]})["status"] == "copied"
    assert_copied(slow, source, target, "big/000000")


def test_what_is_not_to_be_continued_fails_when_time_is_up(
    invoke: Invoke, slow: LabS3, source: str, target: str
) -> None:
    settings = {"part_size": PART, "at_deadline": "fail"}
    reply = invoke({"files": files_of(source, target, "big/000000"), "config": settings}, seconds=1.3)

    assert reply["status"] == "failed"
    assert reply["failures"][0]["error"]["type"] == "DeadlineExceeded"
    assert slow.checksums(target) == {}


def test_an_events_own_deadline_counts_if_it_is_sooner(
    invoke: Invoke, slow: LabS3, source: str, target: str
) -> None:
    reply = invoke({"files": files_of(source, target, "big/000000"), "config": {"deadline": 0.5}})

    assert reply["status"] == "pending"


def test_the_time_a_listing_takes_is_part_of_the_invocations(
    invoke: Invoke, lab: LabS3, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the function runs past its end and its reply is lost. A listing takes 60 s of fake time."""
    listed = threading.Lock()

    def seconds() -> float:
        with listed:
            return 60.0 * operations(lab).get("ListObjectsV2", 0)

    monkeypatch.setattr(clients, "time", SimpleNamespace(monotonic=seconds))
    event = {"source_prefix": f"s3://{source}/in/000000", "destination": f"s3://{target}/out"}

    reply = invoke(event, seconds=60)

    assert (reply["status"], reply["totals"]["requests"]) == ("pending", {"ListObjectsV2": 1})


@pytest.mark.parametrize("more", [{}, {"config": {"max_concurrency": 2}}], ids=["defaults", "config"])
@pytest.mark.parametrize("report", [False, True], ids=["", "report"])
def test_a_warm_invocation_opens_no_connection(
    invoke: Invoke, lab: LabS3, source: str, target: str, more: dict[str, Any], report: bool
) -> None:
    event = {"files": files_of(source, target, "in/000000")} | more
    event |= {"report_uri": f"s3://{target}/report.json"} if report else {}
    invoke(event)

    reply = invoke(event)

    assert reply["status"] == "copied"
    assert lab.stats()["connections"] == 0

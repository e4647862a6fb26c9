"""Transforms in the four functions that copy: the function's own, the event's, and failing ones."""

from pathlib import Path
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3

from .deliveries import Deliver
from .invocations import Invoke, files_of
from .trigger_events import object_created, s3_batch, s3_put, sqs

SHIPPED = "shipped_with_the_function"
LEAVES = "leaves_when_it_is_imported"
CODE = """
def doubled(chunk):
    return chunk + chunk

def broken(chunk):
    return chunk[0] / 0

def leaving(chunk):
    raise SystemExit(3)

class Panic(BaseException):
    pass

def panicking(chunk):
    yield chunk
    raise Panic("odd")
"""


@pytest.fixture(autouse=True)
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Store a module beside the handlers. Lambda has LAMBDA_TASK_ROOT on Python's path."""
    (tmp_path / f"{SHIPPED}.py").write_text(CODE)
    (tmp_path / f"{LEAVES}.py").write_text("raise SystemExit(3)\n")
    monkeypatch.syspath_prepend(tmp_path)


def sizes(lab: LabS3, target: str) -> dict[str, int]:
    return {key: row.size for key, row in lab.checksums(target).items()}


def asked(source: str, key: str) -> dict[str, Any]:
    """Return an event of each trigger that asks to copy an object."""
    return {
        "s3": s3_put(source, key),
        "eventbridge": object_created(source, key),
        "sqs": sqs(s3_put(source, key)),
        "s3-batch": s3_batch(source, key),
    }


def test_an_events_transform_wins_over_the_functions_own(
    invoke: Invoke, lab: LabS3, source: str, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_TRANSFORM", "gunzip")
    event = {"files": files_of(source, target, "in/000000"), "config": {"transform": f"{SHIPPED}:doubled"}}
    reply = invoke(event)

    assert (reply["status"], sizes(lab, target)) == ("copied", {"in/000000": 2000})
    assert invoke(event | {"config": {"transform": None}})["status"] == "copied"
    assert sizes(lab, target) == {"in/000000": 1000}


@pytest.mark.parametrize("trigger", asked("", ""))
def test_the_functions_own_is_that_of_every_trigger(
    deliver: Deliver, lab: LabS3, source: str, target: str, monkeypatch: pytest.MonkeyPatch, trigger: str
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_TRANSFORM", f"gzip,gunzip,{SHIPPED}:doubled")
    deliver(asked(source, "in/000000")[trigger])

    assert sizes(lab, target) == {"out/in/000000": 2000}


@pytest.mark.parametrize(
    ("transform", "expected_message"),
    [
        ("gunzip", "CorruptInput: "),
        (f"{SHIPPED}:broken", "TransformError: "),
        (f"{SHIPPED}:leaving", "TransformError: "),
        (f"{SHIPPED}:panicking", "TransformError: "),
        (f"{SHIPPED}:absent", "ConfigError: "),
        (f"{LEAVES}:absent", "ConfigError: "),
    ],
)
def test_its_failure_is_permanent_and_reported_as_any_failure(
    deliver: Deliver,
    lab: LabS3,
    source: str,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
    transform: str,
    expected_message: str,
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_TRANSFORM", transform)
    ends = {trigger: deliver(event) for trigger, event in asked(source, "in/000000").items()}

    for trigger in ("s3", "eventbridge"):
        assert ends[trigger].startswith(
            f"FilesFailed: 1 of 1 failed: s3://{source}/in/000000: {expected_message}"
        )
    assert ends["sqs"] == {"batchItemFailures": [{"itemIdentifier": "m0"}]}
    (result,) = ends["s3-batch"]["results"]
    assert result["resultCode"] == "PermanentFailure"
    assert result["resultString"].startswith(expected_message)
    assert sizes(lab, target) == {}


def test_a_file_that_fails_by_it_is_one_of_the_reply(invoke: Invoke, source: str, target: str) -> None:
    files = files_of(source, target, "in/000000")
    reply = invoke({"files": files, "config": {"transform": f"{SHIPPED}:broken"}})

    assert reply["status"] == "failed"
    (failure,) = reply["failures"]
    assert failure["error"]["type"] == "TransformError"
    assert "ZeroDivisionError" in failure["error"]["message"]


def test_what_is_no_transform_is_rejected_before_any_request(
    invoke: Invoke, lab: LabS3, source: str, target: str
) -> None:
    reply = invoke({"files": files_of(source, target, "in/000000"), "config": {"transform": "gunzip,lz4"}})

    assert (reply["status"], reply["error"]["type"]) == ("rejected", "ConfigError")
    assert reply["error"]["message"].startswith("transform 'lz4' must be one of ")
    assert lab.stats()["operations"] == {}

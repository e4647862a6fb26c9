"""Values that a caller may send but no service does: each error is reported and only fails its own item."""

import json
from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from asyncstream import AsyncstreamError

from .invocations import Context
from .trigger_events import s3_put, sqs
from .witness import DESTINATION, SOURCE, WitnessS3

HALF = "\ud83d"
FILE = {"source": f"{SOURCE}a", "destination": f"{DESTINATION}a"}
Deliver = Callable[[Any], Any]


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.fixture
def deliver(function: str, witness: WitnessS3) -> Deliver:
    """Return a function that returns the function's reply or error and checks that it is UTF-8."""
    handler = import_module(f"handlers.{function}").handler

    def deliver(event: Any) -> Any:
        try:
            reply = handler(event, Context(60_000))
        except AsyncstreamError as error:
            reply = f"{type(error).__name__}: {error}"
        return json.loads(json.dumps(reply, ensure_ascii=False).encode())

    return deliver


@pytest.mark.parametrize("source", [5, None, [], ["aws:s3"], {"a": 1}, HALF, "x" * 300_000])
def test_records_of_a_source_that_is_no_name_are_refused(deliver: Deliver, source: Any) -> None:
    event = s3_put("raw", "in/a", "in/b")
    event["Records"][0]["eventSource"] = source
    failure = deliver(event)

    assert failure.startswith("InputError: the event's records are from ")
    assert failure.endswith(": only aws:s3 and aws:sqs are handled")
    assert len(failure) < 400


@pytest.mark.parametrize(
    "change",
    [
        {"report_uri": f"{DESTINATION}{HALF}"},
        {HALF: 1},
        {"config": {"extra_args": {"ContentType": HALF}}},
        {"config": {"extra_args": {"Metadata": {HALF: "a"}}}},
        {"files": [FILE | {"version_id": HALF}]},
        {"config": {"retry_max_delay": float("inf")}},
        {"config": {"extra_args": {"Metadata": nested(2_000)}}},
    ],
    ids=["report", "field", "header", "metadata", "version", "number", "nested"],
)
def test_an_event_that_no_request_can_hold_is_rejected(
    deliver: Deliver, witness: WitnessS3, change: dict[str, Any]
) -> None:
    reply = deliver({"files": [FILE]} | change)

    assert (reply["status"], reply["error"]["type"]) == ("rejected", "InputError")
    assert not witness.read


def test_a_message_that_is_not_unicode_fails_alone(
    deliver: Deliver, caplog: pytest.LogCaptureFixture
) -> None:
    event = sqs(s3_put("raw", "in/a"), "?", "?")
    event["Records"][1]["body"] = HALF
    event["Records"][2]["messageId"] = HALF

    failures = deliver(event)["batchItemFailures"]
    assert [failure["itemIdentifier"] for failure in failures] == ["m1", "\ufffd"]
    assert caplog.text.encode()


@pytest.mark.parametrize("records", [5, 0.5, True, None, "a", {"a": 1}])
def test_a_message_whose_records_are_no_list_fails_alone(deliver: Deliver, records: Any) -> None:
    event = sqs({"Records": records}, s3_put("raw", "in/a"))

    assert deliver(event) == {"batchItemFailures": [{"itemIdentifier": "m0"}]}


@pytest.mark.parametrize(
    "event",
    [
        {"files": [FILE | {"source": "x" * 300_000}]},
        {"files": [FILE | {"source": f"s3://{'x' * 300_000}/a"}]},
        {"x" * 300_000: 1, "files": [FILE]},
        {"plan": {"source": "x" * 300_000}, "run": "s3://clean/out/run/"},
        {"batch": "x" * 300_000},
        sqs({"files": [FILE | {"destination": f"s3://{'x' * 300_000}/a"}]}),
    ],
    ids=["no URI", "bucket", "field", "plan", "batch", "message"],
)
def test_a_message_repeats_little_of_an_event(
    deliver: Deliver, event: Any, caplog: pytest.LogCaptureFixture
) -> None:
    reply = deliver(event)

    assert len(str(reply)) < 5_000
    assert len(caplog.text) < 5_000

"""A customer's key in a malformed event of any trigger appears in no reply, no error and no log."""

import json
from importlib import import_module
from typing import Any

import pytest

from asyncstream import AsyncstreamError

from .invocations import Context
from .mutations import KEY
from .trigger_events import object_created, s3_batch, s3_put, sqs
from .witness import DESTINATION, SOURCE, WitnessS3

FILE = {"source": f"{SOURCE}a", "destination": f"{DESTINATION}a"}
ARGS = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": KEY, "CopySourceSSECustomerKey": KEY}
HELD = {"extra_args": ARGS}
RUN = f"{DESTINATION}many-files/run/"
DIRECT = {"config": HELD, "files": [FILE]}


def record(change: dict[str, Any], event: Any) -> Any:
    event["Records"][0] |= change
    return event


EVENTS: dict[str, Any] = {
    "direct, with an unknown field": DIRECT | {"dry_run": True},
    "direct, with an unknown setting": DIRECT | {"config": HELD | {"parts": 1}},
    "direct, the key in the wrong place": DIRECT | ARGS,
    "direct, the settings as text": DIRECT | {"config": {"extra_args": json.dumps(ARGS)}},
    "direct, a list of keys": DIRECT | {"config": {"extra_args": {"SSECustomerKey": [KEY]}}},
    "direct, not Unicode": DIRECT | {"report_uri": "s3://clean/out/\ud800"},
    "a notification of no source": record({"eventSource": ARGS}, s3_put("raw", "in/a")),
    "a notification of no kind": record({"eventName": ARGS}, s3_put("raw", "in/a")),
    "EventBridge, of no kind": object_created("raw", "in/a") | {"detail-type": ARGS},
    "EventBridge, without detail": object_created("raw", "in/a") | {"detail": ARGS},
    "a message cut short": sqs(f'{{"config":{{"extra_args":{{"SSECustomerKey":"{KEY}"'),
    "a message of half a surrogate": sqs('{"config": ' + json.dumps(HELD) + ', "files": ["\\ud800"]}'),
    "a message with a report": sqs(DIRECT | {"report_uri": "s3://clean/out/r"}),
    "a job with arguments": s3_batch("raw", "in/a") | {"job": {"id": "1", "userArguments": ARGS}},
    "a job of no schema": s3_batch("raw", "in/a") | {"invocationSchemaVersion": ARGS},
    "a plan with settings": {"plan": {"source": SOURCE, "settings": HELD}, "run": RUN},
    "a plan, the key in the wrong place": {"plan": {"source": SOURCE, "settings": ARGS}, "run": RUN},
    "a plan, the settings as text": {"plan": {"source": SOURCE, "settings": json.dumps(HELD)}, "run": RUN},
    "a plan whose source is an object": {"plan": {"source": ARGS}, "run": RUN},
    "an estimate with settings": {"estimate": {"source": SOURCE, "settings": HELD}},
    "the end of a run with settings": {"finish": RUN, "asked": {"settings": ARGS}},
    "a batch that is an object": {"batch": ARGS},
    "a message with a batch that is an object": sqs({"batch": ARGS}),
}


@pytest.mark.parametrize("event", EVENTS.values(), ids=EVENTS)
def test_no_part_of_a_key_is_shown(
    function: str,
    witness: WitnessS3,
    event: Any,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = import_module(f"handlers.{function}").handler
    try:
        output = json.dumps(handler(event, Context(60_000)))
    except AsyncstreamError as error:
        output = str(error)

    assert KEY[:8] not in f"{output}{caplog.text}{''.join(capsys.readouterr())}"
    assert not witness.read

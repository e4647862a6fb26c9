"""The function, as tests of the state machine invoke it."""

import json
import traceback
import uuid
from importlib import import_module
from typing import Any

from awslambdaric.bootstrap import make_error
from awslambdaric.lambda_runtime_marshaller import to_json

from asyncstream import AsyncstreamError

from .asl_machine import Execution, Failed


class Context:
    """Lambda's context object, reduced to the time that is left."""

    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


class Function:
    """The winner. It keeps each payload, and raises errors as Lambda's runtime client reports them.

    Attributes:
        seconds: the time that each invocation has.
        payloads: the events so far.
        refusals: errors of the next invocations, in order, before the function starts.
        deaths: the same, by the number of a batch.
        lost_replies: errors in place of replies, by the invocation's number from 1.
    """

    def __init__(self) -> None:
        self.seconds = 60.0
        self.payloads: list[Any] = []
        self.refusals: list[str] = []
        self.deaths: dict[int, list[str]] = {}
        self.lost_replies: dict[int, str] = {}

    def __call__(self, payload: Any) -> Any:
        self.payloads.append(payload)
        deaths = self.deaths.get(number_of(payload["batch"]), []) if "batch" in payload else []
        for refusals in (self.refusals, deaths):
            if refusals:
                raise Failed(refusals.pop(0), "{}")
        number = len(self.payloads)
        try:
            reply = json.loads(
                json.dumps(import_module("handlers.threads").handler(payload, Context(self.seconds)))
            )
        except AsyncstreamError as error:
            trace = traceback.format_list(traceback.extract_tb(error.__traceback__))
            told = make_error(str(error), type(error).__name__, trace, str(uuid.uuid4()))
            raise Failed(type(error).__name__, to_json(told)) from None
        if number in self.lost_replies:
            raise Failed(self.lost_replies[number], "{}")
        return reply

    @property
    def steps(self) -> list[str]:
        """The step of each payload: its first field."""
        return [next(iter(payload)) for payload in self.payloads]

    @property
    def batches(self) -> list[int]:
        """The numbers of the batches that the function was invoked with, in order."""
        return [number_of(payload["batch"]) for payload in self.payloads if "batch" in payload]


def number_of(batch: str) -> int:
    return int(batch.rpartition("/")[2].removesuffix(".jsonl"))


def failure(execution: Execution) -> str:
    """Return the message of the function's error that ended an execution."""
    assert execution.status == "FAILED"
    return str(json.loads(execution.cause)["errorMessage"])

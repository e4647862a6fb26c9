"""The function, file lists and results for tests that run the state machine."""

import csv
import io
import json
import traceback
import uuid
from importlib import import_module
from typing import TYPE_CHECKING, Any

from awslambdaric.bootstrap import make_error
from awslambdaric.lambda_runtime_marshaller import to_json

from asyncstream import AsyncstreamError
from asyncstream.lab.s3 import LabS3

from .asl_machine import Failed

if TYPE_CHECKING:
    from collections.abc import Callable

FILES = 1000
ALL = [f"in/{number:06d}" for number in range(FILES)]
MISSING = [f"in/{number:06d}" for number in range(7, FILES, 100)]


class Context:
    """Lambda's context object, reduced to the time that is left."""

    aws_request_id = "8476a536-e9f4-11e8-9739-2dfe598c3fcd"

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def get_remaining_time_in_millis(self) -> int:
        return int(self._seconds * 1000)


class Function:
    """The winner. It keeps each payload, and raises errors as Lambda's runtime client reports them."""

    def __init__(self) -> None:
        self.seconds = 60.0
        self.payloads: list[Any] = []
        self.refusals: list[str] = []
        # By the invocation's number: what happens before it, and the error in place of its reply.
        self.before_call: dict[int, Callable[[], None]] = {}
        self.lost_replies: dict[int, str] = {}

    def __call__(self, payload: Any) -> Any:
        self.payloads.append(payload)
        self.before_call.pop(len(self.payloads), lambda: None)()
        if self.refusals:
            raise Failed(self.refusals.pop(), "{}")
        number, context = len(self.payloads), Context(self.seconds)
        try:
            reply = json.loads(json.dumps(import_module("handlers.threads").handler(payload, context)))
        except AsyncstreamError as error:
            trace = traceback.format_list(traceback.extract_tb(error.__traceback__))
            told = make_error(str(error), type(error).__name__, trace, str(uuid.uuid4()))
            raise Failed(type(error).__name__, to_json(told)) from None
        if number in self.lost_replies:
            raise Failed(self.lost_replies[number], "{}")
        return reply

    @property
    def sources(self) -> list[str]:
        """The keys of all items that the function was invoked with."""
        return sorted(
            {item["source"].removeprefix("s3://raw/") for p in self.payloads for item in p["Items"]}
        )


def put_csv(s3: Any, keys: list[str]) -> dict[str, str]:
    """Store a CSV of files; return the execution's input that names it."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["source"])
    writer.writerows([f"s3://raw/{key}"] for key in keys)
    s3.put_object(Bucket="raw", Key="lists/files.csv", Body=text.getvalue().encode())
    return {"kind": "csv", "bucket": "raw", "key": "lists/files.csv"}


def copied(lab: LabS3) -> list[str]:
    return sorted(key.removeprefix("out/") for key in lab.checksums("clean", "out/in/"))


def results(s3: Any, manifest: Any) -> dict[str, list[Any]]:
    """Return the rows that ResultWriter wrote, by status."""
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

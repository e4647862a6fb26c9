"""The two segments that Lambda adds to a trace, and the function's trace header.

`AWS::Lambda` is the service's segment, `AWS::Lambda::Function` the function's. The function's own spans
belong to the second (AWS X-Ray developer guide, "AWS Lambda and AWS X-Ray").
"""

import json
import os
import re
import socket
import time
from typing import Any, Self

from msgspec import Struct

PROTOCOL = b'{"format": "json", "version": 1}\n'


class TraceContext(Struct, frozen=True):
    """An invocation's place in a trace. `segment_id` is the ID of the function's segment."""

    trace_id: str
    parent_id: str | None
    segment_id: str
    sampled: bool

    @classmethod
    def from_header(cls, header: str | None, *, active: bool) -> Self:
        """Return the context for the caller's `X-Amzn-Trace-Id`. Without one, `active` decides sampling."""
        fields = dict(re.findall(r"(\w+)=([^;\s]+)", header or ""))
        sampled = fields["Sampled"] == "1" if "Sampled" in fields else active
        return cls(fields.get("Root") or _new_trace_id(), fields.get("Parent"), _new_id(), sampled)

    @property
    def header(self) -> str:
        """The value of `_X_AMZN_TRACE_ID` in the function."""
        return f"Root={self.trace_id};Parent={self.segment_id};Sampled={int(self.sampled)}"


class Times(Struct, frozen=True):
    """Times of an invocation, in seconds since the epoch. `init` is the environment's start; None if warm."""

    received: float
    init: float | None
    started: float
    replied: float
    ended: float


def documents(
    trace: TraceContext, name: str, arn: str, times: Times, problem: dict[str, Any] | None
) -> list[dict[str, Any]]:
    """Return the two segments of an invocation. `problem` is Lambda's error payload if it failed."""
    flaw: dict[str, Any] = {}
    if problem is not None:
        cause = {"type": problem.get("errorType", ""), "message": problem.get("errorMessage", "")}
        flaw = {"fault": True, "cause": {"exceptions": [{"id": _new_id(), **cause}]}}
    service = {
        "id": _new_id(),
        "trace_id": trace.trace_id,
        "name": name,
        "origin": "AWS::Lambda",
        "start_time": times.received,
        "end_time": times.ended,
        "resource_arn": arn,
    }
    if trace.parent_id is not None:
        service["parent_id"] = trace.parent_id
    phases = [
        ("Invocation", times.started, times.replied, flaw),
        ("Overhead", times.replied, times.ended, {}),
    ]
    began = times.started
    if times.init is not None:
        # The environment starts before the invocation, but as part of it.
        began = times.init
        phases.insert(0, ("Initialization", times.init, times.started, {}))
    function = {
        "id": trace.segment_id,
        "trace_id": trace.trace_id,
        "parent_id": service["id"],
        "name": name,
        "origin": "AWS::Lambda::Function",
        "start_time": began,
        "end_time": times.ended,
        "resource_arn": arn,
        "aws": {"function_arn": arn},
        "subsegments": [
            {"id": _new_id(), "name": phase, "start_time": start, "end_time": end, **more}
            for phase, start, end, more in phases
        ],
        **({"fault": True} if problem is not None else {}),
    }
    return [service, function]


def send(daemon: str, trace_documents: list[dict[str, Any]]) -> None:
    """Send documents to X-Ray's daemon at `host:port`."""
    host, _, port = daemon.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sending:
        for document in trace_documents:
            sending.sendto(PROTOCOL + json.dumps(document).encode(), (host, int(port)))


def _new_id() -> str:
    return os.urandom(8).hex()


def _new_trace_id() -> str:
    return f"1-{int(time.time()):08x}-{os.urandom(12).hex()}"

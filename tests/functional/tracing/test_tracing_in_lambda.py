"""Traces of the handlers in the local Lambda sandbox: under Lambda's segments, and only if it samples."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox import Function, Sandbox
from asyncstream.lab.sandbox.log import read_report
from asyncstream.lab.xray import XRayReceiver

from .tracing_checks import (
    PART,
    read,
    sources,
    violations,
)

ROOT = Path(__file__).parents[3]
HANDLERS = ("sequential", "threads", "threads_multipart", "asyncio_multipart")
PARTS = 4
NOT_SAMPLED = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"


@pytest.fixture(scope="module")
def sandbox(lab: LabS3, receiver: XRayReceiver) -> Iterator[Sandbox]:
    functions = [
        Function(
            name=name,
            handler=f"handlers.{name}.handler",
            code=[ROOT],
            environment=lab.environment(),
            tracing=True,
            timeout=60,
        )
        for name in HANDLERS
    ]
    with Sandbox(functions, daemon_address=receiver.daemon_address) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def client(sandbox: Sandbox) -> Iterator[Any]:
    client = sandbox.client()

    def pass_trace_header(request: Any, **_: Any) -> None:
        if client.trace_header:
            request.headers["X-Amzn-Trace-Id"] = client.trace_header

    client.trace_header = None
    client.meta.events.register("before-sign.lambda.Invoke", pass_trace_header)
    yield client
    client.close()


def invoked(client: Any, name: str, sizes: dict[str, int], **config: Any) -> Any:
    """Invoke a function that copies files; return its report."""
    files = [{"source": f"s3://source/{key}", "destination": f"s3://results/{key}"} for key in sizes]
    event = {"files": files, "config": {"part_size": PART, **config}}
    reply = client.invoke(FunctionName=name, LogType="Tail", Payload=json.dumps(event))
    assert json.load(reply["Payload"])["status"] == "copied"
    return read_report(base64.b64decode(reply["LogResult"]).decode())


@pytest.mark.parametrize("name", HANDLERS)
def test_in_lambda_too_and_in_a_warm_environment(
    lab: LabS3, receiver: XRayReceiver, client: Any, name: str
) -> None:
    sizes = sources(lab, "lambda")
    parts = PARTS if name.endswith("multipart") else 1
    cold, warm = (invoked(client, name, sizes) for _ in range(2))
    assert (cold.init_seconds is None, warm.init_seconds is None) == (False, True)
    assert cold.trace_id != warm.trace_id
    for report, phases in (
        (cold, {"Initialization", "Invocation", "Overhead"}),
        (warm, {"Invocation", "Overhead"}),
    ):
        trace = read(receiver, report.trace_id)
        assert violations(trace, sizes, parts) == []
        (service,) = trace.roots
        (function,) = service.children
        assert (service.kind, function.kind) == ("AWS::Lambda", "AWS::Lambda::Function")
        assert {span.name for span in function.children} == phases | {"asyncstream"}


def test_what_lambda_does_not_sample_is_not_traced(lab: LabS3, receiver: XRayReceiver, client: Any) -> None:
    before = receiver.settle()
    client.trace_header = NOT_SAMPLED
    try:
        report = invoked(client, "asyncio_multipart", sources(lab, "unsampled", 2))
    finally:
        client.trace_header = None
    assert report.trace_id is None
    assert receiver.settle().received == before.received

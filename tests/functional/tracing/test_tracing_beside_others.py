"""Traces in programs that use X-Ray themselves (their recorder stays unchanged) and in other programs."""

import asyncio
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.async_context import AsyncContext
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.lambda_launcher import LambdaContext

from asyncstream import TransferConfig, transfer_async
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.xray import XRayReceiver
from asyncstream.lab.xray.reading import all_spans

from .tracing_checks import (
    PART,
    found,
    make_pairs,
    read,
    sources,
    transferred,
)

ROOT = Path(__file__).parents[3]


SAMPLED = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.mark.parametrize("context", [Context, AsyncContext, LambdaContext])
def test_an_existing_recorder_is_joined_and_left_unchanged(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], context: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", SAMPLED)
    sizes = sources(lab, "joined", 2)

    async def program() -> tuple[str, Any, Any]:
        """Transfer as a handler under Powertools' Tracer does."""
        monkeypatch.setattr(xray_recorder, "_context", context())
        if context is LambdaContext:
            monkeypatch.setattr(xray_recorder, "streaming_threshold", 0)  # the SDK's value in Lambda
        else:
            xray_recorder.begin_segment("theirs", sampling=1)  # by default it samples one a second
        theirs = xray_recorder.begin_subsegment("## handler")
        settings = dict(vars(xray_recorder))
        config = TransferConfig(part_size=PART)
        await transfer_async(make_pairs(list(sizes)), config=config, endpoint_url=lab.endpoint_url)
        assert xray_recorder.current_subsegment() is theirs
        assert dict(vars(xray_recorder)) == settings
        xray_recorder.end_subsegment()
        if context is not LambdaContext:
            xray_recorder.end_segment()
        return str(theirs.trace_id), theirs.id, theirs

    trace_id, parent, _ = asyncio.run(program())
    trace = read(receiver, trace_id)
    parents = {child.id: span.id for span in all_spans(trace.roots) for child in span.children}
    (ours,) = found(trace, "asyncstream")
    assert parents[ours.id] == parent
    assert len(found(trace, "file")) == 2


@pytest.mark.usefixtures("traced")
def test_a_programs_decision_not_to_sample_is_respected(lab: LabS3, receiver: XRayReceiver) -> None:
    before = receiver.settle()
    xray_recorder.begin_segment("theirs", sampling=0)
    try:
        transferred("threads", lab, list(sources(lab, "theirs", 2)))
    finally:
        xray_recorder.end_segment()
        xray_recorder.clear_trace_entities()
    assert receiver.settle().received == before.received


@pytest.mark.usefixtures("traced")
def test_without_an_open_segment_nothing_is_logged(lab: LabS3, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        transferred("asyncio", lab, list(sources(lab, "quiet", 2)))
    assert caplog.records == []


def test_without_a_daemon_the_sdk_is_not_even_loaded(lab: LabS3) -> None:
    code = (
        "import sys\n"
        "from asyncstream import S3Object, transfer\n"
        "report = transfer([(S3Object('source', sys.argv[1]), S3Object('results', 'x'))])\n"
        "assert not report.failed\n"
        "print([name for name in sys.modules if name.startswith('aws_xray_sdk')])\n"
    )
    (key,) = sources(lab, "off", 1, 1000)
    done = subprocess.run(
        [sys.executable, "-c", code, key],
        cwd=ROOT,
        env={"PATH": "", **lab.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("address", ["nonsense", "udp:127.0.0.1:port", "tcp:127.0.0.1:2000 udp"])
def test_a_daemons_address_that_is_none_stops_no_transfer(lab: LabS3, address: str) -> None:
    """The SDK parses it when it is first imported, so the transfers run in a process of their own."""
    code = (
        "import sys\n"
        "from asyncstream import S3Object, TransferSession\n"
        "for engine in ('sequential', 'threads', 'asyncio'):\n"
        "    with TransferSession(engine) as session:\n"
        "        session.open()\n"
        "        report = session.transfer([(S3Object('source', sys.argv[1]), S3Object('results', 'x'))])\n"
        "        print(report.count('copied'))\n"
    )
    (key,) = sources(lab, "bad-address", 1, 1000)
    done = subprocess.run(
        [sys.executable, "-c", code, key],
        cwd=ROOT,
        env={"PATH": "", "AWS_XRAY_DAEMON_ADDRESS": address, **lab.environment()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["1", "1", "1"]
    assert done.stderr.count("AWS_XRAY_DAEMON_ADDRESS") == 1
    assert f"{address!r} is not an address, so nothing is traced" in done.stderr

"""Traces of whole transfers, sent over UDP and read back from the X-Ray API: locally and in Lambda."""

import asyncio
import base64
import json
import logging
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from aws_xray_sdk.core import xray_recorder
from aws_xray_sdk.core.async_context import AsyncContext
from aws_xray_sdk.core.context import Context
from aws_xray_sdk.core.lambda_launcher import LambdaContext
from tracing_checks import (
    PART,
    found,
    only_new,
    pairs_of,
    read,
    sent_to,
    trace_ids,
    transferred,
    violations,
)

from asyncstream import TransferConfig, TransferSession, current_span, map_concurrent, transfer_async
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.sandbox import Function, Sandbox
from asyncstream.lab.sandbox.log import read_report
from asyncstream.lab.xray import XRayReceiver
from asyncstream.lab.xray.reading import all_spans

ROOT = Path(__file__).parents[2]
ENGINES = ("sequential", "threads", "asyncio")
HANDLERS = ("sequential", "threads", "threads_multipart", "asyncio_multipart")
FILES, PARTS = 10, 4
NOT_SAMPLED = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=0"


@pytest.fixture(scope="module")
def receiver() -> Iterator[XRayReceiver]:
    with XRayReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def lab(credentials: None) -> Iterator[LabS3]:
    with LabS3() as lab:
        lab.create_bucket("source", keep=True)
        lab.create_bucket("results", keep=False)
        yield lab


@pytest.fixture(autouse=True)
def as_before(lab: LabS3) -> None:
    lab.set_model("off")
    lab.reset_stats()


@pytest.fixture
def traced(receiver: XRayReceiver) -> Iterator[set[str]]:
    """Tracing is on; the traces there were before."""
    receiver.settle()
    with sent_to(receiver):
        yield trace_ids(receiver)


def sources(lab: LabS3, name: str, count: int = FILES, size: int = PARTS * PART) -> dict[str, int]:
    return dict.fromkeys(lab.declare_many("source", f"{name}/", count, size), size)


@pytest.mark.parametrize("parts", [PARTS, 1])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_tree_is_exact_on_every_engine(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: str, parts: int
) -> None:
    sizes = sources(lab, "tree")
    before = receiver.counts()

    transferred(engine, lab, list(sizes), multipart=parts > 1, part_size=PART)

    trace = only_new(receiver, traced)
    assert violations(trace, sizes, parts) == []
    (root,) = trace.roots
    told = {"engine": engine, "multipart": parts > 1, "files": FILES, "failed": 0}
    assert root.annotations == told | {
        "bytes": sum(sizes.values()),
        "slots": 1 if engine == "sequential" else 10,
    }
    after = receiver.counts()
    # Each file and each part, and the root at its begin and at its end.
    assert after.received - before.received == FILES * (1 + parts) + 2
    assert (after.rejected, after.unprocessed, after.dropped) == (0, 0, 0)


def doubled(chunk: bytes) -> bytes:
    return chunk + chunk


@pytest.mark.parametrize("size", [1000, PART])
def test_parts_that_a_transform_has_made_tell_their_own_bytes(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], size: int
) -> None:
    """One that goes as a PUT, and two of an upload."""
    keys = lab.declare_many("source", f"made-{size}/", 1, size)
    with TransferSession("threads", endpoint_url=lab.endpoint_url) as session:
        session.transfer(pairs_of(keys), TransferConfig(part_size=PART), transform=doubled)
    parts = found(only_new(receiver, traced), "part")
    assert [part.annotations["bytes"] for part in parts] == [min(PART, 2 * size)] * (2 if size == PART else 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_mapping_has_a_tree_of_items_and_of_what_their_calls_hang_under_them(
    receiver: XRayReceiver, traced: set[str], engine: str
) -> None:
    async def call(item: int) -> None:
        with current_span().child("fetch", item=item) as span, span.child("body", item=item):
            if item == 7:
                raise LookupError("seven")

    list(map_concurrent(call, range(FILES), engine=engine, max_concurrency=4))

    trace = only_new(receiver, traced)
    (root,) = trace.roots
    assert trace.problems == []
    assert root.annotations == {"engine": engine, "items": FILES, "failed": 1}
    assert {item.annotations["index"] for item in root.children} == set(range(FILES))
    for item in root.children:
        index = item.annotations["index"]
        (fetch,) = item.children
        (body,) = fetch.children
        assert [span.name for span in (item, fetch, body)] == ["item", "fetch", "body"]
        assert fetch.annotations == body.annotations == {"item": index}
        assert item.error == ("LookupError: seven" if index == 7 else None)


def test_a_summary_counts_every_span(lab: LabS3, receiver: XRayReceiver, traced: set[str]) -> None:
    sizes = sources(lab, "summary")
    transferred("threads", lab, list(sizes), multipart=True, part_size=PART)
    summary = only_new(receiver, traced).roots[0].metadata["asyncstream"]["summary"]
    counts = {name: row["count"] for name, row in summary.items()}
    assert counts == {
        "plan": 1,
        "file": 10,
        "part": 40,
        "GET": 40,
        "body": 40,
        "PUT": 40,
        "create": 10,
        "complete": 10,
    }
    assert (
        0
        < summary["body"]["min"]
        <= summary["body"]["p50"]
        <= summary["body"]["p95"]
        <= summary["body"]["max"]
    )


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_bodys_time_is_that_which_the_server_took_to_serve_it(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: str
) -> None:
    sizes = sources(lab, f"body-{engine}", count=4, size=2 * PART)
    lab.set_model("20/60/25")
    lab.reset_stats()

    transferred(engine, lab, list(sizes), multipart=True, part_size=PART)

    served = {
        (row["key"], row["range"]): row["end"] - row["start"] - 0.025
        for row in lab.request_log()
        if row["operation"] == "GetObject"
    }
    ratios = []
    for file in found(only_new(receiver, traced), "file"):
        key = str(file.annotations["source"]).removeprefix("s3://source/")
        for part in (span for span in file.children if span.name == "part"):
            start = (int(part.annotations["number"]) - 1) * PART
            if not start:
                continue  # read from the reply for the whole file, which is dropped when the part is done
            (body,) = (span for span in part.children if span.name == "body")
            assert body.end is not None
            ratios.append((body.end - body.start) / served[key, f"bytes={start}-{start + PART - 1}"])
    assert len(ratios) == 4
    assert statistics.median(ratios) == pytest.approx(1, abs=0.1), ratios


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
    """The report of an invocation that copied all files."""
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


@pytest.mark.asyncio
async def test_a_cancelled_transfer_ends_all_its_spans(
    lab: LabS3, receiver: XRayReceiver, traced: set[str]
) -> None:
    sizes = sources(lab, "cancelled")
    lab.set_model("1/5/5")
    config = TransferConfig(multipart=True, part_size=PART)
    task = asyncio.create_task(
        transfer_async(pairs_of(list(sizes)), config=config, endpoint_url=lab.endpoint_url)
    )
    while lab.stats()["operations"].get("CreateMultipartUpload", 0) < 2:  # noqa: ASYNC110 - another process's
        await asyncio.sleep(0.05)
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    assert task.cancelled()

    trace = await asyncio.to_thread(only_new, receiver, traced)
    (root,) = trace.roots
    assert trace.problems == []
    assert root.error == "CancelledError"
    assert all(span.end is not None for span in all_spans(trace.roots))
    assert found(trace, "file")
    assert all(span.error for span in found(trace, "file"))
    assert found(trace, "abort")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_deadline_ends_all_spans(lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: str) -> None:
    sizes = sources(lab, "deadline", 3)
    lab.set_model("2/4/5")
    report = transferred(engine, lab, list(sizes), multipart=True, part_size=PART, deadline=0.5)
    assert len(report.failed) == 3
    trace = only_new(receiver, traced)
    assert trace.problems == []
    assert all(span.end is not None for span in all_spans(trace.roots))
    assert trace.roots[0].error is None
    assert trace.roots[0].annotations["failed"] == 3
    assert all("deadline of 0.5 s" in str(span.error) for span in found(trace, "file"))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_file_that_fails_is_marked_and_the_others_are_not(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: str
) -> None:
    keys = [*sources(lab, "good", 2), "absent"]
    assert len(transferred(engine, lab, keys).failed) == 1
    files = {str(span.annotations["source"]): span for span in found(only_new(receiver, traced), "file")}
    assert [span.error is None for span in files.values()].count(True) == 2
    assert str(files["s3://source/absent"].error).startswith("SourceNotFound: ")


@pytest.mark.parametrize("engine", ["threads", "asyncio"])
def test_two_thousand_files_make_a_trace_that_xray_keeps(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: str
) -> None:
    prefix = "ä" * 400 + "/" * 100
    sizes = sources(lab, prefix, 2000, 1000)
    before = receiver.settle()

    assert not transferred(engine, lab, list(sizes)).failed

    after = receiver.settle()
    assert after.bytes - before.bytes < 100_000
    assert after.largest < 64 * 1024
    assert after.dropped == 0
    trace = only_new(receiver, traced)
    assert trace.problems == []
    shown = len(found(trace, "file"))
    assert 20 <= shown <= 40
    told = trace.roots[0].metadata["asyncstream"]
    assert told["sampled"]["file"] == f"{shown} of 2000"
    assert told["summary"]["PUT"]["count"] == 2000


def test_two_thousand_failures_make_a_trace_that_xray_keeps(
    lab: LabS3, receiver: XRayReceiver, traced: set[str]
) -> None:
    before = receiver.settle()
    report = transferred("threads", lab, [f"absent/{number}" for number in range(2000)])
    assert len(report.failed) == 2000
    after = receiver.settle()
    assert after.bytes - before.bytes < 100_000
    assert only_new(receiver, traced).problems == []


@pytest.mark.parametrize("context", [Context, AsyncContext, LambdaContext])
def test_somebody_elses_recorder_is_joined_and_left_as_it_was(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], context: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_X_AMZN_TRACE_ID", NOT_SAMPLED.replace("Sampled=0", "Sampled=1"))
    sizes = sources(lab, "joined", 2)

    async def program() -> tuple[str, Any, Any]:
        """As Powertools' Tracer does it around a handler."""
        monkeypatch.setattr(xray_recorder, "_context", context())
        if context is LambdaContext:
            monkeypatch.setattr(xray_recorder, "streaming_threshold", 0)  # as the SDK has it in Lambda
        else:
            xray_recorder.begin_segment("theirs", sampling=1)  # left alone it samples one a second
        theirs = xray_recorder.begin_subsegment("## handler")
        settings = dict(vars(xray_recorder))
        config = TransferConfig(part_size=PART)
        await transfer_async(pairs_of(list(sizes)), config=config, endpoint_url=lab.endpoint_url)
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
def test_somebody_elses_decision_not_to_sample_is_respected(lab: LabS3, receiver: XRayReceiver) -> None:
    before = receiver.settle()
    xray_recorder.begin_segment("theirs", sampling=0)
    try:
        transferred("threads", lab, list(sources(lab, "theirs", 2)))
    finally:
        xray_recorder.end_segment()
        xray_recorder.clear_trace_entities()
    assert receiver.settle().received == before.received


@pytest.mark.usefixtures("traced")
def test_nothing_is_logged_where_nobody_has_a_segment_open(
    lab: LabS3, caplog: pytest.LogCaptureFixture
) -> None:
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

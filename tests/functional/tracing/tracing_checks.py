"""Traced transfers, and checks that hold for the trace of every transfer."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from aws_xray_sdk.core import xray_recorder

from asyncstream import S3Object, TransferConfig, TransferSession
from asyncstream.engines import EngineName
from asyncstream.lab.report.spans import Span, Trace
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.xray import XRayReceiver, read_trace
from asyncstream.lab.xray.reading import all_spans

PART = 5 * 2**20
# Seconds: two clocks are read one after the other, and JSON rounds times.
SLACK = 1e-4


@contextmanager
def sent_to(receiver: XRayReceiver) -> Iterator[None]:
    """Turn tracing on, as in a program with a daemon: the SDK reads its address on import."""
    emitter = xray_recorder.emitter
    before = f"{emitter.ip}:{emitter.port}"
    os.environ |= receiver.environment()
    emitter.set_daemon_address(receiver.daemon_address)
    try:
        yield
    finally:
        del os.environ["AWS_XRAY_DAEMON_ADDRESS"]
        emitter.set_daemon_address(before)


def make_pairs(keys: list[str]) -> list[tuple[S3Object, S3Object]]:
    return [(S3Object("source", key), S3Object("results", key)) for key in keys]


def transferred(engine: EngineName, lab: LabS3, keys: list[str], **config: Any) -> Any:
    with TransferSession(engine, endpoint_url=lab.endpoint_url) as session:
        return session.transfer(make_pairs(keys), TransferConfig(**config))


def trace_ids(receiver: XRayReceiver) -> set[str]:
    """Return the ids of all traces. moto lists only those in which a span has ended."""
    api = receiver.client()
    try:
        found = api.get_trace_summaries(StartTime=1, EndTime=4_000_000_000)["TraceSummaries"]
    finally:
        api.close()
    return {summary["Id"] for summary in found}


def read(receiver: XRayReceiver, trace_id: str) -> Trace:
    receiver.settle()
    api = receiver.client()
    try:
        trace = read_trace(api, trace_id)
    finally:
        api.close()
    assert trace is not None
    return trace


def only_new(receiver: XRayReceiver, before: set[str]) -> Trace:
    """Return the one trace that was not there before."""
    receiver.settle()
    (trace_id,) = trace_ids(receiver) - before
    return read(receiver, trace_id)


def found(trace: Trace, name: str) -> list[Span]:
    return [span for span in all_spans(trace.roots) if span.name == name]


def violations(trace: Trace, sizes: Mapping[str, int], parts: int) -> list[str]:
    """Return what is wrong with the trace of a transfer in which all files were copied.

    Args:
        trace: the trace that was read back.
        sizes: bytes by key.
        parts: the number of parts of each file.
    """
    wrong = list(trace.problems)
    roots = found(trace, "asyncstream")
    if len(roots) != 1:
        return [*wrong, f"{len(roots)} roots of a transfer"]
    (root,) = roots
    wrong += _not_within(root)
    expected = Counter({"file": len(sizes), "plan": 1})
    if Counter(span.name for span in root.children) != expected:
        wrong.append(f"under the root: {Counter(span.name for span in root.children)}")
    for file in (span for span in root.children if span.name == "file"):
        wrong += _wrong_file(file, sizes, parts)
    sources = {str(span.annotations.get("source")) for span in root.children if span.name == "file"}
    if sources != {f"s3://source/{key}" for key in sizes}:
        wrong.append(f"files: {sources}")
    return wrong


def _wrong_file(file: Span, sizes: Mapping[str, int], parts: int) -> list[str]:
    source = str(file.annotations["source"])
    key = source.removeprefix("s3://source/")
    expected = {"source": source, "destination": f"s3://results/{key}", "parts": parts, "attempts": parts}
    expected["bytes"] = sizes[key]
    wrong = [] if file.annotations == expected else [f"{key}: {file.annotations}"]
    names = Counter(span.name for span in file.children)
    whole = Counter({"part": 1}) if parts == 1 else Counter({"part": parts, "create": 1, "complete": 1})
    if names != whole:
        wrong.append(f"{key}: {names}")
    numbered = sorted((span for span in file.children if span.name == "part"), key=_number)
    if [_number(part) for part in numbered] != list(range(1, parts + 1)):
        wrong.append(f"{key}: parts {[_number(part) for part in numbered]}")
    if sum(int(part.annotations.get("bytes", 0)) for part in numbered) != sizes[key]:
        wrong.append(f"{key}: parts of {[part.annotations.get('bytes') for part in numbered]} bytes")
    steps = Counter({"GET": 1, "body": 1, "PUT": 1})
    wrong += [
        f"{key}: part {_number(part)} has {[span.name for span in part.children]}"
        for part in numbered
        if Counter(span.name for span in part.children) != steps
    ]
    return wrong


def _number(part: Span) -> int:
    return int(part.annotations["number"])


def _not_within(span: Span) -> list[str]:
    """Describe spans that begin before their parent, end after it, have no end, or have an error."""
    wrong = []
    for child in span.children:
        if child.end is None or span.end is None:
            wrong.append(f"{child.name} in {span.name}: no end")
        elif child.start < span.start - SLACK or child.end > span.end + SLACK:
            wrong.append(f"{child.name} {child.start}-{child.end} not in {span.name} {span.start}-{span.end}")
        if child.error is not None:
            wrong.append(f"{child.name}: {child.error}")
        wrong += _not_within(child)
    return wrong


def sources(lab: LabS3, name: str, count: int = 10, size: int = 4 * PART) -> dict[str, int]:
    return dict.fromkeys(lab.declare_many("source", f"{name}/", count, size), size)

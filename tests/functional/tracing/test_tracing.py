"""Traces of whole transfers, sent over UDP and read back from the X-Ray API."""

import asyncio
import time
from contextlib import suppress

import pytest

from asyncstream import TransferConfig, TransferSession, current_span, map_concurrent, transfer_async
from asyncstream.engines import EngineName
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from asyncstream.lab.xray import XRayReceiver
from asyncstream.lab.xray.reading import all_spans

from .tracing_checks import (
    PART,
    SLACK,
    found,
    make_pairs,
    only_new,
    sources,
    transferred,
    violations,
)

ENGINES = ("sequential", "threads", "asyncio")
FILES, PARTS = 10, 4
MANY = 600  # with 500 bytes of each key, three times what X-Ray keeps
FIRST_BYTE = 0.025


@pytest.mark.parametrize("parts", [PARTS, 1])
@pytest.mark.parametrize("engine", ENGINES)
def test_the_tree_is_exact_on_every_engine(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: EngineName, parts: int
) -> None:
    sizes = sources(lab, "tree")
    before = receiver.counts()

    transferred(engine, lab, list(sizes), multipart=parts > 1, part_size=PART)

    trace = only_new(receiver, traced)
    assert violations(trace, sizes, parts) == []
    (root,) = trace.roots
    common = {"engine": engine, "multipart": parts > 1, "files": FILES, "failed": 0}
    assert root.annotations == common | {
        "bytes": sum(sizes.values()),
        "slots": 1 if engine == "sequential" else 10,
    }
    after = receiver.counts()
    # One document for each file and each part; two for the root, at its start and at its end.
    assert after.received - before.received == FILES * (1 + parts) + 2
    assert (after.rejected, after.unprocessed, after.dropped) == (0, 0, 0)


def doubled(chunk: bytes) -> bytes:
    return chunk + chunk


@pytest.mark.parametrize("size", [1000, PART])
def test_parts_that_a_transform_has_made_tell_their_own_bytes(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], size: int
) -> None:
    """The small file is written with one PUT, the large one as an upload of two parts."""
    keys = lab.declare_many("source", f"made-{size}/", 1, size)
    with TransferSession("threads", endpoint_url=lab.endpoint_url) as session:
        session.transfer(make_pairs(keys), TransferConfig(part_size=PART), transform=doubled)
    parts = found(only_new(receiver, traced), "part")
    assert [part.annotations["bytes"] for part in parts] == [min(PART, 2 * size)] * (2 if size == PART else 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_spans_of_a_mappings_calls_hang_under_their_items(
    receiver: XRayReceiver, traced: set[str], engine: EngineName
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


@pytest.mark.parametrize("engine", ENGINES)
def test_the_bodys_time_is_that_in_which_the_server_served_it(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: EngineName
) -> None:
    """The order of events that client and server saw is the same on any machine."""
    sizes = sources(lab, f"body-{engine}", count=4, size=2 * PART)
    lab.set_model(f"0/0/{FIRST_BYTE * 1000:.0f}")
    lab.reset_stats()

    transferred(engine, lab, list(sizes), multipart=True, part_size=PART)

    epoch = time.time() - time.monotonic()
    rows = {
        (row["operation"], row["key"], row["range"] or row["part_number"]): row for row in lab.request_log()
    }
    bodies = 0
    for file in found(only_new(receiver, traced), "file"):
        key = str(file.annotations["source"]).removeprefix("s3://source/")
        for part in (span for span in file.children if span.name == "part"):
            number = int(part.annotations["number"])
            start = (number - 1) * PART
            if not start:
                continue  # it reads from the reply for the whole file, which is dropped after this part
            (body,) = (span for span in part.children if span.name == "body")
            assert body.end is not None
            served = rows["GetObject", key, f"bytes={start}-{start + PART - 1}"]
            sent = rows["UploadPart", key, str(number)]
            assert served["start"] + FIRST_BYTE - SLACK < body.start - epoch  # after its head was sent
            assert body.start - epoch < sent["start"] + SLACK  # before it is sent on
            assert served["end"] - SLACK < body.end - epoch  # after the server sent all of it
            assert body.end - epoch < sent["end"] - FIRST_BYTE + SLACK  # before all was received
            bodies += 1
    assert bodies == 4


@pytest.mark.asyncio
async def test_a_cancelled_transfer_ends_all_its_spans(
    lab: LabS3, receiver: XRayReceiver, traced: set[str]
) -> None:
    sizes = sources(lab, "cancelled")
    lab.set_model("1/5/5")
    config = TransferConfig(multipart=True, part_size=PART)
    task = asyncio.create_task(
        transfer_async(make_pairs(list(sizes)), config=config, endpoint_url=lab.endpoint_url)
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
def test_an_open_range_ends_with_its_part_when_its_file_fails(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: EngineName
) -> None:
    sizes = sources(lab, "refused", 2)
    lab.set_faults([Fault("refuse", "CreateMultipartUpload", status=418, code="ImATeapot")])
    try:
        report = transferred(engine, lab, list(sizes), multipart=True, part_size=PART)
    finally:
        lab.set_faults([])
    assert len(report.failed) == 2
    trace = only_new(receiver, traced)
    assert len(found(trace, "body")) == 2
    assert all(span.end is not None for span in all_spans(trace.roots))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_deadline_ends_all_spans(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: EngineName
) -> None:
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
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: EngineName
) -> None:
    keys = [*sources(lab, "good", 2), "absent"]
    assert len(transferred(engine, lab, keys).failed) == 1
    files = {str(span.annotations["source"]): span for span in found(only_new(receiver, traced), "file")}
    assert [span.error is None for span in files.values()].count(True) == 2
    assert str(files["s3://source/absent"].error).startswith("SourceNotFound: ")


@pytest.mark.parametrize("engine", ["threads", "asyncio"])
def test_many_files_make_a_trace_that_xray_keeps(
    lab: LabS3, receiver: XRayReceiver, traced: set[str], engine: EngineName
) -> None:
    prefix = "ä" * 400 + "/" * 100
    sizes = sources(lab, prefix, MANY, 1000)
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
    metadata = trace.roots[0].metadata["asyncstream"]
    assert metadata["sampled"]["file"] == f"{shown} of {MANY}"
    assert metadata["summary"]["PUT"]["count"] == MANY


def test_many_failures_make_a_trace_that_xray_keeps(
    lab: LabS3, receiver: XRayReceiver, traced: set[str]
) -> None:
    before = receiver.settle()
    report = transferred("threads", lab, [f"absent/{number}" for number in range(MANY)])
    assert len(report.failed) == MANY
    after = receiver.settle()
    assert after.bytes - before.bytes < 100_000
    assert only_new(receiver, traced).problems == []

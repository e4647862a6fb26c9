"""Files that take longer than the deadline: left pending, then continued by a transfer of any engine."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from asyncstream import Event, FileResult, MiB, S3Object, TransferConfig, TransferSession
from asyncstream.engines import ENGINES
from asyncstream.lab.sandbox import Function, Sandbox
from asyncstream.pipeline import clients
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.progress import BytesMoved, OnEvent
from tests.servers import LabServer

Invoke = Callable[[str, object, int], dict[str, Any] | None]

ROOT = Path(__file__).parents[2]
HANDLERS = ("sequential", "threads_multipart", "asyncio_multipart")
GB = 10**9
PAIR = (S3Object("sources", "file"), S3Object("copies", "file"))


@pytest.fixture
def server(lab_of: Callable[..., LabServer]) -> LabServer:
    return lab_of("off", keep=False)


@pytest.fixture
def slow_server(lab_of: Callable[..., LabServer]) -> LabServer:
    """Start a lab S3 so slow that a file needs several invocations of two seconds."""
    return lab_of("60/110/5", keep=False)


@pytest.fixture
def tell(monkeypatch: pytest.MonkeyPatch) -> OnEvent:
    """Return a progress callback that moves the transfer's clock: one second for each MiB."""
    passed = 0.0
    monkeypatch.setattr(clients, "time", SimpleNamespace(monotonic=lambda: passed))

    def tell(event: Event) -> None:
        nonlocal passed
        # An event of 5 MiB or more reports what an earlier transfer moved.
        if isinstance(event, BytesMoved) and event.bytes < 5 * MiB:
            passed += event.bytes / MiB

    return tell


def chain(
    sessions: Sequence[TransferSession],
    tell: OnEvent,
    seconds: float,
    once_uploading: Callable[[str], object] = lambda _: None,
    **settings: Any,
) -> list[FileResult]:
    """Transfer one file with the sessions in turn until it is no longer pending; return all results.

    `once_uploading` is called once, after the first transfer that leaves an upload, with the upload's id.
    """
    config = TransferConfig(deadline=seconds, at_deadline="pending", **settings)
    continuations: dict[tuple[S3Object, S3Object], Continuation] = {}
    results: list[FileResult] = []
    happened = False
    while not results or results[-1].status == "pending":
        number = len(results)
        assert number < 60, "The chain does not end."
        report = sessions[number % len(sessions)].transfer([PAIR], config, tell, continuations)
        results += report.files
        # A continuation is JSON on its way from one Lambda's reply to the next one's event.
        continuations = {
            pair: msgspec.json.decode(msgspec.json.encode(left), type=Continuation)
            for pair, left in report.continuations.items()
        }
        if results[-1].continuation is not None and not happened:
            once_uploading(results[-1].continuation.upload_id)
            happened = True
    return results


@pytest.fixture
def sessions(server: LabServer) -> Iterator[list[TransferSession]]:
    opened = [TransferSession(engine, endpoint_url=server.endpoint_url) for engine in ENGINES]
    yield opened
    for each in opened:
        each.close()


def parts_sent(server: LabServer) -> set[int]:
    """Return the numbers of the parts that were sent since the last call."""
    rows = server.lab.request_log()
    server.lab.reset_stats()
    return {int(row["part_number"]) for row in rows if row["operation"] == "UploadPart"}


def test_the_end_of_a_chain_verifies_a_multipart_source(
    server: LabServer, sessions: list[TransferSession], tell: OnEvent
) -> None:
    """The last transfer compares the checksum of the source's parts.

    The parts end elsewhere than the ranges, and an engine continues a part that another engine began to read.
    """
    server.lab.declare("sources", [("file", 60 * MiB)], checksum="CRC32", part_size=8 * MiB)
    results = chain(sessions, tell, 25, multipart=True, part_size=5 * MiB, max_concurrency=2)
    assert len(results) >= 2
    assert (results[-1].status, results[-1].read_verified) == ("copied", "CRC32")
    assert results[-1].restarted is None
    source, copy = server.lab.checksums("sources")["file"], server.lab.checksums("copies")["file"]
    assert copy.crc64nvme == source.crc64nvme


def test_an_overwritten_source_starts_the_file_over_and_says_so(
    server: LabServer, sessions: list[TransferSession], tell: OnEvent
) -> None:
    """The source is overwritten between two transfers."""
    server.lab.declare("sources", [("file", 60 * MiB)])

    def overwrite(_: object) -> None:
        server.client.put_object(Bucket="sources", Key="file", Body=b"new")

    results = chain(sessions, tell, 25, overwrite, multipart=True, part_size=5 * MiB, max_concurrency=2)
    assert results[-1].status == "copied"
    assert results[-1].bytes == 3
    assert "overwritten" in (results[-1].restarted or "")
    assert server.client.list_multipart_uploads(Bucket="copies").get("Uploads", []) == []


def test_a_vanished_upload_starts_the_file_over_and_says_so(
    server: LabServer, sessions: list[TransferSession], tell: OnEvent
) -> None:
    """The upload vanishes between two transfers."""
    server.lab.declare("sources", [("file", 60 * MiB)])

    def abort(upload_id: str) -> None:
        server.client.abort_multipart_upload(Bucket="copies", Key="file", UploadId=upload_id)

    results = chain(sessions, tell, 25, abort, multipart=True, part_size=5 * MiB, max_concurrency=2)
    assert results[-1].status == "copied"
    assert any("NoSuchUpload" in (result.restarted or "") for result in results)
    source, copy = server.lab.checksums("sources")["file"], server.lab.checksums("copies")["file"]
    assert copy.crc64nvme == source.crc64nvme


def test_a_file_not_started_is_pending_without_continuation(
    server: LabServer, sessions: list[TransferSession]
) -> None:
    server.lab.declare("sources", [("file", 100)])
    config = TransferConfig(deadline=1e-9, at_deadline="pending")
    for each in sessions:
        [result] = each.transfer([PAIR], config).files
        assert (result.status, result.continuation, result.attempts) == ("pending", None, 0)


@pytest.fixture
def invoke(slow_server: LabServer) -> Iterator[Invoke]:
    """Invoke the deployed handlers in environments that end after the given seconds."""
    functions = [
        Function(
            name=name,
            handler=f"handlers.{name}.handler",
            code=[ROOT],
            environment=slow_server.lab.environment(),
        )
        for name in HANDLERS
    ]
    with Sandbox(functions) as sandbox, closing(sandbox.client()) as client:

        def invoke(name: str, event: object, seconds: int) -> dict[str, Any] | None:
            function = sandbox.function(name)
            assert function is not None
            if function.timeout != seconds:
                sandbox.configure(name, timeout=seconds)
            reply = client.invoke(FunctionName=name, Payload=json.dumps(event))
            payload: dict[str, Any] = json.load(reply["Payload"])
            if "FunctionError" in reply:
                # Lambda also ends a function that does not answer in time.
                assert "timed out" in payload["errorMessage"], payload
                return None
            return payload

        yield invoke


@pytest.mark.slow
def test_a_large_file_takes_several_two_second_invocations(slow_server: LabServer, invoke: Invoke) -> None:
    """The handlers take turns in invocations of two seconds.

    The time is doubled if the machine is too busy to make progress in it.
    """
    server, seconds = slow_server, 2
    server.lab.declare("sources", [("file", GB // 2)])
    config = {"multipart": True, "part_size": 16 * MiB, "max_concurrency": 6}
    left = [{"source": "s3://sources/file", "destination": "s3://copies/file"}]
    statuses: list[str] = []
    confirmed: set[Any] = set()
    for name in islice(cycle(HANDLERS), 60):
        reply = invoke(name, {"files": left, "config": config}, seconds)
        if reply is None or reply.get("error", {}).get("type") == "DeadlineExceeded":
            seconds = min(2 * seconds, 60)
            continue
        statuses.append(reply["status"])
        assert parts_sent(server) & confirmed == set()
        if reply["status"] != "pending":
            break
        left, before = reply["pending"], confirmed
        assert len(json.dumps(reply)) < 20_000
        runs = left[0].get("continuation", {}).get("runs", [])
        confirmed = {number for first, last, *_ in runs for number in range(first, last + 1)}
        if confirmed == before:
            seconds = min(2 * seconds, 60)
    assert len(statuses) >= (3 if seconds == 2 else 2)
    assert statuses[-1] == "copied", reply
    source, copy = server.lab.checksums("sources")["file"], server.lab.checksums("copies")["file"]
    assert (copy.size, copy.crc64nvme) == (source.size, source.crc64nvme)
    assert server.client.list_multipart_uploads(Bucket="copies").get("Uploads", []) == []

"""Transfers on uvloop, whose connections lack the private attributes by which asyncio's take less memory."""

import asyncio
import gc
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop

from asyncstream import (
    AsyncTransferSession,
    ConnectionFailed,
    MiB,
    S3Object,
    TransferConfig,
    TransferReport,
    map_concurrent_async,
    transfer,
    transfer_async,
)
from asyncstream.engines.keeping import close_all_kept
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.s3.buffers import SLOT_ON_OTHER_LOOPS
from tests.servers.base import until

SIZE = 12 * MiB
FILES = 4
PARTS = TransferConfig(multipart=True, part_size=5 * MiB, max_concurrency=4)

Pairs = list[tuple[S3Object, S3Object]]


@pytest.fixture(params=["http", "tls"])
def lab(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabS3]:
    with LabS3(tls=request.param == "tls") as lab:
        for name, value in lab.environment().items():
            monkeypatch.setenv(name, value)
        lab.create_bucket("sources", keep=False)
        lab.create_bucket("copies", keep=False)
        lab.declare_many("sources", "x/", FILES, SIZE)
        yield lab


@pytest.fixture
def pairs() -> Pairs:
    keys = [f"x/{number:06d}" for number in range(FILES)]
    return [(S3Object("sources", key), S3Object("copies", key)) for key in keys]


def run(lab: LabS3, work: Callable[[], Awaitable[Any]]) -> Any:
    """Run on uvloop, and check that nothing is left open."""
    result = run_on_uvloop(work)
    until(lambda: lab.stats()["open_connections"] == 0)
    return result


def run_on_uvloop(work: Callable[[], Awaitable[Any]]) -> Any:

    async def on_uvloop() -> Any:
        assert isinstance(asyncio.get_running_loop(), uvloop.Loop)
        result = await work()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        return result

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(on_uvloop())
    gc.collect()  # anything left open warns here
    return result


def check_copies(lab: LabS3, report: TransferReport) -> None:
    report.raise_for_failures()
    sources, copies = lab.checksums("sources"), lab.checksums("copies")
    assert {key: (copy.size, copy.crc64nvme) for key, copy in copies.items()} == {
        key: (source.size, source.crc64nvme) for key, source in sources.items()
    }


@pytest.mark.parametrize("config", [TransferConfig(max_concurrency=4), PARTS], ids=["streams", "parts"])
def test_files_are_copied(lab: LabS3, pairs: Pairs, config: TransferConfig) -> None:
    report = run(lab, lambda: transfer_async(pairs, config=config, endpoint_url=lab.endpoint_url))
    check_copies(lab, report)
    assert all(file.write_verified for file in report.files)


def test_the_memory_limit_counts_larger_slots(lab: LabS3, pairs: Pairs) -> None:
    config = TransferConfig(memory_limit=3 * SLOT_ON_OTHER_LOOPS, max_concurrency=10)
    report = run(lab, lambda: transfer_async(pairs, config=config, endpoint_url=lab.endpoint_url))
    check_copies(lab, report)
    assert report.slots == 3


def test_a_session_keeps_its_connections(lab: LabS3, pairs: Pairs) -> None:
    one_by_one = TransferConfig(max_concurrency=1)

    async def copy_twice() -> TransferReport:
        async with AsyncTransferSession(endpoint_url=lab.endpoint_url) as session:
            for _ in range(2):
                report = await session.transfer(pairs, one_by_one)
                # One for GETs, one for PUTs, and the one that told the region.
                assert lab.stats()["connections"] <= 3
        return report

    check_copies(lab, run(lab, copy_twice))


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        ("reset-body", "GetObject"),
        ("truncate", "GetObject"),
        ("refuse", "GetObject"),
        ("reset-body", "UploadPart"),
        ("refuse", "UploadPart"),
    ],
)
def test_broken_connections_are_survived(lab: LabS3, pairs: Pairs, kind: Any, operation: str) -> None:
    lab.set_faults([Fault(kind, operation, times=[1, 2])])
    report = run(lab, lambda: transfer_async(pairs, config=PARTS, endpoint_url=lab.endpoint_url))
    check_copies(lab, report)
    assert lab.faults_struck() == [2]


@pytest.mark.parametrize("operation", ["GetObject", "PutObject"])
def test_a_server_that_stalls_fails_the_file(lab: LabS3, pairs: Pairs, operation: str) -> None:
    """While the lab stalls a TLS connection, it does not notice that the client has closed it."""
    lab.declare("sources", [("x/000000", 100 * MiB)])  # more than the kernel's buffers take
    lab.set_faults([Fault("stall", operation, seconds=3600)])
    config = TransferConfig(stall_timeout=1.0, max_attempts=1)
    report = run_on_uvloop(lambda: transfer_async(pairs[:1], config=config, endpoint_url=lab.endpoint_url))
    assert isinstance(report.files[0].error, ConnectionFailed)


def test_cancelling_leaves_no_upload_and_no_connection(lab: LabS3, pairs: Pairs) -> None:
    lab.set_model("1/1/10")

    async def cancel() -> None:
        started = asyncio.Event()
        task = asyncio.create_task(
            transfer_async(
                pairs, config=PARTS, endpoint_url=lab.endpoint_url, on_event=lambda _: started.set()
            )
        )
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    run(lab, cancel)
    assert lab.discard("copies", "") == 0


def test_a_transform_runs_beside_the_loop(lab: LabS3, pairs: Pairs) -> None:
    report = run(
        lab, lambda: transfer_async(pairs, transform=["gzip", "gunzip"], endpoint_url=lab.endpoint_url)
    )
    check_copies(lab, report)


def test_the_blocking_call_uses_the_loop_of_the_policy(
    lab: LabS3, pairs: Pairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after `uvloop.install()`, which newer Pythons deprecate."""
    close_all_kept()
    monkeypatch.setattr(asyncio, "new_event_loop", uvloop.new_event_loop)
    check_copies(lab, transfer(pairs, engine="asyncio", config=PARTS, endpoint_url=lab.endpoint_url))
    close_all_kept()
    until(lambda: lab.stats()["open_connections"] == 0)


def test_functions_are_mapped() -> None:
    async def double(number: int) -> int:
        await asyncio.sleep(0)
        return 2 * number

    async def mapped() -> list[int]:
        return [outcome.result() async for outcome in map_concurrent_async(double, range(100))]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(mapped()) == [2 * number for number in range(100)]

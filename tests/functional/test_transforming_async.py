"""Transforms on a running event loop: it stays responsive, and cancelling waits for computing threads."""

import asyncio
import gzip
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from types import SimpleNamespace
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from asyncstream import MiB, S3Object, TransferConfig, TransferReport, transfer_async
from asyncstream.checksum import Digests
from asyncstream.pipeline.output import Output
from asyncstream.transforms import map_lines
from tests.servers import Bucket, LabServer, content

CONFIG = TransferConfig(part_size=5 * MiB, max_concurrency=3)


@pytest.fixture
def bucket(lab_server: LabServer) -> Iterator[Bucket]:
    bucket = lab_server.new_bucket()
    yield bucket
    bucket.empty()


def to_made(bucket: Bucket, *keys: str) -> list[tuple[S3Object, S3Object]]:
    return [(S3Object(bucket.name, key), S3Object(bucket.name, f"made/{key}")) for key in keys]


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Count the work of this thread between two steps of its event loop, as time depends on the machine.

    `longest` is the most bytes that passed in one step of the loop. `computed` is how often each thread
    produced output.
    """
    work = SimpleNamespace(step=0, longest=0, computed=Counter())
    run, update, fill = asyncio.Handle._run, Digests.update, Output.fill
    own = threading.get_ident()

    def begin_step(handle: asyncio.Handle) -> None:
        work.step = 0
        run(handle)

    def pass_by(digests: Digests, chunk: bytes | memoryview) -> None:
        if threading.get_ident() == own:
            work.step += len(chunk)
            work.longest = max(work.longest, work.step)
        update(digests, chunk)

    def compute(output: Output, part: Any) -> Any:
        work.computed[threading.get_ident()] += 1
        return fill(output, part)

    monkeypatch.setattr(asyncio.Handle, "_run", begin_step)
    monkeypatch.setattr(Digests, "update", pass_by)
    monkeypatch.setattr(Output, "fill", compute)
    return work


def in_pure_python(line: bytes) -> bytes:
    return b",".join(sorted(line.split(b" ")))


@pytest.mark.asyncio
@pytest.mark.parametrize("transform", ["gunzip", map_lines(in_pure_python)], ids=["gunzip", "map_lines"])
async def test_the_loop_is_never_blocked_for_long(
    lab_server: LabServer, bucket: Bucket, work: SimpleNamespace, transform: str | Callable[..., Any]
) -> None:
    """The loop's thread computes nothing, and one step reads at most what justifies a hop to a thread."""
    text = b"".join(b"%d %s\n" % (n, content(30, n % 50).hex(" ").encode()) for n in range(60_000))
    for key in ("a", "b"):
        bucket.put(key, gzip.compress(text * 8, 1) if transform == "gunzip" else text)
    report = await transfer_async(
        to_made(bucket, "a", "b"),
        config=CONFIG,
        transform=transform,
        endpoint_url=lab_server.endpoint_url,
    )
    report.raise_for_failures()
    assert work.computed.total() > 10
    assert threading.get_ident() not in work.computed
    assert 0 < work.longest <= 1 * MiB


@pytest.mark.asyncio
async def test_a_transform_is_tried_made_and_run_away_from_the_loop(
    lab_server: LabServer, bucket: Bucket
) -> None:
    bucket.put("file", b"content")
    threads = set()

    class Slow:
        def __init__(self) -> None:
            threads.add(threading.get_ident())

        def feed(self, chunk: bytes | memoryview) -> bytes:
            threads.add(threading.get_ident())
            return bytes(chunk)

        def finish(self) -> bytes:
            threads.add(threading.get_ident())
            return b""

    report = await transfer_async(
        to_made(bucket, "file"), config=CONFIG, transform=Slow, endpoint_url=lab_server.endpoint_url
    )
    report.raise_for_failures()
    assert threads
    assert threading.get_ident() not in threads


def test_a_transform_runs_though_all_threads_wait_for_it(lab_server: LabServer, bucket: Bucket) -> None:
    """Blocking handlers of a web framework run in anyio's threads; one of them may wait for a transfer."""
    bucket.put("file", b"content")

    async def make() -> TransferReport:
        return await transfer_async(
            to_made(bucket, "file"), config=CONFIG, transform="gzip", endpoint_url=lab_server.endpoint_url
        )

    async def in_the_only_thread() -> TransferReport:
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(make))

    anyio.run(in_the_only_thread).raise_for_failures()
    assert gzip.decompress(bucket.get("made/file")) == b"content"


@pytest.mark.asyncio
async def test_cancelling_waits_for_a_computing_thread(lab_server: LabServer, bucket: Bucket) -> None:
    """A cancelled transfer leaves nothing behind."""
    bucket.put("file", content(12 * MiB))
    loop, computing, pieces = asyncio.get_running_loop(), asyncio.Event(), count()
    at_work, may_go_on = threading.Event(), threading.Event()

    def slow(chunk: bytes | memoryview) -> bytes:
        if next(pieces) > 10:  # an upload is open after that many
            at_work.set()
            loop.call_soon_threadsafe(computing.set)
            assert may_go_on.wait(60)
            at_work.clear()
        return bytes(chunk) * 8

    making = asyncio.create_task(
        transfer_async(
            to_made(bucket, "file"), config=CONFIG, transform=slow, endpoint_url=lab_server.endpoint_url
        )
    )
    await computing.wait()
    making.cancel()
    await asyncio.sleep(0.02)
    waits = not making.done()
    may_go_on.set()
    assert waits
    with pytest.raises(asyncio.CancelledError):
        await making
    assert not at_work.is_set()
    assert next(pieces) < 30  # of at least 192: it stopped at its next piece
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bucket.uploads() == []
    assert bucket.keys() == {"file"}

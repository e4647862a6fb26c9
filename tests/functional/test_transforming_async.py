"""Transforms on a running event loop: it goes on running, and cancelling waits for what computes."""

import asyncio
import gzip
import logging
import threading
import time
from itertools import count
from math import inf

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from servers import content

from asyncstream import MiB, S3Object, TransferConfig, transfer_async
from asyncstream.progress import BytesMoved
from asyncstream.transforms import map_lines

logger = logging.getLogger(__name__)  # --log-cli-level=info shows what was measured

CONFIG = TransferConfig(part_size=5 * MiB, max_concurrency=3)


@pytest.fixture
def bucket(lab_server):
    bucket = lab_server.new_bucket()
    yield bucket
    bucket.empty()


def to_made(bucket, *keys):
    return [(S3Object(bucket.name, key), S3Object(bucket.name, f"made/{key}")) for key in keys]


async def largest_gap(work):
    """CPU seconds that the loop's thread spent without being heard of while it awaited some work.

    Of its CPU, and not of the clock: others work on this machine, too.
    """
    largest, last = 0.0, time.thread_time()

    async def beat():
        nonlocal largest, last
        while True:
            await asyncio.sleep(0.001)
            now = time.thread_time()
            largest, last = max(largest, now - last), now

    heart = asyncio.create_task(beat())
    try:
        await work
    finally:
        heart.cancel()
    return max(largest, time.thread_time() - last)


def in_pure_python(line):
    return b",".join(sorted(line.split(b" ")))


@pytest.mark.asyncio
@pytest.mark.parametrize("transform", ["gunzip", map_lines(in_pure_python)], ids=["gunzip", "map_lines"])
async def test_the_loop_is_never_blocked_for_long(lab_server, bucket, record_property, transform):
    """For 50 ms, from the first byte to the last result; of three tries the best, as others work here too."""
    text = b"".join(b"%d %s\n" % (n, content(30, n % 50).hex(" ").encode()) for n in range(60_000))
    for key in ("a", "b"):
        bucket.put(key, gzip.compress(text * 8, 1) if transform == "gunzip" else text)
    largest = inf
    for _ in range(3):
        started = asyncio.Event()

        def tell(event, started=started):
            if isinstance(event, BytesMoved):
                started.set()

        async def make(tell=tell):
            report = await transfer_async(
                to_made(bucket, "a", "b"),
                config=CONFIG,
                on_event=tell,
                transform=transform,
                endpoint_url=lab_server.endpoint_url,
            )
            report.raise_for_failures()

        making = asyncio.create_task(make())
        await started.wait()
        largest = min(largest, await largest_gap(making))
    record_property("largest gap", largest)
    logger.info("largest gap: %.1f ms", largest * 1000)
    assert largest < 0.05


@pytest.mark.asyncio
async def test_a_transform_is_tried_made_and_run_away_from_the_loop(lab_server, bucket):
    bucket.put("file", b"content")
    threads = set()

    class Slow:
        def __init__(self):
            threads.add(threading.get_ident())

        def feed(self, chunk):
            threads.add(threading.get_ident())
            return bytes(chunk)

        def finish(self):
            threads.add(threading.get_ident())
            return b""

    report = await transfer_async(
        to_made(bucket, "file"), config=CONFIG, transform=Slow, endpoint_url=lab_server.endpoint_url
    )
    report.raise_for_failures()
    assert threads
    assert threading.get_ident() not in threads


def test_it_computes_though_every_thread_of_the_program_waits_for_it(lab_server, bucket):
    """As where blocking handlers of a web framework, which run in anyio's threads, have a file made."""
    bucket.put("file", b"content")

    async def make():
        return await transfer_async(
            to_made(bucket, "file"), config=CONFIG, transform="gzip", endpoint_url=lab_server.endpoint_url
        )

    async def in_the_only_thread():
        anyio.to_thread.current_default_thread_limiter().total_tokens = 1
        return await anyio.to_thread.run_sync(lambda: anyio.from_thread.run(make))

    anyio.run(in_the_only_thread).raise_for_failures()
    assert gzip.decompress(bucket.get("made/file")) == b"content"


@pytest.mark.asyncio
async def test_cancelled_while_a_thread_computes_it_waits_for_that_and_leaves_nothing(lab_server, bucket):
    bucket.put("file", content(12 * MiB))
    loop, computing, at_work, pieces = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), count()

    def slow(chunk):
        if next(pieces) > 10:  # an upload is open by then
            loop.call_soon_threadsafe(computing.set)
            at_work.set()
            time.sleep(0.1)
            at_work.clear()
        return chunk * 8

    making = asyncio.create_task(
        transfer_async(
            to_made(bucket, "file"), config=CONFIG, transform=slow, endpoint_url=lab_server.endpoint_url
        )
    )
    await computing.wait()
    making.cancel()
    with pytest.raises(asyncio.CancelledError):
        await making
    assert not at_work.is_set()
    assert next(pieces) < 30  # of 192 at least: it stopped at its next piece
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bucket.uploads() == []
    assert bucket.keys() == {"file"}

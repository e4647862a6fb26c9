"""`transfer_async` on a running event loop, beside other tasks, and when it is cancelled."""

import asyncio
import gc
from collections.abc import Iterator

import pytest

from asyncstream import ConfigError, Event, MiB, S3Object, TransferConfig, transfer, transfer_async
from asyncstream.pipeline.progress import BytesMoved
from tests.servers import Bucket, LabServer, content

LARGE = 32 * MiB
CONFIG = TransferConfig(multipart=True, part_size=5 * MiB, max_concurrency=3)


@pytest.fixture
def bucket(lab_server: LabServer) -> Iterator[Bucket]:
    bucket = lab_server.new_bucket()
    yield bucket
    bucket.empty()


def copy_of(bucket: Bucket, key: str) -> list[tuple[S3Object, S3Object]]:
    return [(S3Object(bucket.name, key), S3Object(bucket.name, f"copies/{key}"))]


@pytest.mark.asyncio
async def test_files_are_copied_on_the_running_loop(lab_server: LabServer, bucket: Bucket) -> None:
    bucket.put("file", content(LARGE))
    report = await transfer_async(
        copy_of(bucket, "file"), config=CONFIG, endpoint_url=lab_server.endpoint_url
    )
    report.raise_for_failures()
    assert report.engine == "asyncio"
    assert bucket.get("copies/file") == content(LARGE)


@pytest.mark.asyncio
async def test_two_transfers_run_on_one_loop(lab_server: LabServer, bucket: Bucket) -> None:
    for key in ("a", "b"):
        bucket.put(key, content(LARGE, key))
    reports = await asyncio.gather(
        *(
            transfer_async(copy_of(bucket, key), config=CONFIG, endpoint_url=lab_server.endpoint_url)
            for key in ("a", "b")
        )
    )
    for report in reports:
        report.raise_for_failures()
    assert {key: bucket.get(f"copies/{key}") == content(LARGE, key) for key in ("a", "b")} == {
        "a": True,
        "b": True,
    }


@pytest.mark.asyncio
async def test_transfer_on_a_running_loop_says_what_to_call_instead(
    lab_server: LabServer, bucket: Bucket
) -> None:
    bucket.put("file", b"x")
    with pytest.raises(ConfigError, match="transfer_async"):
        transfer(copy_of(bucket, "file"), engine="asyncio", endpoint_url=lab_server.endpoint_url)
    assert bucket.keys() == {"file"}
    gc.collect()  # a coroutine that was never awaited warns here


@pytest.mark.asyncio
async def test_cancelling_mid_upload_leaves_no_upload(lab_server: LabServer, bucket: Bucket) -> None:
    """Cancelling leaves no task and no open connection either."""
    bucket.put("file", content(LARGE))
    assert bucket.uploads() == []  # opens this client's own connection before they are counted
    open_before = lab_server.lab.stats()["open_connections"]
    parts_move = asyncio.Event()
    moved = 0

    def tell(event: Event) -> None:
        nonlocal moved
        if isinstance(event, BytesMoved):
            moved += event.bytes
            parts_move.set()

    task = asyncio.create_task(
        transfer_async(
            copy_of(bucket, "file"), config=CONFIG, on_event=tell, endpoint_url=lab_server.endpoint_url
        )
    )
    await parts_move.wait()
    assert bucket.uploads() == ["copies/file"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert moved < LARGE
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert bucket.uploads() == []
    assert bucket.keys() == {"file"}
    async with asyncio.timeout(60):
        # The server is another process and takes a moment to notice that they are closed.
        while lab_server.lab.stats()["open_connections"] > open_before:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    gc.collect()  # anything left open warns here


@pytest.mark.asyncio
async def test_cancelled_before_its_first_step_it_leaves_nothing(
    lab_server: LabServer, bucket: Bucket
) -> None:
    bucket.put("file", b"x")
    task = asyncio.create_task(
        transfer_async(copy_of(bucket, "file"), config=CONFIG, endpoint_url=lab_server.endpoint_url)
    )
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert bucket.keys() == {"file"}
    gc.collect()

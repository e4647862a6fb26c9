"""`AsyncTransferSession`: clients kept between transfers on one event loop, for one task or several."""

import asyncio
import gc
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from asyncstream import (
    AsyncTransferSession,
    ConfigError,
    S3Access,
    S3Object,
    TransferConfig,
    transfer_async,
)
from asyncstream.engines import EngineName
from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline import clients
from tests.servers.base import GUARD_SECONDS

from .command_line import LabWith

FILES = 40
CONFIG = TransferConfig(max_concurrency=2)
OTHER = TransferConfig(max_concurrency=3)

pytestmark = pytest.mark.asyncio


@pytest.fixture
def lab(lab_with: LabWith) -> LabS3:
    return lab_with(FILES, 300_000)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The `max_concurrency` of each transport that was opened."""
    original: Any = vars(clients)["open_transport"]
    noted: list[int] = []

    async def note(engine: EngineName, settings: Any) -> Any:
        noted.append(settings.max_concurrency)
        return await original(engine, settings)

    monkeypatch.setattr(clients, "open_transport", note)
    return noted


@pytest_asyncio.fixture
async def session(lab: LabS3) -> AsyncIterator[AsyncTransferSession]:
    async with AsyncTransferSession(endpoint_url=lab.endpoint_url) as session:
        yield session
    await all_closed(lab)
    gc.collect()  # a connection left open warns here


async def all_closed(lab: LabS3) -> None:
    async with asyncio.timeout(GUARD_SECONDS):
        while lab.stats()["open_connections"]:  # noqa: ASYNC110 - the server is another process
            await asyncio.sleep(0.01)


def pairs(*numbers: int) -> list[tuple[S3Object, S3Object]]:
    keys = [f"x/{number:06d}" for number in numbers]
    return [(S3Object("sources", key), S3Object("copies", key)) for key in keys]


async def test_transfers_share_clients_and_connections(
    lab: LabS3, session: AsyncTransferSession, opened: list[int]
) -> None:
    for number in range(5):
        (await session.transfer(pairs(number), CONFIG)).raise_for_failures()
    assert opened == [2]
    assert lab.stats()["connections"] <= 3


async def test_clients_may_be_made_in_advance(
    session: AsyncTransferSession, lab: LabS3, opened: list[int]
) -> None:
    await session.open(CONFIG)
    assert opened == [2]
    (await session.transfer(pairs(0), CONFIG)).raise_for_failures()
    assert opened == [2]


async def test_many_tasks_transfer_at_once(
    lab: LabS3, session: AsyncTransferSession, opened: list[int]
) -> None:
    """They share one client, and have more parts in flight than one of them may have."""
    together = asyncio.Barrier(FILES)

    async def copy(number: int) -> int:
        await together.wait()
        report = await session.transfer(pairs(number), CONFIG)
        report.raise_for_failures()
        return report.slots

    async with asyncio.timeout(GUARD_SECONDS):
        slots = await asyncio.gather(*(copy(number) for number in range(FILES)))
    assert slots == [2] * FILES
    assert opened == [2]
    assert lab.stats()["connections"] <= 2 * FILES  # a GET and a PUT for each part
    assert len(lab.checksums("copies")) == FILES


async def test_tasks_may_have_different_settings(
    lab: LabS3, session: AsyncTransferSession, opened: list[int]
) -> None:
    """Clients in use stay open when others are opened; only the last ones are kept."""
    started, release = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def hold(chunk: bytes) -> bytes:
        loop.call_soon_threadsafe(started.set)
        assert release.wait(GUARD_SECONDS)
        return chunk

    held = asyncio.create_task(session.transfer(pairs(0), CONFIG, transform=hold))
    await started.wait()
    (await session.transfer(pairs(20), OTHER)).raise_for_failures()
    (await session.transfer(pairs(21), CONFIG)).raise_for_failures()
    release.set()
    (await held).raise_for_failures()
    assert opened == [2, 3]
    (await session.transfer(pairs(22), CONFIG)).raise_for_failures()
    assert opened == [2, 3]
    (await session.transfer(pairs(23), OTHER)).raise_for_failures()
    assert opened == [2, 3, 3]


async def test_cancelling_a_transfer_leaves_the_others(lab: LabS3, session: AsyncTransferSession) -> None:
    started = asyncio.Event()
    lost = asyncio.create_task(session.transfer(pairs(*range(20)), CONFIG, lambda _: started.set()))
    other = asyncio.create_task(session.transfer(pairs(*range(20, 40)), CONFIG))
    await started.wait()
    lost.cancel()
    with pytest.raises(asyncio.CancelledError):
        await lost
    (await other).raise_for_failures()


async def test_a_transfer_that_still_runs_ends_before_its_connections(lab: LabS3) -> None:
    started = asyncio.Event()
    async with AsyncTransferSession(endpoint_url=lab.endpoint_url) as session:
        task = asyncio.create_task(session.transfer(pairs(*range(20)), CONFIG, lambda _: started.set()))
        await started.wait()
    (await task).raise_for_failures()
    await all_closed(lab)


async def test_a_session_that_is_not_open_says_so(lab: LabS3) -> None:
    session = AsyncTransferSession(endpoint_url=lab.endpoint_url)
    with pytest.raises(ConfigError, match="async with AsyncTransferSession"):
        await session.transfer(pairs(0))
    for number in range(2):
        async with session:
            (await session.transfer(pairs(number))).raise_for_failures()
    with pytest.raises(ConfigError, match="not open"):
        await session.open()


async def test_wrong_ends_are_refused_at_each_transfer(lab: LabS3) -> None:
    async with AsyncTransferSession(source=S3Access(endpoint_url="not a URL")) as session:
        for _ in range(2):
            with pytest.raises(ConfigError, match="cannot create an S3 client"):
                await session.transfer(pairs(0))


async def test_transfer_async_has_clients_for_one_call(lab: LabS3, opened: list[int]) -> None:
    for number in range(2):
        (
            await transfer_async(pairs(number), config=CONFIG, endpoint_url=lab.endpoint_url)
        ).raise_for_failures()
    assert opened == [2, 2]
    await all_closed(lab)

"""`transfer` called by many threads at once: each call has a session, and few of them are kept."""

import asyncio
import gc
import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from asyncstream import Event, Planned, S3Access, S3Object, TransferConfig, TransferReport, transfer
from asyncstream.engines import ENGINES, EngineName
from asyncstream.engines.keeping import MAX_IDLE, close_all_kept
from asyncstream.lab.s3 import LabS3
from tests.servers.base import GUARD_SECONDS, until

from .command_line import LabWith

THREADS = 64
# The one for the region, the GET and the PUT of one file.
CONNECTIONS = 3


@pytest.fixture
def lab(lab_with: LabWith) -> Iterator[LabS3]:
    close_all_kept()  # those of earlier tests
    yield lab_with(THREADS, 1000)
    close_all_kept()


def copy(lab: LabS3, engine: EngineName, number: int = 0, **options: Any) -> TransferReport:
    key = f"x/{number:06d}"
    files = [(S3Object("sources", key), S3Object("copies", key))]
    config = TransferConfig(max_concurrency=2)
    report = transfer(files, engine=engine, config=config, endpoint_url=lab.endpoint_url, **options)
    report.raise_for_failures()
    return report


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_many_threads_call_at_once(lab: LabS3, engine: EngineName) -> None:
    """All calls overlap: each waits for the others before it copies its file."""
    before = set(threading.enumerate())
    together = threading.Barrier(THREADS)

    def copy_at_once(number: int) -> TransferReport:
        return copy(lab, engine, number, on_event=wait_for_others)

    def wait_for_others(event: Event) -> None:
        if isinstance(event, Planned):
            together.wait(GUARD_SECONDS)

    with ThreadPoolExecutor(THREADS) as pool:
        reports = list(pool.map(copy_at_once, range(THREADS)))

    assert {report.count("copied") for report in reports} == {1}
    assert set(lab.checksums("copies")) == {f"x/{number:06d}" for number in range(THREADS)}
    assert lab.stats()["connections"] <= THREADS * CONNECTIONS
    until(lambda: lab.stats()["open_connections"] <= MAX_IDLE * CONNECTIONS)
    close_all_kept()
    until(lambda: lab.stats()["open_connections"] == 0)
    assert set(threading.enumerate()) <= before
    gc.collect()  # a loop or socket left open warns here


@pytest.mark.parametrize("engine", ENGINES)
def test_calls_one_after_another_share_a_session(lab: LabS3, engine: EngineName) -> None:
    """Even if each is on another thread."""
    for number in range(4):
        thread = threading.Thread(target=copy, args=(lab, engine, number))
        thread.start()
        thread.join(GUARD_SECONDS)
    assert set(lab.checksums("copies")) == {f"x/{number:06d}" for number in range(4)}
    assert lab.stats()["connections"] <= CONNECTIONS


def test_the_ends_used_least_recently_are_closed(lab: LabS3) -> None:
    """With any engine: `tests/unit/test_keeping.py` has the order."""
    engine: EngineName = "sequential"
    for number in range(MAX_IDLE + 4):
        copy(lab, engine, source=S3Access(region=f"eu-west-{number}"))
    # Each has a transport for each end.
    until(lambda: lab.stats()["open_connections"] <= MAX_IDLE * CONNECTIONS)
    connections = lab.stats()["connections"]
    copy(lab, engine, source=S3Access(region=f"eu-west-{MAX_IDLE + 3}"))
    assert lab.stats()["connections"] == connections
    copy(lab, engine, source=S3Access(region="eu-west-0"))
    assert lab.stats()["connections"] > connections


@pytest.mark.parametrize("engine", ["sequential", "threads"])
def test_a_callback_may_transfer(lab: LabS3, engine: EngineName) -> None:
    inner = []

    def tell(event: Event) -> None:
        if isinstance(event, Planned):
            inner.append(copy(lab, engine, 1))

    copy(lab, engine, 0, on_event=tell)
    assert [report.count("copied") for report in inner] == [1]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_child_forked_during_a_transfer_has_its_own_session(lab: LabS3, engine: EngineName) -> None:
    """And the session that its parent uses is not kept in the child."""
    began, ended = threading.Event(), threading.Event()

    def hold(event: Event) -> None:
        began.set()
        ended.wait(GUARD_SECONDS)

    parent = threading.Thread(target=copy, args=(lab, engine), kwargs={"on_event": hold})
    parent.start()
    began.wait(GUARD_SECONDS)
    try:
        child = multiprocessing.get_context("fork").Process(target=copy, args=(lab, engine, 1))
        child.start()
        child.join(GUARD_SECONDS)
        assert child.exitcode == 0
    finally:
        ended.set()
        parent.join(GUARD_SECONDS)
    assert set(lab.checksums("copies")) == {"x/000000", "x/000001"}


def test_the_current_event_loop_of_the_thread_stays(lab: LabS3) -> None:
    """A session may be closed, or used next, by another thread."""
    own = asyncio.new_event_loop()
    asyncio.set_event_loop(own)
    try:
        copy(lab, "asyncio")
        assert asyncio.get_event_loop() is own
        close_all_kept()
        assert asyncio.get_event_loop() is own
    finally:
        asyncio.set_event_loop(None)
        own.close()

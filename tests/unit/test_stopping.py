"""A transfer that stops midway leaves nothing behind, with each engine."""

import asyncio
from contextlib import closing
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncstream.engines import ENGINES, open_engine
from asyncstream.engines.aio import AsyncioEngine
from asyncstream.errors import DeadlineExceeded
from asyncstream.objects import MultipartUpload, Written
from asyncstream.pipeline import coordinator, progress
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.file import File
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.tasks import Needs
from asyncstream.ports import Engine

from .held_store import HeldStore
from .memory_store import Failure, MemoryStore, etag_of, pause_under
from .transfers import SETUPS, Setup, assert_nothing_is_left, content, jobs_of, source, stored, target


def test_no_work_starts_after_the_deadline(engine: Engine) -> None:
    store = MemoryStore(stored([25, 25]), pause=pause_under(engine.name))

    results = Setup(deadline=1e-9).run(jobs_of([25, 25]), store, engine)

    assert [type(result.error) for result in results] == [DeadlineExceeded, DeadlineExceeded]
    assert store.calls == {}


@pytest.mark.parametrize("pauses", [False, True])
def test_files_not_started_by_the_deadline_cost_no_task(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, pauses: bool
) -> None:
    """10,000 tasks would take seconds after the deadline."""
    tasks: list[Any] = []
    start = File.start

    def counted(file: File, reserved: Needs) -> Any:
        tasks.append(start(file, reserved))
        return tasks[-1]

    monkeypatch.setattr(File, "start", counted)
    store = MemoryStore(stored([25] * 50), pause=pause_under(engine.name))
    setup = Setup(deadline=1e-9, pauses=pauses)
    results = setup.run(jobs_of([25] * 50), store, engine)

    assert tasks == []
    assert {result.status for result in results} == {"pending" if pauses else "failed"}
    assert all(pauses or isinstance(result.error, DeadlineExceeded) for result in results)


def test_a_deadline_midway_stops_files_and_leaves_nothing(engine: Engine) -> None:
    sizes = [500] * 4
    store = MemoryStore(stored(sizes), pause=pause_under(engine.name))

    # Each byte read takes a second.
    results = Setup(deadline=100, clock=lambda: store.bytes_read).run(jobs_of(sizes), store, engine)

    assert {type(result.error) for result in results if result.error} == {DeadlineExceeded}
    assert 100 <= store.bytes_read < 200
    assert_nothing_is_left(store)


class Stopped(Exception):
    """The error of a progress callback."""


@pytest.mark.parametrize("event", [progress.FileStarted, progress.BytesMoved])
def test_a_callback_that_raises_fails_the_file_of_its_event(
    engine: Engine, event: type[progress.FileStarted | progress.BytesMoved]
) -> None:
    def on_event(reported: progress.Event) -> None:
        if isinstance(reported, event) and reported.source == source(0):
            raise Stopped

    store = MemoryStore(stored([25, 25]), pause=pause_under(engine.name))
    results = Setup(on_event=on_event).run(jobs_of([25, 25]), store, engine)

    assert [result.status for result in results] == ["failed", "copied"]
    assert isinstance(results[0].error, Stopped)
    assert_nothing_is_left(store)


def test_stopping_the_coordinator_joins_tasks_and_aborts_uploads(engine: Engine) -> None:
    def on_event(reported: progress.Event) -> None:
        if isinstance(reported, progress.FileFinished):
            raise Stopped

    sizes = [15, 20_000]
    held = None if engine.name == "sequential" else "key-1"  # its first file ends before the second starts
    store = HeldStore(stored(sizes), held=held, pause=pause_under(engine.name, 0.001))
    with pytest.raises(Stopped):
        Setup(slots=3, part_size=2000, on_event=on_event).run(jobs_of(sizes), store, engine)

    assert store.bytes_read < 3000  # the files in flight stopped midway
    assert_nothing_is_left(store)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_task_that_ends_the_program_aborts_uploads_first(
    engine: Engine, error: type[BaseException]
) -> None:
    """For example a user's function that calls `sys.exit`, which would end an event loop at once."""
    store = MemoryStore(
        stored([60, 60]), pause=pause_under(engine.name), failures=[Failure("read", error(), first=6)]
    )

    with pytest.raises(error) as caught:
        Setup().run(jobs_of([60, 60]), store, engine)

    assert type(caught.value) is error
    assert store.calls["create_upload", None] > 0
    assert_nothing_is_left(store)


class CancelsItsTask(MemoryStore):
    """Cancels the task that runs the transfer when the nth operation starts."""

    transfer: asyncio.Task[object]
    left: int

    def fail_if_planned(self, operation: str, key: str) -> Failure | None:
        lost = super().fail_if_planned(operation, key)
        self.left -= 1
        if self.left == 0:
            self.transfer.cancel()
        return lost


@settings(max_examples=80)
@given(st.integers(1, 80), SETUPS)
def test_cancelled_at_any_point_asyncio_joins_all_and_aborts_all(nth: int, setup: Setup) -> None:
    sizes = [35, 0, 60]
    store = CancelsItsTask(stored(sizes), pause=pause_under("asyncio"))
    store.left = nth

    async def cancelled() -> bool:
        coordinator = setup.coordinator(jobs_of(sizes), store, AsyncioEngine())
        store.transfer = asyncio.create_task(coordinator.run())
        await asyncio.wait([store.transfer])
        return store.transfer.cancelled()

    assert asyncio.run(cancelled()) == (store.left <= 0)
    assert_nothing_is_left(store)


def test_a_cancelled_transfer_notes_the_uploads_it_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    """They could not be aborted in time."""

    class NeverAborts(CancelsItsTask):
        async def abort_upload(self, upload: object) -> None:
            await asyncio.sleep(3600)

    monkeypatch.setattr(coordinator, "SHIELD_SECONDS", 0.01)
    store = NeverAborts(stored([100]), pause=pause_under("asyncio"))
    store.left = 10

    async def cancelled() -> None:
        store.transfer = asyncio.create_task(
            Setup().coordinator(jobs_of([100]), store, AsyncioEngine()).run()
        )
        await store.transfer

    with pytest.raises(asyncio.CancelledError) as caught:
        asyncio.run(cancelled())
    assert any("could not be aborted" in note for note in caught.value.__notes__)


@pytest.mark.parametrize("engine_name", ENGINES)
def test_an_unexpected_cancellation_does_not_hang_a_transfer(engine_name: str) -> None:
    """The transfer neither waits for the cancelled task nor forgets it."""
    leaked = Failure("open", asyncio.CancelledError("leaked by a library"), key="key-1")
    store = MemoryStore(stored([5, 5, 5]), pause=pause_under(engine_name), failures=[leaked])
    ends: list[Any] = []

    def run() -> None:
        engine = open_engine(engine_name)
        try:
            ends.append(Setup().run(jobs_of([5, 5, 5]), store, engine))
        except asyncio.CancelledError as error:
            ends.append(error)
        engine.close()

    # In its own thread, because it may never end.
    runner = Thread(target=run, daemon=True)
    runner.start()
    runner.join(60)

    assert ends, "the transfer waits for a task that has ended"
    assert isinstance(ends[0], asyncio.CancelledError) or len(ends[0]) == 3


def test_files_that_have_ended_are_not_stopped_by_the_deadline() -> None:
    """Several files end in one step: one is left pending by the deadline, as another has been copied."""
    now, writing, dropped = [0.0], asyncio.Event(), asyncio.Event()

    class Slow(MemoryStore):
        async def abort_upload(self, upload: MultipartUpload) -> None:
            await writing.wait()
            now[0] = 100.0
            dropped.set()

        async def put(self, *given: Any, **options: Any) -> Written:
            written = await super().put(*given, **options)
            writing.set()
            await dropped.wait()
            for _ in range(20):  # until the file whose upload was dropped has ended
                await asyncio.sleep(0)
            return written

    store = Slow(stored([35, 8]), pause=pause_under("asyncio"))
    left = Continuation(upload_id="gone", etag=etag_of(content(0, 35)), size=35, first=10, step=10)
    jobs = [Job(source(0), target(0), continuation=left), Job(source(1), target(1))]
    setup = Setup(slots=2, deadline=50.0, pauses=True, clock=lambda: now[0], verify="after")

    with closing(open_engine("asyncio")) as engine:
        results = setup.run(jobs, store, engine)

    assert [result.status for result in results] == ["pending", "copied"]

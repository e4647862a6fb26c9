"""An engine's slots: start a task, and wait for the next finished one."""

import asyncio
import threading
from contextvars import ContextVar

import pytest

from asyncstream.engines import open_engine
from asyncstream.ports import Engine, Finished, Slots

current: ContextVar[str] = ContextVar("current", default="unset")


async def finished(slots: Slots, count: int) -> list[Finished]:
    return [await slots.wait_end() for _ in range(count)]


def test_each_task_ends_once_with_its_tag_and_its_outcome(engine: Engine) -> None:
    """The outcome is the value returned or the error raised."""
    broken = LookupError("broken")

    async def succeeds() -> str:
        return "done"

    async def fails() -> str:
        raise broken

    async def run() -> list[Finished]:
        ends = []
        async with engine.slots(1) as slots:
            for tag, work in (("a", succeeds), ("b", fails), ("c", succeeds)):
                slots.start(tag, work)
                ends.append(await slots.wait_end())
        return ends

    assert engine.run(run) == [
        Finished("a", "done", None),
        Finished("b", None, broken),
        Finished("c", "done", None),
    ]


def test_a_slot_is_free_again_once_its_task_is_reported(engine: Engine) -> None:
    """It is also free before its first task starts."""

    async def nothing() -> None:
        """End at once."""

    async def run() -> list[bool]:
        async with engine.slots(1) as slots:
            free = [slots.free]
            slots.start(None, nothing)
            free.append(slots.free)
            await slots.wait_end()
            return [*free, slots.free]

    assert engine.run(run) == [True, False, True]


def test_a_slot_is_not_free_before_its_end_was_taken(engine: Engine) -> None:
    """The coordinator does not know yet what the task left open, so it must not start another one."""

    async def nothing() -> None:
        """End at once."""

    async def run() -> bool:
        async with engine.slots(1) as slots:
            slots.start(None, nothing)
            for _ in range(10):
                await engine.sleep(0.001)
            free = slots.free
            await slots.wait_end()
            return free

    assert not engine.run(run)


def test_tasks_see_the_callers_context_variables(engine: Engine) -> None:
    """A change that a task makes stays in the task."""
    seen: list[str] = []

    async def look() -> None:
        seen.append(current.get())
        current.set("changed by a task")

    async def run() -> None:
        current.set("the coordinator's")
        async with engine.slots(2) as slots:
            for _ in range(min(2, engine.max_slots)):
                slots.start(None, look)
            await finished(slots, min(2, engine.max_slots))
            if engine.name != "sequential":
                assert current.get() == "the coordinator's"

    engine.run(run)
    assert set(seen) == {"the coordinator's"}


@pytest.mark.parametrize("name", ["threads", "asyncio"])
def test_tasks_run_at_the_same_time_as_many_as_there_are_slots(name: str) -> None:
    engine = open_engine(name)
    running = 0
    together = threading.Event()

    async def wait_for_the_others() -> bool:
        nonlocal running
        running += 1
        if running == 3:
            together.set()
        if name == "threads":
            return together.wait(60)
        for _ in range(5000):
            if together.is_set():
                return True
            await asyncio.sleep(0.001)
        return False

    async def run() -> list[Finished]:
        async with engine.slots(3) as slots:
            for tag in range(3):
                assert slots.free
                slots.start(tag, wait_for_the_others)
            assert not slots.free
            return await finished(slots, 3)

    ends = engine.run(run)
    engine.close()
    assert sorted(end.tag for end in ends) == [0, 1, 2]
    assert all(end.result for end in ends)


def test_leaving_joins_every_started_task(engine: Engine) -> None:
    started, ended = [], []

    async def work() -> None:
        started.append(1)
        try:
            # A thread cannot be cancelled. An asyncio task left running would outlast the suite's guard.
            await engine.sleep(0.05 if engine.name != "asyncio" else 3600)
        finally:
            ended.append(1)

    async def run() -> None:
        async with engine.slots(3) as slots:
            while slots.free:
                slots.start(None, work)
            await engine.sleep(0.01)
            raise LookupError("the coordinator's")

    with pytest.raises(LookupError, match="the coordinator's"):
        engine.run(run)
    assert len(ended) == len(started)

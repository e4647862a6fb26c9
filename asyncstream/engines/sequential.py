"""The sequential engine: one task at a time, on the caller's thread."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import copy_context
from typing import Any, TypeVar

from asyncstream.engines.driver import drive
from asyncstream.ports import Finished, Work

T = TypeVar("T")


class SequentialEngine:
    """Runs a task when its end is asked for. Has one slot, whatever `max_concurrency` says."""

    name = "sequential"
    blocking = True
    computes_at_once = 1
    most_slots = 1

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it on this thread."""
        return drive(work())

    def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Itself: who runs a step is no matter to what never suspends."""
        return work

    def close(self) -> None:
        """Nothing lives across transfers."""

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_OneSlot"]:
        """One slot; `count` is an upper bound."""
        yield _OneSlot()

    async def sleep(self, seconds: float) -> None:
        """Block the thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this engine does

    async def compute(self, work: Callable[[], T]) -> T:
        """Run it on this thread."""
        return work()

    async def limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run it, however long it takes: nothing can cancel a thread."""
        return await work

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run it: nothing can cancel a thread, and socket timeouts bound it."""
        return await work


class _OneSlot:
    def __init__(self) -> None:
        self._task: tuple[Any, Work] | None = None

    @property
    def free(self) -> bool:
        return self._task is None

    def start(self, tag: Any, work: Work) -> None:
        self._task = (tag, work)

    async def finished(self) -> Finished:
        if self._task is None:
            raise RuntimeError("no task is running")
        tag, work = self._task
        self._task = None
        try:
            # Driven, so that what suspends is ended here, and not with the coordinator that awaits it; with
            # context variables of its own, as tasks of the other engines have them.
            return Finished(tag, copy_context().run(drive, work()), None)
        except Exception as error:  # noqa: BLE001 - a task's failure is its result
            return Finished(tag, None, error)

    async def ended(self) -> Finished | None:
        return None

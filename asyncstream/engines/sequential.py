"""The sequential engine: one task at a time, on the caller's thread."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from contextvars import copy_context
from typing import Any, TypeVar

from asyncstream.engines.driver import drive
from asyncstream.ports import Finished, TaskFunction

T = TypeVar("T")


class SequentialEngine:
    """Runs a task when the coordinator waits for its end. Always has one slot."""

    name = "sequential"
    blocking = True
    computes_at_once = 1
    max_slots = 1

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on this thread."""
        return drive(work())

    def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Return `work` itself: since it never suspends, any thread or task may run its steps."""
        return work

    def close(self) -> None:
        """Do nothing: this engine keeps nothing across transfers."""

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Return a lock that does nothing: blocking code never suspends while it holds one."""
        return nullcontext()

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_OneSlot"]:
        """Provide one slot, for any `count`."""
        yield _OneSlot()

    async def sleep(self, seconds: float) -> None:
        """Block the thread."""
        time.sleep(seconds)  # noqa: ASYNC251 - blocking is what this engine does

    async def compute(self, work: Callable[[], T]) -> T:
        """Run `work` on this thread."""
        return work()

    async def decode(self, work: Callable[[], T]) -> T:
        """Run `work` on this thread."""
        return work()

    async def limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work` without a time limit, since a thread cannot be cancelled."""
        return await work

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work`. A thread cannot be cancelled, and socket timeouts limit the time."""
        return await work


class _OneSlot:
    def __init__(self) -> None:
        self._task: tuple[Any, TaskFunction] | None = None

    @property
    def free(self) -> bool:
        return self._task is None

    def start(self, tag: Any, work: TaskFunction) -> None:
        self._task = (tag, work)

    async def wait_end(self) -> Finished:
        if self._task is None:
            raise RuntimeError("no task is running")
        tag, work = self._task
        self._task = None
        try:
            # `drive` makes a task that suspends fail here; awaiting it would end the coordinator. The task
            # has its own context variables, as with the other engines.
            return Finished(tag, copy_context().run(drive, work()), None)
        except Exception as error:  # noqa: BLE001 - a task's failure is its result
            return Finished(tag, None, error)

    async def poll_end(self) -> Finished | None:
        return None

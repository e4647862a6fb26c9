"""The thread engine: tasks on a ThreadPoolExecutor, one thread a slot; opened by `session.py`."""

import contextvars
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from queue import SimpleQueue
from typing import Any, TypeVar

from asyncstream.engines.driver import drive
from asyncstream.ports import Finished, Work

T = TypeVar("T")


class ThreadsEngine:
    """Keeps its pool across transfers of the same number of slots, so that warm invocations reuse it."""

    name = "threads"
    most_slots = 1000

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._leaving = threading.Event()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it on this thread; only the tasks it starts go to the pool."""
        return drive(work())

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_PoolSlots"]:
        """`count` threads. Leaving waits for the tasks; one blocked in `recv` ends by its socket timeout."""
        self._leaving.clear()
        slots = _PoolSlots(self._pool_of(count), count)
        try:
            yield slots
        finally:
            self._leaving.set()
            slots.join()

    async def sleep(self, seconds: float) -> None:
        """Block the thread, but no longer than the transfer lasts."""
        self._leaving.wait(seconds)

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run it: nothing can cancel a thread, and socket timeouts bound it."""
        return await work

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _pool_of(self, count: int) -> ThreadPoolExecutor:
        if self._pool is None or self._size != count:
            self.close()
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="asyncstream")
            self._size = count
        return self._pool


class _PoolSlots:
    """Counts only on the coordinator's thread; the queue is the one thing that threads share."""

    def __init__(self, pool: ThreadPoolExecutor, count: int) -> None:
        self._pool = pool
        self._count = count
        self._running = 0
        self._ends: SimpleQueue[Finished] = SimpleQueue()

    @property
    def free(self) -> bool:
        return self._running < self._count

    def start(self, tag: Any, work: Work) -> None:
        self._running += 1
        # The caller's context variables (the current trace span) belong to the task as well.
        self._pool.submit(contextvars.copy_context().run, self._run, tag, work)

    async def finished(self) -> Finished:
        end = self._ends.get()
        self._running -= 1
        return end

    def join(self) -> None:
        while self._running:
            self._ends.get()
            self._running -= 1

    def _run(self, tag: Any, work: Work) -> None:
        try:
            end = Finished(tag, drive(work()), None)
        except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for this end
            end = Finished(tag, None, error)
        self._ends.put(end)

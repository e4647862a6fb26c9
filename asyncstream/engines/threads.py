"""The thread engine: tasks on a ThreadPoolExecutor, one thread a slot."""

import contextvars
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from asyncstream.engines.driver import drive
from asyncstream.ports import Finished, Work

T = TypeVar("T")


class ThreadsEngine:
    """Keeps its pool across transfers of the same number of slots, so that warm invocations reuse it."""

    name = "threads"
    blocking = True
    computes_at_once = 1
    most_slots = 1000

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._leaving = threading.Event()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it on this thread; only the tasks it starts go to the pool."""
        return drive(work())

    def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Itself: who runs a step is no matter to what never suspends."""
        return work

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_PoolSlots"]:
        """`count` threads. Leaving waits for the tasks; one blocked in `recv` ends by its socket timeout."""
        slots = _PoolSlots(self._pool_of(count), count)
        try:
            yield slots
        finally:
            self._leaving.set()
            slots.join()
            self._leaving.clear()
            if slots.interrupted:
                self.close()

    async def sleep(self, seconds: float) -> None:
        """Block the thread, but no longer than the transfer lasts."""
        self._leaving.wait(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        """Run it on this thread."""
        return work()

    async def limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run it, however long it takes: nothing can cancel a thread."""
        return await work

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
    """Used by the coordinator's thread only; the queue is the one thing that threads share.

    Attributes:
        interrupted: an exception, such as KeyboardInterrupt, interrupted a start. The pool may then have
            started a thread without recording it. At exit Python waits for that thread, but only a shutdown
            of the pool ends it.
    """

    def __init__(self, pool: ThreadPoolExecutor, count: int) -> None:
        self._pool = pool
        self._count = count
        self._running: set[Future[Finished]] = set()
        self._ended: SimpleQueue[Future[Finished]] = SimpleQueue()
        self.interrupted = False

    @property
    def free(self) -> bool:
        return len(self._running) < self._count

    def start(self, tag: Any, work: Work) -> None:
        # The caller's context variables (the current trace span) belong to the task as well.
        context = contextvars.copy_context()
        # Ours, and not the pool's: an interrupted `submit` returns none, though the task may run.
        end: Future[Finished] = Future()
        self._running.add(end)
        try:
            self._pool.submit(context.run, _run, end, tag, work)
        except BaseException:
            self.interrupted = True
            if end.cancel():  # it has not started, and will not
                self._running.discard(end)
            raise
        end.add_done_callback(self._ended.put)

    async def finished(self) -> Finished:
        return self._result_of(self._ended.get())

    async def ended(self) -> Finished | None:
        with suppress(Empty):
            return self._result_of(self._ended.get_nowait())
        return None

    def _result_of(self, future: Future[Finished]) -> Finished:
        self._running.discard(future)
        return future.result()

    def join(self) -> None:
        wait(self._running)


def _run(end: Future[Finished], tag: Any, work: Work) -> None:
    if end.set_running_or_notify_cancel():
        end.set_result(_end_of(tag, work))


def _end_of(tag: Any, work: Work) -> Finished:
    try:
        return Finished(tag, drive(work()), None)
    except BaseException as error:  # noqa: BLE001 - whatever it is, somebody waits for this end
        return Finished(tag, None, error)

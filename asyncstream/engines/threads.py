"""The thread engine: tasks on a ThreadPoolExecutor, one thread per slot."""

import contextvars
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from asyncstream.engines.driver import drive
from asyncstream.ports import Finished, TaskFunction

T = TypeVar("T")


class ThreadsEngine:
    """Runs tasks on a pool, kept across transfers with the same number of slots for warm invocations."""

    name = "threads"
    blocking = True
    computes_at_once = 1
    max_slots = 1000

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._size = 0
        self._leaving = threading.Event()

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on this thread; only the tasks that it starts run in the pool."""
        return drive(work())

    def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Return `work` itself: since it never suspends, any thread or task may run its steps."""
        return work

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Return a lock that does nothing: blocking code never suspends while it holds one."""
        return nullcontext()

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_PoolSlots"]:
        """Provide `count` threads. Leaving waits for the tasks; the socket timeout ends a blocked `recv`."""
        slots = _PoolSlots(self._open_pool(count), count)
        try:
            yield slots
        finally:
            self._leaving.set()
            slots.join()
            self._leaving.clear()
            if slots.interrupted:
                self.close()

    async def sleep(self, seconds: float) -> None:
        """Block the thread for so many seconds, or until the slots are left."""
        self._leaving.wait(seconds)

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

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _open_pool(self, count: int) -> ThreadPoolExecutor:
        if self._pool is None or self._size != count:
            self.close()
            self._pool = ThreadPoolExecutor(count, thread_name_prefix="asyncstream")
            self._size = count
        return self._pool


class _PoolSlots:
    """The slots of a pool. Only the coordinator's thread uses them; threads share nothing but the queue.

    Attributes:
        interrupted: whether an exception, such as KeyboardInterrupt, interrupted a start. The pool may then
            have started a thread without recording it. At exit Python waits for that thread, but only a
            shutdown of the pool ends it.
    """

    def __init__(self, pool: ThreadPoolExecutor, count: int) -> None:
        self._pool = pool
        self._count = count
        self._running: set[Future[Finished]] = set()
        self._done: SimpleQueue[Future[Finished]] = SimpleQueue()
        self.interrupted = False

    @property
    def free(self) -> bool:
        return len(self._running) < self._count

    def start(self, tag: Any, work: TaskFunction) -> None:
        # The task sees the caller's context variables, such as the current trace span.
        context = contextvars.copy_context()
        # Not the pool's future: an interrupted `submit` returns none, although the task may run.
        future: Future[Finished] = Future()
        self._running.add(future)
        try:
            self._pool.submit(context.run, _run, future, tag, work)
        except BaseException:
            self.interrupted = True
            if future.cancel():  # the task has not started and never will
                self._running.discard(future)
            raise
        future.add_done_callback(self._done.put)

    async def wait_end(self) -> Finished:
        return self._release_slot(self._done.get())

    async def poll_end(self) -> Finished | None:
        with suppress(Empty):
            return self._release_slot(self._done.get_nowait())
        return None

    def _release_slot(self, future: Future[Finished]) -> Finished:
        self._running.discard(future)
        return future.result()

    def join(self) -> None:
        wait(self._running)


def _run(future: Future[Finished], tag: Any, work: TaskFunction) -> None:
    if future.set_running_or_notify_cancel():
        future.set_result(_capture(tag, work))


def _capture(tag: Any, work: TaskFunction) -> Finished:
    try:
        return Finished(tag, drive(work()), None)
    except BaseException as error:  # noqa: BLE001 - the coordinator waits for every task's end
        return Finished(tag, None, error)

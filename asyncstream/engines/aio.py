"""The asyncio engine: tasks in an anyio task group, bounded by a semaphore."""

import asyncio
import contextvars
import math
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from asyncstream.engines.aside import start_aside
from asyncstream.errors import Cancelled, ConfigError, DeadlineExceeded
from asyncstream.ports import Finished, TaskFunction
from asyncstream.units import KiB

T = TypeVar("T")

# The most worker threads at once: anyio's own default.
_THREADS = 40
# The time that a cancelled function has to clean up.
_CLEAN_UP_SECONDS = 5.0
# What to do in a task of Trio.
IN_A_THREAD = "from Trio, use trio.to_thread.run_sync(transfer, files)"


async def wait_aside(work: Callable[[], T], seconds: float) -> T:
    """Run `work` on its own thread and return its result; see `aside.py`.

    Raises:
        TimeoutError: it took longer than `seconds`.
    """
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(start_aside(work))


class AsyncioEngine:
    """Runs tasks on the running event loop, or by `run` on its own loop, kept across transfers."""

    name = "asyncio"
    blocking = False
    # Switching to a thread and back takes 0.1 ms (measured): 1 % of the time to decompress this many bytes.
    computes_at_once = 512 * KiB
    max_slots = 1000

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._threads: anyio.CapacityLimiter | None = None
        self._decoders: anyio.CapacityLimiter | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine on the engine's own loop.

        Raises:
            ConfigError: a loop is already running on this thread.
        """
        if _trio_is_running():  # anyio would take this loop for Trio's, and wait for ever
            raise ConfigError(f"Trio already runs on this thread: {IN_A_THREAD}")
        if loop_is_running():
            raise ConfigError(
                "an event loop is already running: use transfer_async, map_concurrent_async"
                " or gather_pages_async"
            )
        if self._runner is None:
            # With a factory, Runner does not make it the thread's current loop, which belongs to the user.
            self._runner = asyncio.Runner(loop_factory=asyncio.new_event_loop)
        work_ended = False
        # If the task returned the result, frames of asyncio would hold it: see `driver.py`.
        results: list[T] = []

        async def run_work() -> None:
            nonlocal work_ended
            try:
                results.append(await work())
            finally:
                work_ended = True

        try:
            self._runner.run(run_work(), context=contextvars.copy_context())
            return results.pop()
        except KeyboardInterrupt:
            if not work_ended:
                self.close()  # a second Ctrl-C stopped the loop too early
            raise

    async def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Run all steps of `work` in one task, since the task that enters a task group must also leave it.

        Between two steps that task waits, while the tasks that it started continue.
        """
        requested = asyncio.Semaphore(0)
        steps: asyncio.Queue[Finished] = asyncio.Queue()
        task = asyncio.get_running_loop().create_task(_run_steps(work, requested, steps))
        try:
            while True:
                requested.release()
                step = await steps.get()
                if isinstance(step.error, StopAsyncIteration):
                    return
                if step.error is not None:
                    raise step.error
                yield step.result
        finally:
            task.cancel()
            cancelled = await _wait_shielded(task)
            if cancelled is not None:
                raise cancelled
            if not task.cancelled():
                task.result()  # raises the error of closing `work`, if there was one

    def close(self) -> None:
        """Close the loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    def lock(self) -> AbstractAsyncContextManager[object]:
        """Return a lock of the running loop."""
        return asyncio.Lock()

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_SemaphoreSlots"]:
        """Provide slots for `count` tasks at once. Leaving cancels running tasks and waits for them."""
        failure: BaseException | None = None
        async with anyio.create_task_group() as group:
            try:
                yield _SemaphoreSlots(group, anyio.Semaphore(count, max_value=count))
            except asyncio.CancelledError:
                raise  # the group handles it
            except BaseException as error:  # noqa: BLE001 - raised below, since the group would wrap it
                failure = error
            finally:
                group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def sleep(self, seconds: float) -> None:
        """Wait for so many seconds while other tasks run."""
        await anyio.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        """Run `work` on a worker thread. If this task is cancelled meanwhile, wait for the thread first."""
        if self._threads is None:
            # Not anyio's default limiter: the user's code may fill it with threads that wait for this work.
            self._threads = anyio.CapacityLimiter(_THREADS)
        # anyio's own shield does not protect against asyncio's `cancel`.
        return await self.shielded(anyio.to_thread.run_sync(work, limiter=self._threads), math.inf)

    async def decode(self, work: Callable[[], T]) -> T:
        """Run `work` on a worker thread, on as many at once as there are processors."""
        if self._decoders is None:
            self._decoders = anyio.CapacityLimiter(os.cpu_count() or 1)
        return await self.shielded(anyio.to_thread.run_sync(work, limiter=self._decoders), math.inf)

    async def limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work`; cancel it after so many seconds, or if this task is cancelled.

        It runs in its own task, which is cancelled once, as asyncio does. anyio's scopes would cancel it
        repeatedly, so a user's function could not await in its clean-up. If the clean-up takes longer than 5
        seconds, the task is cancelled again.

        Raises:
            DeadlineExceeded: it was cancelled after `seconds`.
            Cancelled: `work` raised an unexpected CancelledError.
        """
        task = asyncio.get_running_loop().create_task(_capture(work))
        cancelled: asyncio.CancelledError | None = None
        try:
            await asyncio.wait({task}, timeout=None if math.isinf(seconds) else max(seconds, 0.0))
        except asyncio.CancelledError as error:
            cancelled = error
        late = not task.done()
        while not task.done():
            task.cancel()
            cancelled = await _wait_shielded(task, _CLEAN_UP_SECONDS) or cancelled
        work.close()  # it may have been cancelled before it started
        end = Finished(None, None, asyncio.CancelledError()) if task.cancelled() else task.result()
        try:
            if cancelled is not None:
                raise cancelled
            if end.error is None:
                result: T = end.result
                return result
            if not isinstance(end.error, asyncio.CancelledError):
                raise end.error
            if late:
                raise DeadlineExceeded(f"cancelled: not done in the {max(seconds, 0):.3g} s that were left")
            raise Cancelled("a library raised an unexpected CancelledError") from end.error
        finally:
            del end, task, cancelled  # as in `shielded`

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run `work` in its own task, which neither anyio nor asyncio's `cancel` can cancel.

        If this task is cancelled meanwhile, CancelledError is raised after the work has ended.

        Raises:
            TimeoutError: it took longer than `seconds`.
        """
        task = asyncio.get_running_loop().create_task(_capture(work))
        cancelled = await _wait_shielded(task, seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)
            raise TimeoutError(f"this took longer than {seconds:g} s, and was cancelled")
        end = task.result()
        try:
            if end.error is not None:
                raise end.error
            if cancelled is not None:
                raise cancelled
            result: T = end.result
            return result
        finally:
            # The traceback of a raised error has this frame, so these variables would form a reference cycle.
            del end, task, cancelled


class _SemaphoreSlots:
    def __init__(self, group: TaskGroup, semaphore: anyio.Semaphore) -> None:
        self._group = group
        self._semaphore = semaphore
        self._finished: asyncio.Queue[Finished] = asyncio.Queue()

    @property
    def free(self) -> bool:
        return self._semaphore.value > 0

    def start(self, tag: Any, work: TaskFunction) -> None:
        self._semaphore.acquire_nowait()
        self._group.start_soon(self._run, tag, work)

    async def wait_end(self) -> Finished:
        return self._release_slot(await self._finished.get())

    async def poll_end(self) -> Finished | None:
        await asyncio.sleep(0)  # lets the slot's task start
        await asyncio.sleep(0)  # lets a task that it created start
        return None if self._finished.empty() else self._release_slot(self._finished.get_nowait())

    def _release_slot(self, end: Finished) -> Finished:
        # Only when the coordinator takes the result: until then, the result may hold a source open.
        self._semaphore.release()
        return end

    async def _run(self, tag: Any, work: TaskFunction) -> None:
        try:
            end = Finished(tag, await work(), None)
        except BaseException as error:  # a task's failure is its result
            # Unless the group is cancelled, a library raised the CancelledError, so it is a failure, too.
            if isinstance(error, asyncio.CancelledError) and self._group.cancel_scope.cancel_called:
                raise
            end = Finished(tag, None, error)
        with suppress(RuntimeError):  # the loop is closed
            self._finished.put_nowait(end)


async def _capture(work: Coroutine[Any, Any, Any]) -> Finished:
    """Run `work` and return its result or error: raised by a task, SystemExit would stop the event loop."""
    try:
        return Finished(None, await work, None)
    except BaseException as error:  # noqa: BLE001 - the caller raises it
        return Finished(None, None, error)


async def _run_steps(
    work: AsyncGenerator[T, None], requested: asyncio.Semaphore, steps: asyncio.Queue[Finished]
) -> None:
    """Put an item of `work` into `steps` for each release of `requested`, and last the error that ends it."""
    async with aclosing(work):
        while True:
            await requested.acquire()
            try:
                step = Finished(None, await anext(work), None)
            except BaseException as error:  # noqa: BLE001 - `steps` raises it
                steps.put_nowait(Finished(None, None, error))
                return
            steps.put_nowait(step)


async def _wait_shielded(task: asyncio.Task[T], seconds: float = math.inf) -> asyncio.CancelledError | None:
    """Wait for a task, at most `seconds`, even if the waiting task is cancelled.

    Returns that cancellation, for the caller to raise; None if there was none.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done() and loop.time() < end:
            try:
                await asyncio.wait({task}, timeout=None if math.isinf(end) else end - loop.time())
            except asyncio.CancelledError as error:
                cancelled = error
    return cancelled


def is_stock_loop() -> bool:
    """Return whether the running event loop is one of asyncio's own, and not uvloop's, for example."""
    return isinstance(asyncio.get_running_loop(), asyncio.BaseEventLoop)


def loop_is_running() -> bool:
    """Return whether an event loop of asyncio runs on this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _trio_is_running() -> bool:
    trio: Any = sys.modules.get("trio")
    return trio is not None and bool(trio.lowlevel.in_trio_run())

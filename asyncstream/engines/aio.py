"""The asyncio engine: tasks in an anyio task group, bounded by a semaphore."""

import asyncio
import contextvars
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager, suppress
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from asyncstream.engines.aside import aside
from asyncstream.errors import Cancelled, ConfigError, ConnectionFailed, DeadlineExceeded
from asyncstream.ports import Finished, Work
from asyncstream.units import KiB

T = TypeVar("T")

# Worker threads at once; as many as anyio has by itself.
_THREADS = 40
# For what a function that is cancelled awaits before it ends.
_CLEAN_UP_SECONDS = 5.0


async def wait_aside(work: Callable[[], T], seconds: float) -> T:
    """Return what `work` returns, run aside; see `aside.py`.

    Raises:
        TimeoutError: it takes longer than so many seconds.
    """
    async with asyncio.timeout(seconds):
        return await asyncio.wrap_future(aside(work))


class AsyncioEngine:
    """Runs tasks on the running event loop; `run` keeps one of its own across transfers."""

    name = "asyncio"
    blocking = False
    # A hop to a thread and back takes 0.1 ms (measured): a percent of what unpacking so much takes.
    computes_at_once = 512 * KiB
    most_slots = 1000

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._threads: anyio.CapacityLimiter | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it on the engine's own loop.

        Raises:
            ConfigError: a loop is running already.
        """
        if _loop_is_running():
            raise ConfigError(
                "an event loop is running: here use what is awaited, transfer_async,"
                " map_concurrent_async or gather_pages_async"
            )
        if self._runner is None:
            self._runner = asyncio.Runner()
        ended = False
        # Not returned by the loop's task, which frames of asyncio keep: see `driver.py`.
        made: list[T] = []

        async def to_its_end() -> None:
            nonlocal ended
            try:
                made.append(await work())
            finally:
                ended = True

        try:
            self._runner.run(to_its_end(), context=contextvars.copy_context())
            return made.pop()
        except KeyboardInterrupt:
            if not ended:
                self.close()  # a second one, which left the loop in the midst of the work
            raise

    async def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """Have one task run it from begin to end: what enters a task group must also leave it.

        Between two steps that task waits, and those it has started go on.
        """
        asked = asyncio.Semaphore(0)
        made: asyncio.Queue[Finished] = asyncio.Queue()
        task = asyncio.get_running_loop().create_task(_step_by_step(work, asked, made))
        try:
            while True:
                asked.release()
                step = await made.get()
                if isinstance(step.error, StopAsyncIteration):
                    return
                if step.error is not None:
                    raise step.error
                yield step.result
        finally:
            task.cancel()
            cancelled = await _ended(task)
            if cancelled is not None:
                raise cancelled
            if not task.cancelled():
                task.result()  # it is None, unless the work could not be closed

    def close(self) -> None:
        """End the loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_SemaphoreSlots"]:
        """`count` tasks at once. Leaving cancels those still running and joins them."""
        failure: BaseException | None = None
        async with anyio.create_task_group() as group:
            try:
                yield _SemaphoreSlots(group, anyio.Semaphore(count, max_value=count))
            except asyncio.CancelledError:
                raise  # the group's own business
            except BaseException as error:  # noqa: BLE001 - raised below: a group would wrap it
                failure = error
            finally:
                group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def sleep(self, seconds: float) -> None:
        """Let other tasks run meanwhile."""
        await anyio.sleep(seconds)

    async def compute(self, work: Callable[[], T]) -> T:
        """Run it on a worker thread; a cancellation that comes meanwhile waits for it."""
        if self._threads is None:
            # Not those of the program this runs in: all of them may be waiting for what is computed here.
            self._threads = anyio.CapacityLimiter(_THREADS)
        # anyio's own shield does not keep asyncio's `cancel` from it.
        return await self.shielded(anyio.to_thread.run_sync(work, limiter=self._threads), math.inf)

    async def limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Cancel it when its time is up, or this task is cancelled.

        In a task of its own, cancelled once, as asyncio does it: a function of the user's may await in its
        clean-up, which anyio's scopes would cancel again and again. What takes longer than some seconds for
        that is cancelled once more.
        """
        task = asyncio.get_running_loop().create_task(_end_of(work))
        cancelled: asyncio.CancelledError | None = None
        try:
            await asyncio.wait({task}, timeout=None if math.isinf(seconds) else max(seconds, 0.0))
        except asyncio.CancelledError as error:
            cancelled = error
        late = not task.done()
        while not task.done():
            task.cancel()
            cancelled = await _ended(task, _CLEAN_UP_SECONDS) or cancelled
        work.close()  # if it was cancelled before it began
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
            raise Cancelled("a library let out a cancellation that nobody had asked for") from end.error
        finally:
            del end, task, cancelled  # as in `shielded`

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run it in a task of its own, which neither anyio nor asyncio's `cancel` reaches.

        A cancellation that comes meanwhile is raised when the work has ended.
        """
        task = asyncio.get_running_loop().create_task(_end_of(work))
        cancelled = await _ended(task, seconds)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)
            raise ConnectionFailed(f"a request that must not be cut short was not answered in {seconds:g} s")
        end = task.result()
        try:
            if end.error is not None:
                raise end.error
            if cancelled is not None:
                raise cancelled
            result: T = end.result
            return result
        finally:
            # Else they are in a cycle with the error that is raised: its traceback has this frame.
            del end, task, cancelled


class _SemaphoreSlots:
    def __init__(self, group: TaskGroup, semaphore: anyio.Semaphore) -> None:
        self._group = group
        self._semaphore = semaphore
        self._ends: asyncio.Queue[Finished] = asyncio.Queue()

    @property
    def free(self) -> bool:
        return self._semaphore.value > 0

    def start(self, tag: Any, work: Work) -> None:
        self._semaphore.acquire_nowait()
        self._group.start_soon(self._run, tag, work)

    async def finished(self) -> Finished:
        return self._looked_at(await self._ends.get())

    async def ended(self) -> Finished | None:
        await asyncio.sleep(0)  # the task of the slot begins,
        await asyncio.sleep(0)  # and one that it has begun by that
        return None if self._ends.empty() else self._looked_at(self._ends.get_nowait())

    def _looked_at(self, end: Finished) -> Finished:
        # Only now: an end that nobody has looked at may still hold a source open.
        self._semaphore.release()
        return end

    async def _run(self, tag: Any, work: Work) -> None:
        try:
            end = Finished(tag, await work(), None)
        except BaseException as error:  # a task's failure is its result
            # A cancellation that nobody asked for was let out by some library.
            if isinstance(error, asyncio.CancelledError) and self._group.cancel_scope.cancel_called:
                raise
            end = Finished(tag, None, error)
        with suppress(RuntimeError):  # the loop was closed
            self._ends.put_nowait(end)


async def _end_of(work: Coroutine[Any, Any, Any]) -> Finished:
    """How it ended; whatever it raises, as asyncio ends the loop where a task lets out a SystemExit."""
    try:
        return Finished(None, await work, None)
    except BaseException as error:  # noqa: BLE001 - for whoever waits for it
        return Finished(None, None, error)


async def _step_by_step(
    work: AsyncGenerator[T, None], asked: asyncio.Semaphore, made: asyncio.Queue[Finished]
) -> None:
    """Put each item into `made` when it is asked for, and at last what has ended the work."""
    async with aclosing(work):
        while True:
            await asked.acquire()
            try:
                step = Finished(None, await anext(work), None)
            except BaseException as error:  # noqa: BLE001 - for whoever has asked
                made.put_nowait(Finished(None, None, error))
                return
            made.put_nowait(step)


async def _ended(task: asyncio.Task[T], seconds: float = math.inf) -> asyncio.CancelledError | None:
    """Wait for it, at most so long, whoever cancels this task meanwhile: that is to be raised afterwards."""
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


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

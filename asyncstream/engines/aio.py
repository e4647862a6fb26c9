"""The asyncio engine: tasks in an anyio task group, bounded by a semaphore; opened by `session.py`."""

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from asyncstream.errors import ConfigError, ConnectionFailed
from asyncstream.plan import KiB
from asyncstream.ports import Finished, Work

T = TypeVar("T")


class AsyncioEngine:
    """Runs tasks on the running event loop; `run` keeps one of its own across transfers."""

    name = "asyncio"
    # A hop to a thread and back takes 0.1 ms (measured): a percent of what unpacking so much takes.
    computes_at_once = 512 * KiB
    most_slots = 1000

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run it on the engine's own loop.

        Raises:
            ConfigError: a loop is running already.
        """
        if _loop_is_running():
            raise ConfigError("an event loop is running: use `await transfer_async(...)` here")
        if self._runner is None:
            self._runner = asyncio.Runner()
        return self._runner.run(work(), context=contextvars.copy_context())

    def close(self) -> None:
        """End the loop."""
        if self._runner is not None:
            self._runner.close()
            self._runner = None

    @asynccontextmanager
    async def slots(self, count: int) -> AsyncIterator["_SemaphoreSlots"]:
        """`count` tasks at once. Leaving cancels those still running and joins them."""
        failure: Exception | None = None
        async with anyio.create_task_group() as group:
            try:
                yield _SemaphoreSlots(group, anyio.Semaphore(count, max_value=count))
            except Exception as error:  # noqa: BLE001 - raised below: a group would wrap it
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
        return await anyio.to_thread.run_sync(work)

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run it in a task of its own, which neither anyio nor asyncio's `cancel` reaches.

        A cancellation that comes meanwhile is raised when the work has ended.
        """
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        end = loop.time() + seconds
        cancelled: asyncio.CancelledError | None = None
        with anyio.CancelScope(shield=True):
            while not task.done() and loop.time() < end:
                try:
                    await asyncio.wait({task}, timeout=end - loop.time())
                except asyncio.CancelledError as error:
                    cancelled = error
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=1)
            raise ConnectionFailed(f"a request that must not be cut short was not answered in {seconds:g} s")
        result = task.result()
        if cancelled is not None:
            raise cancelled
        return result


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
        end = await self._ends.get()
        # Only now: an end that nobody has looked at may still hold a source open.
        self._semaphore.release()
        return end

    async def _run(self, tag: Any, work: Work) -> None:
        try:
            end = Finished(tag, await work(), None)
        except Exception as error:  # noqa: BLE001 - a task's failure is its result
            end = Finished(tag, None, error)
        except asyncio.CancelledError as error:
            if self._group.cancel_scope.cancel_called:
                raise
            end = Finished(tag, None, error)  # let out by some library: nobody cancelled this task
        self._ends.put_nowait(end)


def _loop_is_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True

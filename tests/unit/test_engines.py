"""The engines: how they run code, in which context, and how they end. Slots: `test_engine_slots.py`."""

import asyncio
import math
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args, get_type_hints

import anyio
import pytest

import asyncstream
from asyncstream import AsyncTransferSession, gathering
from asyncstream.engines import ENGINES, open_engine
from asyncstream.engines.aio import AsyncioEngine
from asyncstream.engines.driver import drive
from asyncstream.engines.threads import ThreadsEngine
from asyncstream.errors import ConfigError, DeadlineExceeded
from asyncstream.ports import Engine, Finished, Slots

ROOT = Path(__file__).parents[2]
current: ContextVar[str] = ContextVar("current", default="unset")


async def finished(slots: Slots, count: int) -> list[Finished]:
    return [await slots.wait_end() for _ in range(count)]


def test_an_unknown_engine_is_refused_naming_those_there_are() -> None:
    with pytest.raises(
        ConfigError, match="unknown engine 'uvloop': choose one of sequential, threads, asyncio"
    ):
        open_engine("uvloop")


@pytest.mark.parametrize(
    "function",
    [
        asyncstream.transfer,
        asyncstream.TransferSession.__init__,
        asyncstream.map_concurrent,
        asyncstream.lambda_handler,
        gathering.gather_pages,
        gathering.GatherSession.__init__,
        gathering.lambda_handler,
    ],
)
def test_a_type_checker_knows_the_engines_names(function: Callable[..., Any]) -> None:
    assert get_args(get_type_hints(function)["engine"]) == ENGINES == ("sequential", "threads", "asyncio")


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_is_called_as_it_was_asked_for(name: str) -> None:
    assert open_engine(name).name == name


@pytest.mark.parametrize("name", ["sequential", "threads"])
def test_suspending_under_a_blocking_engine_ends_the_code(name: str) -> None:
    """The error names the code."""
    ended = []

    async def suspends() -> None:
        try:
            await asyncio.sleep(0)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match=r"suspends.* suspended under a blocking engine"):
        open_engine(name).run(suspends)
    assert ended == [True]


def test_driven_code_may_await_what_does_not_suspend_and_raise() -> None:
    async def inner(value: int) -> int:
        return value

    async def outer() -> int:
        if await inner(1) + await inner(2) != 3:
            raise AssertionError
        raise LookupError("its own")

    assert drive(inner(5)) == 5
    with pytest.raises(LookupError, match="its own"):
        drive(outer())


def test_a_wait_in_a_thread_ends_with_the_transfer() -> None:
    """The wait is the one before a retry."""
    engine = ThreadsEngine()

    async def retries() -> None:
        await engine.sleep(300)

    async def run() -> None:
        async with engine.slots(1) as slots:
            slots.start(None, retries)

    engine.run(run)  # otherwise it takes minutes, and the suite's guard ends it
    engine.close()


def test_threads_are_kept_across_transfers_of_as_many_slots() -> None:
    engine = ThreadsEngine()
    together = threading.Barrier(2)

    async def name() -> int:
        together.wait(60)
        return threading.get_ident()

    async def run() -> set[int]:
        async with engine.slots(2) as slots:
            slots.start(None, name)
            slots.start(None, name)
            return {end.result for end in await finished(slots, 2)}

    first = engine.run(run)
    assert engine.run(run) == first
    engine.close()
    assert not any(thread.ident in first for thread in threading.enumerate())


def test_the_loop_is_kept_until_the_engine_is_closed() -> None:
    """Transfers share it, and the first one after closing opens another."""
    engine = AsyncioEngine()

    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    first = engine.run(loop)
    assert engine.run(loop) is first
    engine.close()
    assert first.is_closed()
    assert engine.run(loop) is not first
    engine.close()


def test_a_running_loop_is_refused_with_advice_to_await() -> None:
    async def inside() -> None:
        AsyncioEngine().run(lambda: pytest.fail("made a coroutine that is never awaited"))

    with pytest.raises(ConfigError, match="already running: use transfer_async"):
        asyncio.run(inside())


def test_trio_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without it, the engine's loop would wait for ever. Trio itself is not installed here."""
    running = SimpleNamespace(lowlevel=SimpleNamespace(in_trio_run=lambda: True))
    monkeypatch.setitem(sys.modules, "trio", running)
    with pytest.raises(ConfigError, match="from Trio, use"):
        AsyncioEngine().run(lambda: pytest.fail("made a coroutine that is never awaited"))


def test_an_async_session_is_refused_without_a_loop() -> None:
    """As in a task of Trio."""
    entering = AsyncTransferSession().__aenter__()
    with pytest.raises(ConfigError, match="from Trio, use"):
        entering.send(None)


def test_what_is_shielded_returns_its_result(engine: Engine) -> None:
    async def work() -> str:
        await engine.sleep(0.001)
        return "result"

    assert engine.run(lambda: engine.shielded(work(), 60)) == "result"


@pytest.mark.parametrize("cancelled_by", ["anyio's scope", "asyncio's task"])
def test_what_is_shielded_outlives_cancellation(cancelled_by: str) -> None:
    engine = AsyncioEngine()
    done = []

    async def work() -> None:
        await engine.sleep(0.01)
        done.append(True)

    async def cancel() -> None:
        if cancelled_by == "anyio's scope":
            with anyio.CancelScope() as scope:
                scope.cancel()
                await engine.shielded(work(), 60)
            return
        task = asyncio.create_task(engine.shielded(work(), 60))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    engine.run(cancel)
    engine.close()
    assert done == [True]


def test_threads_wait_before_a_retry_in_later_transfers_too() -> None:
    engine, ended_early = ThreadsEngine(), []

    class Leaving(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            ended_early.append(super().wait(timeout))
            return ended_early[-1]

    engine._leaving = Leaving()

    async def transfer() -> None:
        async with engine.slots(1):
            pass

    engine.run(transfer)
    engine.run(lambda: engine.sleep(0.001))
    engine.close()
    assert ended_early == [False]


@pytest.mark.parametrize("name", ENGINES)
def test_each_run_sees_the_context_of_its_own_caller(name: str) -> None:
    """A warm Lambda keeps its engine, but the code must run in the trace of its own invocation."""
    engine = open_engine(name)
    variable: ContextVar[str] = ContextVar("invocation")

    async def seen() -> str:
        return variable.get()

    invocations = []
    for invocation in ("first", "second"):
        variable.set(invocation)
        invocations.append(engine.run(seen))
    engine.close()
    assert invocations == ["first", "second"]


async def three_steps(ends: list[str]) -> AsyncGenerator[asyncio.Task[Any], None]:
    """Yield the current task three times, in a scope that only the same task may leave."""
    task = asyncio.current_task()
    assert task is not None
    try:
        with anyio.CancelScope():
            for _ in range(3):
                yield task
    finally:
        ends.append("closed")


@pytest.mark.parametrize("steps", [3, 1])
def test_asyncio_takes_all_steps_in_one_task(steps: int) -> None:
    """Every step may be requested from a different task."""
    ends: list[str] = []
    engine = AsyncioEngine()
    work = engine.steps(three_steps(ends))
    tasks = {engine.run(work.__anext__) for _ in range(steps)}
    assert len(tasks) == 1
    engine.run(work.aclose)
    assert ends == ["closed"]
    engine.close()


def test_closing_steps_waits_for_the_work_when_cancelled() -> None:
    ends: list[str] = []
    engine = AsyncioEngine()

    async def work() -> AsyncGenerator[int, None]:
        try:
            yield 1
        finally:
            for _ in range(10):
                await asyncio.sleep(0)
            ends.append("closed")

    async def cancelled_while_closing() -> None:
        steps = engine.steps(work())
        await anext(steps)
        closing = asyncio.ensure_future(steps.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert ends == ["closed"]

    engine.run(cancelled_while_closing)
    engine.close()


def test_what_has_a_limit_may_take_so_long(engine: Engine) -> None:
    async def work() -> str:
        await engine.sleep(0.001)
        return "result"

    assert engine.run(lambda: engine.limited(work(), math.inf)) == "result"
    assert engine.run(lambda: engine.limited(work(), 60)) == "result"


def test_asyncio_cancels_what_takes_longer_than_its_limit() -> None:
    engine = AsyncioEngine()
    with pytest.raises(DeadlineExceeded, match=r"not done in the 0\.01 s"):
        engine.run(lambda: engine.limited(asyncio.sleep(60), 0.01))
    engine.close()


@pytest.mark.parametrize("ends_by", ["its time", "cancelling"])
def test_a_computation_ends_before_the_task_that_awaits_it(ends_by: str) -> None:
    """Otherwise a user's function would run on during the next invocation."""
    engine, at_work, may_end = AsyncioEngine(), threading.Event(), threading.Event()

    def work() -> None:
        at_work.set()
        assert may_end.wait(60)

    async def waits() -> None:
        seconds = 0.01 if ends_by == "its time" else math.inf
        task = asyncio.ensure_future(engine.limited(engine.compute(work), seconds))
        await asyncio.to_thread(at_work.wait, 60)
        task.cancel() if ends_by == "cancelling" else None
        await asyncio.sleep(0.02)  # its time ends meanwhile
        waits = not task.done()
        may_end.set()
        assert waits
        with pytest.raises(DeadlineExceeded if ends_by == "its time" else asyncio.CancelledError):
            await task

    engine.run(waits)
    engine.close()


def test_a_second_interrupt_ends_the_loop_and_its_clean_up() -> None:
    """In its own process, because of the signals."""
    program = """
import asyncio, signal, threading, time
from asyncstream import map_concurrent
started, cleaning_up = threading.Semaphore(0), threading.Semaphore(0)
async def call(item):
    started.release()
    try:
        await asyncio.sleep(3600)
    finally:
        cleaning_up.release()
        await asyncio.sleep(3600)
def interrupt():
    for reached in (started, cleaning_up):
        for _ in range(3):
            reached.acquire()
        time.sleep(0.5)  # the loop waits by now, and every task is between two steps
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
threading.Thread(target=interrupt).start()
try:
    list(map_concurrent(call, range(3), engine="asyncio"))
except KeyboardInterrupt:
    print("interrupted")
async def ready(item):
    return [task for task in asyncio.all_tasks() if task.get_coro().__name__ == "call"]
print([outcome.result() for outcome in map_concurrent(ready, range(1), engine="asyncio")])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.splitlines() == ["interrupted", "[[]]"]


def test_what_is_shielded_ends_with_its_time() -> None:
    engine = AsyncioEngine()
    with pytest.raises(TimeoutError, match=r"longer than 0.01 s"):
        engine.run(lambda: engine.shielded(asyncio.sleep(60), 0.01))
    engine.close()


@pytest.mark.parametrize("name", ["sequential", "threads"])
def test_blocking_engines_load_nothing_that_needs_asyncio(name: str) -> None:
    """They do not load asyncio itself.

    A cold start pays for every import. The test opens the transport, too: it is half of the cost.
    """
    program = f"""
import sys
from asyncstream.engines import open_engine
from asyncstream.engines.driver import drive
from asyncstream.s3 import open_transport
from asyncstream.s3.access import S3Access
from asyncstream.s3.settings import ClientSettings
import asyncstream
open_engine({name!r})
assert [o.result() for o in asyncstream.map_concurrent(len, ["a"], engine={name!r})] == [1]
access = S3Access(endpoint_url="http://127.0.0.1:1")
drive(open_transport({name!r}, ClientSettings(access, 1, 2**18, 1.0, 60.0, 600.0)))
unwanted = ("asyncio", "anyio", "aiohttp", "aioboto3", "aiobotocore", "rich")
print(*[module for module in unwanted if module in sys.modules])
"""
    environ = {"PYTHONPATH": str(ROOT), "AWS_DEFAULT_REGION": "us-east-1", "BOTO_DISABLE_CRT": "true"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        ("import asyncstream", "boto3 botocore awscrt aiohttp urllib3 psycopg asyncio anyio"),
        ("import handlers.web_threads", "boto3 botocore awscrt aiohttp anyio"),
        ("import handlers.web_asyncio", "boto3 botocore awscrt"),
    ],
)
def test_no_sdk_is_loaded_by_who_does_not_copy(program: str, unwanted: str) -> None:
    """The SDK is half of the memory and time with which a function that gathers pages starts."""
    found = f"import sys; {program}; print(*[name for name in {unwanted.split()} if name in sys.modules])"
    environ = {"PYTHONPATH": str(ROOT), "POSTGRES_DSN": "host=localhost"}
    done = subprocess.run(
        [sys.executable, "-c", found], env=environ, capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout.split() == []

"""How a mapping ends: by its items, a deadline, a loop left early, Ctrl-C. All started calls end first."""

import asyncio
import gc
import itertools
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Generator, Iterator
from contextlib import aclosing, closing
from types import SimpleNamespace
from typing import Any

import anyio
import pytest

from asyncstream import ConfigError, Outcome, map_concurrent, map_concurrent_async
from asyncstream.engines import ENGINES, EngineName
from asyncstream.errors import DeadlineExceeded
from asyncstream.mapping import concurrent

from .mapped_calls import Calls, Failed, Items

CONCURRENT = ("threads", "asyncio")
N = 3
Outcomes = Generator[Outcome[Any, Any], None, None]


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_when_the_items_raise_started_calls_end_first(engine: EngineName, ordered: bool) -> None:
    """The outcomes of these calls come before the error."""

    def items() -> Iterator[int]:
        yield from range(7)
        raise Failed("items")

    async def call(item: int) -> int:
        return item

    outcomes = map_concurrent(call, items(), engine=engine, max_concurrency=N, ordered=ordered)
    assert sorted(next(outcomes).result() for _ in range(7)) == list(range(7))
    with pytest.raises(Failed, match="items"):
        next(outcomes)


def close(outcomes: Outcomes) -> None:
    outcomes.close()


def fail_in_the_loop(outcomes: Outcomes) -> None:
    with pytest.raises(Failed), closing(outcomes):
        raise Failed


@pytest.mark.parametrize("leave", [close, fail_in_the_loop])
@pytest.mark.parametrize("engine", CONCURRENT)
def test_leaving_joins_all_calls(engine: EngineName, leave: Callable[[Outcomes], None]) -> None:
    calls = Calls(engine, full=N)
    calls.returns_at_once = 0
    outcomes = map_concurrent(calls, itertools.count(), engine=engine, max_concurrency=N)
    assert next(outcomes).item == 0
    # A thread cannot be stopped, so another one lets the calls continue.
    opener = threading.Timer(0.02, calls.gate.open if engine == "threads" else list)
    opener.start()
    leave(outcomes)
    assert calls.ended == calls.started == N
    opener.join()


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
@pytest.mark.parametrize("engine", ENGINES)
def test_a_base_exception_ends_the_mapping_and_joins_all_calls(
    engine: EngineName, error: type[BaseException]
) -> None:
    calls = Calls(engine, full=1 if engine == "sequential" else N - 1)
    calls.gate.open()

    async def call(item: int) -> None:
        if item == 0:
            raise error
        await calls(item)

    with pytest.raises(error):
        next(map_concurrent(call, range(N), engine=engine, max_concurrency=N))
    assert calls.ended == calls.started
    assert [outcome.item for outcome in map_concurrent(calls, range(N), engine=engine)] == list(range(N))


async def echo(item: int) -> int:
    return item


@pytest.mark.parametrize("engine", ENGINES)
def test_ctrl_c_joins_all_calls(engine: EngineName) -> None:
    """On threads it interrupts the start of the pool's first thread, which continues its call."""
    started, ended = [], []

    async def call(item: int) -> None:
        started.append(item)
        try:
            if item == 0:
                os.kill(os.getpid(), signal.SIGINT)
            if engine == "asyncio":
                await asyncio.Event().wait()
            threading.Event().wait(0.2)
        finally:
            ended.append(item)

    with pytest.raises(KeyboardInterrupt):
        list(map_concurrent(call, range(N), engine=engine, max_concurrency=N))
    assert sorted(started) == sorted(ended)
    outcomes = map_concurrent(echo, range(N), engine=engine, ordered=True)
    assert [outcome.result() for outcome in outcomes] == list(range(N))


@pytest.mark.parametrize("engine", ENGINES)
def test_the_process_ends_after_ctrl_c(engine: EngineName) -> None:
    """At exit Python waits for every thread, even if the interruption cut its start short."""
    script = f"""
import os, signal
from asyncstream import map_concurrent
async def call(item):
    if item == 0:
        os.kill(os.getpid(), signal.SIGINT)
try:
    list(map_concurrent(call, range(3), engine={engine!r}))
except KeyboardInterrupt:
    print("interrupted")
"""
    printed = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True
    )
    assert printed.stdout == "interrupted\n"


@pytest.mark.parametrize("engine", ENGINES)
def test_a_deadline_that_leaves_items_raises_after_outcomes(engine: EngineName) -> None:
    """Here it passes before any call starts; in tests/unit/test_mapping.py one passes midway."""
    items = Items()

    async def call(item: int) -> None:
        pytest.fail("began after the deadline")

    outcomes = map_concurrent(call, items, engine=engine, deadline=1e-9)
    first = next(outcomes)
    assert (first.item, type(first.error), first.seconds) == (0, DeadlineExceeded, 0.0)
    with pytest.raises(DeadlineExceeded, match="1e-09 s passed"):
        next(outcomes)
    assert items.pulled == 1


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the mapping's clock, so that all calls start. The loop's clock gives each the whole deadline."""
    monkeypatch.setattr(concurrent, "time", SimpleNamespace(monotonic=lambda: 0.0))


@pytest.mark.usefixtures("no_time_passes")
@pytest.mark.parametrize("ordered", [True, False])
def test_asyncio_cancels_at_the_deadline_what_runs_then(ordered: bool) -> None:
    cancelled = []

    async def call(item: int) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(item)
            raise

    outcomes = list(
        map_concurrent(call, range(2), engine="asyncio", max_concurrency=2, deadline=0.02, ordered=ordered)
    )
    # All calls started, and each has an outcome: none is left over.
    assert [type(outcome.error) for outcome in outcomes] == [DeadlineExceeded] * 2
    assert sorted(cancelled) == [0, 1]


async def anyio_before_4_12(_: float) -> None:
    raise RuntimeError("unknown async library, or not in async context")


@pytest.mark.parametrize("fn", [asyncio.sleep, anyio.sleep, lambda _: asyncio.sleep(0), anyio_before_4_12])
@pytest.mark.parametrize("item", [0, 1])
@pytest.mark.parametrize("engine", ["sequential", "threads"])
def test_awaiting_under_a_blocking_engine_ends_the_mapping(
    engine: EngineName, item: float, fn: Callable[[float], Any]
) -> None:
    """The error says to use the engine 'asyncio'."""
    for _ in range(2):
        with pytest.raises(ConfigError, match="use the engine 'asyncio'"):
            list(map_concurrent(fn, [item] * 5, engine=engine))


@pytest.mark.usefixtures("no_time_passes")
@pytest.mark.parametrize("leaves_by", ["the deadline", "leaving"])
def test_asyncio_lets_a_cancelled_call_await_in_its_clean_up(leaves_by: str) -> None:
    started, cleaned_up = [], []

    async def call(item: int) -> int:
        if item == 0:
            return item
        started.append(item)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(3):
                await asyncio.sleep(0.001)
            cleaned_up.append(item)
        return item

    deadline = 0.05 if leaves_by == "the deadline" else None
    with closing(map_concurrent(call, range(3), engine="asyncio", deadline=deadline)) as outcomes:
        assert next(outcomes).item == 0
        if deadline is not None:
            assert [type(outcome.error) for outcome in outcomes] == [DeadlineExceeded] * 2
    assert sorted(cleaned_up) == started
    assert started


@pytest.mark.parametrize("engine", ENGINES)
def test_objects_of_a_failed_call_are_freed_with_its_outcome(engine: EngineName) -> None:
    class Large:
        """Stands for a body."""

    held: list[weakref.ref[Large]] = []

    async def call(item: int) -> None:
        large = Large()
        held.append(weakref.ref(large))
        raise Failed

    gc.disable()
    try:
        for outcome in map_concurrent(call, range(20), engine=engine, max_concurrency=N):
            assert isinstance(outcome.error, Failed)
            del outcome
            assert sum(each() is not None for each in held) <= 2 * N + 1
    finally:
        gc.enable()


def test_a_forked_child_leaves_its_parents_event_loop_alone() -> None:
    """In its own process: this one has threads, which are unsafe to fork."""
    script = """
import asyncio, os
from asyncstream import map_concurrent
work = lambda item: asyncio.to_thread(str, item)
def mapped():
    return [outcome.result() for outcome in map_concurrent(work, [1, 2], engine="asyncio")]
assert mapped() == ["1", "2"]
child = os.fork()
if not child:
    os._exit(mapped() != ["1", "2"])
assert os.waitpid(child, 0)[1] == 0
assert mapped() == ["1", "2"]
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)


@pytest.mark.parametrize("ends_by", ["its task cancelled", "a scope cancelled", "a loop left", "an error"])
@pytest.mark.asyncio
async def test_every_way_to_end_on_a_running_loop_joins_all_calls(ends_by: str) -> None:
    calls = Calls("asyncio", full=N)
    calls.returns_at_once = 0
    came: list[int] = []

    async def consume() -> None:
        with anyio.CancelScope() as scope:
            async with aclosing(
                map_concurrent_async(calls, itertools.count(), max_concurrency=N)
            ) as outcomes:
                async for outcome in outcomes:
                    came.append(outcome.item)
                    match ends_by:
                        case "its task cancelled":
                            asyncio.get_running_loop().call_soon(consumer.cancel)
                        case "a scope cancelled":
                            asyncio.get_running_loop().call_soon(scope.cancel)
                        case "a loop left":
                            break
                        case "an error":
                            raise Failed

    consumer = asyncio.create_task(consume())
    await asyncio.wait([consumer])
    assert consumer.cancelled() == (ends_by == "its task cancelled")
    if ends_by == "an error":
        assert isinstance(consumer.exception(), Failed)
    assert came == [0]
    assert calls.ended == calls.started >= N
    assert asyncio.all_tasks() == {asyncio.current_task()}

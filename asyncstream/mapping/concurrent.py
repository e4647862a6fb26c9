"""`map_concurrent` and `map_concurrent_async`: call any function with each item, on `transfer`'s engines."""

import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, overload

from asyncstream import tracing
from asyncstream.deadline import Deadline
from asyncstream.engines import EngineName, open_engine
from asyncstream.engines.keeping import borrow_engine
from asyncstream.errors import ConfigError
from asyncstream.mapping.calls import Outcome, map_items, unsuited
from asyncstream.ports import Engine, Span

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_ENGINE: EngineName = "threads"
DEFAULT_CONCURRENCY = 60
# The slots of the engines that have more than one.
MOST_CONCURRENCY = 1000


@overload
def map_concurrent(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    engine: EngineName = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, R], None, None]: ...


@overload
def map_concurrent(
    fn: Callable[[T], R],
    items: Iterable[T],
    *,
    engine: EngineName = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, R], None, None]: ...


def map_concurrent(
    fn: Callable[[T], Any],
    items: Iterable[T],
    *,
    engine: EngineName = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, Any], None, None]:
    """Call a function with each item, many at once, and yield the outcome of each call.

        for outcome in map_concurrent(fetch, urls):
            if outcome.error is None:
                store(outcome.value)

    This is a generator: no call starts before the caller asks for the first outcome. The thread that asks for
    outcomes pulls items one by one, each when a slot is free. So items may be lazy and endless, and a slow
    loop body slows them down. While the generator waits for the next item, it yields no outcome. With
    "asyncio", calls only progress while the caller waits for an outcome. If the loop body is slow, use
    `map_concurrent_async`.

    Leaving the loop early closes the generator, unless it is stored in a variable: then call its `close()`.
    Closing waits for running calls. asyncio cancels each once, as `Task.cancel` does, so that it may await
    for a few seconds in its clean-up. A thread cannot be stopped. The same happens if an exception, such as
    KeyboardInterrupt, ends the loop.

    Threads and event loop are kept for the next call, and with the loop any task that `fn` started without
    awaiting it. Mappings may be nested and run in several threads: each has its own engine.

    Args:
        fn: takes one item. A plain function for "sequential" and "threads", an `async def` for "asyncio". An
            `async def` that blocks and never suspends runs on all three. It sees the context variables of the
            caller that asked for the first outcome, and `current_span()` returns the span of its item.
        items: the items to call `fn` with.
        engine: "threads" (the default, since most functions are plain), "sequential" or "asyncio".
        max_concurrency: the most calls at once, 1 to 1000; always 1 with "sequential". Default: 60.
        ordered: True (default) yields outcomes in the order of the items; per slot, at most two items are
            started and not yet yielded. False yields outcomes as calls finish.
        deadline: seconds from this call after which no call starts. Then asyncio cancels running calls, and
            their error is DeadlineExceeded; threads let them finish. Default: no deadline.

    Raises:
        ConfigError: a setting is outside its limits, or `fn` does not suit the engine: a plain function would
            block the event loop, and an `async def` that awaits needs one. This call raises it if `fn` shows
            that; otherwise the generator raises it after the first call of `fn` and after waiting for others.
        DeadlineExceeded: raised after the last outcome if the deadline left items over. The first of these
            was pulled, and has an outcome with this error. The items after it were not pulled.

    If iterating over `items` fails, the error is raised after the outcomes of all calls that started. If `fn`
    raises something that is not an Exception, it is raised as soon as running calls have ended.
    """
    # An engine costs nothing before it runs. This one only checks the name, and shows if the engine blocks.
    limit = _checked(fn, open_engine(engine), max_concurrency, deadline)
    work = partial(map_items, fn, items, max_concurrency=max_concurrency, deadline=limit, ordered=ordered)
    return _on_a_kept_engine(engine, work)


def map_concurrent_async(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> AsyncGenerator[Outcome[T, R], None]:
    """Like `map_concurrent`, on the running event loop. Calls also progress while no outcome is awaited.

        async with aclosing(map_concurrent_async(fetch, urls)) as outcomes:
            async for outcome in outcomes:
                ...

    Leaving an `async for` early does not close an async generator; `contextlib.aclosing` does. Cancelling the
    task that waits for an outcome cancels all calls and waits for them. Items are pulled on the event loop,
    so they must not block it. Each item takes a few turns of the loop, so other tasks must not occupy it
    fully.
    """
    from asyncstream.engines.aio import AsyncioEngine  # noqa: PLC0415 - loads anyio

    engine = AsyncioEngine()
    limit = _checked(fn, engine, max_concurrency, deadline)
    work = partial(map_items, fn, items, max_concurrency=max_concurrency, deadline=limit, ordered=ordered)
    return _on_the_running_loop(engine, work)


def _checked(
    fn: Callable[..., Any], engine: Engine, max_concurrency: int, deadline: float | None
) -> Deadline:
    """Check the arguments; return the deadline, counted from now.

    Raises:
        ConfigError: an argument is wrong.
    """
    if not isinstance(max_concurrency, int) or not 1 <= max_concurrency <= MOST_CONCURRENCY:
        raise ConfigError(
            f"max_concurrency={max_concurrency!r} must be a whole number from 1 to {MOST_CONCURRENCY}"
        )
    if not callable(fn):
        raise ConfigError(f"fn={fn!r} is not a function: give one that takes an item")
    if deadline is not None and not deadline > 0:
        raise ConfigError(f"deadline={deadline!r} must be seconds from now, more than 0, or None")
    if not engine.blocking and _is_plain(fn):
        raise unsuited(fn)
    return Deadline(deadline, time.monotonic)


def _is_plain(fn: Any) -> bool:
    """Return whether a function surely returns no awaitable; for a lambda or C function, that is unknown."""
    while isinstance(fn, partial):
        fn = fn.func
    if inspect.isclass(fn):
        return True
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    # A decorator may wrap an `async def` in a plain function that returns its coroutine.
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(inspect.unwrap(fn)):
        return False
    return (inspect.isfunction(fn) or inspect.ismethod(fn)) and fn.__name__ != "<lambda>"


Steps = Callable[..., AsyncGenerator[Outcome[Any, Any], None]]


def _on_a_kept_engine(name: str, work: Steps) -> Generator[Outcome[Any, Any], None, None]:
    with borrow_engine(name) as engine, _traced(engine) as span:
        yield from stepped(engine, work(engine, span=span))


def stepped(engine: Engine, work: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Yield the items of an async generator to plain code, running one step per item.

    With every engine, the generator sees the context variables of the caller that asked for the first item.
    """
    steps, context = engine.steps(work), copy_context()
    try:
        while True:
            try:
                item = context.run(engine.run, steps.__anext__)
            except StopAsyncIteration:
                return
            yield item
    finally:
        context.run(engine.run, steps.aclose)


async def _on_the_running_loop(engine: Engine, work: Steps) -> AsyncGenerator[Outcome[Any, Any], None]:
    with _traced(engine) as span:
        async with aclosing(engine.steps(work(engine, span=span))) as steps:
            async for outcome in steps:
                yield outcome


@contextmanager
def _traced(engine: Engine) -> Iterator[Span]:
    with tracing.open_trace(engine=engine.name) as span:
        try:
            yield span
        except GeneratorExit:
            span.end()  # leaving early is not a failure
            raise

"""`map_concurrent` and `map_concurrent_async`: any function over any items, on the engines of `transfer`."""

import inspect
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterable, Iterator
from contextlib import aclosing, contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, TypeVar, overload

from asyncstream import tracing
from asyncstream.deadline import Deadline
from asyncstream.engines import open_engine
from asyncstream.engines.keeping import borrowed
from asyncstream.errors import ConfigError
from asyncstream.mapping.calls import Outcome, mapped, unsuited
from asyncstream.ports import Engine, Span

T = TypeVar("T")
R = TypeVar("R")

DEFAULT_ENGINE = "threads"
DEFAULT_CONCURRENCY = 60
# What engines that have more than one slot can do.
MOST_CONCURRENCY = 1000


@overload
def map_concurrent(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    engine: str = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, R], None, None]: ...


@overload
def map_concurrent(
    fn: Callable[[T], R],
    items: Iterable[T],
    *,
    engine: str = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, R], None, None]: ...


def map_concurrent(
    fn: Callable[[T], Any],
    items: Iterable[T],
    *,
    engine: str = DEFAULT_ENGINE,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> Generator[Outcome[T, Any], None, None]:
    """Call a function with each item, many at once, and hand over how each call ended.

        for outcome in map_concurrent(fetch, urls):
            if outcome.error is None:
                store(outcome.value)

    A generator: nothing begins before the first outcome is asked for. Items are pulled one by one, by the
    thread that asks, each when there is a slot for it: they may be lazy and endless, and a loop that takes
    its time slows them down. While the next item is waited for, no outcome is handed over. With "asyncio" the
    calls go on only while an outcome is waited for: a loop that takes its time is better off on the event
    loop itself, with `map_concurrent_async`.

    Leaving the loop early closes the generator, unless it has a name of its own: then call its `close()`.
    That joins what runs: asyncio cancels it, once, as `Task.cancel` does, so that it may await in its
    clean-up, some seconds; a thread cannot be stopped and is waited for. So it does when an exception ends
    the loop, Ctrl-C too.

    Threads and event loop stay for the next call, and with the loop any task that `fn` has started and not
    awaited. Mappings may be open within each other and in several threads: each has an engine of its own.

    Args:
        fn: takes one item. A plain function for "sequential" and "threads", an `async def` for "asyncio". An
            `async def` whose code blocks and never suspends runs on all three. It sees the context
            variables of whoever asked for the first outcome, and `current_span()` is its item's.
        items: what it is called with.
        engine: "threads" (the default, as most functions are plain), "sequential" or "asyncio".
        max_concurrency: calls at once, 1 to 1000; "sequential" always makes one. Default: 60.
        ordered: True (default): outcomes come in the order of the items, and of each slot at most two items
            may be begun and not handed over. False: as they come.
        deadline: seconds, from this call, after which no item begins. Those that run then are cancelled by
            asyncio, and their error is DeadlineExceeded; threads let them end. Default: no end.

    Raises:
        ConfigError: a setting is outside its limits, or `fn` does not suit the engine: a plain function would
            block the event loop, an `async def` that awaits needs one. By this call; if only calls show what
            `fn` is, when an outcome is asked for, and after one call. What runs is joined.
        DeadlineExceeded: after the last outcome, if the deadline left items over. The first of them was
            pulled to see that, and has an outcome with this error; those after it were not pulled.

    An error of the items themselves is raised after the outcomes of all that were begun. Anything that `fn`
    raises and that is no Exception is raised as soon as what runs is joined.
    """
    # An engine costs nothing before it runs: this one only tells whether there is such a one, and its ways.
    limit = _checked(fn, open_engine(engine), max_concurrency, deadline)
    work = partial(mapped, fn, items, max_concurrency=max_concurrency, deadline=limit, ordered=ordered)
    return _on_a_kept_engine(engine, work)


def map_concurrent_async(
    fn: Callable[[T], Awaitable[R]],
    items: Iterable[T],
    *,
    max_concurrency: int = DEFAULT_CONCURRENCY,
    ordered: bool = True,
    deadline: float | None = None,
) -> AsyncGenerator[Outcome[T, R], None]:
    """`map_concurrent` on the event loop that is running, where calls go on whatever the caller does.

        async with aclosing(map_concurrent_async(fetch, urls)) as outcomes:
            async for outcome in outcomes:
                ...

    An `async for` that is left early does not close an async generator: `contextlib.aclosing` does.
    Cancelling the task that waits for an outcome cancels all calls, and joins them. Items are pulled on the
    event loop: they must not block it. Each takes some turns of the loop, of which others have to leave it
    enough.
    """
    from asyncstream.engines.aio import AsyncioEngine  # noqa: PLC0415 - loads anyio

    engine = AsyncioEngine()
    limit = _checked(fn, engine, max_concurrency, deadline)
    work = partial(mapped, fn, items, max_concurrency=max_concurrency, deadline=limit, ordered=ordered)
    return _on_the_running_loop(engine, work)


def _checked(
    fn: Callable[..., Any], engine: Engine, max_concurrency: int, deadline: float | None
) -> Deadline:
    """The deadline, from now; ConfigError if anything does not do."""
    if not isinstance(max_concurrency, int) or not 1 <= max_concurrency <= MOST_CONCURRENCY:
        raise ConfigError(
            f"max_concurrency={max_concurrency!r}: calls at once, a whole number from 1 to {MOST_CONCURRENCY}"
        )
    if not callable(fn):
        raise ConfigError(f"fn={fn!r} is no function: give one that takes an item")
    if deadline is not None and not deadline > 0:
        raise ConfigError(f"deadline={deadline!r}: seconds from now, more than 0, or None")
    if not engine.blocking and _is_plain(fn):
        raise unsuited(fn)
    return Deadline(deadline, time.monotonic)


def _is_plain(fn: Any) -> bool:
    """Whether what it returns is known not to be awaited; of a lambda or a C function it is not known."""
    while isinstance(fn, partial):
        fn = fn.func
    if inspect.isclass(fn):
        return True
    if not inspect.isroutine(fn):
        fn = type(fn).__call__
    # What decorates an `async def` may be a plain function, and returns what that returns.
    if inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(inspect.unwrap(fn)):
        return False
    return (inspect.isfunction(fn) or inspect.ismethod(fn)) and fn.__name__ != "<lambda>"


Work = Callable[..., AsyncGenerator[Outcome[Any, Any], None]]


def _on_a_kept_engine(name: str, work: Work) -> Generator[Outcome[Any, Any], None, None]:
    with borrowed(name) as engine, _traced(engine) as span:
        yield from stepped(engine, work(engine, span=span))


def stepped(engine: Engine, work: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """The items of an async generator, for plain code: each when it is asked for.

    The work sees the context variables of whoever asked first, in every engine.
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


async def _on_the_running_loop(engine: Engine, work: Work) -> AsyncGenerator[Outcome[Any, Any], None]:
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
            span.end()  # left early, which is no failure
            raise

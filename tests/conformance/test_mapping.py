"""`map_concurrent` with every engine, and on a running event loop."""

import asyncio
import functools
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, closing
from contextvars import ContextVar
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncstream import ConfigError, Outcome, map_concurrent, map_concurrent_async
from asyncstream.engines import ENGINES, EngineName
from asyncstream.errors import Cancelled

from .mapped_calls import Calls, Failed, Gate, Items

CONCURRENT = ("threads", "asyncio")
N = 3
variable: ContextVar[str] = ContextVar("variable", default="unset")


def on_running_loop(fn: Any, items: Any, **settings: Any) -> Iterator[Outcome[Any, Any]]:
    """Return all outcomes of `map_concurrent_async`."""

    async def outcomes() -> list[Outcome[Any, Any]]:
        async with aclosing(map_concurrent_async(fn, items, **settings)) as mapping:
            return [outcome async for outcome in mapping]

    return iter(asyncio.run(outcomes()))


@settings(max_examples=60)
@given(
    fails=st.lists(st.booleans(), max_size=20),
    steps=st.lists(st.integers(0, 3), min_size=20, max_size=20),
    concurrency=st.integers(1, 6),
    ordered=st.booleans(),
)
@pytest.mark.parametrize("engine", [*ENGINES, "running loop"])
def test_every_item_has_one_outcome_with_its_result_or_its_error(
    engine: EngineName, fails: list[bool], steps: list[int], concurrency: int, ordered: bool
) -> None:
    errors = [Failed(str(number)) for number in range(len(fails))]

    async def call(item: int) -> int:
        if engine not in ("sequential", "threads"):
            for _ in range(steps[item]):
                await asyncio.sleep(0)
        if fails[item]:
            raise errors[item]
        return item * 10

    how: dict[str, Any] = {"max_concurrency": concurrency, "ordered": ordered}
    if engine == "running loop":
        outcomes = list(on_running_loop(call, range(len(fails)), **how))
    else:
        outcomes = list(map_concurrent(call, range(len(fails)), engine=engine, **how))

    if not ordered:
        outcomes.sort(key=lambda outcome: outcome.index)
    assert [outcome.index for outcome in outcomes] == list(range(len(fails)))
    assert [outcome.item for outcome in outcomes] == list(range(len(fails)))
    assert [outcome.error for outcome in outcomes] == [
        error if failed else None for failed, error in zip(fails, errors, strict=True)
    ]
    for outcome in outcomes:
        if fails[outcome.index]:
            with pytest.raises(Failed, match=f"^{outcome.index}$"):
                outcome.result()
        else:
            assert outcome.result() == outcome.index * 10


@pytest.mark.parametrize("engine", ["sequential", "threads"])
def test_a_plain_function_is_called_by_the_blocking_engines(engine: EngineName) -> None:
    assert [outcome.result() for outcome in map_concurrent(len, ["", "a", "bc"], engine=engine)] == [0, 1, 2]


@pytest.mark.parametrize("engine", CONCURRENT)
def test_outcomes_keep_the_order_of_items_that_end_in_reverse(engine: EngineName) -> None:
    gates = [Gate(engine) for _ in range(N)]
    gates[-1].open()

    async def ends_before_its_predecessor(item: int) -> None:
        await gates[item].wait()
        gates[item - 1].open()

    outcomes = map_concurrent(ends_before_its_predecessor, range(N), engine=engine, max_concurrency=N)
    assert [outcome.item for outcome in outcomes] == list(range(N))


@pytest.mark.parametrize("engine", CONCURRENT)
def test_outcomes_come_as_they_come_if_order_is_not_asked_for(engine: EngineName) -> None:
    gates = [Gate(engine) for _ in range(N)]
    gates[-1].open()

    async def call(item: int) -> None:
        await gates[item].wait()

    came = []
    for outcome in map_concurrent(call, range(N), engine=engine, max_concurrency=N, ordered=False):
        came.append(outcome.item)
        gates[outcome.item - 1].open()
    assert came == list(reversed(range(N)))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("engine", ENGINES)
def test_so_many_calls_run_at_once_and_never_more(engine: EngineName, ordered: bool) -> None:
    most = 1 if engine == "sequential" else 4
    calls = Calls(engine, full=most)
    calls.gate.open()
    outcomes = list(map_concurrent(calls, range(15), engine=engine, max_concurrency=4, ordered=ordered))
    assert len(outcomes) == calls.ended == 15
    assert calls.peak == most


@pytest.mark.parametrize("engine", ENGINES)
def test_endless_items_are_pulled_one_per_slot_ahead(engine: EngineName) -> None:
    """The loop that takes the outcomes is slow and stops early."""
    slots = 1 if engine == "sequential" else N
    items, ended = Items(), []

    async def call(item: int) -> None:
        ended.append(item)

    for handed_over, _ in enumerate(
        map_concurrent(call, items, engine=engine, max_concurrency=N, ordered=False)
    ):
        assert handed_over < items.pulled <= handed_over + slots
        if handed_over == 20:
            break
    assert items.pulled <= 20 + slots


@pytest.mark.parametrize("engine", ENGINES)
def test_a_call_begins_before_the_next_item_is_pulled(engine: EngineName) -> None:
    """Otherwise slow items, such as pages of a listing, would keep all calls waiting."""
    started: dict[int, Gate] = {0: Gate("threads")}

    def items() -> Iterator[int]:
        for number in range(4):
            yield number
            assert started[number]._event.wait(60)
            started[number + 1] = Gate("threads")

    async def call(item: int) -> int:
        started[item].open()
        return item

    outcomes = map_concurrent(call, items(), engine=engine, max_concurrency=N)
    assert [outcome.result() for outcome in outcomes] == list(range(4))


@pytest.mark.parametrize("engine", ENGINES)
def test_each_call_has_context_variables_of_its_own(engine: EngineName) -> None:
    async def call(item: str) -> str:
        before = variable.get()
        variable.set(item)
        return before

    outcomes = map_concurrent(call, "abcde", engine=engine, max_concurrency=N)
    assert [outcome.result() for outcome in outcomes] == ["unset"] * 5


class Query(list[int]):
    """Items that load completely when something asks for their length."""

    def __len__(self) -> int:
        raise AssertionError("the mapping asked for the length")


@pytest.mark.parametrize("items", [range(10**30), Query([1])])
@pytest.mark.parametrize("engine", ENGINES)
def test_items_need_not_have_a_length_that_can_be_told(engine: EngineName, items: Sequence[int]) -> None:
    async def call(item: int) -> int:
        return item

    with closing(map_concurrent(call, items, engine=engine)) as outcomes:
        assert next(outcomes).result() == items[0]


@pytest.mark.parametrize("engine", CONCURRENT)
def test_a_slow_first_item_keeps_no_slot_idle(engine: EngineName) -> None:
    """With `ordered`, at most two outcomes per slot wait for the first item."""
    items, gate = Items(), Gate(engine)

    async def call(item: int) -> None:
        if item == 0:
            await gate.wait()
        elif item == 2 * N - 1:
            gate.open()

    with closing(map_concurrent(call, items, engine=engine, max_concurrency=N)) as outcomes:
        assert next(outcomes).item == 0
        assert items.pulled == 2 * N
        assert [next(outcomes).item for _ in range(20)] == list(range(1, 21))


@pytest.mark.parametrize("engine", ENGINES)
def test_a_call_sees_the_context_variables_of_its_caller(engine: EngineName) -> None:
    """The caller is the code that asks for the first outcome."""

    async def call(item: int) -> str:
        seen = variable.get()
        variable.set("a call's")
        return seen

    reset = variable.set("the caller's")
    with closing(map_concurrent(call, range(2), engine=engine, max_concurrency=2)) as outcomes:
        assert next(outcomes).result() == "the caller's"
        assert variable.get() == "the caller's"
    variable.reset(reset)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"max_concurrency": 0}, "max_concurrency=0 must"),
        ({"max_concurrency": 1001}, "max_concurrency=1001 .* 1 to 1000"),
        ({"max_concurrency": 2.0}, r"max_concurrency=2\.0 .* whole number"),
        ({"deadline": 0}, "deadline=0 must"),
        ({"deadline": float("nan")}, "deadline=nan must"),
        ({"engine": "uvloop"}, "unknown engine 'uvloop'"),
    ],
)
def test_settings_outside_their_limits_are_refused_by_the_call(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        map_concurrent(len, [""], **settings)


def test_what_is_no_function_is_refused_by_the_call(engine: EngineName) -> None:
    with pytest.raises(ConfigError, match="fn=5 is not a function"):
        map_concurrent(5, [""], engine=engine)  # type: ignore[call-overload]


class Client:
    def get(self, url: str) -> str:
        return url

    async def fetch(self, url: str) -> str:
        return url

    def __call__(self, url: str) -> str:
        return url


class AsyncClient:
    async def __call__(self, url: str) -> str:
        return url


def decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(fn)
    def called(*args: Any) -> Any:
        return fn(*args)

    return called


@pytest.mark.parametrize(
    "fn",
    [Client().get, Client(), Client, functools.partial(Client.get, Client()), decorated(Client().get)],
    ids=["method", "object", "class", "partial", "decorated"],
)
@pytest.mark.parametrize(
    "mapping", [functools.partial(map_concurrent, engine="asyncio"), map_concurrent_async]
)
def test_a_plain_function_on_an_event_loop_is_refused_at_once(mapping: Any, fn: Any) -> None:
    """The mapping takes no item before it refuses the function."""
    with pytest.raises(ConfigError, match=r"not an `async def`.*with engine 'threads'"):
        mapping(fn, pytest.fail)


@pytest.mark.parametrize("fn", [lambda url: len(url) + 1, len], ids=["lambda", "C function"])
def test_an_unknown_kind_of_function_is_refused_after_one_call(fn: Any) -> None:
    """Only its result shows that a lambda or a C function is not asynchronous."""

    class Item:
        asked = 0

        def __len__(self) -> int:
            self.asked += 1
            return 1

    items = [Item() for _ in range(10)]
    with pytest.raises(ConfigError, match="not an `async def`"):
        next(map_concurrent(fn, items, engine="asyncio"))
    assert [item.asked for item in items] == [1] + [0] * 9


@pytest.mark.parametrize(
    "fn",
    [
        Client().fetch,
        AsyncClient(),
        functools.partial(Client.fetch, Client()),
        lambda url: Client().fetch(url),
        decorated(Client().fetch),
    ],
    ids=["method", "object", "partial", "lambda", "decorated"],
)
def test_any_callable_returning_an_awaitable_suits_asyncio(fn: Any) -> None:
    assert [outcome.result() for outcome in map_concurrent(fn, "ab", engine="asyncio")] == ["a", "b"]


def test_an_unexpected_cancellation_fails_only_its_item() -> None:
    async def lets_out_a_cancellation(item: int) -> int:
        if item == 1:
            raise asyncio.CancelledError
        return item

    outcomes = list(map_concurrent(lets_out_a_cancellation, range(3), engine="asyncio"))
    assert [type(outcome.error) for outcome in outcomes] == [type(None), Cancelled, type(None)]


@pytest.mark.parametrize("engine", CONCURRENT)
def test_threads_and_event_loop_stay_warm(engine: EngineName) -> None:
    both = threading.Barrier(2)

    async def where(item: str) -> Any:
        if engine == "asyncio":
            return asyncio.get_running_loop()
        both.wait(60)
        return threading.get_ident()

    first, second = (
        {outcome.result() for outcome in map_concurrent(where, "ab", engine=engine, max_concurrency=2)}
        for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("engine", ENGINES)
def test_mappings_may_be_open_within_each_other(engine: EngineName) -> None:
    async def same(item: int) -> int:
        return item

    seen = [
        (outer.item, inner.item)
        for outer in map_concurrent(same, range(3), engine=engine, max_concurrency=2)
        for inner in map_concurrent(same, range(3), engine=engine, max_concurrency=3)
    ]
    assert seen == list(itertools.product(range(3), range(3)))


@pytest.mark.parametrize("engine", ENGINES)
def test_mappings_may_run_in_calls_and_threads_of_others(engine: EngineName) -> None:
    async def same(item: int) -> int:
        return item

    def inner(number: int) -> int:
        return sum(outcome.result() for outcome in map_concurrent(same, range(number), engine=engine))

    assert [outcome.result() for outcome in map_concurrent(inner, range(5))] == [0, 0, 1, 3, 6]


@pytest.mark.asyncio
async def test_map_concurrent_on_a_running_loop_names_the_async_one() -> None:
    with pytest.raises(ConfigError, match="map_concurrent_async"):
        next(map_concurrent(Client().fetch, "ab", engine="asyncio"))


@pytest.mark.asyncio
async def test_async_calls_continue_while_the_caller_does_other_work() -> None:
    calls = Calls("asyncio", full=N)
    calls.returns_at_once = 0
    calls.gate.open()
    async with aclosing(map_concurrent_async(calls, range(N), max_concurrency=N)) as outcomes:
        assert (await anext(outcomes)).item == 0
        async with asyncio.timeout(60):
            while calls.ended < N:  # noqa: ASYNC110 - the calls cannot notify it
                await asyncio.sleep(0)
        assert [outcome.item async for outcome in outcomes] == [1, 2]

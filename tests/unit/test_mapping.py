"""The coordinator of mappings over the real engines: deadlines by a manual clock, and spans."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from typing import Any

import pytest

from asyncstream import Outcome, current_span, map_concurrent, tracing
from asyncstream.deadline import Deadline
from asyncstream.engines import ENGINES, EngineName
from asyncstream.errors import DeadlineExceeded
from asyncstream.mapping.calls import map_items
from asyncstream.ports import Engine
from asyncstream.tracing.sampling import SPREAD
from asyncstream.tracing.spans import UNTRACED, RecordedSpan, Recording


class Failed(Exception):
    """The error that calls raise."""


class Clock:
    """A manual clock."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def ended(
    engine: Engine, fn: Callable[[int], Any], items: Iterable[int], deadline: Deadline
) -> tuple[list[Outcome[int, Any]], DeadlineExceeded | None]:
    """Map with two calls at once; return all outcomes, and the error that ended the mapping."""

    async def collect() -> tuple[list[Outcome[int, Any]], DeadlineExceeded | None]:
        outcomes = []
        try:
            async for outcome in map_items(
                fn, items, engine, max_concurrency=2, deadline=deadline, span=UNTRACED, ordered=True
            ):
                outcomes.append(outcome)  # noqa: PERF401 - outcomes before the error count
        except DeadlineExceeded as error:
            return outcomes, error
        return outcomes, None

    return engine.run(collect)


def test_after_the_deadline_no_call_starts(engine: Engine) -> None:
    """One more item is pulled, whose outcome is the error."""
    clock, started, pulled = Clock(), [], []

    async def takes_all_the_time(item: int) -> int:
        started.append(item)
        clock.now = 11
        return item

    def items() -> Iterator[int]:
        for item in range(9):
            pulled.append(item)
            yield item

    outcomes, error = ended(engine, takes_all_the_time, items(), Deadline(10, clock))

    # In threads the first call may end before the second starts.
    assert 1 <= len(started) <= min(2, engine.max_slots)
    assert [outcome.item for outcome in outcomes] == pulled == [*sorted(started), len(started)]
    assert [outcome.error for outcome in outcomes] == [None] * len(started) + [error]
    assert "deadline of 10 s passed" in str(error)


def test_a_deadline_during_the_last_call_leaves_no_item(engine: Engine) -> None:
    clock = Clock()

    async def takes_all_the_time(item: int) -> int:
        clock.now = 11
        return item

    outcomes, error = ended(engine, takes_all_the_time, range(1), Deadline(10, clock))
    assert [outcome.result() for outcome in outcomes] == [0]
    assert error is None


class Sent:
    """A sender that keeps the spans, and a manual clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.items: list[RecordedSpan] = []
        self.root = Recording("asyncstream", self, {}, clock=lambda: self.now).root

    def send(self, span: RecordedSpan) -> int:
        if span.parent is not None:
            self.items.append(span)
        return 1


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """The sender for the one mapping of a test."""
    sent = Sent()
    monkeypatch.setattr(tracing, "open_trace", lambda **_: sent.root)
    return sent


@pytest.mark.parametrize("name", ENGINES)
def test_spans_of_a_call_hang_under_its_item(name: EngineName, sent: Sent) -> None:
    """Several calls run at once."""

    async def call(item: int) -> None:
        for step in ("fetch", "parse"):
            with current_span().child(step, item=item) as span:
                if name == "asyncio":
                    await asyncio.sleep(0)
                span.child("within", item=item).end()
        if item % 2:
            raise Failed

    list(map_concurrent(call, range(50), engine=name, max_concurrency=10))

    assert sorted(span.annotations["index"] for span in sent.items) == list(range(50))
    for span in sent.items:
        index = span.annotations["index"]
        assert span.parent is sent.root
        assert [child.name for child in span.children] == ["fetch", "parse"]
        below = [*span.children, *(deeper for child in span.children for deeper in child.children)]
        assert [each.annotations for each in below] == [{"item": index}] * 4
        assert (span.error is not None) == bool(index % 2)
    assert sent.root.annotations == {"items": 50, "failed": 25}
    assert sent.root.ended is not None
    assert sent.root.error is None


@pytest.mark.parametrize("name", ENGINES)
def test_outside_of_a_call_the_current_span_does_nothing(name: EngineName, sent: Sent) -> None:
    async def call(item: int) -> None:
        assert current_span() is not UNTRACED

    def items() -> Iterator[int]:
        for item in range(3):
            assert current_span() is UNTRACED
            yield item

    for outcome in map_concurrent(call, items(), engine=name):
        outcome.result()
        assert current_span() is UNTRACED
    assert current_span() is UNTRACED


@pytest.mark.parametrize("name", ENGINES)
def test_a_mapping_left_early_ends_its_spans_and_is_no_failure(name: EngineName, sent: Sent) -> None:
    async def call(item: int) -> None:
        """End at once."""

    with closing(map_concurrent(call, range(50), engine=name, max_concurrency=5)) as outcomes:
        next(outcomes)
    assert sent.root.ended is not None
    assert sent.root.error is None
    assert all(span.ended is not None for span in sent.items)


def test_a_mapping_that_ends_in_an_error_says_so_in_its_trace(sent: Sent) -> None:
    with pytest.raises(DeadlineExceeded):
        list(map_concurrent(len, "ab", deadline=1e-9))
    assert sent.root.error is not None
    assert sent.root.error.kind == "DeadlineExceeded"


def test_spans_sent_are_spread_over_a_known_number_of_items(sent: Sent) -> None:
    list(map_concurrent(len, [""] * 1000, engine="sequential"))
    assert sent.root.metadata["sampled"] == {"item": f"{SPREAD} of 1000"}


def test_an_item_took_no_longer_because_the_loop_takes_its_time(sent: Sent) -> None:
    async def call(item: int) -> None:
        sent.now += 1

    for _ in map_concurrent(call, range(2), engine="asyncio"):
        sent.now += 100
    assert [span.seconds for span in sent.items] == [1, 1]

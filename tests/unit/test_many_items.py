"""Many items of one event: the work grows with their number, not with its square. Measured in calls."""

import logging
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from asyncstream import S3Object, S3Prefix, TransferConfig
from asyncstream.errors import DeadlineExceeded
from asyncstream.events import copying_items
from asyncstream.events.items import Item
from asyncstream.events.rounds import rounds
from asyncstream.pipeline.pairs import Pair
from asyncstream.pipeline.results import FileResult, FileResults, TransferReport
from asyncstream.runs.outcomes import BatchOutcome

FEW = 200


def pair(source: Any, destination: Any) -> Pair:
    return S3Object("raw", f"{source}"), S3Object("clean", f"{destination}")


def prefixes(number: int) -> tuple[Pair, ...]:
    return ((S3Prefix("raw", f"{number}/"), S3Prefix("clean", f"{number}/")),)


# Item kinds, by the reason why items wait for each other or cannot share a round.
ITEMS: dict[str, Callable[[int], Item]] = {
    "nothing": lambda n: Item(f"m{n}", (pair(n, n),)),
    "one group": lambda n: Item(f"m{n}", (pair(n, n),), group="g"),
    "groups": lambda n: Item(f"m{n}", (pair(n, n),), group=f"g{n // 2}"),
    "one destination": lambda n: Item(f"m{n}", (pair(n, "a"),)),
    "two sources": lambda n: Item(f"m{n}", (pair(n % 2, "a"),)),
    "prefixes": lambda n: Item(f"m{n}", prefixes(n)),
    "settings": lambda n: Item(f"m{n}", (pair(n, n),), {"max_concurrency": n + 1}),
}


class Late:
    """Lambda's context when no time is left."""

    aws_request_id = "1"

    def get_remaining_time_in_millis(self) -> int:
        return 0


class Early(Late):
    def get_remaining_time_in_millis(self) -> int:
        return 60_000


class Session:
    """A stand-in for `TransferSession`: every file fails."""

    def __init__(self) -> None:
        self.configs: list[TransferConfig] = []

    def transfer(
        self, pairs: Sequence[tuple[S3Object, S3Object]], config: TransferConfig, **_: Any
    ) -> TransferReport:
        self.configs.append(config)
        error = DeadlineExceeded("late")
        failed = [
            FileResult(source, target, "failed", 0, None, 0, 0, 0.0, error=error) for source, target in pairs
        ]
        return TransferReport("threads", FileResults.of(failed), 0.0, 1, 1, {})


def no_batch(uri: str) -> tuple[BatchOutcome, BatchOutcome]:
    raise AssertionError(f"{uri} is not expected")


def run(items: Sequence[Item], context: Any) -> list[Any]:
    kept: Any = Session()
    return copying_items.copy_items(items, kept, TransferConfig(), context, no_batch)


def count_calls(work: Callable[[], object]) -> int:
    """Return the number of calls that the work makes: of functions, generators and builtins."""
    count = 0

    def profile(_: Any, event: str, __: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize(
    "work",
    [rounds, lambda items: run(items, Late()), lambda items: run(items, Early())],
    ids=["planned", "late", "failing"],
)
def test_the_work_grows_with_the_number_of_items(work: Callable[[list[Item]], object], kind: str) -> None:
    few, many = ([*map(ITEMS[kind], range(count))] for count in (FEW, 4 * FEW))

    assert count_calls(lambda: work(many)) < 6 * count_calls(lambda: work(few))


@pytest.mark.parametrize("kind", ITEMS)
def test_failures_of_one_kind_are_summed_up_in_the_log(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    run([*map(ITEMS[kind], range(FEW))], Late())
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]

    assert lines[0].startswith("m0 failed: DeadlineExceeded: ")
    assert len(lines) <= 2 * (copying_items.MAX_LOGGED + 1)
    assert sum(int(line.split()[0]) if " more failed: " in line else 1 for line in lines) == FEW


@pytest.mark.parametrize("at_deadline", ["fail", "pending"])
def test_a_message_does_not_choose_how_its_files_end(at_deadline: Any) -> None:
    """A pending file of a trigger that does not invoke again would be lost: its message is deleted."""
    session: Any = Session()
    item = Item("m", (pair(1, 1),), {"at_deadline": "pending", "max_concurrency": 3})
    copying_items.copy_items([item], session, TransferConfig(at_deadline=at_deadline), Early(), no_batch)

    assert [(each.at_deadline, each.max_concurrency) for each in session.configs] == [(at_deadline, 3)]

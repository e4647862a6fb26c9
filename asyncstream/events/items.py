"""The units of a trigger's event and the order they run in: pure; made by each trigger for `running.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from asyncstream.errors import AsyncstreamError, DeadlineExceeded, FilesFailed, FilesFailedForNow, told
from asyncstream.jobs import Pair
from asyncstream.locations import S3Object, S3Prefix

# Failures that one error names, so that a dead-letter queue or a state's 256 KB take it.
MOST_NAMED = 20


class Item(Struct, frozen=True):
    """What succeeds or fails as one: a message, a task, a row, an object.

    Attributes:
        name: how the event names it.
        pairs: what it asks to copy; none: it is ignored, which is a success.
        config: settings of TransferConfig of its own.
        error: why it cannot be done, found before anything was begun.
        group: items of one group run in their order, and none after one that failed (FIFO).
    """

    name: str
    pairs: tuple[Pair, ...] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    error: AsyncstreamError | None = None
    group: str | None = None


class Outcome(Struct, frozen=True):
    """An item's end: how many files and bytes were copied, and what failed first, if something did."""

    item: Item
    files: int = 0
    bytes: int = 0
    error: Exception | None = None


def is_temporary(error: Exception) -> bool:
    """Whether the same work may succeed in an invocation to come."""
    return isinstance(error, DeadlineExceeded) or (isinstance(error, AsyncstreamError) and error.retryable)


def raise_failures(outcomes: Sequence[Outcome]) -> None:
    """Raise what failed, as one error."""
    failed = [(each.item, each.error) for each in outcomes if each.error is not None]
    if not failed:
        return
    named = "; ".join(
        f"{item.name}: {type(error).__name__}: {told(error)}" for item, error in failed[:MOST_NAMED]
    )
    more = f"; and {len(failed) - MOST_NAMED:,} more" if len(failed) > MOST_NAMED else ""
    raise failure_of(outcomes)(f"{len(failed):,} of {len(outcomes):,} failed: {named}{more}")


def failure_of(outcomes: Sequence[Outcome]) -> type[FilesFailed]:
    """The error that tells of them: whether another invocation may do better."""
    temporary = any(each.error is not None and is_temporary(each.error) for each in outcomes)
    return FilesFailedForNow if temporary else FilesFailed


class _Round(Struct):
    config: Mapping[str, Any]
    shared: bool  # whether others may join: of a prefix nobody knows what it writes
    items: list[int] = field(default_factory=list)
    written: dict[S3Object, Pair] = field(default_factory=dict)

    def takes(self, item: Item) -> bool:
        """Whether the item can be copied together with what is here, in one transfer."""
        return self.shared and self.config == item.config and not self.conflicts(item)

    def conflicts(self, item: Item) -> bool:
        """Whether the item writes, from somewhere else, an object that is written here."""
        return any(self.written.get(_written(pair), pair) != pair for pair in item.pairs)


def rounds(items: Sequence[Item]) -> list[list[int]]:
    """Positions of the items that have something to copy, in rounds to be run one after the other.

    All files of a round are one transfer. Items come as early as they can, but those of one group one round
    after the other, and of two that write the same object the later one later.
    """
    planned: list[_Round] = []
    after: dict[str, int] = {}
    for position, item in enumerate(items):
        if item.error is not None or not item.pairs:
            continue
        first = after.get(item.group, 0) if item.group is not None else 0
        conflicting = [number for number, other in enumerate(planned) if other.conflicts(item)]
        first = max([first, *(number + 1 for number in conflicting)])
        shared = not any(isinstance(source, S3Prefix) for source, _ in item.pairs)
        place = next((n for n in range(first, len(planned)) if shared and planned[n].takes(item)), None)
        if place is None:
            place = len(planned)
            planned.append(_Round(item.config, shared))
        planned[place].items.append(position)
        planned[place].written |= {_written(pair): pair for pair in item.pairs if shared}
        if item.group is not None:
            after[item.group] = place + 1
    return [each.items for each in planned]


def _written(pair: Pair) -> Any:
    return pair[1]

"""The order that the items of a trigger's event run in: pure; called by `running.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from asyncstream.events.items import Item
from asyncstream.jobs import Pair
from asyncstream.locations import S3Object, S3Prefix


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

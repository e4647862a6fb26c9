"""Plan the order in which the items of a trigger's event run. Does no I/O.

Planning passes over the items once, so that 10,000 items take a fraction of a second.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

import msgspec

from asyncstream.events.items import Item
from asyncstream.locations import Pack, S3Prefix, TarEntries, ZipEntries

# Sources that have a round of their own. Only a listing shows which objects the first three write. With a
# pack, all files of a transfer are copied in parts.
ALONE = (S3Prefix, ZipEntries, TarEntries, Pack)


def rounds(items: Sequence[Item]) -> list[list[int]]:
    """Return the positions of the items that have files to copy, in rounds that run one after the other.

    All files of a round are one transfer. Each item is in the earliest possible round. Items of one group are
    in successive rounds. If two items write the same object, the later one is in a later round. Sources of
    `ALONE`, and batches of runs, have a round of their own.
    """
    planned: list[list[int]] = []
    after: dict[str, int] = {}
    # For each destination, the last pair that writes it and its round: later writers must not come earlier.
    last: dict[Any, tuple[Any, int]] = {}
    # The rounds that an item may join, by the item's settings.
    joined: dict[bytes, list[int]] = {}
    for position, item in enumerate(items):
        if item.error is not None or not (item.pairs or item.batch):
            continue
        first = after.get(item.group, 0) if item.group is not None else 0
        for pair in item.pairs:
            writer, number = last.get(pair[1], (pair, 0))
            first = max(first, number if writer == pair else number + 1)
        shared = not item.batch and not any(isinstance(source, ALONE) for source, _ in item.pairs)
        open_rounds = (
            joined.setdefault(msgspec.json.encode(item.config, order="sorted"), []) if shared else []
        )
        nearest = bisect_left(open_rounds, first)
        if nearest == len(open_rounds):
            open_rounds.append(len(planned))
            planned.append([])
        place = open_rounds[nearest]
        planned[place].append(position)
        last |= {pair[1]: (pair, place) for pair in item.pairs}
        if item.group is not None:
            after[item.group] = place + 1
    return planned

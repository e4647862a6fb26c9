"""`Packer`: packs a stream of rows into batches by their cost, and cuts giant files. Does no I/O.

States of the open batch, by its rows:
    empty   the next row fixes the target of the batch
    filling rows come until one does not fit; then the fuller of the two, batch or row, is handed out
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from asyncstream.errors import InputError
from asyncstream.pipeline import plan
from asyncstream.runs.costs import FREE, GUESSED_BYTES, Cost, Speeds
from asyncstream.runs.descriptions import Totals
from asyncstream.runs.rows import Row
from asyncstream.units import MiB

# Seconds of a full batch. A worker's function may run for 15 minutes, so a batch has room to take 15 times as
# long as the model says; and a worker that dies loses a minute at most.
LONGEST_TARGET = 60.0
# Seconds of the smallest target. A batch costs some 0.4 s before and after its files (an invocation, reading
# its rows, writing its outcome): 4 % of ten seconds, 8 % of five.
SMALLEST_TARGET = 10.0
# If one function is slow, or starts late, others take its work.
BATCHES_PER_FUNCTION = 4
# Towards the end, the rest is enough for so many batches a function: else some functions are idle while
# others work on the last batches. Simulated: 6.8 batches a function, of a minute each, took eight minutes.
LAST_ROUNDS = 2
# A file that alone takes longer is cut: two such files would not fit into a batch.
GIANT_SECONDS = LONGEST_TARGET / 2

MOST_ROWS = 20_000
MOST_BYTES = 8 * MiB


class Batch(NamedTuple):
    """A closed batch.

    Attributes:
        rows: its rows, in the order in which they came. Large and small files in flight together use card and
            CPU at once: with the largest first, simulated batches of a heavy-tailed source took 20 % longer
            than the model says, and 8 % in this order.
        cost: what all of them cost.
        seconds: how long one worker takes.
        target: what `seconds` should not exceed. Only a batch of a single row may.
    """

    rows: list[Row]
    cost: Cost
    seconds: float
    target: float


class GiantPlan(NamedTuple):
    """How a giant file is cut.

    Attributes:
        parts: all parts of its upload.
        ranges: the first and the last number of the parts of each row.
    """

    parts: plan.PartPlan
    ranges: Sequence[tuple[int, int]]


class PackerState(Struct, kw_only=True):
    """All that a packer knows, as plain data, so that another process can continue it.

    Attributes:
        totals: what it has counted; `batches` are those that it handed out.
        share: the share of the source that was read, 0 to 1; 0: unknown.
        target: the target of the open batch, in seconds.
        rows: the rows of the open batch.
        length: bytes of these rows as JSON Lines.
        cost: what these rows cost.
    """

    totals: Totals = field(default_factory=Totals)
    share: float = 0.0
    target: float = 0.0
    rows: list[Row] = field(default_factory=list)
    length: int = 0
    cost: Cost = FREE


class Packer:
    """Packs rows into batches.

    Args:
        speeds: how fast a worker is.
        functions: how many workers will run at once.
        state: the state of an earlier packer, which this one continues; None: nothing is packed yet.
    """

    def __init__(self, speeds: Speeds, functions: int, state: PackerState | None = None) -> None:
        if functions < 1:
            raise InputError(f"functions={functions} must be at least 1")
        self._speeds = speeds
        self._functions = functions
        self.state = PackerState() if state is None else state
        self._encoder = msgspec.json.Encoder()
        self._giant_bytes = _smallest_giant(speeds)

    @property
    def totals(self) -> Totals:
        """What was counted so far."""
        return self.state.totals

    def note_share(self, share: float) -> None:
        """Note which share of the source was read, 0 to 1, so that the total can be told in advance.

        Without a share, the target grows with the rows that were seen.
        """
        self.state.share = min(max(share, 0.0), 1.0)

    def add(self, row: Row, cost: Cost | None = None) -> list[Batch]:
        """Take a row, and return the batches that this closes: none or one.

        Args:
            row: a file, slices of an archive, or ranges of lines.
            cost: what it costs; None: it is a whole file, and its size says it.
        """
        if cost is None:
            cost = self._speeds.file_cost(row.size)
            self._count_file(row)
        return self._put(row, cost)

    def count_entries(self, files: int, total: int, largest: int, gets: int) -> None:
        """Count files in an archive, or ranges of lines, whose rows `add` takes with a cost.

        Args:
            files: their number; each is a PUT.
            total: their bytes, as they are written.
            largest: bytes of the largest.
            gets: the requests that read them.
        """
        totals = self.totals
        totals.files += files
        totals.puts += files
        totals.gets += gets
        totals.bytes += total
        totals.largest = max(totals.largest, largest)

    def cut(self, size: int | None) -> GiantPlan | None:
        """Return how to cut a file; None if it is not a giant.

        Its parts have one size. A range of parts takes about the target, and its parts are enough for four in
        a row on each slot, if 10,000 parts are enough for that.
        """
        if size is None or size < self._giant_bytes:
            return None
        plan.check_size(size)
        speeds = self._speeds
        whole = speeds.range_cost(size, 1)
        target = self._target(speeds.shared_seconds(whole))
        in_target = size * target / speeds.shared_seconds(whole)
        wanted = plan.auto_part_size([int(in_target)], speeds.slots)
        parts = plan.plan_parts(size, plan.part_length(size, wanted))
        each = speeds.shared_seconds(speeds.range_cost(parts.first, 1))
        # Fewer streams than these leave the card idle; then a range takes longer than the target.
        fewest = min(speeds.slots, -int(-speeds.card_mb // speeds.stream_mb))
        step = max(fewest, int(target / each))
        last = parts.planned
        ranges = [(first, min(first + step - 1, last)) for first in range(1, last + 1, step)]
        return GiantPlan(parts, ranges)

    def add_ranges(self, row: Row, giant: GiantPlan) -> list[Batch]:
        """Take a giant file, and return the batches that this closes.

        Each full range is a batch of its own. The rest is packed like a file.

        Args:
            row: the file, whose continuation is that of the whole upload.
            giant: how it is cut.
        """
        upload = row.continuation
        if upload is None:
            raise InputError(f"{row.source} has no upload: create one before its ranges are packed")
        totals = self.totals
        totals.files += 1
        totals.giants += 1
        totals.ranges += len(giant.ranges)
        totals.uploads += 1
        totals.parts += giant.parts.planned
        totals.gets += giant.parts.planned
        totals.bytes += giant.parts.size
        totals.largest = max(totals.largest, giant.parts.size)
        rows = [replace(row, continuation=replace(upload, only=only)) for only in giant.ranges]
        costs = [
            self._speeds.range_cost(giant.parts.range(first, last).length, last - first + 1)
            for first, last in giant.ranges
        ]
        seconds = [self._speeds.seconds(cost) for cost in costs]
        batches = [
            self._alone(each, cost, taken)
            for each, cost, taken in zip(rows[:-1], costs[:-1], seconds[:-1], strict=True)
        ]
        return batches + self._put(rows[-1], costs[-1])

    def close(self) -> list[Batch]:
        """Return the open batch, if it has rows: the source has ended."""
        return [self._close()] if self.state.rows else []

    def _count_file(self, row: Row) -> None:
        totals = self.state.totals
        size = GUESSED_BYTES if row.size is None else row.size
        totals.files += 1
        totals.bytes += size
        totals.largest = max(totals.largest, size)
        if size <= self._speeds.part_bytes:
            totals.puts += 1
            totals.gets += 1
        else:
            parts = self._speeds.parts_of(size)
            totals.uploads += 1
            totals.parts += parts
            totals.gets += parts

    def _target(self, more: float = 0.0) -> float:
        """Return the target of a batch now, where `more` seconds are to be packed next.

        If the share is known, the last batches get smaller, so that all functions end at about the same time.
        """
        state = self.state
        seen = state.totals.seconds + (self._speeds.seconds(state.cost) if state.rows else 0.0)
        total = seen + more
        if state.share:
            total /= state.share
        target = total / (BATCHES_PER_FUNCTION * self._functions)
        if state.share:
            target = min(target, (total - seen) / (LAST_ROUNDS * self._functions))
        return min(max(target, SMALLEST_TARGET), LONGEST_TARGET)

    def _put(self, row: Row, cost: Cost) -> list[Batch]:
        """Put a row into the open batch. If it does not fit, hand out the fuller of the two."""
        length = len(self._encoder.encode(row)) + 1
        state = self.state
        if not state.rows:
            state.target = self._target(self._speeds.seconds(cost))
            return self._hold(row, cost, length)
        both = state.cost + cost
        full = len(state.rows) >= MOST_ROWS or state.length + length > MOST_BYTES
        if not full and self._speeds.seconds(both) <= state.target:
            return self._hold(row, cost, length)
        seconds = self._speeds.seconds(cost)
        if not full and seconds > self._speeds.seconds(state.cost):
            return [self._alone(row, cost, seconds)]
        closed = self._close()
        return [closed, *self._put(row, cost)]

    def _hold(self, row: Row, cost: Cost, length: int) -> list[Batch]:
        state = self.state
        state.rows.append(row)
        state.length += length
        state.cost = state.cost + cost
        return []

    def _alone(self, row: Row, cost: Cost, seconds: float) -> Batch:
        target = self._target(seconds)
        self.totals.count_batch(cost, seconds)
        return Batch([row], cost, seconds, target)

    def _close(self) -> Batch:
        state = self.state
        seconds = self._speeds.seconds(state.cost)
        batch = Batch(state.rows, state.cost, seconds, state.target)
        self.totals.count_batch(state.cost, seconds)
        state.rows, state.length, state.cost = [], 0, FREE
        return batch


def _smallest_giant(speeds: Speeds) -> int:
    """Return the bytes of the smallest file that is cut. One search replaces a cost for every file."""
    sizes = range(plan.MAX_OBJECT + 1)
    return bisect_right(sizes, GIANT_SECONDS, key=lambda size: speeds.seconds(speeds.file_cost(size)))

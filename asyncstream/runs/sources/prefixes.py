"""All objects under a prefix: many listings at once, each of a range of keys (see `key_ranges.py`)."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from asyncstream.engines.loop import run_tasks
from asyncstream.errors import InputError, S3Error
from asyncstream.locations import S3Prefix
from asyncstream.objects import ListedObject
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Engine, Finished, Slots
from asyncstream.runs.pages import (
    Findings,
    Page,
    Position,
    decode_position,
    encode_position,
    is_directory_bucket,
)
from asyncstream.runs.sources.key_ranges import MOST_KEY_RANGES, KeyRange, KeyRanges

_Edge = Annotated[str, Meta(max_length=1024)]


class _Position(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """`ranges` are those that are left, without the prefix; None at the start.

    In a directory bucket, `token` is that of the next page instead.
    """

    ranges: Annotated[list[tuple[_Edge | None, _Edge]], Meta(max_length=MOST_KEY_RANGES)] | None = None
    token: str = ""


def read_prefix(
    ends: Ends, engine: Engine, prefix: S3Prefix, position: Position | None, concurrency: int
) -> AsyncGenerator[Page, None]:
    """Yield the objects under a prefix. Their order depends on the replies.

    Args:
        ends: where they are.
        engine: runs the listings.
        prefix: what to list.
        position: where to continue.
        concurrency: the most listings at once. There are at most 12, and in a directory bucket one.

    Raises:
        S3Error: the pages of a listing do not end, or are in no order.
    """
    if concurrency < 1:
        raise InputError(f"{concurrency} listings at once are not possible: give at least 1")
    start = decode_position(position, _Position)
    if is_directory_bucket(prefix):
        return _read_in_any_order(ends, prefix, start)
    ranges = KeyRanges(prefix, start.ranges)
    count = min(concurrency, engine.max_slots, MOST_KEY_RANGES)
    return _read_ranges(engine, _Listings(ends, prefix, ranges, count), count)


async def _read_ranges(engine: Engine, listings: "_Listings", count: int) -> AsyncGenerator[Page, None]:
    async with engine.slots(count) as slots, aclosing(run_tasks(slots, listings)) as pages:
        async for page in pages:
            yield page


class _Listings:
    """The policy of the listings: it lists ranges, and cuts long ones while slots are free.

    Args:
        ends: where they are.
        prefix: what to list.
        ranges: the ranges that are left.
        most: the most ranges at once.
    """

    def __init__(self, ends: Ends, prefix: S3Prefix, ranges: KeyRanges, most: int) -> None:
        self.running = 0
        self._ends = ends
        self._prefix = prefix
        self._ranges = ranges
        self._most = most
        self._source = ends.source_of(prefix)
        self._ready: list[Page] = []

    def hand_over(self) -> Page | None:
        """Return the next page; see `Policy`."""
        return self._ready.pop(0) if self._ready else None

    def start(self, slots: Slots) -> bool:
        """Start to find folders to cut a range at, or else to list a range; see `Policy`."""
        if not slots.free:
            return False
        if len(self._ranges.ranges) < self._most and (range_ := self._ranges.to_cut()) is not None:
            range_.cutting = True
            slots.start(partial(self._cut, range_), partial(self._find_folders, range_.after, range_.until))
        elif (range_ := self._ranges.to_list()) is not None:
            range_.asking = True
            ask = partial(self._source.list_after, self._prefix, range_.after, range_.token)
            slots.start(partial(self._take, range_), partial(self._ends.retrying.run, ask))
        else:
            return False
        self.running += 1
        return True

    def settle(self, finished: Finished) -> None:
        """Record a page, or cut a range; raise the error of a request."""
        self.running -= 1
        if finished.error is not None:
            raise finished.error
        settle: Callable[[object], None] = finished.tag
        settle(finished.result)

    def _take(self, range_: KeyRange, reply: tuple[list[ListedObject], str | None]) -> None:
        findings = Findings()
        self._ranges.take(range_, *reply, findings)
        position = encode_position(_Position(self._ranges.position()))
        self._ready.append(Page(findings.found, findings.left_out, position))

    def _cut(self, range_: KeyRange, folders: Sequence[str]) -> None:
        self._ranges.cut(range_, folders, self._most)

    async def _find_folders(self, after: str, until: str) -> Sequence[str]:
        """Return folders between two keys: those of the highest level that has any."""
        level = self._prefix.prefix
        while True:
            folder = S3Prefix(self._prefix.bucket, level)
            names = await self._ends.retrying.run(partial(self._source.list_folders, folder, after))
            between = [each for each in names if each > after and (not until or each < until)]
            end = after.find("/", len(level)) if after.startswith(level) else -1
            if between or end < 0:
                return between
            level = after[: end + 1]


async def _read_in_any_order(ends: Ends, prefix: S3Prefix, start: _Position) -> AsyncGenerator[Page, None]:
    """Yield the objects of a directory bucket, one page after the other."""
    if start.ranges is not None:
        return
    token, first = start.token or None, ""
    source = ends.source_of(prefix)
    while True:
        listed, following = await ends.retrying.run(partial(source.list_page, prefix, token))
        if following is not None and (following == token or (listed and listed[0].key == first)):
            raise S3Error(f"the listing of {prefix} does not advance: its pages repeat after {first!r:.200}")
        token, first = following, listed[0].key if listed else first
        findings = Findings()
        for row in listed:
            findings.add_listed(prefix.bucket, row)
        position = _Position([]) if token is None else _Position(token=token)
        yield Page(findings.found, findings.left_out, encode_position(position))
        if token is None:
            return

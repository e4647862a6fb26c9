"""Ranges of a prefix's keys that are listed at once: each key is in exactly one. Does no I/O.

    (after, until]    keys that follow `after`, up to `until`; without end if `until` is empty

A listing starts as one range. A long range is cut at the names of folders that it has yet to list. Any text
can be a cut: the ranges stay disjoint and leave nothing out.
"""

from collections.abc import Sequence
from itertools import pairwise

from msgspec import Struct

from asyncstream.errors import S3Error
from asyncstream.locations import S3Prefix
from asyncstream.objects import ListedObject
from asyncstream.runs.pages import Findings

# The most ranges at once, and the most characters of a folder's name at which one is cut. Even with
# keys of 1,024 characters, a position has less than 20 KB. A vCPU reads the pages of some two connections.
MOST_KEY_RANGES = 12
_LONGEST_CUT = 512
# Pages of a range before it is cut: a cut costs one request, and half a page that two ranges list.
_PAGES_BEFORE_CUT = 2

Edges = tuple[str | None, str]


class KeyRange(Struct, eq=False):
    """A range of keys that is not listed to its end.

    Attributes:
        after: the last key that was found; its keys follow it.
        until: its last key, if there is such an object; empty: it has no end.
        token: that of the next page; None: the first page follows `after`.
        listed: the last key that the server has listed.
        pages: the number of pages since it was made or cut.
        cut_at: the number of pages at which it may be cut.
        asking: whether a page is being requested.
        cutting: whether folders to cut it at are being requested.
    """

    after: str
    until: str
    token: str | None = None
    listed: str = ""
    pages: int = 0
    cut_at: int = _PAGES_BEFORE_CUT
    asking: bool = False
    cutting: bool = False


class KeyRanges:
    """The ranges that are not listed to their ends, in the order of keys.

    Args:
        prefix: what is listed.
        ranges: the `position` to continue from; None: all keys.

    Attributes:
        ranges: the ranges.
    """

    def __init__(self, prefix: S3Prefix, ranges: Sequence[Edges] | None) -> None:
        self._prefix = prefix
        start = prefix.prefix
        self.ranges = [
            KeyRange("" if after is None else start + after, until and start + until)
            for after, until in ([(None, "")] if ranges is None else ranges)
        ]
        if ranges is None:
            self.ranges[0].cut_at = 0
        # Whether the server lists from the first key on, so that each range costs as much as the whole.
        self._from_the_start = False

    def position(self) -> list[Edges]:
        """Return `after` and `until` of each range, without the prefix.

        `after` is None if no key was found yet: an empty one is the key that equals the prefix.
        """
        start = len(self._prefix.prefix)
        return [(each.after[start:] if each.after else None, each.until[start:]) for each in self.ranges]

    def to_list(self) -> KeyRange | None:
        """Return a range whose next page is not requested yet; None if there is none."""
        return next((each for each in self.ranges if not each.asking), None)

    def to_cut(self) -> KeyRange | None:
        """Return the longest range that may be cut, by its pages so far; None if there is none."""
        if self._from_the_start:
            return None
        long = [each for each in self.ranges if each.pages >= each.cut_at and not each.cutting]
        return max(long, key=lambda each: each.pages, default=None)

    def take(
        self, range_: KeyRange, page: Sequence[ListedObject], token: str | None, findings: Findings
    ) -> None:
        """Add a page of a range to the findings, and remove the range if this was its last page.

        Raises:
            S3Error: the keys are in no order, outside of the prefix, or the pages repeat.
        """
        self._check(range_, page, token)
        if page and range_.token is None and page[0].key <= range_.after:
            self._from_the_start = True
        bucket, until = self._prefix.bucket, range_.until
        for row in page:
            key = row.key
            if key <= range_.after:
                continue
            if until and key > until:
                token = None
                break
            range_.after = key
            findings.add_listed(bucket, row)
        range_.token, range_.asking = token, False
        range_.pages += 1
        if token is None:
            self.ranges.remove(range_)

    def cut(self, range_: KeyRange, folders: Sequence[str], most: int) -> None:
        """Cut a range at the names of folders, so that there are at most `most` ranges.

        If it cannot be cut, it may be tried again after twice as many pages.
        """
        range_.cutting = False
        if range_ not in self.ranges:
            return
        cuts = sorted({each for each in folders if self._is_within(each, range_)})
        more = min(len(cuts), most - len(self.ranges))
        if more <= 0:
            range_.cut_at = max(_PAGES_BEFORE_CUT, 2 * range_.pages)
            return
        edges = [*(cuts[number * len(cuts) // more] for number in range(more)), range_.until]
        at = self.ranges.index(range_) + 1
        self.ranges[at:at] = [KeyRange(after, until) for after, until in pairwise(edges)]
        range_.until, range_.pages, range_.cut_at = edges[0], 0, _PAGES_BEFORE_CUT

    def _is_within(self, cut: str, range_: KeyRange) -> bool:
        prefix = self._prefix.prefix
        if not (cut.startswith(prefix) and len(prefix) < len(cut) <= _LONGEST_CUT):
            return False
        return cut > range_.after and (not range_.until or cut < range_.until)

    def _check(self, range_: KeyRange, page: Sequence[ListedObject], token: str | None) -> None:
        before = ""
        for row in page:
            if row.key <= before:
                raise S3Error(
                    f"{self._prefix} is not listed in the order of its keys: {row.key!r:.200} follows "
                    f"{before!r:.200}. Write a list of its files, and plan that"
                )
            before = row.key
        if page and not page[0].key.startswith(self._prefix.prefix):
            raise S3Error(f"the listing of {self._prefix} has the key {page[0].key!r:.200}")
        repeats = page and before <= range_.listed
        if token is not None and (repeats or token == range_.token):
            raise S3Error(
                f"the listing of {self._prefix} does not advance: its pages repeat after {before!r:.200}"
            )
        range_.listed = before or range_.listed

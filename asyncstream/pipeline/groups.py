"""The files of archives among the files of a transfer: groups that make a file when it is asked for."""

from bisect import bisect_right
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from asyncstream.ports import Listing


class Group(Struct, frozen=True):
    """The files of one `Listing`.

    Attributes:
        first: the position of its first file in the transfer.
        pair: the position of its pair of places.
        listing: its files.
        before: how many files of groups come before it.
    """

    first: int
    pair: int
    listing: Listing
    before: int

    @property
    def after(self) -> int:
        """The position after its last file."""
        return self.first + len(self.listing)


class Place(NamedTuple):
    """Where a file is: in a group, or else at a position among the files that are in none."""

    group: Group | None
    position: int


class Groups:
    """The groups of a transfer, in order.

    Attributes:
        files: the number of files in all groups.
    """

    def __init__(self) -> None:
        self._groups: list[Group] = []
        self._firsts: list[int] = []
        self.files = 0

    def add(self, first: int, pair: int, listing: Listing) -> None:
        """Add a listing whose first file has this position, after all others."""
        self._groups.append(Group(first, pair, listing, self.files))
        self._firsts.append(first)
        self.files += len(listing)

    def parts(self, count: int) -> Iterator[tuple[Group | None, range]]:
        """Yield each group and its positions, and between them those of files in none, up to `count`."""
        after = 0
        for group in self._groups:
            if after < group.first:
                yield None, range(after, group.first)
            yield group, range(group.first, group.after)
            after = group.after
        if after < count:
            yield None, range(after, count)

    def find(self, position: int) -> Place:
        """Return where the file at a position of the transfer is."""
        at = bisect_right(self._firsts, position)
        if not at:
            return Place(None, position)
        group = self._groups[at - 1]
        if position < group.after:
            return Place(group, position - group.first)
        return Place(None, position - group.before - len(group.listing))

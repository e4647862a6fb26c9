"""Scan the directory of a ZIP archive as it arrives, and check it as a whole before an entry is read."""

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from typing import NoReturn

from msgspec import Struct

from asyncstream.archives.zip_directory import CUT, Directory, RowFields, raw_entry, walk_rows
from asyncstream.archives.zip_entries import (
    LOCAL_HEADER,
    SPECIAL_MODES,
    Selector,
    gzip_size_of,
    is_left_out,
    least_stop,
)
from asyncstream.archives.zip_listing import BYTES_OF_BLOCK, Block, Found
from asyncstream.archives.zip_names import is_special
from asyncstream.errors import CorruptInput, InputError
from asyncstream.locations.archives import ZipEntries, ZipSlice
from asyncstream.units import KiB

# zlib's fastest level: 1.1 times the bytes of its best, in a quarter of the time.
_LEVEL = 1
# Bytes of a row, on average over a block: a name of 1,024 bytes and as much again, twice.
_LONGEST_ROW = 4 * KiB
# Groups in which the hashes of names are compared: only one of them is a set at a time.
_GROUPS = 64


class Area(Struct, frozen=True):
    """The rows to scan.

    Attributes:
        start: the position of the first row in the archive.
        stop: the position after the last row.
        first: the number of the first row.
        count: the number of rows; unless `exact`, some multiple of 65,536 may be missing.
        end: the position after the data of their entries.
        shift: bytes before the archive.
        exact: whether `count` is exact.
    """

    start: int
    stop: int
    first: int
    count: int
    end: int
    shift: int
    exact: bool

    @classmethod
    def of(cls, where: Directory | ZipSlice) -> "Area":
        """Return the area of a whole directory, or of a slice."""
        if isinstance(where, ZipSlice):
            return cls(where.start, where.stop, where.first, where.count, where.end, where.shift, exact=True)
        start, stop = where.range
        return cls(start, stop, 0, where.entries, start, where.shift, where.exact)


class Scan:
    """Reads the rows of a directory, keeps them compressed, and checks them.

    Args:
        asked: the selection.
        area: the rows.
        per_block: rows of a block.
        room: bytes of memory that the listing may take.
        by_name: whether entries are to be found by their names. Then several may have one name.
    """

    def __init__(self, asked: ZipEntries, area: Area, per_block: int, room: float, *, by_name: bool) -> None:
        self._area = area
        self._selector = Selector(asked)
        self._as_gzip = asked.as_gzip
        self._per_block = per_block
        self._room = room
        self._by_name = by_name
        self._rest, self._walked = b"", 0
        self._position = area.start
        self._blocks: list[Block] = []
        self._held = 0
        self._in_order = True
        self._last_start, self._least_next = -1, 0
        self._count = self._in_blocks = 0
        self._bytes = self._data = self._links = 0
        self._counted = 0, 0  # bytes of contents and data of the blocks so far
        self._largest: dict[int, int] = {}
        self._hashes = array("q")

    def feed(self, data: bytes | bytearray) -> None:
        """Read the next bytes of the directory.

        Raises:
            CorruptInput: they are not those of a directory, or entries overlap.
            InputError: there is not enough memory for the entries.
        """
        data = b"".join((self._rest, data))
        block_at, at = 0, self._walked
        number, least_next = self._area.first + self._count, self._least_next
        as_gzip = self._as_gzip
        key_of, add_hash, largest = self._selector.key, self._hashes.append, self._largest
        in_block = self._count - self._in_blocks
        for fields in walk_rows(data, at):
            name, _, _, method, _, packed, size, start, _, attributes, at = fields
            if start < least_next:
                self._leave_order(name, start)
            self._last_start, least_next = start, start + LOCAL_HEADER + len(name) + packed
            if at - block_at > self._per_block * _LONGEST_ROW:
                raise InputError(
                    f"its directory has over {self._per_block * _LONGEST_ROW:,} bytes in {in_block:,} rows: "
                    "no program writes such"
                )
            key = key_of(number, fields)
            number += 1
            in_block += 1
            if key is not None:
                if attributes >> 28 in SPECIAL_MODES and is_special(raw_entry(fields)):
                    self._links += 1
                else:
                    add_hash(hash(key))
                    self._bytes += gzip_size_of(method, packed, size) if as_gzip else size
                    self._data += packed
                    if size > largest.get(method, -1):
                        largest[method] = size
            if in_block == self._per_block:
                self._add_block(data[block_at:at], in_block)
                block_at, in_block = at, 0
        self._count, self._least_next = number - self._area.first, least_next
        self._rest, self._walked = data[block_at:], at - block_at

    def finish(self) -> Found:
        """Return the rows after their last byte, if they are right as a whole.

        Raises:
            CorruptInput: entries overlap, or the directory is not as long as its record says.
            InputError: two entries have the same name.
        """
        if self._walked < len(self._rest):
            raise CorruptInput(CUT)
        if self._rest:
            self._add_block(self._rest, self._count - self._in_blocks)
        area = self._area
        # Without Zip64, writers let the number wrap at 65,536.
        if area.count != (self._count if area.exact else self._count % 65_536):
            raise CorruptInput(f"its directory has {self._count} entries, and its record says {area.count}")
        starts = array("Q")
        if not self._in_order:
            starts = self._sort_starts()
            for fields in self._rows():
                self._check_alone(fields, starts)
        elif self._least_next + area.shift > area.end:
            self._raise_overlap(self._last_name())
        files, hashes, hashed = len(self._hashes), array("q"), array("Q")
        if self._by_name:
            hashed.extend(sorted(range(files), key=self._hashes.__getitem__))
            hashes.extend(map(self._hashes.__getitem__, hashed))
        else:
            self._check_names()
        return Found(
            self._blocks,
            area.end,
            area.shift,
            starts,
            files,
            self._bytes,
            self._links,
            self._largest,
            hashes,
            hashed,
        )

    def _leave_order(self, name: bytes, start: int) -> None:
        """Note that an entry starts before the end of the last one, unless it starts within that one."""
        if self._in_order and start >= self._last_start:
            self._raise_overlap(name)
        self._in_order = False

    def _add_block(self, rows: bytes, count: int) -> None:
        listed = self._blocks[-1].listed + self._blocks[-1].files if self._blocks else 0
        block = Block(
            zlib.compress(rows, _LEVEL),
            self._position,
            self._position + len(rows),
            self._area.first + self._in_blocks,
            count,
            listed,
            len(self._hashes) - listed,
            next(walk_rows(rows))[7] + self._area.shift,
            self._bytes - self._counted[0],
            self._data - self._counted[1],
        )
        self._counted = self._bytes, self._data
        self._position = block.stop
        self._in_blocks += count
        self._blocks.append(block)
        self._held += len(block.packed) + BYTES_OF_BLOCK
        self._check_room()

    def _rows(self) -> Iterator[RowFields]:
        """Yield all rows, from the blocks."""
        return chain.from_iterable(walk_rows(zlib.decompress(block.packed)) for block in self._blocks)

    def _sort_starts(self) -> "array[int]":
        """Return the positions of all entries in order, sorted in groups: numbers in a list take 40 bytes."""
        self._check_room(8 * self._count)
        groups = [array("Q") for _ in range(_GROUPS)]
        for fields in self._rows():
            groups[min(fields[7] * _GROUPS // (self._area.end + 1), _GROUPS - 1)].append(fields[7])
        starts = array("Q")
        while groups:
            starts.extend(sorted(groups.pop(0)))
        return starts

    def _check_room(self, more: int = 0) -> None:
        # The hashes take 8 bytes each, and once more while they are compared.
        if self._held + 16 * len(self._hashes) + more > self._room:
            raise InputError(too_large(self._area))

    def _last_name(self) -> bytes:
        *_, fields = walk_rows(zlib.decompress(self._blocks[-1].packed))
        return fields[0]

    def _check_alone(self, fields: RowFields, starts: "array[int]") -> None:
        """Check an entry of a directory that has another order than the entries."""
        after = bisect_right(starts, fields[7])
        next_start = starts[after] if after < len(starts) else self._area.end - self._area.shift
        if least_stop(fields) > next_start or after - bisect_left(starts, fields[7]) > 1:
            self._raise_overlap(fields[0])

    def _raise_overlap(self, name: bytes) -> NoReturn:
        raise CorruptInput(f"its entry {name[:200]!r} overlaps the next: it is damaged")

    def _check_names(self) -> None:
        """Raise InputError if two entries have one name."""
        groups = [array("q") for _ in range(_GROUPS)]
        for each in self._hashes:
            groups[each % _GROUPS].append(each)
        twice = {
            each
            for group in groups
            if len(set(group)) < len(group)
            for each, count in Counter(group).items()
            if count > 1
        }
        if not twice:
            return
        seen: set[str] = set()
        for number, fields in enumerate(self._rows(), self._area.first):
            key = self._selector.key(number, fields)
            if key is None or hash(key) not in twice or is_left_out(fields):
                continue
            if key in seen:
                raise InputError(f"two entries have the name {key!r:.300}: select one that is not among them")
            seen.add(key)


def too_large(area: Area) -> str:
    """Return the message about a directory that needs more memory than there is."""
    return (
        f"its directory of {area.stop - area.start:,} bytes needs more memory than there is. "
        "Give the function more memory"
    )

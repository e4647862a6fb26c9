"""The selected entries of one archive, in some 20 bytes each: its directory, compressed, in blocks of rows.

A block is unpacked when one of its entries is asked for, and the last few stay unpacked. A directory of a
million rows so takes 20 MB, where its entries as objects would take 700.
"""

import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from asyncstream.archives.zip_directory import RowFields, walk_rows
from asyncstream.archives.zip_entries import (
    Entry,
    Selector,
    gzip_size_of,
    is_left_out,
    read_entry,
    share_windows,
)
from asyncstream.locations.archives import ZipEntries, ZipSlice, format_rows
from asyncstream.objects import ListedObject
from asyncstream.ports import Share

V = TypeVar("V")
# *Measured*: an object of ten fields, and its numbers.
BYTES_OF_BLOCK = 430
# Blocks that stay unpacked. At 0.6 KB an entry, those of a thousand take 2.5 MB.
_RECENT = 4


class Block(Struct, frozen=True):
    """Consecutive rows of a directory.

    Attributes:
        packed: the rows, compressed.
        start: the position of its first row in the archive.
        stop: the position after its last row.
        first: the number of its first row.
        count: the number of its rows.
        listed: the number of selected entries before it.
        files: the number of its selected entries.
        data_start: the position of its first row's entry.
        bytes: bytes of the contents of its selected entries.
        data: bytes of their data in the archive.
    """

    packed: bytes
    start: int
    stop: int
    first: int
    count: int
    listed: int
    files: int
    data_start: int
    bytes: int
    data: int


class Recent(Generic[V]):
    """The values used last. Any threads may use it at once, since they replace its tuple as a whole."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[Hashable, V], ...] = ()

    def get(self, key: Hashable, make: Callable[[], V]) -> V:
        """Return the value of a key, and make it if it is not among the last ones."""
        for other, value in self._kept:
            if other == key:
                return value
        value = make()
        self._kept = ((key, value), *self._kept[: _RECENT - 1])
        return value

    def __reduce__(self) -> tuple[Any, ...]:
        return Recent, ()


class _Unpacked(Struct, frozen=True):
    """The selected entries of a block, in the order of the listing, and by the number of their rows."""

    order: Sequence[Entry]
    by_row: Mapping[int, Entry]


class Found(Struct, frozen=True):
    """What a scan has found in the rows of a directory; see `zip_scan.Scan`.

    Attributes:
        blocks: the rows.
        end: the position after the data of the last entry.
        shift: bytes before the archive.
        starts: the positions of all entries in order, if the directory has another order; else empty.
        files: number of selected entries.
        bytes: bytes of their contents.
        links: number of selected symbolic links and special files, which are left out.
        largest: bytes of the content of the largest file of each method.
        hashes: the hashes of the names of all files in order, if they are to be found by their names.
        hashed: for each of these, the file's position in the order of rows.
    """

    blocks: Sequence[Block]
    end: int
    shift: int
    starts: "array[int]"
    files: int
    bytes: int
    links: int
    largest: Mapping[int, int]
    hashes: "array[int]"
    hashed: "array[int]"


class Listing(Sequence[ListedObject]):
    """The files that a selection of an archive's entries has. See `ports.Listing`.

    Args:
        asked: the selection.
        etag: the archive's ETag.
        found: its rows.
        recent: keeps the blocks that were used last, of all listings of a transfer.

    Attributes:
        found: its rows.
        total: bytes of the contents of all files.
        largest: bytes of the content of the largest.
        held: bytes of memory that the listing takes.
    """

    def __init__(self, asked: ZipEntries, etag: str, found: Found, recent: Recent[Any]) -> None:
        self.asked = asked
        self.etag = etag
        self.found = found
        self.total = found.bytes
        self.largest = max(found.largest.values(), default=0)
        packed = sum(len(block.packed) for block in found.blocks)
        self.held = (
            packed + BYTES_OF_BLOCK * len(found.blocks) + 8 * (len(found.starts) + 2 * len(found.hashes))
        )
        self._selector = Selector(asked)
        self._firsts = array("q", (block.first for block in found.blocks))
        self._listed = array("q", (block.listed for block in found.blocks))
        self._recent = recent
        self._name = object()

    def __len__(self) -> int:
        return self.found.files

    def __getitem__(self, position: Any) -> Any:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        position = range(len(self))[position]
        at = bisect_right(self._listed, position) - 1
        entry = self._unpack(at).order[position - self._listed[at]]
        size = entry.size
        if self.asked.as_gzip:
            size = gzip_size_of(entry.method, entry.compressed_size, size)
        return ListedObject(entry.key, size, self.etag, row=entry.row)

    def entry(self, row: int) -> Entry | None:
        """Return the entry of a row; None if the row is not selected."""
        at = bisect_right(self._firsts, row) - 1
        return self._unpack(at).by_row.get(row) if at >= 0 else None

    def named(self, name: str) -> list[Entry]:
        """Return the entries of a name, if the listing was made to find them by their names."""
        found, entries = self.found, list[Entry]()
        for at in range(bisect_left(found.hashes, hash(name)), bisect_right(found.hashes, hash(name))):
            place = found.hashed[at]
            block = bisect_right(self._listed, place) - 1
            by_row = self._unpack(block).by_row
            entry = by_row[sorted(by_row)[place - self._listed[block]]]
            if entry.key == name:
                entries.append(entry)
        return entries

    def rest(self, pending: bytes) -> ZipEntries | None:
        """Return the selection of the files that are not done; None if there are none.

        Args:
            pending: 1 for each file that is not done, in the order of the listing.
        """
        left: list[range] = []
        blocks: list[int] = []
        for at, block in enumerate(self.found.blocks):
            own = pending[block.listed : block.listed + block.files]
            if 1 not in own:
                continue
            blocks.append(at)
            if 0 in own:
                left += self._rows_left(at, own)
            else:
                left.append(range(block.first, block.first + block.count))
        if not blocks:
            return None
        whole = self._slice(blocks[0], blocks[-1])
        rows = format_rows(self._selector.within(left))
        if rows == format_rows([range(whole.first, whole.first + whole.count)]):
            rows = ""
        return replace(self.asked, slice=replace(whole, rows=rows))

    def slices(self) -> list[ZipEntries]:
        """Return a selection for each block that has files."""
        return [share.entries for share in self.shares()]

    def shares(self) -> list[Share]:
        """Return a selection for each block that has files, with their number and bytes."""
        shares: list[Share] = []
        for at, block in enumerate(self.found.blocks):
            if block.files:
                own = [range(block.first, block.first + block.count)]
                within = self._selector.within(own)
                rows = "" if within == own else format_rows(within)
                entries = replace(self.asked, slice=replace(self._slice(at, at), rows=rows))
                shares.append(Share(entries, block.files, block.bytes, block.data))
        return shares

    def _slice(self, first: int, last: int) -> ZipSlice:
        """Return the slice of the rows of these blocks and those between."""
        found, before, after = self.found, self.found.blocks[first], self.found.blocks[last]
        return ZipSlice(
            self.etag,
            before.start,
            after.stop,
            before.first,
            after.first + after.count - before.first,
            found.end if found.starts else self._data_end(last),
            shift=found.shift,
        )

    def _rows_left(self, at: int, pending: bytes) -> Iterator[range]:
        """Yield ranges of the pending rows of a block, with rows that are not selected between them."""
        unpacked = self._unpack(at)
        wanted = {entry.row for entry, left in zip(unpacked.order, pending, strict=True) if left}
        start = before = -1
        for row in sorted(unpacked.by_row):
            if row not in wanted:
                if start >= 0:
                    yield range(start, before + 1)
                start = -1
            else:
                start, before = (row if start < 0 else start), row
        if start >= 0:
            yield range(start, before + 1)

    def _data_end(self, at: int) -> int:
        blocks = self.found.blocks
        return blocks[at + 1].data_start if at + 1 < len(blocks) else self.found.end

    def _unpack(self, at: int) -> _Unpacked:
        unpacked: _Unpacked = self._recent.get((self._name, at), lambda: self._unpack_now(at))
        return unpacked

    def _unpack_now(self, at: int) -> _Unpacked:
        block = self.found.blocks[at]
        by_row: dict[int, Entry] = {}
        rows = list(walk_rows(zlib.decompress(block.packed)))
        for place, fields in enumerate(rows):
            number = block.first + place
            key = self._selector.key(number, fields)
            if key is None or is_left_out(fields):
                continue
            start = fields[7] + self.found.shift
            by_row[number] = read_entry(fields, number, key, start, self._next_start(at, rows, place, start))
        order = share_windows(by_row.values())
        return _Unpacked(order, {entry.row: entry for entry in order})

    def _next_start(self, at: int, rows: Sequence[RowFields], place: int, start: int) -> int:
        """Return where the next entry starts, or the directory."""
        starts = self.found.starts
        if starts:
            after = bisect_right(starts, start - self.found.shift)
            return starts[after] + self.found.shift if after < len(starts) else self.found.end
        return rows[place + 1][7] + self.found.shift if place + 1 < len(rows) else self._data_end(at)

"""The entries of a ZIP archive: which rows of its directory are selected, and how to read each. Pure."""

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from fnmatch import translate
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from asyncstream.archives.decoding import DEFLATED, STORED
from asyncstream.archives.entry_names import refusal
from asyncstream.archives.gzip_wrapping import gzip_size
from asyncstream.archives.zip_directory import RawEntry, RowFields, raw_entry
from asyncstream.archives.zip_names import decode_name, is_special
from asyncstream.errors import InputError
from asyncstream.locations.archives import ZipEntries, parse_rows
from asyncstream.objects import ByteRange
from asyncstream.units import KiB

_ENCRYPTED, _MASKED = 1 << 0, 1 << 13
# Bytes of a local header without name and extra fields, and the most that its extra fields have.
LOCAL_HEADER, _MOST_EXTRA = 30, 0xFFFF
# The modes of pipes, devices, symbolic links and sockets, in the first four bits of the attributes.
SPECIAL_MODES = frozenset({0x1, 0x2, 0x6, 0xA, 0xC})
# Bytes of a window, and of the largest entry that shares one.
WINDOW, _LARGEST_SHARED = 512 * KiB, 128 * KiB
# Bytes between the entries of a window that are read for nothing.
_LARGEST_GAP = 64 * KiB
# Entries of a window. A thousand entries make 16 windows, however small they are.
_MOST_SHARING = 64
# Windows whose entries are listed in turn. If neighbours followed each other, slots would open them while the
# first of them still reads their window, and each would send a request of its own. With 16 there are as many
# requests, and 4 MiB more (measured).
_WINDOWS_IN_TURN = 10


class Entry(Struct, frozen=True):
    """One entry to read.

    Attributes:
        range: its local header, its data, and what follows until the next header.
        name: its name's bytes, as the directory has them.
        method: how it is compressed.
        compressed_size: bytes of its data in the archive.
        size: bytes of its content.
        crc32: the CRC32 of its content.
        refused: the reason why it cannot be read; None if it can.
        key: its name, decoded.
        row: the number of its row.
        window: a range that it shares with neighbours; None if it is read on its own.
        sharing: the number of entries in its window.
    """

    range: ByteRange
    name: bytes
    method: int
    compressed_size: int
    size: int
    crc32: int
    refused: str | None
    key: str = ""
    row: int = 0
    window: ByteRange | None = None
    sharing: int = 0


class Selector:
    """Which rows a selection has, and the names of their entries.

    Args:
        asked: the pattern of names, their encoding, and the rows.
    """

    def __init__(self, asked: ZipEntries) -> None:
        self._encoding = asked.encoding
        self._matches = None if asked.select == "*" else re.compile(translate(asked.select)).match
        self._ranges = parse_rows(asked.slice.rows) if asked.slice is not None else []
        self._starts = [each.start for each in self._ranges]

    def key(self, number: int, fields: RowFields) -> str | None:
        """Return the name of a row's entry; None if it is a folder or not selected."""
        if self._ranges and not self._has(number):
            return None
        name = fields[0]
        if fields[1] is None and self._encoding is None and b"\\" not in name and name[:2] != b"./":
            try:
                key = name.decode()
            except UnicodeDecodeError:
                key = decode_name(raw_entry(fields), None)
        else:
            key = decode_name(raw_entry(fields), self._encoding)
        if key[-1:] == "/" or (self._matches is not None and self._matches(key) is None):
            return None
        return key

    def _has(self, number: int) -> bool:
        at = bisect_right(self._starts, number) - 1
        return at >= 0 and number in self._ranges[at]

    def within(self, ranges: Iterable[range]) -> list[range]:
        """Return the parts of these ranges of rows that the selection has."""
        if not self._ranges:
            return list(ranges)
        both = (
            range(max(each.start, own.start), min(each.stop, own.stop))
            for each in ranges
            for own in self._ranges
        )
        return [each for each in both if each]


def gzip_size_of(method: int, compressed_size: int, size: int) -> int:
    """Return the bytes of the gzip file that an entry becomes; its size if it cannot become one."""
    try:
        return gzip_size(method, compressed_size)
    except InputError:
        return size


def is_left_out(fields: RowFields) -> bool:
    """Whether a row is that of a symbolic link or a special file."""
    return fields[9] >> 28 in SPECIAL_MODES and is_special(raw_entry(fields))


def least_stop(fields: RowFields) -> int:
    """Return the first position at which another entry can start, as the archive counts."""
    return fields[7] + LOCAL_HEADER + len(fields[0]) + fields[5]


def read_entry(fields: RowFields, number: int, key: str, start: int, next_start: int) -> Entry:
    """Return the entry of a row that starts at `start`.

    Its range ends where the next one starts, or after the longest extra fields that a local header can have.
    """
    row = raw_entry(fields)
    most = start + LOCAL_HEADER + len(row.name) + _MOST_EXTRA + row.compressed_size
    return Entry(
        ByteRange(start, min(next_start, most)),
        row.name,
        row.method,
        row.compressed_size,
        row.size,
        row.crc32,
        refusal(key) or _unreadable(row),
        key,
        number,
    )


def _unreadable(row: RawEntry) -> str | None:
    if row.flags & (_ENCRYPTED | _MASKED):
        return "it is encrypted"
    if row.method == STORED and row.compressed_size != row.size:
        return f"it is stored, but has {row.compressed_size} bytes that become {row.size}"
    # Deflate packs at most 1,032 bytes into one (zlib's technical details).
    if row.method == DEFLATED and row.size > 1032 * row.compressed_size:
        return f"its {row.compressed_size} bytes cannot become {row.size}"
    return None


class Shared(Protocol):
    """An entry that may share a window with its neighbours: a ZIP archive's, or another's."""

    @property
    def range(self) -> ByteRange:
        """Its bytes in the archive."""

    @property
    def refused(self) -> str | None:
        """The reason why it cannot be read; None if it can."""


AnyEntry = TypeVar("AnyEntry", bound=Shared)


def share_windows(entries: Iterable[AnyEntry]) -> list[AnyEntry]:
    """Put small neighbours into windows, and return all entries so that those of a window are apart.

    First the first of each of 10 windows, then the second, and so on.

    Args:
        entries: in any order. They are structs with the fields `window` and `sharing` of `Entry`.
    """
    groups: list[list[AnyEntry]] = []
    start = -1
    for entry in sorted(entries, key=lambda entry: entry.range.start):
        if entry.refused is not None or entry.range.length > _LARGEST_SHARED:
            groups.append([entry])
            start = -1
        elif start < 0 or entry.range.stop - start > WINDOW or not _may_join(entry, groups[-1]):
            groups.append([entry])
            start = entry.range.start
        else:
            groups[-1].append(entry)
    windows = list(map(_with_window, groups))
    order: list[AnyEntry] = []
    for first in range(0, len(windows), _WINDOWS_IN_TURN):
        turn = windows[first : first + _WINDOWS_IN_TURN]
        for position in range(max(map(len, turn))):
            order += [group[position] for group in turn if position < len(group)]
    return order


def _may_join(entry: Shared, group: Sequence[Shared]) -> bool:
    return len(group) < _MOST_SHARING and entry.range.start - group[-1].range.stop <= _LARGEST_GAP


def _with_window(group: Sequence[AnyEntry]) -> Sequence[AnyEntry]:
    if len(group) == 1:
        return group
    window = ByteRange(group[0].range.start, group[-1].range.stop)
    return [replace(entry, window=window, sharing=len(group)) for entry in group]  # type: ignore[type-var]

"""The entries of one ZIP archive, checked as a whole before any of them is read. Pure."""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from itertools import zip_longest

from msgspec import Struct

from asyncstream.archives.decoding import DEFLATED, STORED
from asyncstream.archives.entry_names import refusal
from asyncstream.archives.zip_directory import Directory, RawEntry
from asyncstream.archives.zip_names import decode_name, is_special
from asyncstream.errors import CorruptInput, InputError
from asyncstream.locations.archives import ZipEntries
from asyncstream.objects import ByteRange

_ENCRYPTED, _MASKED = 1 << 0, 1 << 13
# Bytes of a local header without name and extra fields.
LOCAL_HEADER = 30


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
    """

    range: ByteRange
    name: bytes
    method: int
    compressed_size: int
    size: int
    crc32: int
    refused: str | None


class Index:
    """The selected entries of an archive, by name.

    Args:
        selection: the archive, and which names.
        directory: where its directory is.
        rows: all rows of the directory.

    Attributes:
        entries: the entries by name, in the order of their places.
        links: the number of symbolic links and special files, which are left out.

    Raises:
        CorruptInput: entries overlap, or the directory is not as long as its record says.
        InputError: two entries have the same name.
    """

    def __init__(self, selection: ZipEntries, directory: Directory, rows: Iterable[RawEntry]) -> None:
        self.links = 0
        every = sorted(rows, key=lambda row: row.offset)
        _check_count(len(every), directory)
        self.entries: dict[str, Entry] = {}
        for row, following in zip_longest(every, every[1:]):
            start = row.offset + directory.shift
            stop = directory.range.start if following is None else following.offset + directory.shift
            if start + LOCAL_HEADER + len(row.name) + row.compressed_size > stop:
                raise CorruptInput(f"its entry {row.name[:200]!r} overlaps the next: it is damaged")
            self._add(selection, row, ByteRange(start, stop))

    def _add(self, selection: ZipEntries, row: RawEntry, range_: ByteRange) -> None:
        name = decode_name(row, selection.encoding)
        if name.endswith("/") or not fnmatchcase(name, selection.select):
            return
        if is_special(row):
            self.links += 1
            return
        if name in self.entries:
            raise InputError(f"two entries have the name {name!r:.300}: select one that is not among them")
        self.entries[name] = Entry(
            range_,
            row.name,
            row.method,
            row.compressed_size,
            row.size,
            row.crc32,
            refusal(name) or _unreadable(row),
        )


def _check_count(found: int, directory: Directory) -> None:
    """Compare the number of rows with the record's. Without Zip64, writers let it wrap at 65,536."""
    wrapped = found if directory.exact else found % 65_536
    if wrapped != directory.entries:
        raise CorruptInput(f"its directory has {found} entries, and its record says {directory.entries}")


def _unreadable(row: RawEntry) -> str | None:
    if row.flags & (_ENCRYPTED | _MASKED):
        return "it is encrypted"
    if row.method == STORED and row.compressed_size != row.size:
        return f"it is stored, but has {row.compressed_size} bytes that become {row.size}"
    # Deflate packs at most 1,032 bytes into one (zlib's technical details).
    if row.method == DEFLATED and row.size > 1032 * row.compressed_size:
        return f"its {row.compressed_size} bytes cannot become {row.size}"
    return None

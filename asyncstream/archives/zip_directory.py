"""Read the directory of a ZIP archive (APPNOTE.TXT 6.3.10). Does no I/O.

The directory stands at the archive's end. It has the position, both sizes and the CRC32 of each entry. The
sizes and CRC32s that stand before or after an entry's data are ignored: they repeat these, or are missing.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from msgspec import Struct

from asyncstream.errors import CorruptInput
from asyncstream.objects import ByteRange

# Bytes to read from an archive's end. They hold its end record, with a comment of up to 64 KiB, and most
# directories.
TAIL = 256 * 1024
_END, _END_SIZE = b"PK\x05\x06", 22
_LOCATOR, _LOCATOR_SIZE = b"PK\x06\x07", 20
_END64, _END64_SIZE = b"PK\x06\x06", 56
_HEADER, SMALLEST_ROW = b"PK\x01\x02", 46
_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075
_UNICODE_MARK = _UNICODE_PATH.to_bytes(2, "little")
# Signature, system, flags, method, CRC32, both sizes, lengths of name, extra fields and comment, disk,
# attributes, offset.
_unpack_row = struct.Struct("<4sH2xHH4xIIIHHHH2xII").unpack_from
CUT = "its directory ends within a row: it is truncated or damaged"


class Directory(NamedTuple):
    """Where an archive's directory is.

    Attributes:
        range: its bytes.
        entries: the number of its entries; unless `exact`, some multiple of 65,536 may be missing.
        shift: bytes before the archive, such as a program that unpacks it.
        exact: whether `entries` is exact.
    """

    range: ByteRange
    entries: int
    shift: int
    exact: bool


class RawEntry(Struct, frozen=True, gc=False):
    """One row of a directory.

    Attributes:
        name: the name's bytes.
        unicode_name: the name as the extra field 0x7075 has it; None without one for this name.
        flags: bit 0: encrypted; bit 11: the name is UTF-8; bit 13: parts of the directory are masked.
        method: how it is compressed.
        crc32: the CRC32 of its content.
        compressed_size: bytes of its data in the archive.
        size: bytes of its content.
        offset: the position of its local header, as the archive counts.
        host: the system that its attributes are for: 0 FAT, 3 Unix, 10 NTFS.
        attributes: the system's attributes.
    """

    name: bytes
    unicode_name: bytes | None
    flags: int
    method: int
    crc32: int
    compressed_size: int
    size: int
    offset: int
    host: int
    attributes: int


def find_directory(tail: bytes, size: int) -> Directory:
    """Return where the directory is.

    Args:
        tail: the last bytes of the archive, `TAIL` of them or all.
        size: bytes of the archive.

    Raises:
        CorruptInput: it is not a ZIP archive, it is truncated, or it is one of several volumes.
    """
    at = _find_end(tail)
    if at < 0:
        raise CorruptInput("it is not a ZIP archive, or truncated: the record of its end is missing")
    disk, start_disk, here, entries, length, offset = struct.unpack_from("<4H2I", tail, at + 4)
    ends_at, exact = size - len(tail) + at, False
    record = _find_end64(tail, at, size)
    if record >= 0:
        disk, start_disk, here, entries, length, offset = struct.unpack_from("<2I4Q", tail, record + 16)
        ends_at, exact = size - len(tail) + record, True
    elif _FULL32 in (length, offset):
        raise CorruptInput("its Zip64 record is missing: it is truncated or damaged")
    if disk or start_disk or here != entries:
        raise CorruptInput("it is one of several volumes: join them first")
    shift = ends_at - length - offset
    if shift < 0:
        raise CorruptInput(
            f"its directory of {length} bytes cannot be at {offset}: it is truncated or damaged"
        )
    return Directory(ByteRange(ends_at - length, ends_at), entries, shift, exact)


def _find_end(tail: bytes) -> int:
    """Return the position of the end record: the one whose comment ends the file, else the last whole one."""
    whole, at = -1, len(tail)
    while (at := tail.rfind(_END, 0, at)) >= 0:
        if at + _END_SIZE > len(tail):
            continue
        after = at + _END_SIZE + int.from_bytes(tail[at + 20 : at + 22], "little")
        if after == len(tail):
            return at
        if whole < 0 and after < len(tail):
            whole = at
    return whole


def _find_end64(tail: bytes, end: int, size: int) -> int:
    """Return the position of the Zip64 end record that belongs to an end record; -1 without one."""
    locator = end - _LOCATOR_SIZE
    if locator < 0 or tail[locator : locator + 4] != _LOCATOR:
        return -1
    stated = struct.unpack_from("<Q", tail, locator + 8)[0] - (size - len(tail))
    # With bytes before the archive, the stated position is wrong.
    for at in (stated, locator - _END64_SIZE):
        if 0 <= at <= locator - _END64_SIZE and tail[at : at + 4] == _END64:
            return int(at)
    raise CorruptInput("its Zip64 record is not where its locator says: it is damaged")


# The fields of a `RawEntry`, and the position after its row.
RowFields = tuple[bytes, bytes | None, int, int, int, int, int, int, int, int, int]


def raw_entry(fields: RowFields) -> RawEntry:
    """Return the fields of a row as an object."""
    return RawEntry(*fields[:-1])


def walk_rows(data: bytes, at: int = 0) -> Iterator[RowFields]:
    """Yield the fields of each row from a position on, and end before a row whose end is missing.

    Plain tuples, because objects take half of the time of a directory of a million rows.

    Raises:
        CorruptInput: the bytes are not those of a row.
    """
    size_of_data = len(data)
    while at + SMALLEST_ROW <= size_of_data:
        (
            head, made_by, flags, method, crc32, packed, size,
            n, m, k, disk, attributes, offset,
        ) = _unpack_row(data, at)  # fmt: skip
        if head != _HEADER:
            raise CorruptInput("its directory is damaged: a row does not start as one")
        # The name has n bytes, the extra fields have m, and the comment has k.
        after_name = at + SMALLEST_ROW + n
        stop = after_name + m + k
        if stop > size_of_data:
            return
        name = data[at + SMALLEST_ROW : after_name]
        unicode_name = None
        if m and (disk or _FULL32 in (size, packed, offset)):
            extra = dict(_extras(data[after_name : after_name + m]))
            if _ZIP64 in extra:
                size, packed, offset, disk = _zip64_values(extra[_ZIP64], size, packed, offset, disk)
        if m and data.find(_UNICODE_MARK, after_name, after_name + m) >= 0:
            unicode_name = _unicode_name(data[after_name : after_name + m], name)
        if disk:
            raise CorruptInput("it is one of several volumes: join them first")
        at = stop
        yield name, unicode_name, flags, method, crc32, packed, size, offset, made_by >> 8, attributes, stop


def _unicode_name(extra: bytes, name: bytes) -> bytes | None:
    path = dict(_extras(extra)).get(_UNICODE_PATH, b"")
    return path[5:] if len(path) > 5 and path[0] == 1 and _crc_matches(path, name) else None


def _extras(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the extra fields. Fewer than four bytes at the end are ignored, as all programs do."""
    at = 0
    while at + 4 <= len(data):
        kind, length = struct.unpack_from("<2H", data, at)
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length


def _zip64_values(
    field: bytes, size: int, compressed_size: int, offset: int, disk: int
) -> tuple[int, int, int, int]:
    """Replace each value that is the largest of its width by the next value in the Zip64 field.

    In an entry without the field, 4,294,967,295 is a number like any other.
    """
    at = 0

    def wide(value: int, full: int, length: int) -> int:
        nonlocal at
        if value != full:
            return value
        if at + length > len(field):
            raise CorruptInput("its directory is damaged: a Zip64 field is too short")
        at += length
        return int.from_bytes(field[at - length : at], "little")

    return (
        wide(size, _FULL32, 8),
        wide(compressed_size, _FULL32, 8),
        wide(offset, _FULL32, 8),
        wide(disk, _FULL16, 4),
    )


def _crc_matches(path: bytes, name: bytes) -> bool:
    """Whether a Unicode name belongs to this name, and not to an earlier one that a program has changed."""
    return int.from_bytes(path[1:5], "little") == zlib.crc32(name)

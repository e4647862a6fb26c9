"""A ZIP archive to write, of stored entries (APPNOTE.TXT 6.3.10). Pure.

Each local header has its entry's CRC32: Java's readers of streams refuse stored entries that have it only
after their data.
"""

import struct
import time
from collections.abc import Iterator

from asyncstream.archives.pack_layout import Crc32s, Layout
from asyncstream.archives.pack_members import Member, PackMembers

_FULL16, _FULL32 = 0xFFFF, 0xFFFFFFFF
_UTF8 = 1 << 11
# Versions of the format that an entry needs: 1.0, or 4.5 for Zip64. Its host is Unix.
_PLAIN, _ZIP64, _UNIX = 10, 45, 3 << 8
_FILE_MODE = 0o100644 << 16
# Times before 1980 and after 2107 do not exist in the format. Files may have such that `gmtime` refuses.
_EARLIEST, _LATEST = 315_532_800, 4_354_819_200


class ZipLayout(Layout):
    """The bytes of a ZIP archive."""

    MOST_END = 22 + 76
    headers = {"ContentType": "application/zip"}  # noqa: RUF012 - read only

    def __init__(self, members: PackMembers) -> None:
        super().__init__(members)
        self.crc32s = Crc32s(len(members))

    def before_length(self, member: Member) -> int:
        """Return the length of the local header."""
        return 30 + len(member.name.encode()) + 20 * _is_large(member)

    def before(self, member: Member, crc32: int) -> bytes:
        """Return the local header."""
        name, large = member.name.encode(), _is_large(member)
        # With Zip64, a local header has both sizes in its extra field (4.5.3).
        extra = struct.pack("<2H2Q", 1, 16, member.size, member.size) if large else b""
        return b"PK\3\4" + _common(member, crc32, large, large) + _lengths(name, extra) + name + extra

    def after(self, member: Member) -> bytes:
        """Return nothing."""
        return b""

    def row_length(self, member: Member) -> int:
        """Return the most bytes of a member's row in the directory."""
        return 46 + len(member.name.encode()) + 28

    def tail_length(self) -> int:
        """Return the length of the directory."""
        rows = sum(self._row_length(position, member) for position, member in enumerate(self.members))
        return rows + 22 + 76 * self._is_zip64(rows)

    def tail(self) -> Iterator[bytes]:
        """Yield the directory, row by row, and the records of its end."""
        assert self.crc32s is not None  # noqa: S101 - set by the constructor
        length = 0
        for position, member in enumerate(self.members):
            row = self._row(position, member, self.crc32s[position])
            length += len(row)
            yield row
        yield self._end(length)

    def _row(self, position: int, member: Member, crc32: int) -> bytes:
        offset, name = self.start(position), member.name.encode()
        wide = [member.size, member.size] if _is_large(member) else []
        wide += [offset] if offset >= _FULL32 else []
        extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version = _UNIX | (_ZIP64 if wide else _PLAIN)
        return (
            struct.pack("<4sH", b"PK\1\2", version)
            + _common(member, crc32, bool(wide), _is_large(member))
            + _lengths(name, extra)
            + struct.pack("<3H2I", 0, 0, 0, _FILE_MODE, min(offset, _FULL32))
            + name
            + extra
        )

    def _row_length(self, position: int, member: Member) -> int:
        wide = 2 * _is_large(member) + (self.start(position) >= _FULL32)
        return 46 + len(member.name.encode()) + (4 + 8 * wide if wide else 0)

    def _is_zip64(self, directory: int) -> bool:
        return max(directory, self.members_end) >= _FULL32 or len(self.members) >= _FULL16

    def _end(self, directory: int) -> bytes:
        count, offset = len(self.members), self.members_end
        record = b""
        if self._is_zip64(directory):
            versions = _UNIX | _ZIP64, _ZIP64
            sizes = count, count, directory, offset
            record = struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, *versions, 0, 0, *sizes)
            record += struct.pack("<4sIQI", b"PK\6\7", 0, offset + directory, 1)
        few, short, near = min(count, _FULL16), min(directory, _FULL32), min(offset, _FULL32)
        return record + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, few, few, short, near, 0)


def _is_large(member: Member) -> bool:
    return member.size >= _FULL32


def _common(member: Member, crc32: int, zip64: bool, large: bool) -> bytes:
    """Return the fields that a local header and a row have alike, from version to sizes."""
    size = _FULL32 if large else member.size
    flags = 0 if member.name.isascii() else _UTF8
    date, hour = _dos_time(member.modified)
    return struct.pack("<5H3I", _ZIP64 if zip64 else _PLAIN, flags, 0, hour, date, crc32, size, size)


def _lengths(name: bytes, extra: bytes) -> bytes:
    return struct.pack("<2H", len(name), len(extra))


def _dos_time(seconds: int) -> tuple[int, int]:
    """Return a time as date and time of MS-DOS, in UTC and steps of two seconds."""
    if not _EARLIEST <= seconds < _LATEST:
        return (1 << 5) | 1, 0
    year, month, day, hour, minute, second, *_ = time.gmtime(seconds)
    return (year - 1980) << 9 | month << 5 | day, hour << 11 | minute << 5 | second // 2

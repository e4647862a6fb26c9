"""The members of a pack, compactly: a million of them take about 100 bytes each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, overload

from msgspec import msgpack

from asyncstream.locations import LocalFile, S3Object, ZipEntry

MemberPlace = S3Object | LocalFile | ZipEntry


class Member(NamedTuple):
    """One file of a pack.

    Attributes:
        place: where it is.
        name: its name in an archive.
        size: its bytes.
        etag: its version.
        modified: when it was last changed, in seconds since 1970; 0 if unknown.
        skip: bytes at its start that are left out.
        ends_line: whether its last byte ends a line, if that matters.
    """

    place: MemberPlace
    name: str
    size: int
    etag: str
    modified: int = 0
    skip: int = 0
    ends_line: bool = True

    @property
    def length(self) -> int:
        """Bytes of it that the pack has."""
        return self.size - self.skip


# Key (or position in a list), size, ETag, time, skipped bytes, whether it ends with a line end.
_Row = tuple[str | int, int, str, int, int, bool]
_read_row = msgpack.Decoder(_Row).decode


class PackMembers(Sequence[Member]):
    """The members of a pack, in order.

    Args:
        place_of: returns the place of a key, or of a position in a list.
        name_of: returns the name of a member in an archive, by the same.

    Attributes:
        bytes: bytes of all members.
        left_out: number of listed files that are none: folder markers, and the archive itself.
    """

    def __init__(self, place_of: Callable[[Any], MemberPlace], name_of: Callable[[Any], str]) -> None:
        self._place_of = place_of
        self._name_of = name_of
        self._rows: list[bytes] = []
        self.bytes = 0
        self.left_out = 0

    def add(self, key: str | int, size: int, etag: str, modified: int) -> None:
        """Add a member."""
        self._rows.append(bytes(memoryview(msgpack.encode((key, size, etag, modified, 0, True)))))
        self.bytes += size

    def cut(self, position: int, skip: int, ends_line: bool) -> None:
        """Leave out bytes at a member's start, and note whether its last byte ends a line."""
        key, size, etag, modified, before, _ = _read_row(self._rows[position])
        self._rows[position] = msgpack.encode((key, size, etag, modified, skip, ends_line))
        self.bytes -= skip - before

    @property
    def held(self) -> int:
        """Bytes of memory that they take, with their positions."""
        return sum(map(len, self._rows)) + 64 * len(self._rows)

    def rows(self) -> Sequence[bytes]:
        """Return what identifies their versions."""
        return self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, position: int) -> Member: ...
    @overload
    def __getitem__(self, position: slice) -> list[Member]: ...
    def __getitem__(self, position: int | slice) -> Member | list[Member]:
        if isinstance(position, slice):
            return [self[each] for each in range(*position.indices(len(self)))]
        key, size, etag, modified, skip, ends_line = _read_row(self._rows[position])
        return Member(self._place_of(key), self._name_of(key), size, etag, modified, skip, ends_line)

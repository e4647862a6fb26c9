"""The members of a pack, compactly: a million of them take about 100 bytes each."""

from collections.abc import Callable, Iterator, Sequence
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
        start: the first of its bytes that the pack has.
        stop: the byte after the last of them.
        ends_line: whether that one ends a line, if it matters.
    """

    place: MemberPlace
    name: str
    size: int
    etag: str
    modified: int
    start: int
    stop: int
    ends_line: bool

    @property
    def length(self) -> int:
        """Bytes of it that the pack has."""
        return self.stop - self.start


# Key (or position in a list), size, ETag, time, first byte, byte after the last, whether that ends a line.
_Row = tuple[bytes | int, int, str, int, int, int, bool]
# The names of files may be no Unicode.
_SURROGATES = "surrogatepass"
# Bytes per member in addition to its row: an object's header, and its place in a list.
_BESIDE_ROW = 47
_read_row = msgpack.Decoder(_Row).decode


class PackMembers(Sequence[Member]):
    """The members of a pack, in order.

    Args:
        place_of: returns the place of a key, or of a position in a list.
        name_of: returns the name of a member in an archive, by the same.

    Attributes:
        bytes: bytes of all members.
        held: bytes of memory that they take.
        left_out: number of listed files that are none: folder markers, and the archive itself.
    """

    def __init__(self, place_of: Callable[[Any], MemberPlace], name_of: Callable[[Any], str]) -> None:
        self._place_of = place_of
        self._name_of = name_of
        self._rows: list[bytes] = []
        self.bytes = self.held = self.left_out = 0

    def add(self, key: str | int, size: int, etag: str, modified: int) -> None:
        """Add a member."""
        kept = key.encode(errors=_SURROGATES) if isinstance(key, str) else key
        # A copy, because the encoder's own bytes occupy up to a quarter more than they need.
        row = bytes(memoryview(msgpack.encode((kept, size, etag, modified, 0, size, True))))
        self._rows.append(row)
        self.held += len(row) + _BESIDE_ROW
        self.bytes += size

    def repeat(self, position: int, start: int, stop: int, *, ends_line: bool) -> None:
        """Add another range of a member."""
        self._rows.append(self._rows[position])
        self.bytes += self[position].length
        self.cut(len(self) - 1, start, stop, ends_line=ends_line)

    def cut(self, position: int, start: int, stop: int, *, ends_line: bool) -> None:
        """Leave out bytes at a member's start or end, and note whether the last one left ends a line."""
        key, size, etag, modified, *before, _ = _read_row(self._rows[position])
        self._rows[position] = msgpack.encode((key, size, etag, modified, start, stop, ends_line))
        self.bytes += (stop - start) - (before[1] - before[0])

    def keys(self) -> Iterator[str]:
        """Yield the keys of members that were listed."""
        for row in self._rows:
            kept = _read_row(row)[0]
            if isinstance(kept, bytes):
                yield kept.decode(errors=_SURROGATES)

    def of(self, positions: range) -> "PackMembers":
        """Return some of the members."""
        some = PackMembers(self._place_of, self._name_of)
        some._rows = self._rows[positions.start : positions.stop]
        some.bytes = sum(member.length for member in some)
        some.held = sum(map(len, some._rows)) + _BESIDE_ROW * len(some)
        return some

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
        kept, *facts = _read_row(self._rows[position])
        key = kept.decode(errors=_SURROGATES) if isinstance(kept, bytes) else kept
        return Member(self._place_of(key), self._name_of(key), *facts)

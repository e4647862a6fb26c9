"""Where the bytes of a pack come from: its members, and those before, between and after them. Pure.

All lengths follow from the names and sizes of the members. So every part of a pack can be made on its own,
and its bytes pass through.
"""

from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

from asyncstream.archives.pack_checks import PackChecks
from asyncstream.archives.pack_members import Member, PackMembers

# Members that have fewer bytes are read whole, by one request each.
SMALL_MEMBER = 128 * 1024
# The same if their CRC32s stand before their bytes: larger ones are read twice, unless S3 knows their CRC32s.
SMALL_ZIP_MEMBER = 512 * 1024


class Layout(ABC):
    """The bytes of a pack, member by member.

    Args:
        members: the files, in order.
        settings: what else the bytes depend on.

    Attributes:
        size: bytes of the pack.
        etag: a text that changes with any byte of the pack, as an ETag does.
        headers: what the destination's object says of itself, as parameters of PutObject.
        crc32s: the CRC32s of the members, as far as they are known; None if no byte depends on them.
        checks: what is known of members that are read in several pieces.
    """

    # The most bytes after the last member that do not depend on the members.
    MOST_END = 0
    headers: dict[str, Any] = {}  # noqa: RUF012 - read only
    crc32s: "Crc32s | None" = None

    def __init__(self, members: PackMembers, settings: str = "") -> None:
        self.members = members
        self.checks = PackChecks()
        self._starts = array("Q")
        at = 0
        digest = blake2b(f"{type(self).__name__} {settings}".encode(), digest_size=16)
        for row, member in zip(members.rows(), members, strict=True):
            self._starts.append(at)
            at += self.frame_length(member) + member.length
            digest.update(row)
            digest.update(f"{member.name}\0".encode(errors="surrogatepass"))
        self.members_end = at
        self.size = at + self.tail_length()
        self.etag = f'"{digest.hexdigest()}"'

    @property
    def held(self) -> int:
        """Bytes of memory that the members and their positions take."""
        return self.members.held + 13 * len(self.members)

    @property
    def is_scattered(self) -> bool:
        """Whether most members are small, so that a range takes many requests."""
        return len(self.members) > 16 and self.members.bytes < len(self.members) * SMALL_MEMBER

    def volumes(self, most: int) -> list[range]:
        """Return the positions of the members that fit into archives of at most so many bytes each."""
        found: list[range] = []
        first = size = 0
        for position, member in enumerate(self.members):
            more = self.frame_length(member) + member.length + self.row_length(member)
            if size and size + more + self.MOST_END > most:
                found.append(range(first, position))
                first, size = position, 0
            size += more
        return [*found, range(first, len(self.members))]

    def start(self, position: int) -> int:
        """Return where a member's frame starts; after the last one, where the tail starts."""
        return self._starts[position] if position < len(self._starts) else self.members_end

    def find(self, at: int) -> int:
        """Return the position of the member whose frame has this byte; of the next, if that is empty."""
        return bisect_right(self._starts, at) - 1 if at < self.members_end else len(self._starts)

    def frame_length(self, member: Member) -> int:
        """Return the bytes before and after a member's own."""
        return self.before_length(member) + len(self.after(member))

    @abstractmethod
    def before_length(self, member: Member) -> int:
        """Return the bytes before a member's own."""

    @abstractmethod
    def before(self, member: Member, crc32: int) -> bytes:
        """Return what precedes a member's bytes. Its CRC32 counts only if there are `crc32s`."""

    @abstractmethod
    def after(self, member: Member) -> bytes:
        """Return what follows a member's bytes."""

    def row_length(self, member: Member) -> int:
        """Return the most bytes that a member has among those after the last one."""
        return 0

    def tail_length(self) -> int:
        """Return the bytes after the last member."""
        return 0

    def tail(self) -> Iterator[bytes]:
        """Yield what follows the last member. It needs all `crc32s`."""
        yield b""


class Crc32s:
    """The CRC32s of members, four bytes each."""

    def __init__(self, count: int) -> None:
        self._values = array("I", [0]) * count
        self._known = bytearray(count)

    def __setitem__(self, position: int, value: int) -> None:
        self._values[position] = value
        self._known[position] = True

    def __getitem__(self, position: int) -> int:
        return self._values[position]

    def forget(self, position: int) -> None:
        """Forget a CRC32, as it may be wrong."""
        self._known[position] = False

    def unknown(self, first: int, stop: int) -> Iterator[int]:
        """Yield the positions whose CRC32 is not known yet."""
        at = first
        while (at := self._known.find(0, at, stop)) >= 0:
            yield at
            at += 1


class ConcatLayout(Layout):
    """Files one after the other.

    Args:
        members: the files, in order.
        separator: bytes between two of them.
        line_end: bytes after a file that does not end with a line end; empty if that does not matter.
    """

    def __init__(self, members: PackMembers, separator: bytes, *, line_end: bytes = b"") -> None:
        self._separator = separator
        self._line_end = line_end
        super().__init__(members, f"{separator.hex()} {line_end.hex()}")

    def before_length(self, member: Member) -> int:
        """Return the bytes before a member's own."""
        return 0

    def before(self, member: Member, crc32: int) -> bytes:
        """Return nothing."""
        return b""

    def after(self, member: Member) -> bytes:
        """Return the separator, or the line end that the member lacks."""
        if self._line_end:
            return b"" if member.ends_line or not member.length else self._line_end
        return self._separator

    def tail_length(self) -> int:
        """Return less than nothing: the last member's separator is left out."""
        return -len(self._separator) if len(self.members) and not self._line_end else 0

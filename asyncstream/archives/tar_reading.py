"""Find the files of a tar archive by its headers: ustar, pax, GNU, and those of Unix version 7. Does no I/O.

Each file is a header of 512 bytes, then its content, padded to whole blocks. Longer names and sizes stand in
extended headers before it. See POSIX.1-2017, pax, "ustar Interchange Format", and GNU tar 1.35, "Basic Tar
Format".
"""

import re
from collections.abc import Iterable, Iterator
from typing import Literal

from msgspec import Struct

from asyncstream.archives.tar_headers import BLOCK
from asyncstream.errors import CorruptInput
from asyncstream.units import MiB

# The most bytes of one extended header. Programs write paths and attributes of a few kilobytes.
MOST_EXTENDED = MiB
_ZEROS = bytes(BLOCK)
_FILES, _LINKS, _DEVICES, _FOLDERS = b"0\x007", b"12", b"346", b"5DV"
# Folders of incremental archives and labels may be followed by data, other folders and links are not.
_WITHOUT_DATA = b"123456"
_PAX, _GLOBAL, _LONG_NAME, _LONG_LINK = b"xX", b"g", b"L", b"K"
_SPARSE, _CONTINUED = b"S", b"M"
_SPARSE_KEYS, _SPARSE_NAME = b"GNU.sparse.", b"GNU.sparse.name"
_OCTAL, _DECIMAL = re.compile(rb"[0-7]+"), re.compile(rb"[0-9]{1,20}")
_RECORD_LENGTH = re.compile(rb"([0-9]{1,8}) ")

Kind = Literal["file", "folder", "link", "device"]


class Member(Struct, frozen=True):
    """One file of an archive, or what else has a header there.

    Attributes:
        name: its path, without "./" at the start.
        kind: a link may be a symbolic or a hard one.
        offset: the position of its content.
        size: bytes of its content.
        refused: the reason why it cannot be read; None if it can.
    """

    name: str
    kind: Kind
    offset: int
    size: int
    refused: str | None = None


class Headers:
    """Reads the headers of one archive, from the bytes between which they stand.

    Attributes:
        ended: whether the archive's end mark was read.
        lone_zeros: the position of a single block of zeros that other data follow; None without one. Programs
            stop there, so what follows is left out.
        marked: whether the archive ended with zeros, and not merely after a file.
    """

    def __init__(self) -> None:
        self.ended = False
        self.lone_zeros: int | None = None
        self.marked = False
        self._at = 0  # the position of the header to read next
        self._needs = BLOCK
        self._read = bytearray()  # its bytes so far
        self._extended: tuple[bytes, int] | None = None  # kind and bytes of the extended header at `_at`
        self._sparse: Member | None = None  # a member whose header goes on at `_at`
        self._long_name: bytes | None = None
        self._pax: dict[bytes, bytes] = {}
        self._global: dict[bytes, bytes] = {}

    @property
    def wanted(self) -> int:
        """The position of the first byte that is needed next. Those before are content."""
        return self._at + len(self._read)

    def feed(self, at: int, data: bytes | memoryview) -> Iterator[Member]:
        """Yield the members whose headers end in these bytes.

        Args:
            at: the position of the first byte, at most `wanted`.
            data: bytes of the archive.

        Raises:
            CorruptInput: they are not those of a tar archive.
        """
        view = memoryview(data)
        while not self.ended and self.wanted < at + len(view):
            start = self.wanted - at
            self._read += view[start : start + self._needs - len(self._read)]
            if len(self._read) < self._needs:
                return
            block = bytes(self._read)
            self._read.clear()
            member = self._take(block)
            if member is not None:
                yield member

    def finish(self, size: int) -> None:
        """Check that an archive of `size` bytes is complete.

        Raises:
            CorruptInput: it is cut.
        """
        if self.marked:
            return
        if self.wanted != size or self._read or self._is_within_header:
            raise CorruptInput(f"it ends after {size} bytes, within a file: it is truncated")
        if not size:
            raise CorruptInput("it is not a tar archive: it is empty")

    @property
    def _is_within_header(self) -> bool:
        """Whether more headers must follow before the next file is known."""
        unfinished = self._extended is not None or self._sparse is not None
        return unfinished or self._long_name is not None or bool(self._pax)

    def _take(self, block: bytes) -> Member | None:
        """Take the header at `_at`, and move on to the next one."""
        position = self._at
        self._at += len(block)
        if self._extended is not None:
            self._needs = BLOCK
            (kind, size), self._extended = self._extended, None
            self._take_extended(kind, block[:size], position)
        elif self._sparse is not None:
            return self._pass_map(more=block[504] != 0)
        elif block == _ZEROS:
            self._take_zeros(position)
        elif self.marked:  # after a block of zeros
            self.ended, self.lone_zeros = True, position - BLOCK
        else:
            return self._take_header(block, position)
        return None

    def _take_zeros(self, position: int) -> None:
        if self._is_within_header:
            raise CorruptInput(f"no file follows its extended header at byte {position}: it is damaged")
        self.ended, self.marked = self.marked, True

    def _take_header(self, block: bytes, position: int) -> Member | None:
        if not is_header(block):
            if not position:
                raise CorruptInput("it is not a tar archive: it does not start with a header of one")
            raise CorruptInput(f"no header of a file is at byte {position}: it is damaged")
        kind, size = block[156:157], _read_size(block, position)
        if kind in _PAX or kind in (_GLOBAL, _LONG_NAME, _LONG_LINK):
            if size > MOST_EXTENDED:
                raise CorruptInput(f"its header at byte {position} has {size} bytes: no program writes such")
            if size:
                self._extended, self._needs = (kind, size), _padded(size)
            return None
        if kind == _CONTINUED:
            raise CorruptInput("it is one of several volumes: join them first")
        pax = {**self._global, **self._pax}
        member = self._member(block, kind, size, pax)
        self._pax, self._long_name = {}, None
        if kind == _SPARSE:
            self._sparse = member
            return self._pass_map(more=block[482] != 0)
        self._at += _padded(member.size)
        return member

    def _pass_map(self, *, more: bool) -> Member | None:
        """Return a sparse member once all blocks of its map were passed."""
        member = self._sparse
        assert member is not None  # noqa: S101 - set by the first block
        if more:
            return None
        self._sparse = None
        self._at += _padded(member.size)
        return Member(member.name, member.kind, self._at - _padded(member.size), member.size, member.refused)

    def _member(self, block: bytes, kind: bytes, size: int, pax: dict[bytes, bytes]) -> Member:
        sparse = kind == _SPARSE or any(key.startswith(_SPARSE_KEYS) for key in pax)
        name = pax.get(_SPARSE_NAME) or pax.get(b"path") or self._long_name or _ustar_name(block)
        if kind in _WITHOUT_DATA:
            size = 0
        elif pax.get(b"size"):
            if _DECIMAL.fullmatch(pax[b"size"]) is None:
                raise CorruptInput(f"the size {pax[b'size']!r:.100} of {name!r:.300} is not a number")
            size = int(pax[b"size"])
        known = _kind(kind, name)
        refused = None
        if sparse:
            refused = "it is a sparse file, whose holes are not stored: unpack it with GNU tar"
        elif known is None:
            refused = f"its type {kind!r} is not known"
        return Member(_decode_name(name), known or "file", self._at, size, refused)

    def _take_extended(self, kind: bytes, data: bytes, position: int) -> None:
        if kind == _LONG_NAME:
            self._long_name = data.partition(b"\0")[0]
        elif kind in _PAX:
            self._pax |= _used(_pax_records(data, position))
        elif kind == _GLOBAL:
            found = _used(_pax_records(data, position))
            if found.get(b"size"):
                raise CorruptInput(
                    "a global header sets one size for all files: programs read that variously"
                )
            self._global |= found


def is_header(block: bytes) -> bool:
    """Whether a block has the checksum of a header: the sum of its bytes, with spaces in its own place."""
    if len(block) < BLOCK:
        return False
    stored = _number(block[148:156])
    rest = block[:148] + block[156:BLOCK]
    found = sum(rest) + 8 * ord(" ")
    # Some programs have added bytes as signed numbers.
    return stored in (found, found - 256 * sum(byte > 127 for byte in rest))


def _kind(kind: bytes, name: bytes) -> Kind | None:
    """Return what a header is of; None if its type is not known."""
    if kind in _FILES:
        return "folder" if name.endswith(b"/") else "file"
    if kind in _LINKS:
        return "link"
    if kind in _DEVICES:
        return "device"
    if kind in _FOLDERS:
        return "folder"
    return "file" if kind == _SPARSE else None


def _used(records: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Return the records that count. A hostile archive may have millions of others: those are not kept."""
    used: dict[bytes, bytes] = {}
    for key, value in records:
        if key in (b"path", b"size", _SPARSE_NAME):
            used[key] = value
        elif key.startswith(_SPARSE_KEYS):
            used[_SPARSE_KEYS] = b""
    return used


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _read_size(block: bytes, position: int) -> int:
    size = _number(block[124:136])
    if size is None or size < 0:
        raise CorruptInput(f"the size in its header at byte {position} is not a number: it is damaged")
    return size


def _number(field: bytes) -> int | None:
    """Return the number in a field: octal digits, or, with the first bit set, a signed binary number."""
    if field[0] & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    digits = field.partition(b"\0")[0].strip(b" ")
    if not digits:
        return 0
    return int(digits, 8) if _OCTAL.fullmatch(digits) else None


def _ustar_name(block: bytes) -> bytes:
    name = block[:100].partition(b"\0")[0]
    if block[257:263] != b"ustar\0":  # GNU has other fields in the place of the prefix
        return name
    # star has times after a shorter prefix.
    prefix = block[345 : 476 if block[508:] == b"tar\0" else 500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix else name


def _decode_name(name: bytes) -> str:
    """Return a name as text: UTF-8, or ISO 8859-1 if it is not valid, in which all bytes are."""
    try:
        text = name.decode()
    except UnicodeDecodeError:
        text = name.decode("latin-1")
    while text.startswith("./"):
        text = text[2:]
    return text


def _pax_records(data: bytes, position: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield the keys and values of an extended header: `length key=value`, each in a line.

    Raises:
        CorruptInput: a record is malformed.
    """
    at = 0
    while at < len(data):
        start = _RECORD_LENGTH.match(data, at)
        stop = at + int(start[1]) if start else 0
        if start is None or not start.end() < stop <= len(data) or data[stop - 1 : stop] != b"\n":
            raise CorruptInput(f"a record of its pax header at byte {position} is malformed: it is damaged")
        key, equals, value = data[start.end() : stop - 1].partition(b"=")
        if not equals:
            raise CorruptInput(f"a record of its pax header at byte {position} has no value: it is damaged")
        yield key, value
        at = stop

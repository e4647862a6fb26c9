"""Checksums of bytes that pass by, of every kind S3 keeps, and those of parts put together; pure.

The only file that imports awscrt: its CRC64NVME takes 36 GB/s, which nothing else on PyPI does.
"""

import hashlib
import platform
import re
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

# What S3 computes by itself of every upload that names no other (user guide, "Checking object integrity").
CRC64NVME = "CRC64NVME"
_MD5 = re.compile("[0-9a-f]{32}")


class Checksum(Struct, frozen=True):
    """The checksum of a whole object.

    Attributes:
        kind: as S3 names it: "CRC64NVME", "CRC32", "CRC32C", "SHA1" or "SHA256".
        value: base64, as in S3's headers.
    """

    kind: str
    value: str


class Composite(Struct, frozen=True):
    """The checksum of the checksums of the parts that an object was uploaded in.

    Attributes:
        kind: as that of `Checksum`.
        value: base64, a hyphen and how many parts there were, as in S3's headers.
        part_size: bytes of each of them, of which the last may have fewer; 0 while that is not known.
    """

    kind: str
    value: str
    part_size: int = 0

    @property
    def parts(self) -> int:
        """How many there were."""
        return int(self.value.rpartition("-")[2])


@cache
def load() -> Any:
    """awscrt. Not with this module: it takes 30 ms of CPU and 6 MB, which who gathers pages need not have."""
    from awscrt import checksums  # noqa: PLC0415

    return checksums


def _crc32() -> Callable[[Any, int], int]:
    """The one kind that awscrt has no vector code for on x86: 2.5 GB/s, where zlib takes 4.5."""
    return zlib.crc32 if platform.machine() in {"x86_64", "AMD64"} else load().crc32


class _Running(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


class _Crc:
    def __init__(self, function: Callable[[Any, int], int], width: int) -> None:
        self._function = function
        self._width = width
        self._crc = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._crc = self._function(data, self._crc)

    def digest(self) -> bytes:
        return self._crc.to_bytes(self._width, "big")


_NEW: dict[str, Callable[[], _Running]] = {
    CRC64NVME: lambda: _Crc(load().crc64nvme, 8),
    "CRC32": lambda: _Crc(_crc32(), 4),
    "CRC32C": lambda: _Crc(load().crc32c, 4),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}
_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    CRC64NVME: lambda *of: load().combine_crc64nvme(*of),
    "CRC32": lambda *of: load().combine_crc32(*of),
    "CRC32C": lambda *of: load().combine_crc32c(*of),
}
KINDS = tuple(_NEW)


def checkable_in_parts(kind: str) -> bool:
    """Whether the checksum of a whole follows from those of its parts: a CRC's does, a hash's does not."""
    return kind in _COMBINE


class Digests:
    """The checksums of one run of bytes, of several kinds at once. Of no kind it costs nothing.

    Args:
        kinds: those of the run as a whole.
        composite: what the run is cut for into pieces, each with a checksum of its own.
        start: where in the whole object the run begins.
    """

    def __init__(self, kinds: Iterable[str], composite: Composite | None = None, start: int = 0) -> None:
        self._of_all = {kind: _NEW[kind]() for kind in kinds}
        self._of_pieces = None if composite is None else _Pieces(composite, start)
        self._running: list[_Running] = [*self._of_all.values()]
        if self._of_pieces is not None:
            self._running.append(self._of_pieces)

    def update(self, chunk: bytes | memoryview) -> None:
        """Take in the next bytes."""
        for running in self._running:
            running.update(chunk)

    def checksums(self) -> Mapping[str, Checksum]:
        """Those of the bytes so far, by kind."""
        return {
            kind: Checksum(kind, b64encode(running.digest()).decode())
            for kind, running in self._of_all.items()
        }

    def pieces(self) -> str:
        """The checksums of the pieces so far, one after the other, in base64; empty without `composite`."""
        return "" if self._of_pieces is None else b64encode(self._of_pieces.digest()).decode()


class _Pieces:
    """The checksums of the pieces that a run of bytes is cut into where the parts of its source end."""

    def __init__(self, composite: Composite, start: int) -> None:
        self._new = _NEW[composite.kind]
        self._part_size = composite.part_size
        self._left = composite.part_size - start % composite.part_size
        self._piece: _Running | None = None
        self._ended = b""

    def update(self, chunk: bytes | memoryview, /) -> None:
        rest = memoryview(chunk)
        while rest:
            if self._piece is None:
                self._piece = self._new()
            taken = rest[: self._left]  # a view: nothing is copied
            self._piece.update(taken)
            self._left -= len(taken)
            rest = rest[len(taken) :]
            if not self._left:
                self._ended, self._piece, self._left = self.digest(), None, self._part_size

    def digest(self) -> bytes:
        return self._ended if self._piece is None else self._ended + self._piece.digest()


def combined(kind: str, parts: Iterable[tuple[Checksum, int]]) -> Checksum:
    """The checksum of parts put together, each given with its bytes.

    Args:
        kind: a CRC; see `checkable_in_parts`.
        parts: in their order, of the same kind.
    """
    crc = width = 0
    for part, length in parts:
        value = b64decode(part.value)
        width = len(value)
        crc = _COMBINE[kind](crc, int.from_bytes(value, "big"), length)
    return Checksum(kind, b64encode(crc.to_bytes(width, "big")).decode())


def composed(composite: Composite, runs: Iterable[tuple[int, str]]) -> Composite:
    """What `composite` is by the pieces of an object.

    Args:
        composite: what the runs were cut for.
        runs: of the whole object, in their order: the bytes of each, and its `Digests.pieces`. Of a hash a
            single one: see `checkable_in_parts`.
    """
    kind, part_size, width = composite.kind, composite.part_size, _width(composite.kind)
    parts: list[bytes] = []
    start = 0
    for length, pieces in runs:
        stop, digests = start + length, b64decode(pieces)
        for place in range(0, len(digests), width):
            digest = digests[place : place + width]
            end = min(start + part_size - start % part_size, stop)
            if start % part_size == 0:
                parts.append(digest)
            else:
                crc = _COMBINE[kind](_number(parts[-1]), _number(digest), end - start)
                parts[-1] = crc.to_bytes(width, "big")
            start = end
    whole = _NEW[kind]()
    whole.update(b"".join(parts))
    return replace(composite, value=f"{b64encode(whole.digest()).decode()}-{len(parts)}")


def are_pieces(text: str, composite: Composite, start: int, length: int) -> bool:
    """Whether this may be the `Digests.pieces` of a run of so many bytes, at least one."""
    count = (start + length - 1) // composite.part_size - start // composite.part_size + 1
    try:
        return len(b64decode(text, validate=True)) == count * _width(composite.kind)
    except ValueError:
        return False


def _width(kind: str) -> int:
    """Bytes of a checksum."""
    return len(_NEW[kind]().digest())


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big")


def multipart_etag(etags: Iterable[str]) -> str | None:
    """Return the ETag that an object made of parts with these has: the MD5 of their MD5s, and how many.

    None if one is not an MD5, as with KMS. (S3 user guide, "Checking object integrity", "Using Content-MD5
    and the ETag to verify uploaded objects".)
    """
    hashes = [etag.strip('"') for etag in etags]
    if not all(_MD5.fullmatch(each) for each in hashes):
        return None
    whole = hashlib.md5(bytes.fromhex("".join(hashes)), usedforsecurity=False)
    return f'"{whole.hexdigest()}-{len(hashes)}"'

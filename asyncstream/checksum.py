"""Checksums of bytes that pass by, of every kind S3 keeps, and CRCs combined; pure, used by `parts.py`.

The only file that imports awscrt: its CRC64NVME takes 36 GB/s, which nothing else on PyPI does.
"""

import hashlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from awscrt import checksums as crt
from msgspec import Struct

# What S3 computes by itself of every upload that names no other (user guide, "Checking object integrity").
CRC64NVME = "CRC64NVME"


class Checksum(Struct, frozen=True):
    """The checksum of a whole object.

    Attributes:
        kind: as S3 names it: "CRC64NVME", "CRC32", "CRC32C", "SHA1" or "SHA256".
        value: base64, as in S3's headers.
    """

    kind: str
    value: str


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
    CRC64NVME: lambda: _Crc(crt.crc64nvme, 8),
    "CRC32": lambda: _Crc(crt.crc32, 4),
    "CRC32C": lambda: _Crc(crt.crc32c, 4),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
}
_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    CRC64NVME: crt.combine_crc64nvme,
    "CRC32": crt.combine_crc32,
    "CRC32C": crt.combine_crc32c,
}
KINDS = tuple(_NEW)


def checkable_in_parts(kind: str) -> bool:
    """Whether the checksum of a whole follows from those of its parts: a CRC's does, a hash's does not."""
    return kind in _COMBINE


class Digests:
    """The checksums of one run of bytes, of several kinds at once. Of no kind it costs nothing."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._running = {kind: _NEW[kind]() for kind in kinds}

    def update(self, chunk: bytes | memoryview) -> None:
        """Take in the next bytes."""
        for running in self._running.values():
            running.update(chunk)

    def checksums(self) -> Mapping[str, Checksum]:
        """Those of the bytes so far, by kind."""
        return {
            kind: Checksum(kind, b64encode(running.digest()).decode())
            for kind, running in self._running.items()
        }


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

"""S3's checksums, computed piece by piece, and combined CRC64NVME.

Only this file of the lab S3 imports awscrt, which has no types.
"""

from __future__ import annotations

import hashlib
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Protocol

from awscrt import checksums as crt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Digest(Protocol):
    """The part of hashlib's interface used here."""

    def update(self, data: memoryview, /) -> None:
        """Add bytes."""

    def digest(self) -> bytes:
        """Return the checksum so far."""


def crc64nvme(data: memoryview, previous: int = 0) -> int:
    """Return the CRC64NVME of bytes that follow bytes with the CRC `previous`."""
    crc: int = crt.crc64nvme(data, previous)
    return crc


def combine_crc64nvme(first: int, second: int, second_length: int) -> int:
    """Return the CRC64NVME of two concatenated byte strings, from their CRCs."""
    crc: int = crt.combine_crc64nvme(first, second, second_length)
    return crc


class _Crc:
    def __init__(self, function: Callable[[memoryview, int], int], width: int) -> None:
        self._function = function
        self._width = width
        self._crc = 0

    def update(self, data: memoryview, /) -> None:
        self._crc = self._function(data, self._crc)

    def digest(self) -> bytes:
        return self._crc.to_bytes(self._width, "big")


class _XxHash:
    """One of awscrt's XXHashes, which accept `bytes` only."""

    def __init__(self, name: str) -> None:
        self._hash = getattr(crt.XXHash, f"new_{name}")()

    def update(self, data: memoryview, /) -> None:
        self._hash.update(bytes(data))

    def digest(self) -> bytes:
        digest: bytes = self._hash.finalize()
        return digest


ALGORITHMS: dict[str, Callable[[], Digest]] = {
    "x-amz-checksum-crc32": lambda: _Crc(crt.crc32, 4),
    "x-amz-checksum-crc32c": lambda: _Crc(crt.crc32c, 4),
    "x-amz-checksum-crc64nvme": lambda: _Crc(crc64nvme, 8),
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
    "x-amz-checksum-sha512": hashlib.sha512,
    "x-amz-checksum-md5": lambda: hashlib.md5(usedforsecurity=False),
    "x-amz-checksum-xxhash64": lambda: _XxHash("xxhash64"),
    "x-amz-checksum-xxhash3": lambda: _XxHash("xxhash3_64"),
    "x-amz-checksum-xxhash128": lambda: _XxHash("xxhash3_128"),
}


_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "x-amz-checksum-crc32": crt.combine_crc32,
    "x-amz-checksum-crc32c": crt.combine_crc32c,
    "x-amz-checksum-crc64nvme": crt.combine_crc64nvme,
}
CRC64NVME = "x-amz-checksum-crc64nvme"  # S3's default
FULL_OBJECT, COMPOSITE = "FULL_OBJECT", "COMPOSITE"


def checksum_header(kind: str) -> str | None:
    """Return the header of a checksum by S3's name, such as "CRC32C", or None for unknown names."""
    name = f"x-amz-checksum-{kind.lower()}"
    return name if name in ALGORITHMS else None


def checksum_kind(header: str) -> str:
    """Return S3's name of a header's checksum, such as "CRC32C"."""
    return header.rpartition("-")[2].upper()


def can_be(header: str, checksum_type: str) -> bool:
    """Return whether a multipart upload can have this checksum with this type."""
    return header in _COMBINE if checksum_type == FULL_OBJECT else header != CRC64NVME


def full_object(header: str, parts: Iterable[tuple[str, int]]) -> str:
    """Return the CRC of concatenated parts, from pairs of a part's CRC and size."""
    crc = width = 0
    for checksum, size in parts:
        value = b64decode(checksum)
        width = len(value)
        crc = _COMBINE[header](crc, int.from_bytes(value, "big"), size)
    return b64encode(crc.to_bytes(width, "big")).decode()


def composite(header: str, checksums: Iterable[str]) -> str:
    """Return the checksum of the parts' checksums, with the number of parts."""
    values = [b64decode(checksum) for checksum in checksums]
    digest = ALGORITHMS[header]()
    digest.update(memoryview(b"".join(values)))
    return f"{encoded(digest)}-{len(values)}"


def declared_digests(headers: Mapping[str, str]) -> dict[str, Digest]:
    """Return a digest for every checksum that the headers contain, or announce as a trailer."""
    names = {*headers, *headers.get("x-amz-trailer", "").lower().split(",")}
    return {name: new() for name, new in ALGORITHMS.items() if name in names}


def encoded(digest: Digest) -> str:
    """Return a checksum in the format of S3's headers."""
    return b64encode(digest.digest()).decode()


def encoded_crc64nvme(crc: int) -> str:
    """Return a CRC64NVME in the format of S3's headers."""
    return b64encode(crc.to_bytes(8, "big")).decode()

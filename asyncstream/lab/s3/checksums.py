"""Checksums: those that S3 knows, computed piece by piece, and CRC64NVME combined; for body.py, content.py.

The only file that imports awscrt, which has no types.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import TYPE_CHECKING, Protocol

from awscrt import checksums as crt

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


class Digest(Protocol):
    """The part of hashlib's interface that is needed here."""

    def update(self, data: memoryview, /) -> None:
        """Take in more bytes."""

    def digest(self) -> bytes:
        """Return the checksum so far."""


def crc64nvme(data: memoryview, previous: int = 0) -> int:
    """Return the CRC64NVME of bytes that follow others."""
    crc: int = crt.crc64nvme(data, previous)
    return crc


def combine_crc64nvme(first: int, second: int, second_length: int) -> int:
    """Return the CRC64NVME of two runs of bytes put together."""
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


ALGORITHMS: dict[str, Callable[[], Digest]] = {
    "x-amz-checksum-crc32": lambda: _Crc(crt.crc32, 4),
    "x-amz-checksum-crc32c": lambda: _Crc(crt.crc32c, 4),
    "x-amz-checksum-crc64nvme": lambda: _Crc(crc64nvme, 8),
    "x-amz-checksum-sha1": lambda: hashlib.sha1(usedforsecurity=False),
    "x-amz-checksum-sha256": hashlib.sha256,
}


def declared_digests(headers: Mapping[str, str]) -> dict[str, Digest]:
    """Return a digest for every checksum that the headers carry, or announce as a trailer."""
    names = {*headers, *headers.get("x-amz-trailer", "").lower().split(",")}
    return {name: new() for name, new in ALGORITHMS.items() if name in names}


def encoded(digest: Digest) -> str:
    """Return a checksum as S3's headers have it."""
    return b64encode(digest.digest()).decode()


def encoded_crc64nvme(crc: int) -> str:
    """Return a CRC64NVME as S3's headers have it."""
    return b64encode(crc.to_bytes(8, "big")).decode()

"""The content of objects: synthetic bytes, files, joined parts.

Byte i of a synthetic object is `block[(i + crc32(key)) % BLOCK_SIZE]`. The block's size is a prime, so no
part size is a multiple of it. Checks therefore detect parts that are swapped, shifted or from another key.
"""

from __future__ import annotations

import os
import random
import weakref
import zlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from asyncstream.lab.s3.checksums import ALGORITHMS, combine_crc64nvme, crc64nvme, encoded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BLOCK_SIZE = 1_048_573  # the largest prime below 1 MiB
BLOCK_SEED = 20_060_314


class Slice(NamedTuple):
    """A range of an open file, as arguments for `os.sendfile`."""

    descriptor: int
    offset: int
    length: int


class Content(Protocol):
    """The bytes of an object."""

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """Yield file slices with the bytes from `start` to `stop`. Each is valid until the next one."""


@cache
def block() -> bytes:
    """Return the block that all synthetic content repeats."""
    return random.Random(BLOCK_SEED).randbytes(BLOCK_SIZE)  # noqa: S311 -- test data


@cache
def _block_file() -> int:
    """Return a file in memory with the block twice, so that a whole block can start at any offset."""
    descriptor = os.memfd_create("lab-s3-block")
    os.truncate(descriptor, 2 * BLOCK_SIZE)
    os.pwrite(descriptor, block(), 0)
    os.pwrite(descriptor, block(), BLOCK_SIZE)
    return descriptor


@dataclass(frozen=True, slots=True)
class SyntheticContent:
    """Content that is computed instead of stored, and differs for each key."""

    key: str
    size: int

    @property
    def _shift(self) -> int:
        return zlib.crc32(self.key.encode()) % BLOCK_SIZE

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """Yield slices of the block."""
        offset = (start + self._shift) % BLOCK_SIZE
        while start < stop:
            length = min(stop - start, 2 * BLOCK_SIZE - offset)
            yield Slice(_block_file(), offset, length)
            start += length
            offset = 0  # every slice except the last ends at the end of the block

    def crc64nvme(self) -> int:
        """Return the checksum of all bytes, computed from at most one block of them."""
        view = memoryview(block())
        rotated = (view[self._shift :], view[: self._shift])
        whole_blocks, rest = divmod(self.size, BLOCK_SIZE)
        crc = _repeated(_crc64nvme(*rotated), BLOCK_SIZE, whole_blocks) if whole_blocks else 0
        tail = _crc64nvme(rotated[0][:rest], rotated[1][: max(0, rest - len(rotated[0]))])
        return combine_crc64nvme(crc, tail, rest)

    def checksum(self, header: str, start: int = 0, length: int | None = None) -> str:
        """Return any kind of checksum by reading all bytes from `start`, or at most `length` bytes."""
        digest = ALGORITHMS[header]()
        offset, left = (start + self._shift) % BLOCK_SIZE, self.size - start
        if length is not None:
            left = min(left, length)
        while left:
            piece = memoryview(block())[offset : offset + left]
            digest.update(piece)
            offset, left = 0, left - len(piece)
        return encoded(digest)


def _crc64nvme(*pieces: memoryview) -> int:
    crc = 0
    for piece in pieces:
        crc = crc64nvme(piece, crc)
    return crc


def _repeated(crc: int, length: int, times: int) -> int:
    """Return the checksum of bytes repeated `times` times, by doubling."""
    total = 0
    while times:
        if times & 1:
            total = combine_crc64nvme(total, crc, length)
        crc, length, times = combine_crc64nvme(crc, crc, length), 2 * length, times >> 1
    return total


class FileContent:
    """Content in its own file, which is removed with the last reference to the content."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._removal = weakref.finalize(self, path.unlink, missing_ok=True)

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """Yield the range of the file."""
        with self.path.open("rb") as file:
            yield Slice(file.fileno(), start, stop - start)


@dataclass(frozen=True, slots=True)
class JoinedContent:
    """The parts of a multipart upload, one after the other, each with its size."""

    parts: Sequence[tuple[Content, int]]

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """Yield the slices of every part that the range touches."""
        offset = 0
        for part, size in self.parts:
            first, last = max(start - offset, 0), min(stop - offset, size)
            if first < last:
                yield from part.slices(first, last)
            offset += size

"""What objects consist of: synthetic bytes, files, parts joined together.

Byte i of a synthetic object is `block[(i + crc32(key)) % BLOCK_SIZE]`. The block's size is a prime, so no
part size is a multiple of it: parts swapped, shifted or taken from another key do not go unnoticed.
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
    """Bytes of an open file: what `os.sendfile` takes."""

    descriptor: int
    offset: int
    length: int


class Content(Protocol):
    """The bytes of an object."""

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """Yield where the bytes from `start` up to `stop` lie; each is good until the next is asked for."""


@cache
def block() -> bytes:
    """Return the block that all synthetic content repeats."""
    return random.Random(BLOCK_SEED).randbytes(BLOCK_SIZE)  # noqa: S311 -- test data


@cache
def _block_file() -> int:
    """Return a file in memory with the block twice, so that a run of a block's length starts anywhere."""
    descriptor = os.memfd_create("lab-s3-block")
    os.truncate(descriptor, 2 * BLOCK_SIZE)
    os.pwrite(descriptor, block(), 0)
    os.pwrite(descriptor, block(), BLOCK_SIZE)
    return descriptor


@dataclass(frozen=True, slots=True)
class SyntheticContent:
    """Content that is stored nowhere and differs from key to key."""

    key: str
    size: int

    @property
    def _shift(self) -> int:
        return zlib.crc32(self.key.encode()) % BLOCK_SIZE

    def slices(self, start: int, stop: int) -> Iterator[Slice]:
        """Yield runs of the block."""
        offset = (start + self._shift) % BLOCK_SIZE
        while start < stop:
            length = min(stop - start, 2 * BLOCK_SIZE - offset)
            yield Slice(_block_file(), offset, length)
            start += length
            offset = 0  # every run but the last ends with the block

    def crc64nvme(self) -> int:
        """Return the checksum of all bytes, from at most one block's worth of them."""
        view = memoryview(block())
        rotated = (view[self._shift :], view[: self._shift])
        whole_blocks, rest = divmod(self.size, BLOCK_SIZE)
        crc = _repeated(_crc_of(*rotated), BLOCK_SIZE, whole_blocks) if whole_blocks else 0
        tail = _crc_of(rotated[0][:rest], rotated[1][: max(0, rest - len(rotated[0]))])
        return combine_crc64nvme(crc, tail, rest)

    def checksum(self, header: str, start: int = 0, length: int | None = None) -> str:
        """Return a checksum of any kind, by reading through all bytes from `start`, or so many at most."""
        digest = ALGORITHMS[header]()
        offset, left = (start + self._shift) % BLOCK_SIZE, self.size - start
        if length is not None:
            left = min(left, length)
        while left:
            piece = memoryview(block())[offset : offset + left]
            digest.update(piece)
            offset, left = 0, left - len(piece)
        return encoded(digest)


def _crc_of(*pieces: memoryview) -> int:
    crc = 0
    for piece in pieces:
        crc = crc64nvme(piece, crc)
    return crc


def _repeated(crc: int, length: int, times: int) -> int:
    """Return the checksum of some bytes repeated, by doubling."""
    total = 0
    while times:
        if times & 1:
            total = combine_crc64nvme(total, crc, length)
        crc, length, times = combine_crc64nvme(crc, crc, length), 2 * length, times >> 1
    return total


class FileContent:
    """Content kept in a file of its own, which goes when nothing refers to the content any more."""

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

"""The output of a transform, part by part. `transforming.py` fills the parts. Does no I/O.

The length of the output is unknown until its end, but S3 needs the length of a part before its first byte. So
each part is filled in memory, which is reserved before, and sent while the next one is filled.
"""

import mmap as mappings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from mmap import mmap
from typing import Any

from msgspec import Struct

from asyncstream.checksum import Digests
from asyncstream.errors import ConfigError
from asyncstream.pipeline import plan
from asyncstream.pipeline.body import BytesBody, ChunkBody
from asyncstream.pipeline.config import TransferConfig
from asyncstream.transforms import Factory, Held, Running
from asyncstream.units import KiB

# Bytes of freed pieces that a thread's allocator keeps. *Measured*: 0.7 MiB in each of ten threads. That is
# too much if one file uses all available memory.
KEPT_BY_ALLOCATOR = 768 * KiB
# Windows has no such flags, and its mappings without a file are private.
_FLAGS = getattr(mappings, "MAP_PRIVATE", 0) | getattr(mappings, "MAP_ANONYMOUS", 0)
_PRIVATE = {"flags": _FLAGS} if _FLAGS else {}


class TransformSettings(Struct, frozen=True):
    """The transform of every file of a transfer, with its limits.

    Attributes:
        factory: creates a transform.
        name: stored with each output, to recognize it as made by this transform.
        part_size: returns the bytes of a part, by its number.
        max_output: the most bytes to make of a file; None for no limit.
        max_ratio: the most bytes to make of each byte; None for no limit.
        memory: bytes to reserve for the transform of a file, before more is known about the file.
        max_memory: bytes that the transforms of all files may hold, so that the smallest part still fits.
    """

    factory: Factory
    name: str
    part_size: Callable[[int], int]
    max_output: int | None
    max_ratio: float | None
    memory: int = 0
    max_memory: int = 0


def transform_settings(
    name: str,
    factory: Factory,
    held: Held,
    config: TransferConfig,
    limit: int,
    slots: int,
    slot_bytes: int,
) -> TransformSettings:
    """Return the transform of a transfer's files, with its limits.

    Args:
        name: the transform's name.
        factory: creates a transform.
        held: the memory that a transform holds.
        config: the transfer's settings.
        limit: bytes for all parts in flight together.
        slots: number of parts in flight.
        slot_bytes: bytes that a part in flight costs in addition to its own bytes.

    Raises:
        ConfigError: not even one part fits.
    """
    if config.part_size == "auto":
        first, smallest = plan.auto_output_part(limit, slots, slot_bytes + held.usual), plan.MIN_PART
    else:
        first = smallest = config.part_size
    most, max_memory = limit - slot_bytes, limit - slot_bytes - smallest
    if held.least > max_memory:
        beside = f" and {held.least} for what the transform holds" if held.least else ""
        raise ConfigError(
            f"memory_limit of {limit} bytes is too small for a transform: a part of {smallest} bytes is "
            f"filled in memory before it is sent, and takes {slot_bytes} more bytes{beside}. "
            "Raise memory_limit"
        )
    if held.grows:
        max_memory = max(held.least, max_memory - slots * KEPT_BY_ALLOCATOR)
    # If a file's share of all memory is more than the usual amount, reserve the share: fewer files start
    # twice, and every slot still has a file.
    share = limit // slots - slot_bytes - first if held.grows else 0
    memory = min(max(held.usual, share), max_memory)
    return TransformSettings(
        factory,
        name,
        partial(plan.output_part_size, first=first, most=most),
        config.max_output,
        config.max_ratio,
        memory,
        max_memory,
    )


def allocate(size: int) -> memoryview:
    """Return a buffer of zeros, a memory mapping of its own: it takes memory only as far as it is written."""
    return memoryview(mmap(-1, size, **_PRIVATE))


class PartBuffers:
    """A pool of buffers for parts. Allocating each from the kernel again would take a sixth of the CPU time.

    Each buffer is a memory mapping of its own, and leaves no holes.

    The pool never holds more than the parts in progress have reserved: a buffer that does not fit the next
    part is freed. It needs no lock, because a list's `pop` and `append` are atomic.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self, size: int) -> memoryview:
        """Return a buffer of `size` bytes, which may contain old bytes of another part."""
        while (buffer := self._pop()) is not None:
            if len(buffer) == size:
                return buffer
        return allocate(size)

    def give_back(self, buffer: memoryview) -> None:
        """Return a buffer to the pool. No code may still read it."""
        self._free.append(buffer)

    def keep(self, most: int) -> None:
        """Free unused buffers until at most `most` bytes remain in the pool."""
        while sum(map(len, tuple(self._free))) > most:
            self._pop()

    def _pop(self) -> memoryview | None:
        try:
            return self._free.pop()
        except IndexError:
            return None


class OutputPart:
    """The bytes of one part, filled once and sent as often as necessary.

    Args:
        start: the position of its first byte in the output.
        size: bytes of room.
        buffers: the pool for its memory.
        kinds: the kinds of checksums to compute.
    """

    def __init__(self, start: int, size: int, buffers: PartBuffers, kinds: Iterable[str]) -> None:
        self.start = start
        self.length = 0
        self._digests = Digests(kinds)
        self._size = size
        self._buffers = buffers
        self._bytes = memoryview(b"")

    @property
    def full(self) -> bool:
        """Whether the part has no more room."""
        return self.length == self._size

    def add(self, piece: bytes | memoryview) -> memoryview | None:
        """Copy as many bytes as fit, and return the rest, if any."""
        if not self._bytes:
            self._bytes = self._buffers.take(self._size)
        room = self._size - self.length
        taken = piece if len(piece) <= room else memoryview(piece)[:room]
        self._digests.update(taken)  # while it is in the processor's cache
        self._bytes[self.length : self.length + len(taken)] = taken
        self.length += len(taken)
        return memoryview(piece)[room:] if len(piece) > room else None

    def body(self, check: Callable[[], None]) -> BytesBody:
        """Return the part as a body to send once. `check` is called before each chunk and raises to stop."""
        return BytesBody(self._bytes[: self.length], self._digests, check)

    def clear(self) -> None:
        """Return the memory to the pool, once the part was sent or will not be. The part is then empty."""
        if self._bytes:
            self._buffers.give_back(self._bytes)
        self._bytes = memoryview(b"")


class Output:
    """A running transform: its source, and output that is not yet in a part.

    Args:
        running: the transform.
        task: the task that fills the first part.

    Attributes:
        task: the task that fills a part now.
        source: the body whose chunks are fed to the transform; None once it is closed.
        ended: whether the output is complete.
        length: bytes of output so far.
    """

    def __init__(self, running: Running, task: Any) -> None:
        self.task = task
        self.source: ChunkBody | None = None
        self.ended = False
        self.length = 0
        self._running: Running | None = running
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._rest: memoryview | None = None
        self._is_last = False

    @property
    def hungry(self) -> bool:
        """Whether the transform needs more input to make more output."""
        return self._pieces is None and not self.ended

    def feed(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Feed the next chunks of the source; none at its end. They must stay valid until it is hungry."""
        assert self._running is not None  # noqa: S101 - only `close` removes it
        self._is_last = not chunks
        # Lazy, one chunk after the other: no output is made before `fill` has room for it.
        fed = chain.from_iterable(map(self._running.feed, chunks))
        self._pieces = fed if chunks else self._running.finish()

    def fill(self, part: OutputPart) -> None:
        """Make output until the part is full or the transform needs more input. This takes the CPU time.

        Raises:
            TransformError: the transform failed.
        """
        while self._pieces is not None and not part.full:
            piece = self._rest or next(self._pieces, None)
            if piece is None:
                self._pieces = None
                self.ended = self._is_last
                continue
            before = part.length
            self._rest = part.add(piece)
            self.length += part.length - before

    async def close(self) -> None:
        """Close the source, and drop it and the transform, which may hold many megabytes.

        Tracebacks of errors may keep this object alive longer.
        """
        source, self.source = self.source, None
        self._running = self._pieces = self._rest = None
        if source is not None:
            await source.close()

"""What a transform makes of a file, part by part; filled by `transforming.py`, kept by a file in progress.

Nothing here does I/O. How long the output is nobody knows before its end, and S3 wants the length of a part
before its first byte: so a part is filled in memory, reserved before, and sent while the next is filled.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from mmap import MAP_ANONYMOUS, MAP_PRIVATE, mmap
from typing import Any

from msgspec import Struct

from asyncstream.checksum import Digests
from asyncstream.errors import ConfigError
from asyncstream.pipeline import plan
from asyncstream.pipeline.body import BytesBody, ChunkBody
from asyncstream.pipeline.config import TransferConfig
from asyncstream.transforms import Factory, Held, Running
from asyncstream.units import KiB

# Bytes that a thread's allocator keeps of the pieces it had. *Measured*: 0.7 MiB in each of ten threads. That
# is too much when one file has all the memory there is.
KEPT_BY_ALLOCATOR = 768 * KiB


class Transforming(Struct, frozen=True):
    """What is made of every file of a transfer.

    Attributes:
        factory: makes a transform.
        name: by which a copy is known to be made by it.
        part_size: bytes of a part, by its number.
        max_output: bytes that may be made of a file; None: any number.
        max_ratio: bytes that may be made of each byte; None: any number.
        memory: bytes to reserve for what the transform of a file holds, before more is known of the file.
        most_memory: bytes that the transforms of all files may hold, so that the smallest part fits beside.
    """

    factory: Factory
    name: str
    part_size: Callable[[int], int]
    max_output: int | None
    max_ratio: float | None
    memory: int = 0
    most_memory: int = 0


def transforming_of(
    name: str,
    factory: Factory,
    held: Held,
    config: TransferConfig,
    limit: int,
    slots: int,
    slot_bytes: int,
) -> Transforming:
    """What a transfer makes of its files.

    Args:
        name: of the transform.
        factory: makes it.
        held: what it holds.
        config: of the transfer.
        limit: bytes of all parts in flight.
        slots: parts in flight.
        slot_bytes: bytes that one costs beside those of the part itself.

    Raises:
        ConfigError: not even one part fits.
    """
    if config.part_size == "auto":
        first, smallest = plan.auto_output_part(limit, slots, slot_bytes + held.usual), plan.MIN_PART
    else:
        first = smallest = config.part_size
    most, most_memory = limit - slot_bytes, limit - slot_bytes - smallest
    if held.least > most_memory:
        beside = f" and {held.least} for what the transform holds" if held.least else ""
        raise ConfigError(
            f"memory_limit of {limit} bytes is too small for a transform: a part of {smallest} bytes is "
            f"filled in memory before it is sent, and takes {slot_bytes} bytes beside{beside}. "
            "Raise memory_limit"
        )
    if held.grows:
        most_memory = max(held.least, most_memory - slots * KEPT_BY_ALLOCATOR)
    # Where the file's share of all memory is more than usual, it has its share: fewer files begin twice, and
    # every slot still has its file.
    share = limit // slots - slot_bytes - first if held.grows else 0
    memory = min(max(held.usual, share), most_memory)
    return Transforming(
        factory,
        name,
        partial(plan.output_part_size, first=first, most=most),
        config.max_output,
        config.max_ratio,
        memory,
        most_memory,
    )


class PartBuffers:
    """The memory of parts, used again: to have it from the kernel anew each time is a sixth of the CPU time.

    Each is a mapping of its own, which takes room only as far as it is written, and leaves no holes.

    Never more than the parts in progress have reserved: what is not used for the next part is let go of.
    Without a lock, as a list's `pop` and `append` are one step each.
    """

    def __init__(self) -> None:
        self._free: list[memoryview] = []

    def take(self, size: int) -> memoryview:
        """A buffer of that many bytes, which may hold those of another part."""
        while (buffer := self._pop()) is not None:
            if len(buffer) == size:
                return buffer
        return memoryview(mmap(-1, size, flags=MAP_PRIVATE | MAP_ANONYMOUS))

    def give_back(self, buffer: memoryview) -> None:
        """Have it used again: nobody may be reading it any more."""
        self._free.append(buffer)

    def keep(self, most: int) -> None:
        """Keep at most so many bytes that are not in use."""
        while sum(map(len, tuple(self._free))) > most:
            self._pop()

    def _pop(self) -> memoryview | None:
        try:
            return self._free.pop()
        except IndexError:
            return None


class OutputPart:
    """The bytes of one part, filled once and sent as often as it takes.

    Args:
        size: bytes that it has room for.
        buffers: where its memory comes from.
        kinds: the checksums that are to be had of it.
    """

    def __init__(self, size: int, buffers: PartBuffers, kinds: Iterable[str]) -> None:
        self.length = 0
        self._digests = Digests(kinds)
        self._size = size
        self._buffers = buffers
        self._bytes = memoryview(b"")

    @property
    def full(self) -> bool:
        """Whether no more fits."""
        return self.length == self._size

    def add(self, piece: bytes | memoryview) -> memoryview | None:
        """Take in a copy of as much as fits; the rest, if there is one."""
        if not self._bytes:
            self._bytes = self._buffers.take(self._size)
        room = self._size - self.length
        taken = piece if len(piece) <= room else memoryview(piece)[:room]
        self._digests.update(taken)  # while it is in the processor's cache
        self._bytes[self.length : self.length + len(taken)] = taken
        self.length += len(taken)
        return memoryview(piece)[room:] if len(piece) > room else None

    def body(self, check: Callable[[], None]) -> BytesBody:
        """All of it, to be sent once; `check` is called before each chunk, and raises to stop."""
        return BytesBody(self._bytes[: self.length], self._digests, check)

    def clear(self) -> None:
        """Give its memory back, as all of it was sent or never will be; whoever still holds it has none."""
        if self._bytes:
            self._buffers.give_back(self._bytes)
        self._bytes = memoryview(b"")


class Output:
    """A transform at work: what it is fed, and what it has made that is not yet in a part.

    Args:
        source: what it is fed.
        running: the transform.

    Attributes:
        source: None once it is closed.
        task: which has it fill a part now.
        told: bytes of the source that progress was told of.
        ended: whether it has made all of it.
        length: bytes made so far.
    """

    def __init__(self, source: ChunkBody, running: Running) -> None:
        self.source: ChunkBody | None = source
        self.task: Any = None
        self.told = 0
        self.ended = False
        self.length = 0
        self._running: Running | None = running
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._rest: memoryview | None = None
        self._is_last = False

    @property
    def hungry(self) -> bool:
        """Whether it has to be fed before it can make more."""
        return self._pieces is None and not self.ended

    def feed(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Give it the next chunks of the source; none: it has ended. They stay valid until it is hungry."""
        assert self._running is not None  # noqa: S101 - let go of only when nothing more is made
        self._is_last = not chunks
        # Lazily, one chunk after the other: nothing is made before `fill` has room for it.
        fed = chain.from_iterable(map(self._running.feed, chunks))
        self._pieces = fed if chunks else self._running.finish()

    def fill(self, part: OutputPart) -> None:
        """Make bytes until the part is full or there is nothing to make them of. What takes CPU time.

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
        """Close the source, and let go of it and of the transform, which may hold many megabytes.

        Errors' tracebacks and those who look at the result have this object longer.
        """
        source, self.source = self.source, None
        self._running = self._pieces = self._rest = None
        if source is not None:
            await source.close()

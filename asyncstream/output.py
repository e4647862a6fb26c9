"""What a transform makes of a file, part by part; filled by `transforming.py`, kept by a file in progress.

Nothing here does I/O. How long the output is nobody knows before its end, and S3 wants the length of a part
before its first byte: so a part is filled in memory, reserved before, and sent while the next is filled.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any

from msgspec import Struct

from asyncstream import plan
from asyncstream.checksum import Digests
from asyncstream.chunks import ChunkBody
from asyncstream.config import TransferConfig
from asyncstream.errors import ConfigError
from asyncstream.plan import KiB
from asyncstream.transforms import Factory, Running

# Bytes of a part that are sent at a time.
CHUNK = 256 * KiB


class Transforming(Struct, frozen=True):
    """What is made of every file of a transfer.

    Attributes:
        factory: makes a transform.
        name: by which a copy is known to be made by it.
        part_size: bytes of a part, by its number.
        max_output: bytes that may be made of a file; None: any number.
        max_ratio: bytes that may be made of each byte; None: any number.
    """

    factory: Factory
    name: str
    part_size: Callable[[int], int]
    max_output: int | None
    max_ratio: float | None


def transforming_of(
    name: str, factory: Factory, config: TransferConfig, limit: int, slots: int, slot_bytes: int
) -> Transforming:
    """What a transfer makes of its files.

    Args:
        name: of the transform.
        factory: makes it.
        config: of the transfer.
        limit: bytes of all parts in flight.
        slots: parts in flight.
        slot_bytes: bytes that one costs beside those of the part itself.

    Raises:
        ConfigError: not even one part fits.
    """
    first = (
        plan.auto_output_part(limit, slots, slot_bytes) if config.part_size == "auto" else config.part_size
    )
    most = limit - slot_bytes
    if first > most:
        raise ConfigError(
            f"memory_limit of {limit} bytes is too small for a transform: a part of {first} bytes is filled "
            f"in memory before it is sent, and takes {slot_bytes} bytes beside"
        )
    return Transforming(
        factory,
        name,
        partial(plan.output_part_size, first=first, most=most),
        config.max_output,
        config.max_ratio,
    )


class OutputPart:
    """The bytes of one part, filled once and sent as often as it takes.

    In one piece of memory of the size reserved for it: pieces made on one thread and dropped on another would
    leave holes.

    Args:
        size: bytes that it has room for.
    """

    def __init__(self, size: int) -> None:
        self.length = 0
        self._size = size
        self._bytes = memoryview(b"")

    @property
    def full(self) -> bool:
        """Whether no more fits."""
        return self.length == self._size

    def add(self, piece: bytes | memoryview) -> memoryview | None:
        """Take in a copy of as much as fits; the rest, if there is one."""
        if not self._bytes:  # not before, as it takes milliseconds: here it is no event loop's
            self._bytes = memoryview(bytearray(self._size))
        start, room = self.length, self._size - self.length
        self.length += min(len(piece), room)
        self._bytes[start : self.length] = piece[:room]
        return memoryview(piece)[room:] if len(piece) > room else None

    def body(self, kinds: Iterable[str], check: Callable[[], None]) -> "OutputBody":
        """All of it, to be sent once, with its checksums of these kinds.

        `check` is called before each chunk, and raises to stop.
        """
        return OutputBody(self._bytes[: self.length], kinds, check)

    def clear(self) -> None:
        """Let go of its bytes, whoever still holds it: an error's traceback does, as long as the error."""
        self._bytes = memoryview(b"")


class OutputBody:
    """A part in memory, as the body of an upload: its checksum is known before its first byte is sent."""

    def __init__(self, content: memoryview, kinds: Iterable[str], check: Callable[[], None]) -> None:
        self.length = len(content)
        self.error: Exception | None = None
        self.digests = Digests(kinds)
        self.digests.update(content)
        # No longer than those of a copy: a blocking socket's timeout is that of a whole chunk.
        self._left = (content[start : start + CHUNK] for start in range(0, self.length, CHUNK))
        self._check = check

    async def next_chunk(self) -> bytes | memoryview:
        """The next bytes; empty at the end.

        Raises:
            Cancelled, DeadlineExceeded: as `check` does.
        """
        try:
            self._check()
        except Exception as error:
            self.error = error
            raise
        return next(self._left, b"")


class Output:
    """A transform at work: what it is fed, and what it has made that is not yet in a part.

    Args:
        source: what it is fed.
        running: the transform.

    Attributes:
        task: which has it fill a part now.
        told: bytes of the source that progress was told of.
        ended: whether it has made all of it.
    """

    def __init__(self, source: ChunkBody, running: Running) -> None:
        self.source = source
        self.task: Any = None
        self.told = 0
        self.ended = False
        self._running = running
        self._pieces: Iterator[bytes | memoryview] | None = None
        self._rest: memoryview | None = None
        self._is_last = False

    @property
    def length(self) -> int:
        """Bytes made so far."""
        return self._running.made

    @property
    def hungry(self) -> bool:
        """Whether it has to be fed before it can make more."""
        return self._pieces is None and not self.ended

    def feed(self, chunks: Sequence[bytes | memoryview]) -> None:
        """Give it the next chunks of the source; none: it has ended. They stay valid until it is hungry."""
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
            else:
                self._rest = part.add(piece)

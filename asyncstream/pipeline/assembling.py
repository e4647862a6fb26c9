"""Parts assembled in memory by several tasks at once, for sources that take many requests for a part.

A part of 8 MiB out of files of 16 KiB takes 500 requests. One after the other, they would take 500 times the
latency of S3.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Iterable
from itertools import pairwise, starmap
from typing import Any, NamedTuple

from asyncstream.checksum import CRC64NVME, Digests
from asyncstream.objects import ByteRange
from asyncstream.pipeline.body import BytesBody
from asyncstream.pipeline.output import allocate
from asyncstream.pipeline.tasks import NO_NEEDS, FileFacts, Needs, Parts, ReadPiece, SendPart, SendRun, Task
from asyncstream.units import KiB


class Assembly(NamedTuple):
    """How parts are assembled.

    Attributes:
        part_length: bytes of a part.
        pieces: the number of tasks that should read one part.
    """

    part_length: int
    pieces: int


# The least bytes of a piece.
_PIECE = 256 * KiB


class AssembledPart:
    """One part in memory: a segment that tasks write to, piece by piece, and that is then sent.

    Args:
        range_: the part's place in the source, and in the upload.
        pieces: the number of tasks that should read it.
        last_from: bytes from this position on depend on all before: they are a piece that is read last.

    Attributes:
        unread: the pieces that no task reads yet.
        last: the piece to read after the others; None if there is none.
        missing: the number of pieces that were not read.
    """

    def __init__(self, range_: ByteRange, pieces: int, last_from: int) -> None:
        self.start, self.length = range_.start, range_.length
        self.last = ByteRange(last_from, range_.stop) if range_.start < last_from < range_.stop else None
        stop = range_.stop if self.last is None else last_from
        pieces = max(1, min(pieces, (stop - self.start) // _PIECE))
        edges = [self.start + (stop - self.start) * each // pieces for each in range(pieces + 1)]
        self.unread = deque(starmap(ByteRange, pairwise(edges)))
        self.missing = pieces + (self.last is not None)
        # Here, by the coordinator: of two tasks that allocate at once, one would lose its bytes.
        self._bytes = allocate(self.length)

    def write(self, at: int, chunk: bytes | memoryview) -> None:
        """Put bytes where they belong. `at` is their position in the source."""
        self._bytes[at - self.start : at - self.start + len(chunk)] = chunk

    async def open(self, task: Task[Any]) -> BytesBody:
        """Return its bytes as a body to send once."""
        task.attempts += 1
        digests = Digests(task.file.digests & {CRC64NVME})
        digests.update(self._bytes)
        return BytesBody(self._bytes, digests, task.file.stop.check)

    def discard(self) -> None:
        """Free the memory."""
        self._bytes = memoryview(b"")


class AssembledParts(Parts):
    """The parts of a file that are assembled in memory.

    Args:
        file: what is known of it; its parts are planned.
        numbers: the parts to send, in order.
        pieces: the number of tasks that read one part.
        read_piece: runs a `ReadPiece`.
        send_part: runs a `SendPart`.
        last_from: see `ports.Source.last_from`.
    """

    def __init__(
        self,
        file: FileFacts,
        numbers: Iterable[int],
        pieces: int,
        *,
        read_piece: Callable[[Any], Coroutine[Any, Any, None]],
        send_part: SendRun,
        last_from: int,
    ) -> None:
        super().__init__(file, None, file.part_plan.planned, last_from)
        self._numbers = deque(numbers)
        self._pieces = pieces
        self._read_piece = read_piece
        self._send_part = send_part
        self._assembled: deque[SendPart] = deque()
        self._unassembled: dict[SendPart, AssembledPart] = {}
        self._returned: deque[ReadPiece] = deque()

    def next(self, waiting: Task[Any] | None) -> Task[Any] | None:
        """Return the next task: sending a part goes before reading more, because it frees memory."""
        if self._assembled and isinstance(waiting, ReadPiece):
            self._returned.append(waiting)
            waiting = None
        return super().next(waiting)

    def take_ready(self) -> Task[Any] | None:
        """Return a task that sends a part."""
        return self._assembled.popleft() if self._assembled else None

    def take_unfinished(self) -> Task[Any] | None:
        """Return the task of a part that is not complete."""
        return self._unassembled.popitem()[0] if self._unassembled else None

    def make_task(self) -> Task[Any] | None:
        """Return a task that reads a piece: of the part in progress, else of the next part."""
        if self._returned:
            return self._returned.popleft()
        for sending, part in self._unassembled.items():
            if part.unread:
                return self._piece(sending, part.unread.popleft())
            if part.last is not None and part.missing == 1 and self._confirmed_before(sending.number):
                last, part.last = part.last, None
                return self._piece(sending, last)
        return self._start_part() if self._numbers and not self._must_wait(self._numbers[0]) else None

    def _start_part(self) -> ReadPiece:
        file, number = self.file, self._numbers.popleft()
        part = AssembledPart(file.part_plan.range(number), self._pieces, self._last_from)
        sending = SendPart(file, file.span, self._send_part, number=number, segment=part)
        self._unassembled[sending] = part
        return self._piece(sending, part.unread.popleft(), Needs(part_bytes=part.length))

    def record(self, task: Task[Any], value: Any) -> None:
        """Note that a piece was read, or keep a part that S3 has confirmed."""
        if not isinstance(task, ReadPiece):
            super().record(task, value)
            return
        part = self._unassembled[task.sending]
        part.missing -= 1
        if not part.missing:
            del self._unassembled[task.sending]
            self._assembled.append(task.sending)

    def _must_wait(self, number: int) -> bool:
        # The other bytes of a part that has dependent ones are read at once.
        return self.file.part_plan.range(number).start >= self._last_from and super()._must_wait(number)

    def _piece(self, sending: SendPart, range_: ByteRange, needs: Needs = NO_NEEDS) -> ReadPiece:
        file = self.file
        return ReadPiece(
            file, file.span, self._read_piece, needs, urgent=False, sending=sending, range=range_
        )

"""The tasks of a file, each typed by what it returns, and what they learn of the file.

A task never touches the reserved bytes, the order or another file. It returns its result, and keeps facts
of its file in `FileFacts`; tasks that run at the same time never write the same field. `FileTasks` creates
tasks, and the engine calls `task.run(task)`.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct, field

from asyncstream.checksum import CRC64NVME, Checksum, Composite
from asyncstream.objects import ByteRange, CompletedPart, MultipartUpload
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.continuation import PartRun
from asyncstream.pipeline.jobs import Job
from asyncstream.pipeline.output import Output
from asyncstream.pipeline.plan import PartPlan
from asyncstream.pipeline.results import Status
from asyncstream.ports import Body, Opened, Span

T = TypeVar("T")
_UNPLANNED = PartPlan(0, 0, 0)


class OpenRange(Struct, frozen=True):
    """A range being read. `span` is that of its body: from the reply's headers to the last byte."""

    opened: Opened
    span: Span

    async def read(self) -> bytes | memoryview:
        """Return the next bytes; see `ports.ByteStream`."""
        return await self.opened.stream.read()

    async def close(self) -> None:
        """Give the connection back."""
        self.span.end()
        await self.opened.stream.close()


class FileFacts(Struct, eq=False):
    """What the tasks of a file know of it, between its first request and its last reply.

    Attributes:
        job: source, destination, and what was known of them before.
        stop: set when the file has failed.
        span: the span of the file.
        size: the source's bytes; None until they are known.
        etag: the source's ETag, which pins every read; "" if it has none.
        open_range: the first range, whose reply has the size; until a part reads it.
        output: the output of the file's transform.
        transform_bytes: bytes reserved for what the transform holds.
        upload: set as soon as S3 has opened it, so that it can be aborted.
        checksum: the source's checksum of all its bytes.
        composite: the source's checksum of the parts that it was uploaded in.
        kind: the kind of checksum that the upload has as a whole.
        tags: the source's tags in the format of PutObject's `Tagging`, if the copy gets them.
        digests: the kinds of checksum that run over the bytes.
        read_verified: the kind of checksum that proved the bytes read to be the source's; None: not verified.
        write_verified: the kind that proved the destination has the bytes sent; None: not verified.
        create_lost: whether a Create had no reply, and may have left an upload.
        upload_left: a sentence on that upload.
        completing: set as soon as Complete was sent.
        part_plan: where the parts of a copy begin and end, once they are planned.
        completed: the parts that S3 has confirmed.
        runs: checksums of the first `listed` parts of `completed`, which an earlier transfer sent.
        listed: how many parts of an earlier transfer S3 has listed.
        replaces: see `Continuation.replaces`.
    """

    job: Job
    stop: StopFlag
    span: Span
    size: int | None = None
    etag: str | None = None
    open_range: OpenRange | None = None
    output: Output | None = None
    transform_bytes: int = 0
    upload: MultipartUpload | None = None
    checksum: Checksum | None = None
    composite: Composite | None = None
    kind: str = CRC64NVME
    tags: str = ""
    digests: frozenset[str] = frozenset()
    read_verified: str | None = None
    write_verified: str | None = None
    create_lost: bool = False
    upload_left: str | None = None
    completing: bool = False
    part_plan: PartPlan = _UNPLANNED
    completed: list[CompletedPart] = field(default_factory=list)
    runs: Sequence[PartRun] = ()
    listed: int = 0
    replaces: tuple[str, int] | None = None

    @property
    def only(self) -> tuple[int, int] | None:
        """The first and the last part that this transfer moves of an upload that it shares; None: all."""
        continuation = self.job.continuation
        return None if continuation is None else continuation.only


class Needs(NamedTuple):
    """Bytes to reserve before a task starts, beside those of its slot.

    Attributes:
        part_bytes: bytes for the output part that the task fills.
        transform_bytes: bytes that the file's transform holds until its output ends.
    """

    part_bytes: int = 0
    transform_bytes: int = 0


NO_NEEDS = Needs()


class Task(Struct, Generic[T], eq=False):
    """One task of one file, which returns a `T`. Its counts are read when it has ended.

    Attributes:
        file: what is known of the file.
        span: the span of the part that it moves, else of the file.
        run: does the work, given the task.
        needs: what the coordinator reserves before the task starts.
        urgent: whether it goes before the parts of other files.
        attempts: tries of requests that move bytes.
        retries: requests sent again.
        waited: seconds waited before them.
        slowed: how often S3 asked for fewer requests.
        moved: net bytes reported by BytesMoved.
        part_bytes: bytes reserved for the part that it fills or sends, and the size of that part.
        handed_on: whether another task has its span and its bytes.
    """

    file: FileFacts
    span: Span
    run: Callable[[Any], Coroutine[Any, Any, T]]
    needs: Needs = Needs()
    urgent: bool = True
    attempts: int = 0
    retries: int = 0
    waited: float = 0.0
    slowed: int = 0
    moved: int = 0
    part_bytes: int = 0
    handed_on: bool = False

    def discard(self) -> None:
        """Free what the task holds, as it will not run."""


class Segment(Protocol):
    """Bytes that an upload sends: their length is known, and each try opens them again."""

    @property
    def start(self) -> int:
        """The position of its first byte in what the upload becomes."""

    @property
    def length(self) -> int:
        """Bytes in all."""

    async def open(self, task: Task[Any]) -> Body:
        """Open it for one try of a task."""

    def discard(self) -> None:
        """Free its memory, as it was sent or will not be."""


class FileDone(Struct, frozen=True):
    """The destination is written, or was skipped: the file needs no further task."""

    etag: str
    status: Status = "copied"


class Parts(ABC):
    """The parts of a file: which to send next, and whether all are confirmed.

    Args:
        file: what is known of it.
        ready: the task that sends the first part, if that part is open or made.
        planned: the number of parts; of a transform's output, the number made so far.
        last_from: see `ports.Source.last_from`.
    """

    def __init__(
        self, file: FileFacts, ready: Task[Any] | None, planned: int, last_from: int = sys.maxsize
    ) -> None:
        self.file = file
        self.ready = ready
        self.planned = planned
        self._last_from = last_from

    @property
    def confirmed(self) -> bool:
        """Whether S3 has confirmed all of them."""
        return len(self.file.completed) == self.planned

    def next(self, waiting: Task[Any] | None) -> Task[Any] | None:
        """Return the next task; None: there is none now.

        Args:
            waiting: the task returned before, if it has not started yet.
        """
        return waiting or self.take_ready() or self.make_task()

    @abstractmethod
    def make_task(self) -> Task[Any] | None:
        """Return a new task; None: there is none now."""

    def record(self, task: Task[Any], value: Any) -> None:
        """Keep what a task has returned: a part that S3 has confirmed."""
        self.file.completed.append(value)

    def _must_wait(self, number: int) -> bool:
        """Whether a part has bytes that depend on those of parts that are not confirmed yet."""
        plan = self.file.part_plan
        if plan.range(number).stop <= self._last_from:
            return False
        before = number - 1
        while before and plan.range(before).start >= self._last_from:
            before -= 1
        return not self._confirmed_before(before + 1)

    def _confirmed_before(self, number: int) -> bool:
        """Whether S3 has confirmed all parts before this one."""
        return sum(part.number < number for part in self.file.completed) == number - 1

    def take_ready(self) -> Task[Any] | None:
        """Return a task whose part is open or made, and forget it."""
        ready, self.ready = self.ready, None
        return ready

    def take_unfinished(self) -> Task[Any] | None:
        """Return a task whose part is not made yet, and forget it. No task of the file may be running."""
        return None


OpenResult = FileDone | Parts


class Begin(Task[OpenResult]):
    """Open the file's first range; write the object if that is all of it, else create an upload."""


class Resume(Task[OpenResult]):
    """Ask S3 which parts of an earlier transfer's upload it has."""


class SendPart(Task[CompletedPart], kw_only=True):
    """Send one segment as one part."""

    number: int
    segment: Segment

    def discard(self) -> None:
        """Free the segment's memory."""
        self.segment.discard()


class FillPart(Task[SendPart | None], kw_only=True):
    """Have the transform make a part of at most `part_bytes`, and return the task that sends it."""

    number: int


class ReadPiece(Task[None], kw_only=True):
    """Read a piece of a part into memory; other tasks read its other pieces.

    Attributes:
        sending: the task that sends the part.
        range: where the piece is in the source.
    """

    sending: SendPart
    range: ByteRange


class Complete(Task[FileDone]):
    """Make the parts an object."""


class Abort(Task[None]):
    """Drop the upload of a file that failed."""


class Pause(Task[None]):
    """Close what is open of a file that is to be continued; its upload stays."""


SendRun = Callable[[Any], Coroutine[Any, Any, CompletedPart]]


def send_after(task: Task[Any], run: SendRun, segment: Segment, number: int) -> SendPart:
    """Return the task that sends what another task has opened or filled, with its span and its bytes."""
    task.handed_on = True
    return SendPart(
        task.file,
        task.span,
        run,
        retries=task.retries,
        waited=task.waited,
        part_bytes=task.part_bytes,
        number=number,
        segment=segment,
    )

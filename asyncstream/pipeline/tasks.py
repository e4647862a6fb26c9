"""What the coordinator hands to its slots: jobs, files in progress, and the tasks of one file.

Made in `pipeline.py`, done in `parts.py`. A task never touches the budget, the order or another file. What it
learns it leaves in its `FileInProgress` (one writer at a time: a file has a single task until its upload is
open) or returns.
"""

from collections.abc import Sequence

from msgspec import Struct, field

from asyncstream.checksum import Checksum, Composite
from asyncstream.locations import S3Object
from asyncstream.objects import ByteRange, CompletedPart, MultipartUpload
from asyncstream.pipeline.body import StopFlag
from asyncstream.pipeline.continuation import Continuation, PartRun
from asyncstream.pipeline.output import Output, OutputPart
from asyncstream.pipeline.plan import PartPlan
from asyncstream.ports import Opened, Span


class Job(Struct, frozen=True):
    """One file to copy. `size` and `etag` are known where a listing told them; `continuation` where an
    earlier transfer has begun it.
    """

    source: S3Object
    destination: S3Object
    size: int | None = None
    etag: str | None = None
    continuation: Continuation | None = None


class OpenRange(Struct, frozen=True):
    """A range being read. `span` is that of its body: from the reply's headers to the last byte."""

    opened: Opened
    span: Span

    async def read(self) -> bytes | memoryview:
        """The next bytes; see `ports.ByteStream`."""
        return await self.opened.stream.read()

    async def close(self) -> None:
        """Give the connection back."""
        self.span.end()
        await self.opened.stream.close()


class FileInProgress(Struct, eq=False):
    """A file between its first request and its last reply.

    `etag` pins every read. `first` is the first range, read by the request that told the file's size
    and not yet handed on. `upload` is set as soon as S3 has opened it, so that it can be aborted.
    `checksum` is the source's own, `composite` that of the parts it was uploaded in, `digests` the kinds
    that are run over its bytes. `read_verified` and `write_verified` are the kinds by which source and
    destination agreed with what passed here.
    `output` is what a transform makes of the file, `filled` its first part, not yet handed on.
    `memory` is the bytes reserved for what the transform holds.
    `restarted` says why the file starts over, `upload_left` which upload may be left of it. `completing` is
    set as soon as Complete was sent.
    `first_length` and `step` are the parts' plan.
    `runs` has the checksums of the first `listed` parts of `completed`: those of an earlier transfer, which
    S3 has listed.
    """

    job: Job
    index: int
    started: float
    stop: StopFlag
    span: Span
    size: int | None
    etag: str | None
    first: OpenRange | None = None
    output: Output | None = None
    filled: OutputPart | None = None
    memory: int = 0
    upload: MultipartUpload | None = None
    checksum: Checksum | None = None
    composite: Composite | None = None
    digests: frozenset[str] = frozenset()
    read_verified: str | None = None
    write_verified: str | None = None
    restarted: str | None = None
    upload_left: str | None = None
    completing: bool = False
    skipped: bool = False
    completed: list[CompletedPart] = field(default_factory=list)
    runs: Sequence[PartRun] = ()
    listed: int = 0
    moved: int = 0
    first_length: int = 0
    step: int = 0
    planned: int = 1
    in_flight: int = 0
    attempts: int = 0
    error: Exception | None = None

    @property
    def cut(self) -> PartPlan:
        """Where the parts of a copy begin and end, once they are planned."""
        return PartPlan(self.size or 0, self.first_length, self.step)


class Task(Struct, eq=False):
    """One task of one file. The counts are read when it has ended.

    `span` is that of the part whose bytes it moves, or of the file. `attempts` counts the GETs it sent,
    `retries` what it did again, `waited` the seconds it waited before that, `slowed` how often S3 asked for
    fewer requests, `moved` the bytes told by BytesMoved and not taken back. `room` is the bytes reserved for
    the part of a transform's output that it fills or sends, and the size of that part.
    """

    file: FileInProgress
    span: Span
    attempts: int = 0
    retries: int = 0
    waited: float = 0.0
    slowed: int = 0
    moved: int = 0
    room: int = 0


class Begin(Task, kw_only=True):
    """Open the file's first range; write the object if that is all of it, else open an upload.

    `memory` is the bytes to reserve for what a transform of the file holds.
    """

    memory: int = 0


class Resume(Task):
    """Ask S3 which parts of an earlier transfer's upload it has."""


class MovePart(Task, kw_only=True):
    """Move one range into one part."""

    number: int
    range: ByteRange

    @property
    def length(self) -> int:
        """Bytes of the part."""
        return self.range.length


class FillPart(Task, kw_only=True):
    """Have the transform make the next part, of at most `room` bytes."""

    number: int


class SendPart(Task, kw_only=True):
    """Send a part that the transform has made."""

    number: int
    part: OutputPart

    @property
    def length(self) -> int:
        """Bytes of the part."""
        return self.part.length


class Complete(Task):
    """Make the parts an object."""


class Abort(Task):
    """Drop the upload of a file that failed."""


class Pause(Task):
    """Close what is open of a file that is to be continued; its upload stays."""

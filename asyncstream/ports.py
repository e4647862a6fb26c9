"""The Protocols between the pipeline and what it stands on: engines, the store and its transports, spans.

All ports are `async def`. Blocking implementations block and never suspend, so that one
`coro.send(None)` runs them to their end (`engines/driver.py`); asyncio awaits the same code.
"""

import math
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from msgspec import Struct

from asyncstream.checksum import Checksum, Composite, Digests
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import (
    ByteRange,
    CompletedPart,
    ListedObject,
    MultipartUpload,
    OpenUpload,
    Origin,
    Stored,
    Written,
)

T = TypeVar("T")

# What X-Ray can search for.
Annotation = str | int | float | bool

# A function, not a coroutine: a task cancelled before its first step must leave nothing unawaited.
Work = Callable[[], Coroutine[Any, Any, Any]]


# Seconds until something has to be done.
TimeLeft = Callable[[], float]


def for_ever() -> float:
    """The time left of what has no deadline."""
    return math.inf


class ByteStream(Protocol):
    """The body of one GET."""

    async def read(self) -> bytes | memoryview:
        """The next bytes, at most a chunk; empty at the end. Valid until the next call."""

    async def close(self) -> None:
        """Give the connection back if the body was read to its end, else close it."""


class Body(Protocol):
    """The body of one upload, pulled by the SDK that sends it.

    `length` is the bytes in all, known before the first is read. `error` is what `next_chunk` raised, if
    it did: SDKs wrap it beyond recognition. `digests` are of what was handed on so far.
    """

    length: int
    error: Exception | None
    digests: Digests

    async def next_chunk(self) -> bytes | memoryview:
        """The next bytes; empty at the end. Valid until the next call."""

    async def close(self) -> None:
        """Let go of its source."""


class Opened(Struct, frozen=True):
    """A source object, open at a range: what its reply told, and its body.

    `attributes` are the headers kept on a copy, as parameters of PutObject. `checksum` is the whole
    object's, `composite` that of its parts: S3 has one of them at most, and tells it only where no range
    was asked for (`range_asked`).
    """

    size: int
    etag: str
    range: ByteRange
    attributes: Mapping[str, Any]
    stream: ByteStream
    range_asked: bool = False
    checksum: Checksum | None = None
    composite: Composite | None = None


class Store(Protocol):
    """Where objects are read and written. Implemented once, for S3."""

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""

    async def open(
        self, source: S3Object, range_: ByteRange | None, etag: str | None, unless: str | None = None
    ) -> Opened:
        """GET a range (None: the whole), pinned to `etag` where it is known.

        Raises NotModified if `unless` is its ETag.
        """

    async def head(self, source: S3Object, etag: str) -> Stored:
        """HEAD of a source, pinned: what is stored, with its checksum."""

    async def part_size(self, source: S3Object, etag: str, number: int) -> int | None:
        """Bytes of one of the parts a source was uploaded in, pinned; None where the server tells none."""

    async def find(self, target: S3Object) -> Stored | None:
        """HEAD of a destination: what is stored there, if anything is."""

    def sent_at_once(self, length: int) -> bool:
        """Whether a body is in hand before its PUT begins, so that its own checksum can go with it."""

    def verifies(self, bucket: str) -> bool:
        """Whether the bucket's server checks uploads by CRC64NVME: yes, until a reply has shown otherwise."""

    async def put(
        self,
        target: S3Object,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        """Write an object with one request; S3 refuses a body that has not the checksum given.

        `origin` is kept with it, for `find` to tell.
        """

    async def create_upload(
        self, target: S3Object, attributes: Mapping[str, Any], origin: Origin | None = None
    ) -> MultipartUpload:
        """Open a multipart upload of an object that `origin` is kept with."""

    async def upload_part(self, upload: MultipartUpload, number: int, body: Body) -> Written:
        """Write one part; numbers count from 1."""

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        """Make the parts, in order of their numbers, an object, if that has the checksum given."""

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Drop the upload and its parts. No part of it may be in flight."""

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        """Return up to 1,000 parts that S3 has, by number, and the number to ask the next page with.

        Each has the checksum that S3 tells, if any. `after` is None for the first page, as is the number
        that comes with the last. Raises UploadGone if the upload was completed or aborted.
        """

    async def list_uploads(
        self, prefix: S3Prefix, after: tuple[str, str] | None
    ) -> tuple[list[OpenUpload], tuple[str, str] | None]:
        """Return up to 1,000 open uploads, sorted by key, and the marker to ask the next page with."""

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Up to 1,000 objects, and what to ask the next page with (None: there is none)."""


class Transport(Protocol):
    """One SDK: the only code that differs between boto3 and aioboto3."""

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        """Send one request, never repeated by the SDK; its reply, or an AsyncstreamError.

        A `Body` among the parameters is passed through chunk by chunk. Nothing is waited for that is not
        there when no more seconds are `left`.
        """

    @property
    def renewals(self) -> int:
        """How often `renew` has made clients anew."""

    async def renew(self, renewals: int) -> None:
        """Make clients anew for the next calls, with credentials looked up anew.

        Unless somebody else has done so since there were so many `renewals`.
        """

    def stream(self, body: Any, length: int, left: TimeLeft = for_ever) -> ByteStream:
        """The body of a GetObject reply, of which `length` bytes will be read, while seconds are `left`."""

    async def close(self) -> None:
        """Close all connections."""


class Finished(Struct):
    """A task's end: what it returned or what it raised. Whoever takes that out may leave None behind."""

    tag: Any
    result: Any
    error: BaseException | None


class Span(Protocol):
    """One piece of work of a trace: begins when it is made, ends once; as a context manager, when left.

    Every span is made by its parent, so no engine needs to know which one is current.
    """

    def expect(self, name: str, count: int) -> None:
        """So many branches of this name will be made in the whole trace."""

    def branch(self, name: str, **annotations: Annotation) -> "Span":
        """A span within this one, one of many: told when it ends, unless it is left out of the sample.

        Made and ended by the coordinator only.
        """

    def child(self, name: str, **annotations: Annotation) -> "Span":
        """A span within this one, told together with it; made and ended by whoever does its work."""

    def annotate(self, **annotations: Annotation) -> None:
        """What is known of it by now."""

    def stop(self) -> None:
        """Its work has ended now, though whoever has to `end` it comes to that only later."""

    def end(self, error: BaseException | None = None) -> None:
        """Its end, unless it has ended already, and the error that ended it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Slots(Protocol):
    """An engine at work: the primitive *start a task; give me the next finished one*."""

    def start(self, tag: Any, work: Work) -> None:
        """Run `work` in a free slot. The caller has seen `free` true."""

    @property
    def free(self) -> bool:
        """Whether a slot is free now."""

    async def finished(self) -> Finished:
        """The next task that ended; tasks must be running."""

    async def ended(self) -> Finished | None:
        """One that has ended already, or None; lets those that were started begin."""


class Engine(Protocol):
    """A way to run tasks: sequential, threads or asyncio."""

    @property
    def name(self) -> str:
        """What users call it."""

    @property
    def most_slots(self) -> int:
        """How many tasks it can have in flight at all."""

    @property
    def blocking(self) -> bool:
        """Whether its tasks may block the thread they run on, as plain functions do."""

    def run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Run a coroutine to its end from plain code."""

    def steps(self, work: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
        """The same items, to be asked for one by one in whatever task, or each by a `run` of its own.

        Closing it closes the work, and waits for that.
        """

    def close(self) -> None:
        """End what lives across transfers: threads, an event loop."""

    def slots(self, count: int) -> AbstractAsyncContextManager[Slots]:
        """Up to `count` tasks at once. Leaving it joins every task; asyncio cancels them first."""

    async def sleep(self, seconds: float) -> None:
        """Wait, in a task."""

    @property
    def computes_at_once(self) -> int:
        """Bytes that are worth a call of `compute`; 1 where it costs nothing."""

    async def compute(self, work: Callable[[], T]) -> T:
        """Run what takes CPU time and does no I/O, away from an event loop."""

    async def limited(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run what may take so long. Asyncio then cancels it (DeadlineExceeded); a thread cannot be."""

    async def shielded(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Run what cancellation of the caller must not cut short, at most so long (ConnectionFailed)."""

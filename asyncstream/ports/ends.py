"""The Protocols of what a transfer reads and writes: sources, destinations, bodies, transports of SDKs."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from asyncstream.checksum import CRC64NVME, Checksum, Composite, Digests
from asyncstream.locations import Pack, SourceFile, SourceFolder, TargetFile
from asyncstream.objects import (
    ByteRange,
    CompletedPart,
    CopiedRange,
    ListedObject,
    MultipartUpload,
    OpenUpload,
    Origin,
    Stored,
    Written,
)

# The kinds of places that a source reads, and those that a destination writes.
Source_contra = TypeVar("Source_contra", bound=SourceFile, contravariant=True)
Target_contra = TypeVar("Target_contra", bound=TargetFile, contravariant=True)
Folder_contra = TypeVar("Folder_contra", bound=SourceFolder | Pack, contravariant=True)


# A function that returns the seconds left.
TimeLeft = Callable[[], float]


def for_ever() -> float:
    """Return infinity: the time left without a deadline."""
    return math.inf


class ByteStream(Protocol):
    """The body of one GET."""

    async def read(self) -> bytes | memoryview:
        """Return the next bytes, at most a chunk; empty at the end. They are valid until the next call.

        Raises NothingYet if the source is silent and may stay so for ever. The caller then asks again.
        """

    async def close(self) -> None:
        """Return the connection to its pool if the body was read to its end, else close it."""


class Body(Protocol):
    """The body of one upload. The SDK that sends it pulls its chunks.

    `length` is the total number of bytes, known before the first read. `error` is the exception that
    `next_chunk` raised, if any: the SDKs replace it by errors of their own. `digests` cover the bytes
    returned so far.
    """

    length: int
    error: Exception | None
    digests: Digests

    async def next_chunk(self) -> bytes | memoryview:
        """Return the next bytes; empty at the end. They are valid until the next call."""

    def check(self) -> None:
        """Raise an error if the body must not be sent further, as `next_chunk` would."""

    async def close(self) -> None:
        """Close the source."""


class Opened(Struct, frozen=True):
    """The reply to a GET of a source: its headers, and the body to read.

    `attributes` are the headers that a copy keeps, as parameters of PutObject. `checksum` covers the whole
    object, `composite` the checksums of its parts. S3 has at most one of the two, and returns it only if the
    request asked for no range (`range_asked`).

    `size` is that of the whole source; None if it is known only after the last byte. The range then starts at
    0, and its end means nothing. If the source is not `in_ranges`, it must be read in order, by this stream.
    `etag` pins the version read; "" if the source has nothing that does. The `checksum` may be `demanded` by
    the user, and not the source's own.
    """

    size: int | None
    etag: str
    range: ByteRange
    attributes: Mapping[str, Any]
    stream: ByteStream
    range_asked: bool = False
    checksum: Checksum | None = None
    composite: Composite | None = None
    in_ranges: bool = True
    demanded: bool = False


class Cut(NamedTuple):
    """The parts of a file of which a server copies some itself.

    `edges` are where each part starts, and where the last one ends. `copies` are what the server copies, by
    the numbers of the parts.
    """

    edges: Sequence[int]
    copies: Mapping[int, CopiedRange]


class Source(Protocol[Source_contra, Folder_contra]):
    """Lists and reads objects, files or URLs.

    Methods with a body are what a source has that is not S3.
    """

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return {}

    @property
    def downgrades(self) -> list[str]:
        """What the servers of the buckets used lack, as sentences."""
        return []

    @property
    def held(self) -> int:
        """Bytes of memory that its listings keep until the transfer ends."""
        return 0

    async def make_ready(
        self, source: Source_contra, range_: ByteRange | None, etag: str | None, check: Callable[[], None]
    ) -> None:
        """Find what the bytes of a range depend on, before an upload waits for them. `open` follows.

        It may read other files for long. `check` is called between their chunks, and raises to stop.
        """
        return

    async def open(
        self,
        source: Source_contra,
        range_: ByteRange | None,
        etag: str | None,
        if_none_match: str | None = None,
    ) -> Opened:
        """GET a range (None: the whole object). With `etag`, only that version is read.

        Raises NotModified if the object's ETag is `if_none_match`.
        """

    async def needs_order(self, place: Any) -> bool:
        """Whether the files of a place must be read one after the other, in their order."""
        return False

    async def head(self, source: Source_contra, etag: str | None) -> Stored:
        """HEAD a source of this ETag (None: any), and return its size, checksum and origin.

        With an ETag, only asked after a reply that was `range_asked`.
        """
        raise TypeError(f"{type(source).__name__} has no HEAD")

    async def part_size(self, source: Source_contra, etag: str, number: int) -> int | None:
        """Return the bytes of one part that the source was uploaded in; None if the server does not say."""
        return None

    async def tags(self, source: Source_contra) -> str:
        """Return the tags of a source in the format of PutObject's `Tagging`; empty if it has none."""
        return ""

    async def list_page(
        self, prefix: Folder_contra, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 objects, and the token of the next page (None: no more pages)."""
        return [], None

    async def list_after(
        self, prefix: Folder_contra, after: str, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 objects whose keys follow `after`, and the token of the next page, if any.

        A server may ignore `after`, and list objects before it, too. With a token, `after` means nothing.
        """
        raise TypeError(f"{type(prefix).__name__} has no order of keys")

    async def list_folders(self, prefix: Folder_contra, after: str) -> list[str]:
        """Return the prefixes up to the next slash of the keys that follow `after`: those of one page."""
        raise TypeError(f"{type(prefix).__name__} has no order of keys")

    def is_scattered(self, source: Source_contra) -> bool:
        """Whether a range of it takes many requests, so that several tasks should read one part."""
        return False

    def is_in_order(self, source: Source_contra) -> bool:
        """Whether a range costs as much as all bytes up to its end, because it is decoded from the start."""
        return False

    def is_continuable(self, source: Source_contra) -> bool:
        """Whether a later transfer may continue what this one has sent of it."""
        return True

    def plan_copies(self, source: Source_contra, length: int) -> Cut | None:
        """Return its parts if the destination's server is to copy some of them; None if it is not.

        `length` is the usual number of bytes of the other parts.
        """
        return None

    def last_from(self, source: Source_contra, size: int) -> int:
        """Return from which position on its bytes depend on the earlier ones; its size if none do.

        Parts that reach beyond this position are read last.
        """
        return size


class Destination(Protocol[Target_contra, Folder_contra]):
    """Writes objects or files.

    Methods with a body are what a destination has that is not S3.
    """

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return {}

    @property
    def downgrades(self) -> list[str]:
        """What the servers of the buckets used lack, as sentences."""
        return []

    async def find(self, target: Target_contra) -> Stored | None:
        """HEAD a destination, and return its size, checksum and origin; None if it does not exist."""
        return None

    async def compute_checksum(self, target: Target_contra, kind: str) -> Checksum | None:
        """Compute the checksum of an object that has none stored; None if its bytes are not at hand."""
        return None

    def sent_at_once(self, target: Target_contra, length: int) -> bool:
        """Whether a body is read before its PUT starts, so that the PUT can carry the body's checksum."""
        return False

    def verifies(self, target: Target_contra) -> bool:
        """Whether the target's server checks uploads by CRC64NVME: yes, until a reply shows otherwise."""
        return False

    async def put(
        self,
        target: Target_contra,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        """Write an object with one request. S3 refuses a body that does not match the checksum.

        `origin` is stored with the object, and `find` returns it.
        """

    async def create_upload(
        self,
        target: Target_contra,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        """Open a multipart upload. `origin` is stored with the object; `kind` is that of its checksum."""

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        """Write one part; numbers count from 1. `start` is the position of its first byte in the object."""

    def copies_parts(self, target: Target_contra) -> bool:
        """Whether the target's server can copy parts from other objects."""
        return False

    async def copy_part(self, upload: MultipartUpload, number: int, copied: CopiedRange) -> Written:
        """Have the server copy a part from another object."""
        raise TypeError(f"{type(self).__name__} copies no parts")

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        """Complete an upload from its parts, in order of their numbers, if the whole matches the checksum."""

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Abort the upload and delete its parts. None of its parts may be in flight."""

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        """Return up to 1,000 stored parts, by number, and the `after` of the next page (None: no more pages).

        `after` is None for the first page. Each part has the checksum that S3 returns, if any. Raises
        UploadGone if the upload was completed or aborted.
        """

    async def list_uploads(
        self, prefix: Folder_contra, after: tuple[str, str] | None
    ) -> tuple[list[OpenUpload], tuple[str, str] | None]:
        """Return up to 1,000 open uploads, sorted by key, and the `after` of the next page, if any."""
        return [], None


class Transport(Protocol):
    """One SDK: the only code that differs between boto3 and aioboto3."""

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""

    @property
    def is_aws(self) -> bool:
        """Whether the endpoint is one of AWS, and not another server that speaks S3."""

    async def call(
        self, operation: str, params: Mapping[str, Any], region: str | None, left: TimeLeft = for_ever
    ) -> dict[str, Any]:
        """Send one request and return its reply, or raise an AsyncstreamError. The SDK does not retry it.

        A `Body` among the parameters is passed through chunk by chunk. The call waits at most `left()`
        seconds.
        """

    @property
    def renewals(self) -> int:
        """The number of times `renew` has replaced the clients."""

    async def renew(self, renewals: int) -> None:
        """Use new clients for the next calls, with credentials that are looked up again.

        Does nothing if the same keys are found, or if `self.renewals` is no longer `renewals`: another task
        has already done it.
        """

    def stream(self, body: Any, length: int, left: TimeLeft = for_ever) -> ByteStream:
        """Return the body of a GetObject reply, to read `length` bytes from within `left()` seconds."""

    async def close(self) -> None:
        """Close all connections."""

"""Plain data that the pipeline and the store exchange: ranges, objects, uploads and their parts."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from asyncstream.checksum import CRC64NVME, Checksum, Composite
from asyncstream.locations import S3Object, TargetFile

# S3 answers a GET of these with 403 (InvalidObjectState) until they are restored. GLACIER_IR can be read.
ARCHIVED_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# The highest part number (S3 user guide, "Amazon S3 multipart upload limits").
MAX_PARTS = 10_000


class ByteRange(NamedTuple):
    """Bytes `start` to `stop` of an object, half-open."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """The number of bytes in the range."""
        return self.stop - self.start

    @property
    def header(self) -> str:
        """The value of an HTTP Range header, whose end is inclusive (RFC 9110, 14.1.2)."""
        return f"bytes={self.start}-{self.stop - 1}"


class CompletedPart(Struct, frozen=True, omit_defaults=True):
    """A part that S3 has confirmed. `checksums` has those of the bytes sent, by kind.

    `pieces` are the CRCs of the source's parts, or pieces of them, within this part: see `Digests.pieces`.
    """

    number: int
    etag: str
    length: int
    checksums: Mapping[str, Checksum]
    pieces: str = ""


class CopiedRange(Struct, frozen=True):
    """Bytes that S3 copies itself into a part: a range of an object (None: all of it) of this ETag."""

    place: S3Object
    range: ByteRange | None
    etag: str


class Origin(Struct, frozen=True):
    """The version of the source that an object was copied from, and the transform used, if any."""

    size: int
    etag: str
    transform: str = ""


class Stored(Struct, frozen=True):
    """A stored object, without its bytes.

    `checksum` covers the whole object, None if S3 has none. `origin` is set if the object was copied with
    `if_exists="skip"`. `composite` is the checksum of the checksums of its parts. `modified` is when it was
    last changed, in seconds since 1970; 0 if unknown.
    """

    size: int
    etag: str
    checksum: Checksum | None
    origin: Origin | None = None
    composite: Composite | None = None
    modified: int = 0


class Written(Struct, frozen=True):
    """The reply to an upload. S3 computed `checksum` from the bytes it received; None if it sends none."""

    etag: str
    checksum: Checksum | None


class MultipartUpload(Struct, frozen=True):
    """An open multipart upload, which must be completed or aborted.

    If `verified`, completing it sends the checksum of the whole object, of this `kind`, and S3 compares it.
    """

    target: TargetFile
    upload_id: str
    verified: bool = False
    kind: str = CRC64NVME


class ListedObject(Struct, frozen=True):
    """One object of a listing, or one file of a folder: its `key` is then its path within the folder.

    `modified` is when it was last changed, in seconds since 1970; 0 if unknown.
    `row` is the number of its row in the directory of an archive. An `archived` object cannot be read until
    it is restored.
    """

    key: str
    size: int
    etag: str
    modified: int = 0
    row: int | None = None
    archived: bool = False


class OpenUpload(Struct, frozen=True):
    """A multipart upload that was neither completed nor aborted, and the time it was created."""

    target: TargetFile
    upload_id: str
    initiated: datetime

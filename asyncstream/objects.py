"""What stores tell and are told: ranges, objects, uploads and their parts; plain data."""

from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from msgspec import Struct

from asyncstream.checksum import Checksum, Composite
from asyncstream.locations import S3Object

# Numbers of parts are 1 to this (S3 user guide, "Amazon S3 multipart upload limits").
MAX_PARTS = 10_000


class ByteRange(NamedTuple):
    """Bytes `start` to `stop` of an object, half-open."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Bytes in the range."""
        return self.stop - self.start

    @property
    def header(self) -> str:
        """The range as HTTP writes it, inclusive (RFC 9110, 14.1.2)."""
        return f"bytes={self.start}-{self.stop - 1}"


class CompletedPart(Struct, frozen=True, omit_defaults=True):
    """A part that S3 has confirmed; `checksums` are of the bytes sent, by kind.

    `pieces` are the CRCs of what it has of the parts that its source was uploaded in: see `Digests.pieces`.
    """

    number: int
    etag: str
    length: int
    checksums: Mapping[str, Checksum]
    pieces: str = ""


class Origin(Struct, frozen=True):
    """The version of a source that an object was copied from, and the transform by which, if by one."""

    size: int
    etag: str
    transform: str = ""


class Stored(Struct, frozen=True):
    """What is stored, without its bytes. `checksum` is the whole object's, None where S3 has none of it;
    `origin` is known of what was copied with `if_exists="skip"`; `composite` is the checksum of its parts.
    """

    size: int
    etag: str
    checksum: Checksum | None
    origin: Origin | None = None
    composite: Composite | None = None


class Written(Struct, frozen=True):
    """An upload's reply. `checksum` is S3's own, of what it received; None where the server tells none."""

    etag: str
    checksum: Checksum | None


class MultipartUpload(Struct, frozen=True):
    """An upload that S3 has opened and that must be completed or aborted.

    `verified` says whether it will be completed with the checksum of the whole, which S3 then compares.
    """

    target: S3Object
    upload_id: str
    verified: bool = False


class ListedObject(Struct, frozen=True):
    """One row of a listing."""

    key: str
    size: int
    etag: str


class OpenUpload(Struct, frozen=True):
    """A multipart upload that was neither completed nor aborted, and when it was begun."""

    target: S3Object
    upload_id: str
    initiated: datetime

"""`Page`: files that a plan has found in its source, and the position to continue from. Does no I/O."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations import MAX_KEY_BYTES, S3Object, S3Prefix, ZipEntries, is_folder_marker
from asyncstream.objects import ListedObject

P = TypeVar("P")

# Where a later process continues to read a source: plain JSON, below 20 KB.
Position = Mapping[str, Any]
# Files of a page, at least, unless it is the last one. S3 lists as many at once.
PAGE_FILES = 1_000
# Listings of a prefix that a plan runs at once.
LISTS_AT_ONCE = 8
# Characters of a key that is never too long: each has at most four bytes.
SHORT_KEY = MAX_KEY_BYTES // 4
# Names of buckets that are kept as checked.
_MOST_BUCKETS = 1_000
_SCHEME = "s3://"


class Found(Struct, frozen=True, gc=False):
    """A file of a plan, or some files of an archive. Bucket and key are checked.

    Attributes:
        bucket: the source's bucket.
        key: the source's key.
        size: its bytes; None if unknown. For `entries`: bytes of the files' contents.
        etag: the ETag, with its quotes, that the object had when its list was made; empty if unknown.
        version_id: the version to read; empty: the current one.
        destination: `s3://bucket/key` if the list names one; else empty.
        entries: the files of the source, a ZIP archive.
        files: the number of files.
        packed: bytes of the `entries` in the archive.
    """

    bucket: str
    key: str
    size: int | None = None
    etag: str = ""
    version_id: str = ""
    destination: str = ""
    entries: ZipEntries | None = None
    files: int = 1
    packed: int = 0

    @property
    def uri(self) -> str:
        """`s3://bucket/key` of the source."""
        return f"{_SCHEME}{self.bucket}/{self.key}"

    @property
    def source(self) -> S3Object:
        """The source."""
        return S3Object(self.bucket, self.key, self.version_id or None)


class LeftOut(StrEnum):
    """Why an object is not copied. Replies count objects by reason."""

    DELETE_MARKER = "delete_marker"
    OLDER_VERSION = "older_version"
    ARCHIVED = "archived"
    FOLDER_MARKER = "folder_marker"


class Page(Struct, frozen=True):
    """Files that were found one after the other. A page may be empty.

    Attributes:
        found: the files.
        left_out: numbers of objects that are not copied, by reason; see `LeftOut`.
        position: where a later process continues after this page and those before it.
        share: the share of the source that was read so far, 0 to 1; None if unknown.
    """

    found: Sequence[Found]
    left_out: Mapping[str, int]
    position: Position
    share: float | None = None


class Findings(Struct):
    """What was found for the next page so far.

    Attributes:
        found: the files.
        left_out: numbers of objects that are not copied, by reason.
    """

    found: list[Found] = []
    left_out: dict[str, int] = {}

    def leave_out(self, reason: str) -> None:
        """Count an object that is not copied."""
        self.left_out[reason] = self.left_out.get(reason, 0) + 1

    def add_listed(self, bucket: str, listed: ListedObject) -> None:
        """Add an object that a listing names, or count why it is not copied."""
        if is_folder_marker(listed.key, listed.size):
            self.leave_out(LeftOut.FOLDER_MARKER)
        elif listed.archived:
            self.leave_out(LeftOut.ARCHIVED)
        else:
            self.found.append(Found(bucket, listed.key, listed.size, listed.etag))


class UriParser:
    """Parses URIs of objects. It is fast for many of the same bucket."""

    def __init__(self) -> None:
        self._buckets: set[str] = set()

    def split(self, uri: str) -> tuple[str, str]:
        """Return bucket and key of `s3://bucket/key`.

        Raises:
            InputError: it is not the URI of an object.
        """
        if uri.startswith(_SCHEME) and uri.isascii():
            bucket, _, key = uri[len(_SCHEME) :].partition("/")
            if bucket in self._buckets and 0 < len(key) <= MAX_KEY_BYTES:
                return bucket, key
        place = S3Object.from_uri(uri)
        self._keep(place.bucket)
        return place.bucket, place.key

    def check(self, bucket: str, key: str) -> None:
        """Check bucket and key of an object.

        Raises:
            InputError: they are not those of an object.
        """
        if bucket not in self._buckets or not key or len(key) > SHORT_KEY:
            S3Object(bucket, key)
            self._keep(bucket)

    def _keep(self, bucket: str) -> None:
        if len(self._buckets) < _MOST_BUCKETS:
            self._buckets.add(bucket)


def decode_position(given: Position | None, kind: type[P]) -> P:
    """Return a position as the type of a source; its first position for None.

    Raises:
        InputError: it is not a position of this kind of source.
    """
    try:
        return msgspec.convert(given or {}, kind)
    except msgspec.ValidationError as error:
        raise InputError(
            f"{error}: this is not a position in the source: copy it from the reply, or plan again"
        ) from None


def encode_position(position: Any) -> Position:
    """Return a source's position as plain JSON."""
    plain: Position = msgspec.to_builtins(position)
    return plain


def is_directory_bucket(prefix: S3Prefix) -> bool:
    """Whether a bucket lists keys in no order (S3 user guide, "Directory buckets")."""
    return prefix.bucket.endswith("--x-s3")

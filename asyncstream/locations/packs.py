"""Many files in one: archives and joined files as destinations."""

from typing import Literal

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations.archives import ZipEntries
from asyncstream.locations.local import LocalFile, LocalFolder, StandardStream
from asyncstream.locations.s3 import S3Object, S3Prefix

PackTarget = S3Object | LocalFile | StandardStream
# What a pack is made of: all files of a folder, or a list.
Members = S3Prefix | LocalFolder | ZipEntries | tuple[S3Object | LocalFile, ...]


class Tar(Struct, frozen=True):
    """A tar archive to write. Each source becomes an entry of it.

    Entries have the sources' names without the prefix that was listed, or the keys and paths of a list.

    Attributes:
        target: the archive.
    """

    target: PackTarget


class Zip(Struct, frozen=True):
    """A ZIP archive to write. Each source becomes an entry of it, which is stored as it is.

    The names are those of `Tar`.

    Attributes:
        target: the archive.
    """

    target: PackTarget


class Concat(Struct, frozen=True):
    """One file to write that has the bytes of all sources, one after the other.

    Attributes:
        target: the file.
        separator: bytes between two sources.
        header: "all" keeps each source whole. "first" leaves the first line out of all sources but the first,
            as for CSV files that have the same columns, and ends each source with a line end.

    Raises:
        InputError: the separator has over 4,096 bytes, or there is one with `header="first"`.
    """

    target: PackTarget
    separator: bytes = b""
    header: Literal["all", "first"] = "all"

    def __post_init__(self) -> None:
        if not isinstance(self.separator, bytes) or len(self.separator) > 4096:
            raise InputError(f"separator={self.separator!r:.100} must be bytes, at most 4,096 of them")
        if self.header not in {"all", "first"}:
            raise InputError(f'header={self.header!r:.100} must be "all" or "first"')
        if self.separator and self.header == "first":
            raise InputError('separator: with header="first" each source ends with a line end, so give none')


PackInto = Tar | Zip | Concat


class Pack(Struct, frozen=True):
    """The sources of an archive or of a joined file: what a result names as its source.

    Attributes:
        members: the folder, or the list.
        into: the archive or the joined file.
    """

    members: Members
    into: PackInto

    @property
    def prefix(self) -> str:
        """Empty: it is one file."""
        return ""

    @property
    def uri(self) -> str:
        """The URI of the folder, or of the first file of a list, for display."""
        if not isinstance(self.members, tuple):
            return self.members.uri
        others = len(self.members) - 1
        return self.members[0].uri + f" and {others:,} more" * (others > 0)

    def __str__(self) -> str:
        return self.uri

"""Many files in one: archives and joined files as destinations."""

from typing import Literal, get_args

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations.archives import ZipEntries
from asyncstream.locations.local import LocalFile, LocalFolder, StandardStream
from asyncstream.locations.s3 import S3Object, S3Prefix

PackTarget = S3Object | LocalFile | StandardStream
# What a pack is made of: all files of a folder, or a list.
Members = S3Prefix | LocalFolder | ZipEntries | tuple[S3Object | LocalFile, ...]


# Bytes of the smallest archives that a pack may be split into.
_LEAST_SPLIT = 1024 * 1024
IfMissing = Literal["fail", "leave_out"]


def _check_missing(into: "_Archive | Concat") -> None:
    given = into.if_missing
    if given not in get_args(IfMissing):
        raise InputError(f'if_missing={given!r:.100} must be "fail" or "leave_out"')
    if given == "leave_out" and into.copy_parts:
        raise InputError('copy_parts: S3 cannot leave out what it copies, so give no if_missing="leave_out"')


def _check_split(given: object, target: PackTarget) -> None:
    if not isinstance(given, int) or given < _LEAST_SPLIT:
        raise InputError(f"split={given!r:.100} must be a number of bytes, at least {_LEAST_SPLIT:,}")
    if isinstance(target, StandardStream):
        raise InputError("split: standard output takes one archive only")


class _Archive(Struct, frozen=True):
    target: PackTarget
    if_missing: IfMissing = "fail"
    split: int | None = None
    copy_parts: bool = False

    def __post_init__(self) -> None:
        _check_missing(self)
        if self.split is None:
            return
        if self.if_missing == "leave_out":
            raise InputError('split: its archives are planned together, so give no if_missing="leave_out"')
        _check_split(self.split, self.target)


class Tar(_Archive, frozen=True):
    """A tar archive to write. Each source becomes an entry of it.

    Entries have the sources' names without the prefix that was listed, or the keys and paths of a list.

    Attributes:
        target: the archive.
        if_missing: what to do if a source is deleted or overwritten before it is packed. "fail": nothing is
            written. "leave_out": list the sources again, and pack those that are there now.
        split: write archives of at most so many bytes each, named `x-00001.tar` and so on for a target
            `x.tar`. A larger source has an archive of its own. Default: one archive.
        copy_parts: have S3 copy what it can of sources over 5 MiB into the parts (UploadPartCopy), so that
            these bytes do not pass through this process. The destination's credentials must allow to read
            them. No later transfer can continue such a pack.

    Raises:
        InputError: a setting is out of its bounds.
    """


class Zip(_Archive, frozen=True):
    """A ZIP archive to write. Each source becomes an entry of it, which is stored as it is.

    The names are those of `Tar`.

    Attributes:
        target: the archive.
        if_missing: see `Tar`.
        split: see `Tar`.
        copy_parts: see `Tar`.

    Raises:
        InputError: a setting is out of its bounds.
    """


class Concat(Struct, frozen=True):
    """One file to write that has the bytes of all sources, one after the other.

    Attributes:
        target: the file.
        separator: bytes between two sources.
        header: "all" keeps each source whole. "first" leaves the first line out of all sources but the first,
            as for CSV files that have the same columns, and ends each source with a line end.
        if_missing: see `Tar`.
        copy_parts: see `Tar`.

    Raises:
        InputError: the separator has over 4,096 bytes, or there is one with `header="first"`.
    """

    target: PackTarget
    separator: bytes = b""
    header: Literal["all", "first"] = "all"
    if_missing: IfMissing = "fail"
    copy_parts: bool = False

    def __post_init__(self) -> None:
        _check_missing(self)
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
        volume: the number of the archive if the pack is split, from 1; 0: all of it.
        division: tells which sources were split like this; empty for all of the pack.
    """

    members: Members
    into: PackInto
    volume: int = 0
    division: str = ""

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

    @property
    def target(self) -> PackTarget:
        """The file to write: that of a volume has its number before the last suffix of its name."""
        target = self.into.target
        if not self.volume or isinstance(target, StandardStream):
            return target
        name = target.key if isinstance(target, S3Object) else target.path
        end = name.rpartition("/")[2].lstrip(".")
        suffix = end[end.rfind(".") :] if "." in end else ""
        numbered = f"{name.removesuffix(suffix)}-{self.volume:05d}{suffix}"
        return LocalFile(numbered) if isinstance(target, LocalFile) else S3Object(target.bucket, numbered)

    def __str__(self) -> str:
        return self.uri + f" ({self.volume})" * (self.volume > 0)

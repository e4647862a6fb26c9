"""ZIP archives in events and batches: which of their files to unpack, and where to. Does no I/O."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from msgspec import Meta, Struct

from asyncstream.errors import InputError
from asyncstream.locations import S3Object, S3Prefix, ZipEntries, ZipSlice, rebased
from asyncstream.pipeline.continuation import Continuation
from asyncstream.pipeline.pairs import Pair

_SUFFIX = ".zip"


class Entries(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The files of a ZIP archive to unpack, in the place of the archive itself.

    Attributes:
        select: a pattern of names, such as "*.csv"; see `ZipEntries`.
        encoding: the encoding of names that are not marked as UTF-8; empty for none.
        as_gzip: whether to make gzip files without inflating; see `ZipEntries`.
        slice: rows of the archive's directory, copied from an earlier reply.
        started: where to continue files that take longer than one invocation, by name; copied, too.
    """

    select: Annotated[str, Meta(min_length=1)] = "*"
    encoding: str | None = None
    as_gzip: bool = False
    slice: ZipSlice | None = None
    started: Mapping[str, Continuation] = {}

    @classmethod
    def from_selection(cls, entries: ZipEntries, started: Mapping[str, Continuation] | None = None) -> Self:
        """Return the selection of these entries, without their archive."""
        return cls(entries.select, entries.encoding, entries.as_gzip, entries.slice, started or {})

    def of(self, archive: S3Object) -> ZipEntries:
        """Return the entries of this archive.

        Raises:
            InputError: the encoding is unknown.
        """
        return ZipEntries(archive, self.select, self.encoding or None, self.as_gzip, self.slice)


def continuations_of(
    pair: Pair, continuation: Continuation | None, entries: Entries | None
) -> dict[Any, Continuation]:
    """Return the continuations of a file, or of files in an archive, by source and destination.

    Raises:
        InputError: an archive has a continuation of its own, or the name of a file cannot become a key.
    """
    if entries is None:
        return {} if continuation is None else {pair: continuation}
    if continuation is not None:
        raise InputError("an archive has no continuation: copy its `entries` from the reply")
    archive, folder = pair
    assert isinstance(archive, ZipEntries) and isinstance(folder, S3Prefix)  # noqa: S101, PT018 - as asked
    return {
        (archive.item(name), folder.item(rebased(name, archive, folder))): each
        for name, each in entries.started.items()
    }


def is_archive(key: str) -> bool:
    """Whether the name of an object ends as that of a ZIP archive. `.zip` alone is a name without an end."""
    name = key.rpartition("/")[2].lower()
    return name.endswith(_SUFFIX) and name != _SUFFIX


def folder_of(archive: S3Object, source: S3Prefix, destination: S3Prefix) -> S3Prefix:
    """Return the prefix that an archive is unpacked to: the rest of its key without `.zip`, and a slash.

    Args:
        archive: the archive.
        source: the prefix of archives, which `destination` replaces.
        destination: the prefix of all files that are unpacked.
    """
    key = rebased(archive.key, source, destination)
    return S3Prefix(destination.bucket, (key[: -len(_SUFFIX)] if is_archive(key) else key) + "/")

"""Pairs of source and destination: which a transfer can copy, checked before any I/O."""

import os
from collections.abc import Iterable, Sequence
from unicodedata import normalize

from asyncstream.errors import InputError, NothingToTransfer
from asyncstream.locations import (
    Folder,
    Lines,
    LocalFile,
    LocalFolder,
    Pack,
    PackInto,
    S3Object,
    S3Prefix,
    SourceFile,
    SourceFolder,
    StandardStream,
    TarEntries,
    TarEntry,
    TargetFile,
    WebFile,
    ZipEntries,
    ZipEntry,
)

FOLDERS, OF_S3 = (S3Prefix, LocalFolder), (S3Object, S3Prefix)
_ARCHIVES = (ZipEntries, TarEntries)
SOURCE_FOLDERS = (*FOLDERS, *_ARCHIVES, Lines)
_TARGETS = (S3Object, LocalFile, StandardStream)
_SOURCES = (*_TARGETS, WebFile, ZipEntry, TarEntry, Pack)
Pair = tuple[SourceFile, TargetFile] | tuple[SourceFolder, Folder]
# A pair as callers may give it: several files become one.
GivenPair = Pair | tuple[SourceFile | SourceFolder | Sequence[S3Object | LocalFile], PackInto]


def check_pairs(pairs: Iterable[GivenPair], *, one_server: bool = True) -> list[Pair]:
    """Check pairs of source and destination, and return them as a list.

    Args:
        pairs: the pairs.
        one_server: whether both sides are on one server. If not, they may have one name.

    Raises:
        NothingToTransfer: there are no pairs.
        InputError: an element is not a pair, a destination is named twice, or the two sides of a pair are the
            same object.
    """
    checked: list[Pair] = []
    seen: set[str] = set()
    for position, given in enumerate(pairs):
        if not isinstance(given, tuple) or len(given) != 2:
            raise InputError(f"files[{position}] is {given!r}: give a pair of a source and a destination")
        try:
            pair = pack_of(*given, one_server=one_server) if isinstance(given[1], PackInto) else given
            check_pair(*pair)
        except InputError as error:
            raise type(error)(f"files[{position}]: {error}") from None
        checked.append(pair)
        source, destination = pair
        if not isinstance(destination, FOLDERS):
            if destination.uri in seen:
                raise InputError(f"files[{position}]: the destination {destination} is named twice")
            seen.add(destination.uri)
        named_alike = isinstance(source, Pack) or (isinstance(source, OF_S3) and not one_server)
        if not named_alike and are_the_same(source, destination):
            raise InputError(f"files[{position}]: source and destination are the same, {source}")
    if not checked:
        raise NothingToTransfer("the list of files is empty")
    if len(checked) > 1 and any(isinstance(place, StandardStream) for pair in checked for place in pair):
        raise InputError("a standard stream has one file: copy it by a transfer of its own")
    return checked


def pack_of(members: object, into: PackInto, *, one_server: bool = True) -> tuple[Pack, TargetFile]:
    """Return the pair of a pack and its target.

    Raises:
        InputError: the members cannot be packed.
    """
    if isinstance(members, S3Object | LocalFile):
        members = (members,)
    elif isinstance(members, list | tuple):
        members = tuple(members)
        if not members:
            raise NothingToTransfer(f"the list of files to pack into {into.target} is empty")
    each = members if isinstance(members, tuple) else ()
    if not isinstance(members, S3Prefix | LocalFolder | ZipEntries | tuple) or not all(
        isinstance(place, S3Object | LocalFile) for place in each
    ):
        raise InputError(
            f"{type(into).__name__} takes an S3Prefix, a LocalFolder, ZipEntries, or a list of S3Objects and "
            f"LocalFiles, not {members!r:.200}"
        )
    apart = isinstance(into.target, S3Object) and not one_server
    if not apart and any(_is_target(place, into.target) for place in each):
        raise InputError(f"{into.target} cannot be made of itself")
    return Pack(members, into), into.target


def _is_target(place: S3Object | LocalFile, target: TargetFile) -> bool:
    if isinstance(place, LocalFile) and isinstance(target, LocalFile):
        return os.path.abspath(place.path) == os.path.abspath(target.path)  # noqa: PTH100 - a Path takes longer
    return place == target


def check_volume(pack: Pack, taken: Iterable[TargetFile | Folder]) -> None:
    """Check that an archive of a split pack overwrites neither a source nor another destination.

    Raises:
        InputError: it does.
    """
    listed = pack.members if isinstance(pack.members, tuple) else ()
    if pack.volume and (pack.target in listed or pack.target in taken):
        raise InputError(f"{pack.target}, an archive of {pack}, is also a source or another destination")


def check_foldable(files: Iterable[tuple[SourceFile, TargetFile]]) -> None:
    """Check that no two files have destinations that this machine's file systems take for one.

    Raises:
        InputError: two files do.
    """
    seen: dict[str, SourceFile] = {}
    for source, destination in files:
        if not isinstance(destination, LocalFile):
            continue
        other = seen.setdefault(normalize("NFC", destination.path).casefold(), source)
        if other is not source:
            raise InputError(
                f"{other} and {source} would be one file on this system, {destination}: copy them to S3, or "
                "one by one under other names"
            )


def are_the_same(source: SourceFile | SourceFolder, destination: TargetFile | Folder) -> bool:
    """Whether a source would be copied to itself."""
    earlier = isinstance(source, S3Object) and source.version_id is not None
    return source.uri == destination.uri and not earlier and not isinstance(source, StandardStream)


def check_pair(source: object, destination: object) -> None:
    """Check that one side can be copied to the other.

    Raises:
        InputError: it cannot.
    """
    if isinstance(source, SOURCE_FOLDERS) and isinstance(destination, FOLDERS):
        _check_names_match(source, destination)
    elif not (isinstance(source, _SOURCES) and isinstance(destination, _TARGETS)):
        raise InputError(
            "give two S3Objects, or two S3Prefixes to copy a listing (or a LocalFile, LocalFolder, WebFile, "
            "ZipEntry, ZipEntries, TarEntry or TarEntries in the place of one), not "
            f"{type(source).__name__} and {type(destination).__name__}"
        )
    if isinstance(destination, S3Object) and destination.version_id is not None:
        raise InputError(f"a destination cannot name a version ({destination})")


def _check_names_match(source: SourceFolder, destination: Folder) -> None:
    """Check that a prefix whose names become those of files ends where a folder does.

    Raises:
        InputError: it does not: `s3://bucket/data` would make `data/x` to `/x`.
    """
    for prefix, other in ((source, destination), (destination, source)):
        names_files = isinstance(other, (LocalFolder, *_ARCHIVES, Lines))
        if names_files and prefix.prefix and not prefix.prefix.endswith("/"):
            raise InputError(f"{prefix} and a folder: end the prefix with a slash")

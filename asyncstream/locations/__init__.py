"""Places that a transfer reads and writes: objects, files, URLs, prefixes and folders. No I/O."""

from asyncstream.locations.archives import (
    ArchiveFile,
    TarEntries,
    TarEntry,
    Unwritable,
    ZipEntries,
    ZipEntry,
    ZipSlice,
)
from asyncstream.locations.lines import MOST_RANGES, LineRange, Lines
from asyncstream.locations.local import LocalFile, LocalFolder, StandardStream
from asyncstream.locations.packs import Concat, Members, Pack, PackInto, PackTarget, Tar, Zip
from asyncstream.locations.s3 import MAX_KEY_BYTES, S3Object, S3Prefix, is_folder_marker
from asyncstream.locations.web import WebFile

# Sources and destinations of one file, and of many.
SourceFile = S3Object | LocalFile | WebFile | StandardStream | ZipEntry | TarEntry | Pack | LineRange
TargetFile = S3Object | LocalFile | StandardStream | Unwritable
Folder = S3Prefix | LocalFolder
SourceFolder = Folder | ZipEntries | TarEntries | Lines

__all__ = [
    "MAX_KEY_BYTES",
    "MOST_RANGES",
    "ArchiveFile",
    "Concat",
    "Folder",
    "LineRange",
    "Lines",
    "LocalFile",
    "LocalFolder",
    "Members",
    "Pack",
    "PackInto",
    "PackTarget",
    "S3Object",
    "S3Prefix",
    "SourceFile",
    "SourceFolder",
    "StandardStream",
    "Tar",
    "TarEntries",
    "TarEntry",
    "TargetFile",
    "Unwritable",
    "WebFile",
    "Zip",
    "ZipEntries",
    "ZipEntry",
    "ZipSlice",
    "is_folder_marker",
    "rebased",
]


def rebased(name: str, old: SourceFolder, new: Folder) -> str:
    """Return the name of a file with the prefix of `old` replaced by that of `new`, and the end it gets."""
    end = old.suffix if isinstance(old, ZipEntries) else ""
    return new.prefix + name.removeprefix(old.prefix) + end

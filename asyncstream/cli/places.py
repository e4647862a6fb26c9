"""Parse the places that commands take: objects, prefixes, files, folders, archives, URLs, `-`."""

import argparse
import re
from pathlib import Path

from asyncstream.errors import InputError
from asyncstream.locations import (
    ArchiveFile,
    Concat,
    Folder,
    Lines,
    LocalFile,
    LocalFolder,
    PackInto,
    S3Object,
    S3Prefix,
    SourceFile,
    StandardStream,
    Tar,
    TarEntries,
    TargetFile,
    WebFile,
    Zip,
    ZipEntries,
)
from asyncstream.locations.packs import PackTarget
from asyncstream.locations.urls import parse_url, shown
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.pairs import GivenPair, Pair
from asyncstream.pipeline.session import TransferSession

# How the names of tar archives end, in lower case.
TAR_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.bz2", ".tar.xz")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}


def parse_pair(options: argparse.Namespace) -> Pair:
    """Return the pair that the command line names. The only I/O is to check whether a path is a folder.

    Raises:
        InputError: a place cannot be read or written, or the two do not fit.
    """
    source, destination = _source(options), _destination(options.destination)
    if options.object or not isinstance(source, S3Prefix | LocalFolder):
        return _single_file(source, destination)
    if not isinstance(destination, S3Prefix | LocalFolder):
        if isinstance(source, S3Prefix) and _is_folder(source):
            raise InputError(f"{source} is a prefix, and {destination} takes one object only")
        return _single_file(source, destination)  # a prefix is the URI of an object, too
    return source, destination


def into_folder(session: TransferSession, pair: GivenPair, config: TransferConfig) -> GivenPair:
    """Return the pair of one object and its place in a folder, if that is what two prefixes mean.

    `s3://a/x.csv` and `s3://b/folder/` mean `s3://b/folder/x.csv`, as for `aws s3 cp`. As prefixes, they
    would mean an object with the key `folder/`.

    Raises:
        InputError: the source is an object, and other keys start with its key.
    """
    source, destination = pair
    if not isinstance(source, S3Prefix) or not isinstance(destination, S3Prefix | LocalFolder):
        return pair
    if _is_folder(source) or not _is_folder(destination):
        return pair
    one = S3Object.from_uri(source.uri)
    if isinstance(destination, LocalFolder):
        return one, _file_in(destination, one)
    jobs = session.plan([(source, S3Prefix.from_uri(_file_in(destination, one).uri))], config)
    if all(job.source != one for job in jobs):
        return pair
    if len(jobs) > 1:
        raise InputError(
            f"{source} is an object, and {len(jobs) - 1:,} other keys start with its key. Copy only the "
            f"object with --object, or all of them with {_file_in(destination, one)} as the destination"
        )
    return one, _file_in(destination, one)


def parse_zip(options: argparse.Namespace) -> ZipEntries:
    """Return the entries that `asyncstream unzip` names.

    Raises:
        InputError: the archive is not an object, a file or a URL, or the encoding is unknown.
    """
    return ZipEntries(
        _archive(options.archive), options.select, options.encoding, getattr(options, "gz", False)
    )


def parse_tar(options: argparse.Namespace) -> TarEntries:
    """Return the files that `asyncstream untar` names.

    Raises:
        InputError: the archive is not an object, a file or a URL.
    """
    return TarEntries(_archive(options.archive), options.select)


def parse_listed(options: argparse.Namespace) -> ZipEntries | TarEntries:
    """Return the files that `asyncstream ls` names: those of a tar archive, if its name ends as one's.

    Raises:
        InputError: see `parse_zip`; or an encoding was given for a tar archive.
    """
    text = options.archive
    name = parse_url(text).target.partition("?")[0] if _is_url(text) else text
    if not name.lower().endswith(TAR_ENDINGS):
        return parse_zip(options)
    if options.encoding is not None:
        raise InputError(f"--encoding is for ZIP archives, and {name.rpartition('/')[2]} is not one")
    return parse_tar(options)


def _archive(text: str) -> ArchiveFile:
    if _is_url(text):
        return WebFile(text)
    path = _local_path(text)
    return S3Object.from_uri(text) if path is None else LocalFile(path)


def parse_pack(options: argparse.Namespace) -> GivenPair:
    """Return the pair that `asyncstream tar`, `zip` or `concat` names.

    Raises:
        InputError: a source is not an object or a file, or the destination is a folder.
    """
    target = _destination(options.destination)
    if isinstance(target, LocalFolder) or (isinstance(target, S3Prefix) and _is_folder(target)):
        raise InputError(f"{target} is a folder: name the file to write in it")
    into = _pack_into(options, S3Object.from_uri(target.uri) if isinstance(target, S3Prefix) else target)
    if len(options.sources) > 1:
        return [_file(text) for text in options.sources], into
    place = _file_or_folder(options.sources[0])
    return ([place] if isinstance(place, LocalFile) else place), into


def parse_split(options: argparse.Namespace) -> Pair:
    """Return the pair that `asyncstream split` names.

    Raises:
        InputError: the source is not an object or a file, or the number of ranges is out of bounds.
    """
    lines = Lines(_file(options.source), options.ranges, options.header, csv=options.csv)
    return lines, parse_folder(options.destination)


def _pack_into(options: argparse.Namespace, target: PackTarget) -> PackInto:
    if options.command == "tar":
        return Tar(target, options.if_missing, options.split, options.copy_parts)
    if options.command == "zip":
        return Zip(target, options.if_missing, options.split, options.copy_parts)
    separator = re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[0]), options.separator)
    return Concat(
        target,
        separator.encode(errors="surrogateescape"),
        options.header,
        options.if_missing,
        options.copy_parts,
    )


def _file(text: str) -> S3Object | LocalFile:
    path = _local_path(text)
    return S3Object.from_uri(text) if path is None else LocalFile(path)


def parse_folder(text: str) -> Folder:
    """Return the prefix or the folder that `asyncstream clean` and `unzip` name.

    Raises:
        InputError: it is neither.
    """
    if _is_url(text):
        raise InputError(f"{shown(text)} is neither a prefix nor a folder")
    path = _local_path(text)
    return S3Prefix.from_uri(text) if path is None else LocalFolder(path)


def _source(options: argparse.Namespace) -> SourceFile | Folder:
    text = options.source
    if text == "-":
        source: SourceFile | Folder = StandardStream()
    elif _is_url(text):
        source = WebFile(text, sha256=options.sha256)
    else:
        source = _file_or_folder(text)
    if options.sha256 is not None and not isinstance(source, WebFile):
        raise InputError(f"--sha256 is the SHA-256 of a file behind a URL, and {source} is not a URL")
    return source


def _destination(text: str) -> PackTarget | Folder:
    if text == "-":
        return StandardStream()
    if _is_url(text):
        raise InputError(f"{shown(text)} cannot be written: a URL can only be a source")
    return _file_or_folder(text)


def _file_or_folder(text: str) -> LocalFile | Folder:
    """Return the prefix, file or folder that a text names. A path with a slash at its end is a folder."""
    path = _local_path(text)
    if path is None:
        return S3Prefix.from_uri(text)
    return LocalFolder(path) if text.endswith("/") or Path(path).is_dir() else LocalFile(path)


def _is_url(text: str) -> bool:
    """Whether a text is meant as a URL. Messages must not show its query, even if it is malformed."""
    return text.strip().lower().startswith(("http:", "https:"))


def _local_path(text: str) -> str | None:
    """Return the path of a file URI, or a text that starts as a path does; None for other texts."""
    if text.startswith("file://"):
        return LocalFile.from_uri(text).path
    return text if text.startswith(("/", "./", "../")) or text in {".", ".."} else None


def _single_file(source: SourceFile | Folder, destination: TargetFile | Folder) -> Pair:
    """Return a pair of single files. A destination that is a folder gets the source's name."""
    read = S3Object.from_uri(source.uri) if isinstance(source, S3Prefix) else source
    if isinstance(read, LocalFolder):
        raise InputError(f"{read} is a folder: copy it to a folder or a prefix, without --object")
    if isinstance(destination, S3Prefix | LocalFolder):
        if _is_folder(destination):
            return read, _file_in(destination, read)
        return read, S3Object.from_uri(destination.uri)
    return read, destination


def _is_folder(place: Folder) -> bool:
    return isinstance(place, LocalFolder) or place.prefix.endswith("/") or not place.prefix


def _file_in(folder: Folder, source: SourceFile) -> S3Object | LocalFile:
    """Return the place in a folder for a file, under the last name of its key, path or URL.

    Raises:
        InputError: the file has no name.
    """
    match source:
        case S3Object():
            name = source.key.rpartition("/")[2]
        case LocalFile():
            name = Path(source.path).name
        case WebFile():
            name = parse_url(source.url).target.partition("?")[0].rpartition("/")[2]
        case _:
            name = ""
    if not name:
        raise InputError(f"{source} has no name for a file in {folder}: name it in DESTINATION")
    return folder.item(folder.prefix + name)

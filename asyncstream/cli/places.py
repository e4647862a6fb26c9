"""Parse the places that commands take: objects, prefixes, files, folders, archives, URLs, `-`."""

import argparse
from pathlib import Path

from asyncstream.errors import InputError
from asyncstream.locations import (
    ArchiveFile,
    Folder,
    LocalFile,
    LocalFolder,
    S3Object,
    S3Prefix,
    SourceFile,
    StandardStream,
    TargetFile,
    WebFile,
    ZipEntries,
)
from asyncstream.locations.urls import parse_url, shown
from asyncstream.pipeline.config import TransferConfig
from asyncstream.pipeline.jobs import Pair
from asyncstream.pipeline.session import TransferSession


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


def into_folder(session: TransferSession, pair: Pair, config: TransferConfig) -> Pair:
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


def parse_archive(options: argparse.Namespace) -> ZipEntries:
    """Return the entries that `asyncstream unzip` and `ls` name.

    Raises:
        InputError: the archive is not an object, a file or a URL, or the encoding is unknown.
    """
    text, path = options.archive, _local_path(options.archive)
    if _is_url(text):
        archive: ArchiveFile = WebFile(text)
    else:
        archive = S3Object.from_uri(text) if path is None else LocalFile(path)
    return ZipEntries(archive, options.select, options.encoding, getattr(options, "gz", False))


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


def _destination(text: str) -> TargetFile | Folder:
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

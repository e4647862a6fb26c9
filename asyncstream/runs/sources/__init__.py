"""What a plan is made of, read page by page in bounded memory: `read_pages`, and one file for each kind."""

from collections.abc import AsyncGenerator

from asyncstream.errors import InputError
from asyncstream.locations import S3Object, S3Prefix, ZipEntries
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Engine
from asyncstream.runs.descriptions import SourceKind
from asyncstream.runs.pages import Page, Position
from asyncstream.runs.sources.archives import read_archive
from asyncstream.runs.sources.inventories import read_inventory
from asyncstream.runs.sources.lists import read_list
from asyncstream.runs.sources.prefixes import read_prefix

__all__ = ["SourcePlace", "read_pages"]

SourcePlace = S3Prefix | S3Object | ZipEntries


def read_pages(
    ends: Ends,
    engine: Engine,
    kind: SourceKind,
    place: SourcePlace,
    position: Position | None = None,
    concurrency: int = 8,
) -> AsyncGenerator[Page, None]:
    """Yield the files of a source in pages. Each file is on one page, also if another process continues.

    Close it if it is not read to its end.

    Args:
        ends: where the source is; opened for `place`, too.
        engine: runs the listings of a prefix.
        kind: the kind of source.
        place: a prefix; the `manifest.json` of an inventory; the object with a list; the files of an archive.
        position: that of the last page that was used; None: start.
        concurrency: the most listings at once of a prefix.

    Raises:
        InputError: a list is malformed. The message names the line.
        CorruptInput: a list is damaged.
        SourceChanged: a list or an archive was overwritten since the position was written.
        ConfigError: a package is missing.
        SourceNotFound, BucketNotFound, AccessDenied, DeadlineExceeded: the source could not be read.
    """
    match kind, place:
        case "prefix", S3Prefix():
            return read_prefix(ends, engine, place, position, concurrency)
        case "inventory", S3Object():
            return read_inventory(ends, place, position)
        case "jsonl" | "csv", S3Object():
            return read_list(ends, kind, place, position)
        case "zip", ZipEntries():
            return read_archive(ends, place, position)
    raise InputError(f"{place} is not a source of the kind {kind!r:.40}: name the kind that it has")

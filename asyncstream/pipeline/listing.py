"""Turn pairs into jobs, by listing the prefixes among them."""

import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import MappingProxyType
from typing import Any

from asyncstream.errors import AsyncstreamError, InputError, NothingToTransfer, S3Error
from asyncstream.locations import (
    Lines,
    LocalFolder,
    Pack,
    S3Object,
    S3Prefix,
    SourceFolder,
    TarEntries,
    TarEntry,
    ZipEntries,
    ZipEntry,
    is_folder_marker,
)
from asyncstream.objects import ListedObject
from asyncstream.pipeline.context import Ends
from asyncstream.pipeline.jobs import Jobs, Known
from asyncstream.pipeline.pairs import Pair
from asyncstream.ports import Listing
from asyncstream.units import MiB

# Bytes of a key kept for comparison: the text, and its entry in a set.
_SEEN_BYTES = 200
NOTHING_KNOWN: Mapping[Any, Known] = MappingProxyType({})
_Ask = Callable[[str | None], Awaitable[tuple[list[ListedObject], str | None]]]


async def list_files(
    ends: Ends, pairs: Sequence[Pair], room: float = math.inf, known: Mapping[Any, Known] = NOTHING_KNOWN
) -> Jobs:
    """List the prefixes among the pairs, and return the files to copy. Folder markers are only counted.

    Args:
        ends: the source to list.
        pairs: the result of `pairs.check_pairs`.
        room: bytes of memory for the listed files and their results.
        known: what an earlier listing has told of the sources.

    Raises:
        NothingToTransfer: no object exists under one of the prefixes, other than folder markers.
        InputError: two files would be written to the same object, or the files do not fit into `room`.
        DeadlineExceeded, BucketNotFound, AccessDenied: a prefix could not be listed.
        S3Error: the pages of a listing do not end.
    """
    work = Jobs(pairs)
    for position, (source, _) in enumerate(pairs):
        if isinstance(source, ZipEntries):
            await _list_archive(source, position, work, ends, room)
        elif isinstance(source, S3Prefix | LocalFolder | TarEntries | Lines):
            ask = partial(_page, source, ends)
            await _list(source, position, work, ask, room)
        elif isinstance(source, Pack):
            page, _ = await ends.source_of(source).list_page(source, None)
            for row in page:
                work.add_pack(position, row)
        else:
            if ends.archives is not None and isinstance(source, ZipEntry):
                with suppress(AsyncstreamError):  # only this file fails, when it opens
                    await ends.retrying.run(partial(ends.archives.prepare, source))
            work.add(position, known.get(source) if known else None)
        if isinstance(source, TarEntries | TarEntry):
            needs_order = partial(ends.source_of(source).needs_order, source)
            work.in_order |= await ends.retrying.run(needs_order)
    work.check_distinct()
    return work


async def list_objects(ends: Ends, prefix: S3Prefix) -> list[S3Object]:
    """Return the objects under a prefix; see `TransferSession.list_objects`."""
    work = Jobs([(prefix, prefix)])
    with suppress(NothingToTransfer):
        await _list(prefix, 0, work, partial(_page, prefix, ends), math.inf)
    return [S3Object.from_uri(job.source.uri) for job in work]


async def list_entries(ends: Ends, entries: ZipEntries | TarEntries) -> list[ListedObject]:
    """Return the files in an archive; see `TransferSession.list_entries`."""
    if isinstance(entries, TarEntries):
        return await _list_tar(entries, ends)
    listing = await _all(entries, ends)
    return [listing[position] for position in range(len(listing))]


async def _list_tar(entries: TarEntries, ends: Ends) -> list[ListedObject]:
    found: list[ListedObject] = []
    token: str | None = None
    while True:
        page, token = await _page(entries, ends, token)
        found += page
        if token is None:
            return found


async def slice_archive(ends: Ends, entries: ZipEntries, size: int) -> list[ZipEntries]:
    """Return slices of an archive's entries; see `TransferSession.slice_archive`."""
    if size < 1:
        raise InputError(f"a slice of {size} rows is not possible: give at least 1")
    assert ends.archives is not None  # noqa: S101 - it was opened for these entries
    shares = await ends.retrying.run(partial(ends.archives.cut, entries, size))
    return [share.entries for share in shares]


async def _list_archive(entries: ZipEntries, position: int, work: Jobs, ends: Ends, room: float) -> None:
    listing = await _all(entries, ends)
    if not len(listing):
        raise NothingToTransfer(f"nothing is stored under {entries}")
    work.add_listing(position, listing)
    if work.held > room:
        raise InputError(_too_many(work, entries, room))


async def _all(entries: ZipEntries, ends: Ends) -> Listing:
    assert ends.archives is not None  # noqa: S101 - it was opened for these entries
    return await ends.retrying.run(partial(ends.archives.list_all, entries))


async def _list(prefix: SourceFolder, position: int, work: Jobs, ask: _Ask, room: float) -> None:
    """Add the objects under a prefix, each key once: a page may repeat keys of the page before."""
    markers: set[str] = set()
    begin, last = len(work), ""
    token: str | None = None
    # All keys so far. This takes memory, so only if keys are not in order, as in directory buckets.
    seen: set[str] | None = None
    while True:
        page, following = await ask(token)
        known = len(work) + len(markers)
        for row in _take_markers(page, markers):
            if seen is None and row.key <= last:
                seen = work.listed_keys(begin)
            if seen is not None:
                if row.key in seen:
                    continue
                seen.add(row.key)
            work.add_listed(position, row)
            last = row.key
        if work.held + (len(seen or ()) + len(markers)) * _SEEN_BYTES > room:
            raise InputError(_too_many(work, prefix, room))
        if following is None:
            break
        if following == token or (page and len(work) + len(markers) == known):
            raise S3Error(
                f"the listing of {prefix} does not advance: its pages repeat after {known - begin} keys"
            )
        token = following
    work.folder_markers += len(markers)
    if len(work) == begin and not (isinstance(prefix, Lines) and prefix.only):  # no line may start in a range
        only = f" but {len(markers):,} folder markers" if markers else ""
        raise NothingToTransfer(f"nothing is stored under {prefix}{only}")


def _take_markers(page: Sequence[ListedObject], markers: set[str]) -> list[ListedObject]:
    """Add the keys of a page's folder markers to `markers`, and return its other objects."""
    markers.update(row.key for row in page if is_folder_marker(row.key, row.size))
    return [row for row in page if row.key not in markers]


def _too_many(work: Jobs, prefix: SourceFolder, room: float) -> str:
    return (
        f"{prefix}: the {work.listed:,} objects listed so far need more than the "
        f"{max(room, 0) / MiB:.0f} MiB that the function's memory has left, at "
        f"{work.held // max(1, work.listed)} bytes a file. Give the function "
        "more memory, copy one narrower prefix after the other, or use the state machine of "
        "deploy/template.yaml"
    )


async def _page(prefix: SourceFolder, ends: Ends, token: str | None) -> tuple[list[ListedObject], str | None]:
    """Request one page."""
    return await ends.retrying.run(partial(ends.source_of(prefix).list_page, prefix, token))

"""Pairs turned into jobs, where that takes listing a prefix."""

import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from asyncstream.errors import InputError, NothingToTransfer, S3Error
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import ListedObject
from asyncstream.pipeline.jobs import Jobs, Pair
from asyncstream.retry import Retrying
from asyncstream.s3.store import S3Store
from asyncstream.units import MiB

# Bytes of a key that is kept to be compared: the text, and its place in a set.
_SEEN_BYTES = 200
_Ask = Callable[[str | None], Awaitable[tuple[list[ListedObject], str | None]]]


async def found(pairs: Sequence[Pair], store: S3Store, retrying: Retrying, room: float = math.inf) -> Jobs:
    """List the prefixes among the pairs, and return the files to copy.

    Args:
        pairs: checked.
        store: where to list.
        retrying: repeats the requests, and ends the listing by its deadline.
        room: bytes of memory for the files listed and their results.

    Raises:
        NothingToTransfer: nothing is stored under one of the prefixes.
        InputError: two files would be written to the same object, or there are more than memory has room for.
        DeadlineExceeded, BucketNotFound, AccessDenied: one could not be listed.
        S3Error: the pages of one do not end.
    """
    work = Jobs(pairs)
    for position, (source, _) in enumerate(pairs):
        if isinstance(source, S3Object):
            work.add(position)
        else:
            ask = partial(_page, source, store, retrying)
            await _list(source, position, work, ask, room)
    work.check_distinct()
    return work


async def _list(prefix: S3Prefix, position: int, work: Jobs, ask: _Ask, room: float) -> None:
    """Add what is listed under a prefix, each key once: a page may repeat keys of the one before."""
    begin, last = len(work), ""
    token: str | None = None
    # All keys, which takes memory: only where they are not in order, as those of directory buckets are not.
    seen: set[str] | None = None
    while True:
        page, following = await ask(token)
        known = len(work)
        for row in page:
            if seen is None and row.key <= last:
                seen = {work[each].source.key for each in range(begin, len(work))}
            if seen is not None:
                if row.key in seen:
                    continue
                seen.add(row.key)
            work.add_listed(position, row)
            last = row.key
        if work.held + len(seen or ()) * _SEEN_BYTES > room:
            raise InputError(_too_many(work, prefix, room))
        if following is None:
            break
        if following == token or (page and len(work) == known):
            raise S3Error(
                f"the listing of {prefix} does not advance: its pages repeat after {known - begin} keys"
            )
        token = following
    if len(work) == begin:
        raise NothingToTransfer(f"nothing is stored under {prefix}")


def _too_many(work: Jobs, prefix: S3Prefix, room: float) -> str:
    return (
        f"{prefix}: {work.listed:,} objects, listed so far, take the {max(room, 0) / MiB:.0f} MiB that the "
        f"function's memory has room for, at {work.held // work.listed} bytes a file: give the function more "
        "memory, copy one narrower prefix after the other, or use the state machine of deploy/template.yaml"
    )


async def _page(
    prefix: S3Prefix, store: S3Store, retrying: Retrying, token: str | None
) -> tuple[list[ListedObject], str | None]:
    """Ask for one page."""
    return await retrying.run(partial(store.list_page, prefix, token))

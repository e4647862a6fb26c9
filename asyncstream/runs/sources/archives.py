"""The files of a ZIP archive, as slices of its directory."""

from collections.abc import AsyncGenerator
from functools import partial

from msgspec import Struct

from asyncstream.errors import InputError, SourceChanged
from asyncstream.locations import S3Object, ZipEntries
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Share
from asyncstream.runs.pages import PAGE_FILES, Found, Page, Position, decode_position, encode_position

# Rows of the archive's directory in a slice. A worker reads the rows of its slices again.
_SLICE_ROWS = 1_000


class _Position(Struct, forbid_unknown_fields=True):
    etag: str = ""
    slices: int = 0


async def read_archive(
    ends: Ends, entries: ZipEntries, position: Position | None
) -> AsyncGenerator[Page, None]:
    """Yield slices of the files of an archive.

    Raises:
        SourceChanged: the archive was overwritten since the position was written.
        CorruptInput: it is not a ZIP archive, or damaged.
    """
    place = entries.archive
    if not isinstance(place, S3Object):
        raise InputError(f"{place} is not an object: upload it, since all workers read it")
    start = decode_position(position, _Position)
    assert ends.archives is not None  # noqa: S101 - it was opened for these entries
    shares = await ends.retrying.run(partial(ends.archives.cut, entries, _SLICE_ROWS))
    if not shares:
        return
    etag = _etag(shares[0])
    if start.etag and start.etag != etag:
        raise SourceChanged(f"{place} was overwritten while it was planned: plan it again")
    for first in range(start.slices, len(shares), PAGE_FILES):
        found = [_found(place, share) for share in shares[first : first + PAGE_FILES]]
        after = first + len(found)
        yield Page(found, {}, encode_position(_Position(etag, after)), after / len(shares))


def _etag(share: Share) -> str:
    assert share.entries.slice is not None  # noqa: S101 - it was cut
    return share.entries.slice.etag


def _found(place: S3Object, share: Share) -> Found:
    return Found(
        place.bucket,
        place.key,
        share.bytes,
        _etag(share),
        place.version_id or "",
        entries=share.entries,
        files=share.files,
        packed=share.packed,
    )

"""Archives in memory, and the listings of their entries."""

import io
import math
import struct
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from asyncstream.archives.zip_directory import CUT, TAIL, RawEntry, find_directory, raw_entry, walk_rows
from asyncstream.archives.zip_listing import Listing, Recent
from asyncstream.archives.zip_scan import Area, Scan
from asyncstream.errors import CorruptInput
from asyncstream.locations import LocalFile, ZipEntries
from asyncstream.units import MiB

WHOLE = ZipEntries(LocalFile("a.zip"))
ETAG = '"0123456789abcdef0123456789abcdef-1234"'


def read_rows(data: bytes) -> Iterator[RawEntry]:
    """Yield the rows of a whole directory."""
    at = 0
    for fields in walk_rows(data):
        yield raw_entry(fields)
        at = fields[-1]
    if at < len(data):
        raise CorruptInput(CUT)


def packed(names: Iterable[str], comment: bytes = b"") -> bytes:
    """Return an archive whose entries have their names, three times, as contents."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as archive:
        archive.comment = comment
        for name in names:
            archive.writestr(name, name * 3)
    return target.getvalue()


def in_order(archive: bytes, order: Sequence[int]) -> bytes:
    """Return an archive with the rows of its directory in another order."""
    start, stop = find_directory(archive[-TAIL:], len(archive)).range
    rows = []
    at = start
    while at < stop:
        length = 46 + sum(struct.unpack_from("<3H", archive, at + 28))
        rows.append(archive[at : at + length])
        at += length
    return archive[:start] + b"".join(rows[position] for position in order) + archive[stop:]


def listed(
    archive: bytes,
    asked: ZipEntries = WHOLE,
    *,
    block: int = 1_000,
    chunk: int = MiB,
    room: float = math.inf,
    by_name: bool = False,
) -> Listing:
    """Return the listing of a selection, read in chunks."""
    directory = find_directory(archive[-TAIL:], len(archive))
    area = Area.of(asked.slice or directory)
    scan = Scan(asked, area, block, room, by_name=by_name)
    for at in range(area.start, area.stop, chunk):
        scan.feed(archive[at : min(at + chunk, area.stop)])
    return Listing(asked, ETAG, scan.finish(), Recent[Any]())

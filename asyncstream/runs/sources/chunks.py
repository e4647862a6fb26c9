"""Read a large object from its start in bounded memory: verified by its MD5, gunzipped, in chunks.

A plan writes batches while it reads a list, for seconds at a time. So no connection stays open meanwhile:
each piece is one GET of a range, which is repeated as a whole.
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from hashlib import md5
from typing import Any, NamedTuple

from asyncstream.errors import CorruptInput, TruncatedBody
from asyncstream.locations import S3Object
from asyncstream.objects import ByteRange, Stored
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Source
from asyncstream.transforms import Gunzip
from asyncstream.transforms.lines import SPLIT_AT_ONCE
from asyncstream.transforms.protocol import slices
from asyncstream.units import MiB

# Bytes of a GET. At 25 ms to the first byte and 53 MB/s, larger ones would save a fifth of the time at most.
PIECE = 4 * MiB
_COMPRESSED = ".gz"


class Chunk(NamedTuple):
    """Bytes of an object's content, at most 64 KiB, and the number of the object's bytes read so far."""

    data: bytes | memoryview
    read: int


async def find_object(ends: Ends, place: S3Object, etag: str | None = None) -> Stored:
    """HEAD an object.

    Raises:
        SourceChanged: it has another ETag than `etag`.
        SourceNotFound, AccessDenied: it could not be read.
    """
    return await ends.retrying.run(partial(ends.source_of(place).head, place, etag))


async def read_pieces(ends: Ends, place: S3Object, stored: Stored) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of one version of an object.

    Raises:
        SourceChanged: it was overwritten.
    """
    source = ends.source_of(place)
    for start in range(0, stored.size, PIECE):
        wanted = ByteRange(start, min(start + PIECE, stored.size))
        yield await ends.retrying.run(partial(_read_range, source, place, wanted, stored.etag))


async def _read_range(source: Source[Any, Any], place: S3Object, wanted: ByteRange, etag: str) -> bytes:
    opened = await source.open(place, wanted, etag)
    content = bytearray()
    try:
        while chunk := await opened.stream.read():
            content += chunk
    finally:
        await opened.stream.close()
    if len(content) != wanted.length:
        raise TruncatedBody(f"{place} ended after {len(content)} of {wanted.length} bytes")
    return bytes(content)


async def read_chunks(
    ends: Ends, place: S3Object, stored: Stored, expected_md5: str = ""
) -> AsyncGenerator[Chunk, None]:
    """Yield the content of an object, without its compression if its key ends with `.gz`.

    Args:
        ends: where it is.
        place: the object.
        stored: the result of `find_object`.
        expected_md5: the MD5 of all its bytes, in hexadecimal digits; empty: it is not verified. It is
            compared after the last chunk.

    Raises:
        CorruptInput: the bytes differ from those with this MD5, or they are not gzip data.
        ConfigError: isal is not installed.
    """
    gunzip = Gunzip() if place.key.endswith(_COMPRESSED) else None
    digest = md5(usedforsecurity=False)
    read = 0
    async with aclosing(read_pieces(ends, place, stored)) as pieces:
        async for piece in pieces:
            read += len(piece)
            if expected_md5:
                digest.update(piece)
            for data in [piece] if gunzip is None else _gunzip(gunzip, piece, place):
                for part in slices(data, SPLIT_AT_ONCE):
                    yield Chunk(part, read)
    if expected_md5 and digest.hexdigest() != expected_md5.lower():
        raise wrong_md5(place, digest.hexdigest(), expected_md5)
    if gunzip is not None:
        _finish(gunzip, place)


def wrong_md5(place: S3Object, found: str, expected: str) -> CorruptInput:
    """Return the error of an object whose bytes are not those of a manifest."""
    return CorruptInput(
        f"{place} has the MD5 {found}, and its manifest says {expected:.40}: it was changed since it was "
        "written. Use another inventory"
    )


def _gunzip(gunzip: Gunzip, piece: bytes, place: S3Object) -> Iterator[bytes]:
    try:
        yield from gunzip.feed(piece)
    except CorruptInput as error:
        raise CorruptInput(f"{place}: {error}") from error


def _finish(gunzip: Gunzip, place: S3Object) -> None:
    try:
        gunzip.finish()
    except CorruptInput as error:
        raise CorruptInput(f"{place}: {error}") from error

"""Read and write small objects, such as lists and reports, in memory with one request."""

from functools import partial
from typing import Any

from asyncstream.errors import InputError, TruncatedBody
from asyncstream.locations import S3Object
from asyncstream.pipeline.body import BytesBody
from asyncstream.pipeline.context import Ends
from asyncstream.ports import Source

Content = bytes | memoryview


async def read(ends: Ends, at: S3Object, max_bytes: int) -> bytes:
    """Return an object's content; see `TransferSession.read`."""
    return await ends.retrying.run(partial(_read, ends.source_of(at), at, max_bytes))


async def _read(source: Source[Any, Any], at: S3Object, max_bytes: int) -> bytes:
    opened = await source.open(at, None, None)
    try:
        if opened.size is None or opened.size > max_bytes:
            raise InputError(f"{at} has {opened.size} bytes: it may have at most {max_bytes}")
        content = bytearray()
        while chunk := await opened.stream.read():
            content += chunk
    finally:
        await opened.stream.close()
    if len(content) != opened.size:
        raise TruncatedBody(f"{at} ended after {len(content)} of {opened.size} bytes")
    return bytes(content)


async def write(ends: Ends, target: S3Object, content: Content, content_type: str) -> str:
    """Write an object and return its ETag; see `TransferSession.write`."""

    async def once() -> str:
        body = BytesBody(content)
        written = await ends.destination_of(target).put(target, body, {"ContentType": content_type}, None)
        return written.etag

    return await ends.retrying.run(once)

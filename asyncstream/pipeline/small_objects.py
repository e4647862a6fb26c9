"""Read and write small objects, such as lists and reports, in memory with one request."""

from functools import partial

from asyncstream.errors import InputError, TruncatedBody
from asyncstream.locations import S3Object
from asyncstream.pipeline.body import BytesBody
from asyncstream.ports import Store
from asyncstream.retry import Retrying

Content = bytes | memoryview


async def read(store: Store, retrying: Retrying, source: S3Object, most_bytes: int) -> bytes:
    """Return an object's content; see `TransferSession.read`."""
    return await retrying.run(partial(_read, store, source, most_bytes))


async def _read(store: Store, source: S3Object, most_bytes: int) -> bytes:
    opened = await store.open(source, None, None)
    try:
        if opened.size > most_bytes:
            raise InputError(f"{source} has {opened.size} bytes: it may have at most {most_bytes}")
        content = bytearray()
        while chunk := await opened.stream.read():
            content += chunk
    finally:
        await opened.stream.close()
    if len(content) != opened.size:
        raise TruncatedBody(f"{source} ended after {len(content)} of {opened.size} bytes")
    return bytes(content)


async def write(
    store: Store, retrying: Retrying, target: S3Object, content: Content, content_type: str
) -> str:
    """Write an object and return its ETag; see `TransferSession.write`."""

    async def once() -> str:
        written = await store.put(target, BytesBody(content), {"ContentType": content_type}, None)
        return written.etag

    return await retrying.run(once)

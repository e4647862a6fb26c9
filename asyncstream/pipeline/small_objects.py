"""An object read or written whole, in memory, by one request: a list, a report; called by `session.py`."""

from asyncstream.deadline import Deadline
from asyncstream.errors import AsyncstreamError, InputError, TruncatedBody
from asyncstream.locations import S3Object
from asyncstream.pipeline.body import BytesBody
from asyncstream.ports import Engine, Store
from asyncstream.retry import RetryPolicy, repeat

Content = bytes | memoryview


async def read(
    store: Store, source: S3Object, most_bytes: int, policy: RetryPolicy, engine: Engine, deadline: Deadline
) -> bytes:
    """An object's content; see `TransferSession.read`."""

    async def once() -> bytes:
        deadline.check()
        try:
            return await _read(store, source, most_bytes)
        except AsyncstreamError as error:
            deadline.check_retry(error)
            raise

    return await repeat(once, policy, engine.sleep, deadline.left)


async def _read(store: Store, source: S3Object, most_bytes: int) -> bytes:
    opened = await store.open(source, None, None)
    try:
        if opened.size > most_bytes:
            raise InputError(f"{source} has {opened.size} bytes: it may have {most_bytes} at most")
        content = bytearray()
        while chunk := await opened.stream.read():
            content += chunk
    finally:
        await opened.stream.close()
    if len(content) != opened.size:
        raise TruncatedBody(f"{source} ended after {len(content)} of {opened.size} bytes")
    return bytes(content)


async def write(
    store: Store,
    target: S3Object,
    content: Content,
    content_type: str,
    policy: RetryPolicy,
    engine: Engine,
    deadline: Deadline,
) -> str:
    """Write an object; its ETag. See `TransferSession.write`."""

    async def once() -> str:
        deadline.check()
        try:
            written = await store.put(target, BytesBody(content), {"ContentType": content_type}, None)
        except AsyncstreamError as error:
            deadline.check_retry(error)
            raise
        return written.etag

    return await repeat(once, policy, engine.sleep, deadline.left)

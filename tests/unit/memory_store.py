"""An in-memory `ports.Store` that sees what is open, what runs and what was written, and fails on demand.

It is strict where S3 is: parts in ascending order and confirmed, no part in flight when an upload ends,
nothing read of a stream once it is closed. What it sees go wrong is in `violations`.
"""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from asyncstream.errors import RangeNotSatisfiable, SourceNotFound
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.plan import ByteRange
from asyncstream.ports import Body, CompletedPart, ListedObject, MultipartUpload, Opened

SLOT_BYTES = 1000

# Every operation that can be made to fail, in the order a multipart copy meets them.
OPERATIONS = ("open", "read", "put", "create_upload", "upload_part", "complete_upload", "abort_upload")


@dataclass(frozen=True)
class Failure:
    """`error` from the `first` to the `last` call (from 1) of `operation`, counted over `key` if given."""

    operation: str
    error: BaseException
    first: int = 1
    last: float = float("inf")
    key: str | None = None


def pause_under(engine_name: str, seconds: float = 0.0) -> Callable[[], Awaitable[None]]:
    """What each operation of the store waits with: suspending for asyncio, blocking for the others."""
    if engine_name == "asyncio":

        async def suspend() -> None:
            await asyncio.sleep(seconds)

        return suspend

    async def block() -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - as a blocking adapter does

    return block


def etag_of(content: bytes) -> str:
    return f'"{hash(content):x}"'


class MemoryStore:
    """Objects as bytes, with uploads, streams and failures in the open.

    Args:
        objects: what is stored.
        chunk_size: bytes a stream reads at a time.
        pause: awaited once in every operation, so that tasks interleave.
        failures: what goes wrong, and when.
        attributes: the headers told by every GET.
    """

    slot_bytes = SLOT_BYTES

    def __init__(
        self,
        objects: Mapping[S3Object, bytes],
        *,
        chunk_size: int = 7,
        pause: Callable[[], Awaitable[None]],
        failures: Iterable[Failure] = (),
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        self.objects = dict(objects)
        self.written: dict[S3Object, Mapping[str, Any]] = {}  # with the attributes given
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.open_streams: set[MemoryStream] = set()
        self.peak_open_streams = 0
        self.in_flight: Counter[str] = Counter()  # by operation; by upload id for parts
        self.peak_in_flight = 0
        self.calls: Counter[tuple[str, str | None]] = Counter()
        self.bytes_read = 0
        self.violations: list[str] = []
        self._chunk_size = chunk_size
        self._pause = pause
        self._failures = list(failures)
        self._attributes = attributes or {}
        self._lock = threading.Lock()

    async def open(self, source: S3Object, range_: ByteRange | None, etag: str | None) -> Opened:
        async with self._operation("open", source.key):
            content = self.objects.get(source)
            if content is None:
                raise SourceNotFound(f"no {source}")
            if range_ is None:
                range_ = ByteRange(0, len(content))
            elif range_.start >= len(content):
                raise RangeNotSatisfiable(f"{range_} of {len(content)}", "InvalidRange", 416)
            found = ByteRange(range_.start, min(range_.stop, len(content)))
            self._check(etag in (None, etag_of(content)), f"{source} pinned to {etag}")
            stream = MemoryStream(self, source.key, content[found.start : found.stop])
            return Opened(len(content), etag_of(content), found, self._attributes, stream)

    async def put(self, target: S3Object, body: Body, attributes: Mapping[str, Any]) -> str:
        async with self._operation("put", target.key):
            return self._write(target, await self._pulled(body), attributes)

    async def create_upload(self, target: S3Object, attributes: Mapping[str, Any]) -> MultipartUpload:
        async with self._operation("create_upload", target.key):
            upload_id = f"upload-{self.calls['create_upload', None]}"
            self.uploads[upload_id] = {}
            self.written[target] = attributes
            return MultipartUpload(target, upload_id)

    async def upload_part(self, upload: MultipartUpload, number: int, body: Body) -> CompletedPart:
        async with self._operation("upload_part", upload.target.key, upload.upload_id):
            content = await self._pulled(body)
            self._check(upload.upload_id in self.uploads, f"part of {upload}, which is gone")
            self._check(number not in self.uploads[upload.upload_id], f"part {number} written twice")
            self.uploads[upload.upload_id][number] = content
            return CompletedPart(number, etag_of(content))

    async def complete_upload(self, upload: MultipartUpload, parts: Sequence[CompletedPart]) -> str:
        async with self._operation("complete_upload", upload.target.key):
            self._check(not self.in_flight[upload.upload_id], f"{upload} completed under a part")
            self._check(all(a.number < b.number for a, b in pairwise(parts)), f"{parts} out of order")
            stored = self.uploads[upload.upload_id]
            confirmed = {number: etag_of(content) for number, content in stored.items()}
            self._check({part.number: part.etag for part in parts} == confirmed, f"{parts} not as confirmed")
            del self.uploads[upload.upload_id]
            whole = b"".join(stored[part.number] for part in parts)
            return self._write(upload.target, whole, self.written[upload.target])

    async def abort_upload(self, upload: MultipartUpload) -> None:
        async with self._operation("abort_upload", upload.target.key):
            self._check(not self.in_flight[upload.upload_id], f"{upload} aborted under a part")
            del self.uploads[upload.upload_id]

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        found = [(at.key, content) for at, content in self.objects.items() if at.bucket == prefix.bucket]
        rows = [ListedObject(key, len(content), etag_of(content)) for key, content in sorted(found)]
        return [row for row in rows if row.key.startswith(prefix.prefix)], None

    def fail_if_told(self, operation: str, key: str) -> None:
        with self._lock:
            self.calls[operation, None] += 1
            self.calls[operation, key] += 1
        for failure in self._failures:
            nth = self.calls[operation, failure.key]
            if (
                failure.operation == operation
                and failure.key in (None, key)
                and failure.first <= nth <= failure.last
            ):
                raise failure.error

    def _write(self, target: S3Object, content: bytes, attributes: Mapping[str, Any]) -> str:
        self._check(target not in self.objects, f"{target} written twice")
        self.objects[target] = content
        self.written[target] = attributes
        return etag_of(content)

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.violations.append(otherwise)

    async def _pulled(self, body: Body) -> bytes:
        content = bytearray()
        while chunk := await body.next_chunk():
            content += chunk
        self._check(len(content) == body.length, f"{len(content)} bytes sent of {body.length} promised")
        return bytes(content)

    @asynccontextmanager
    async def _operation(self, operation: str, key: str, upload_id: str = "") -> AsyncIterator[None]:
        running = (operation, upload_id) if upload_id else (operation,)
        with self._lock:
            self.in_flight.update(running)
            self.peak_in_flight = max(self.peak_in_flight, sum(self.in_flight[name] for name in OPERATIONS))
        try:
            await self._pause()
            self.fail_if_told(operation, key)
            yield
        finally:
            with self._lock:
                self.in_flight.subtract(running)


class MemoryStream:
    """A GET's body. Hands out views of one buffer, so that whoever keeps a chunk too long sees it change."""

    def __init__(self, store: MemoryStore, key: str, content: bytes) -> None:
        self._store = store
        self._key = key
        self._content = memoryview(content)
        self._buffer = bytearray(store._chunk_size)
        with store._lock:
            store.open_streams.add(self)
            store.peak_open_streams = max(store.peak_open_streams, len(store.open_streams))

    async def read(self) -> memoryview:
        store = self._store
        await store._pause()
        store.fail_if_told("read", self._key)
        store._check(self in store.open_streams, f"{self._key} read after its stream was closed")
        chunk, self._content = self._content[: len(self._buffer)], self._content[len(self._buffer) :]
        self._buffer[: len(chunk)] = chunk
        with store._lock:
            store.bytes_read += len(chunk)
        return memoryview(self._buffer)[: len(chunk)]

    async def close(self) -> None:
        with self._store._lock:
            self._store.open_streams.discard(self)
        self._store.fail_if_told("close", self._key)

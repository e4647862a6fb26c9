"""An in-memory `ports.Source` and `ports.Destination`, which records what it is asked, and fails on demand.

It records open streams, running operations and writes. It is as strict as S3: parts are in ascending order
and confirmed, no part is in flight when an upload ends, and closed streams are not read. It records every
breach in `violations`.
"""

import asyncio
import math
import threading
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate, count, pairwise
from typing import Any

from asyncstream.checksum import CRC64NVME, Checksum, Composite, Digests
from asyncstream.errors import ChecksumMismatch, NotModified, S3Error, SourceNotFound, UploadGone
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import (
    ByteRange,
    CompletedPart,
    CopiedRange,
    ListedObject,
    MultipartUpload,
    OpenUpload,
    Origin,
    Stored,
    Written,
)
from asyncstream.ports import Body, Opened
from tests.places import key_of, object_of

SLOT_BYTES = 1000
# Parts per page of a listing.
LISTED = 1000

# Every operation that can fail on demand, in the order of a multipart copy.
OPERATIONS = (
    "open",
    "head",
    "part_size",
    "read",
    "put",
    "create_upload",
    "upload_part",
    "complete_upload",
    "abort_upload",
    "list_parts",
    "list_uploads",
)


@dataclass(frozen=True)
class Failure:
    """`error` from the `first` to the `last` call (from 1) of `operation`, counted over `key` if given.

    A function makes a new error for each call: an error raised again would keep its old frames.
    `lost`: the store executes the operation, and only its reply is lost.
    """

    operation: str
    error: BaseException | Callable[[], BaseException]
    first: int = 1
    last: float = math.inf
    key: str | None = None
    lost: bool = False

    def raised(self) -> BaseException:
        return self.error if isinstance(self.error, BaseException) else self.error()


@dataclass(frozen=True)
class Damage:
    """One byte changed on the way, either when read ("read") or when it arrives ("put", "upload_part").

    Changes the `first` to the `last` call (from 1), counted over `key` if given.
    """

    operation: str
    first: int = 1
    last: float = math.inf
    key: str | None = None


def pause_under(engine_name: str, seconds: float = 0.0) -> Callable[[], Awaitable[None]]:
    """Return the pause in each operation of the store: suspending for asyncio, blocking for other engines."""
    if engine_name == "asyncio":

        async def suspend() -> None:
            await asyncio.sleep(seconds)

        return suspend

    async def block() -> None:
        time.sleep(seconds)  # noqa: ASYNC251 - like a blocking adapter

    return block


def etag_of(content: bytes) -> str:
    return f'"{hash(content):x}"'


def checksum_of(content: bytes, kind: str = CRC64NVME) -> Checksum:
    digests = Digests([kind])
    digests.update(content)
    return digests.checksums()[kind]


def composite_of(content: bytes, kind: str, sizes: Sequence[int]) -> Composite:
    """Return the checksum of parts with the given sizes; it does not contain the sizes."""
    stops = [*accumulate(sizes)]
    assert stops[-1] == len(content)
    parts = [checksum_of(content[stop - size : stop], kind) for size, stop in zip(sizes, stops, strict=True)]
    whole = checksum_of(b"".join(b64decode(part.value) for part in parts), kind)
    return Composite(kind, f"{whole.value}-{len(sizes)}")


def damaged(content: bytes) -> bytes:
    """Return the bytes with another first byte, if there is one."""
    return bytes(byte ^ 1 for byte in content[:1]) + content[1:]


def _hits(mishap: Failure | Damage, operation: str, key: str, calls: Counter[tuple[str, str | None]]) -> bool:
    nth = calls[operation, mishap.key]
    return mishap.operation == operation and mishap.key in (None, key) and mishap.first <= nth <= mishap.last


class MemoryStore:
    """Objects as bytes; tests can inspect its uploads, streams and failures.

    Args:
        objects: the content of the stored objects.
        chunk_size: bytes per read of a stream.
        pause: awaited once in every operation, so that tasks interleave.
        failures: which calls fail.
        damages: which bodies are damaged.
        attributes: the headers of every GET's reply.
        checksums: the checksums of the sources, which `head` returns, and `open` without a range.
        uploaded: the sources with a checksum of their parts: its kind and the parts' sizes.
        verified: whether the server supports CRC64NVME.
        at_once: the size in bytes up to which a body must be in memory before its PUT starts.
        checks_declared: whether it refuses a wrong checksum at completion; otherwise that is a violation.
    """

    slot_bytes = SLOT_BYTES
    held = 0
    requests: Mapping[str, int] = {}
    downgrades: list[str] = []  # noqa: RUF012 - never changed
    tells_part_sizes = True

    def __init__(
        self,
        objects: Mapping[S3Object, bytes],
        *,
        chunk_size: int = 7,
        pause: Callable[[], Awaitable[None]],
        failures: Iterable[Failure] = (),
        damages: Iterable[Damage] = (),
        attributes: Mapping[str, Any] | None = None,
        checksums: Mapping[S3Object, Checksum] | None = None,
        uploaded: Mapping[S3Object, tuple[str, Sequence[int]]] | None = None,
        verified: bool = True,
        at_once: float = math.inf,
        checks_declared: bool = False,
    ) -> None:
        self.objects = dict(objects)
        self.written: dict[S3Object, Mapping[str, Any]] = {}  # with their attributes
        self.uploads: dict[str, dict[int, bytes]] = {}
        self._ids = count(1)  # of uploads: several threads may take one at once
        self.targets: dict[str, S3Object] = {}
        self.completed: set[str] = set()  # ids of uploads
        self.replaceable: set[S3Object] = set()  # existing objects that may be overwritten
        self.replaceable_parts = False  # whether parts may be overwritten
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
        self._damages = list(damages)
        self._attributes = attributes or {}
        self._checksums = checksums or {}
        self._uploaded = uploaded or {}
        self._verified = verified
        self._at_once = at_once
        self._checks_declared = checks_declared
        self._lock = threading.Lock()
        self._passed: Counter[tuple[str, str | None]] = Counter()  # bodies that could have been damaged
        self._to_be_replaced: set[tuple[str, int]] = set()  # damaged parts

    async def open(
        self, source: S3Object, range_: ByteRange | None, etag: str | None, if_none_match: str | None = None
    ) -> Opened:
        async with self._operation("open", source.key):
            content = self.objects.get(source)
            if content is None:
                raise SourceNotFound(f"no {source}")
            if if_none_match == etag_of(content):
                raise NotModified(f"{source} has not changed")
            asked = range_ is not None
            if range_ is None:
                range_ = ByteRange(0, len(content))
            elif range_.start >= len(content):
                raise S3Error(f"{range_} of {len(content)}", "InvalidRange", 416)
            found = ByteRange(range_.start, min(range_.stop, len(content)))
            self._check(etag in (None, etag_of(content)), f"{source} pinned to {etag}")
            stream = MemoryStream(self, source.key, content[found.start : found.stop])
            return Opened(
                len(content),
                etag_of(content),
                found,
                self._attributes,
                stream,
                range_asked=asked,
                checksum=None if asked else self._checksums.get(source),
                composite=None if asked else self._composite(source),
            )

    async def make_ready(self, *_: Any) -> None:
        pass

    def is_in_order(self, source: S3Object) -> bool:
        return False

    def is_scattered(self, source: S3Object) -> bool:
        return False

    def is_continuable(self, source: S3Object) -> bool:
        return True

    def plan_copies(self, source: S3Object, length: int) -> None:
        return None

    def copies_parts(self, target: S3Object) -> bool:
        return False

    async def copy_part(self, upload: MultipartUpload, number: int, copied: CopiedRange) -> Written:
        raise AssertionError("the store copies no parts")

    def last_from(self, source: S3Object, size: int) -> int:
        return size

    async def head(self, source: S3Object, etag: str | None) -> Stored:
        async with self._operation("head", source.key):
            content = self.objects[source]
            self._check(etag in {None, etag_of(content)}, f"{source} pinned to {etag}")
            checksum, composite = self._checksums.get(source), self._composite(source)
            return Stored(len(content), etag_of(content), checksum, composite=composite)

    async def part_size(self, source: S3Object, etag: str, number: int) -> int | None:
        async with self._operation("part_size", source.key):
            self._check(etag == etag_of(self.objects[source]), f"{source} pinned to {etag}")
            sizes = self._uploaded[source][1]
            return sizes[number - 1] if self.tells_part_sizes else None

    async def needs_order(self, place: Any) -> bool:
        return False

    async def tags(self, source: S3Object) -> str:
        async with self._operation("tags", source.key):
            return ""

    def _composite(self, source: S3Object) -> Composite | None:
        if source not in self._uploaded:
            return None
        return composite_of(self.objects[source], *self._uploaded[source])

    async def find(self, target: S3Object) -> Stored | None:
        async with self._operation("find", target.key):
            content = self.objects.get(target)
            return (
                None
                if content is None
                else Stored(len(content), etag_of(content), self._checksum_if_verified(content))
            )

    async def compute_checksum(self, target: S3Object, kind: str) -> None:
        """Return None, as S3."""

    def sent_at_once(self, target: S3Object, length: int) -> bool:
        return length <= self._at_once

    def verifies(self, target: S3Object) -> bool:
        return self._verified

    async def put(
        self,
        target: S3Object,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        async with self._operation("put", target.key):
            content, was_damaged = await self._arrived(body, "put", target.key)
            if checksum is not None and checksum_of(content, checksum.kind) != checksum:
                raise ChecksumMismatch("BadDigest")
            etag = self._write(target, content, attributes)
            if was_damaged:
                self.replaceable.add(target)
            return Written(etag, self._checksum_if_verified(content))

    async def create_upload(
        self,
        target: S3Object,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        async with self._operation("create_upload", target.key):
            upload_id = f"upload-{next(self._ids)}"
            self.uploads[upload_id] = {}
            self.targets[upload_id] = target
            self.written[target] = attributes
            return MultipartUpload(target, upload_id, verified=self._verified)

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        async with self._operation("upload_part", key_of(upload.target), upload.upload_id):
            content, was_damaged = await self._arrived(body, "upload_part", key_of(upload.target))
            self._check(upload.upload_id in self.uploads, f"part of {upload}, which is gone")
            parts = self.uploads[upload.upload_id]
            self._check(
                number not in parts
                or self.replaceable_parts
                or (upload.upload_id, number) in self._to_be_replaced,
                f"part {number} written twice",
            )
            parts[number] = content
            if was_damaged:
                self._to_be_replaced.add((upload.upload_id, number))
            return Written(etag_of(content), self._checksum_if_verified(content))

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        async with self._operation("complete_upload", key_of(upload.target)):
            if upload.upload_id not in self.uploads:
                raise UploadGone("gone", "NoSuchUpload", 404)
            self._check(not self.in_flight[upload.upload_id], f"{upload} completed under a part")
            self._check(all(a.number < b.number for a, b in pairwise(parts)), f"{parts} out of order")
            stored = self.uploads[upload.upload_id]
            confirmed = {number: etag_of(content) for number, content in stored.items()}
            self._check({part.number: part.etag for part in parts} == confirmed, f"{parts} not as confirmed")
            whole = b"".join(stored[part.number] for part in parts)
            # None with verify="off"; otherwise the checksum that every part was compared with.
            same = checksum in (None, self._checksum_if_verified(whole))
            if self._checks_declared and not same:
                raise ChecksumMismatch("BadDigest")
            self._check(same, f"{upload} completed with {checksum}")
            del self.uploads[upload.upload_id]
            self.completed.add(upload.upload_id)
            return Written(
                self._write(object_of(upload.target), whole, self.written[object_of(upload.target)]),
                self._checksum_if_verified(whole),
            )

    async def abort_upload(self, upload: MultipartUpload) -> None:
        async with self._operation("abort_upload", key_of(upload.target)):
            self._check(not self.in_flight[upload.upload_id], f"{upload} aborted under a part")
            there = self.uploads.pop(upload.upload_id, None) is not None
            self._check(there or upload.upload_id in self.completed, f"{upload} aborted twice")

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        async with self._operation("list_parts", key_of(upload.target)):
            if upload.upload_id not in self.uploads:
                raise UploadGone("gone", "NoSuchUpload", 404)
            there = sorted(self.uploads[upload.upload_id].items())
            rows = [(number, content) for number, content in there if number > (after or 0)]
            page = [
                CompletedPart(
                    number,
                    etag_of(content),
                    len(content),
                    {checksum.kind: checksum} if (checksum := self._checksum_if_verified(content)) else {},
                )
                for number, content in rows[:LISTED]
            ]
            return page, page[-1].number if len(rows) > LISTED else None

    async def list_uploads(
        self, prefix: S3Prefix, after: tuple[str, str] | None
    ) -> tuple[list[OpenUpload], tuple[str, str] | None]:
        async with self._operation("list_uploads", prefix.prefix):
            rows = [OpenUpload(self.targets[each], each, datetime.now(UTC)) for each in self.uploads]
            return [row for row in rows if key_of(row.target).startswith(prefix.prefix)], None

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        found = [(at.key, content) for at, content in self.objects.items() if at.bucket == prefix.bucket]
        rows = [ListedObject(key, len(content), etag_of(content)) for key, content in sorted(found)]
        return [row for row in rows if row.key.startswith(prefix.prefix)], None

    async def list_after(
        self, prefix: S3Prefix, after: str, token: str | None
    ) -> tuple[list[ListedObject], str | None]:
        rows, _ = await self.list_page(prefix, None)
        return [row for row in rows if row.key > after], None

    async def list_folders(self, prefix: S3Prefix, after: str) -> list[str]:
        rows, _ = await self.list_after(prefix, after, None)
        start = len(prefix.prefix)
        return sorted({row.key[: row.key.find("/", start) + 1] for row in rows if "/" in row.key[start:]})

    def fail_if_planned(self, operation: str, key: str) -> Failure | None:
        """Raise the failure that is due now; return one that is due when the operation is done."""
        with self._lock:
            self.calls[operation, None] += 1
            self.calls[operation, key] += 1
        for failure in self._failures:
            if _hits(failure, operation, key, self.calls):
                if failure.lost:
                    return failure
                raise failure.raised()
        return None

    def damage_if_planned(self, operation: str, key: str, content: bytes) -> tuple[bytes, bool]:
        """Return the bytes after their transport, and whether they changed."""
        with self._lock:
            self._passed[operation, None] += 1
            self._passed[operation, key] += 1
            hit = any(_hits(damage, operation, key, self._passed) for damage in self._damages)
        return (damaged(content), True) if hit else (content, False)

    def _checksum_if_verified(self, content: bytes) -> Checksum | None:
        return checksum_of(content) if self._verified else None

    def _write(self, target: S3Object, content: bytes, attributes: Mapping[str, Any]) -> str:
        self._check(target not in self.objects or target in self.replaceable, f"{target} written twice")
        self.objects[target] = content
        self.written[target] = attributes
        return etag_of(content)

    def _check(self, holds: bool, otherwise: str) -> None:
        if not holds:
            self.violations.append(otherwise)

    async def _arrived(self, body: Body, operation: str, key: str) -> tuple[bytes, bool]:
        return self.damage_if_planned(operation, key, await self._pulled(body))

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
            lost = self.fail_if_planned(operation, key)
            yield
            if lost is not None:
                raise lost.raised()
        finally:
            with self._lock:
                self.in_flight.subtract(running)


class MemoryStream:
    """A GET's body. It returns views of one buffer, so a chunk that is kept too long changes."""

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
        store.fail_if_planned("read", self._key)
        store._check(self in store.open_streams, f"{self._key} read after its stream was closed")
        chunk, self._content = self._content[: len(self._buffer)], self._content[len(self._buffer) :]
        self._buffer[: len(chunk)] = store.damage_if_planned("read", self._key, bytes(chunk))[0]
        with store._lock:
            store.bytes_read += len(chunk)
        return memoryview(self._buffer)[: len(chunk)]

    async def close(self) -> None:
        with self._store._lock:
            self._store.open_streams.discard(self)
        self._store.fail_if_planned("close", self._key)

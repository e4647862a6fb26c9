"""What a server can do, asked with asyncstream's own source and destination: the columns of a table."""

import re
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from asyncstream import KiB, MiB, S3Access, S3Object, S3Prefix
from asyncstream.checksum import CRC64NVME, Checksum, Digests
from asyncstream.engines import EngineName, open_engine
from asyncstream.errors import (
    ChecksumMismatch,
    ChecksumRefused,
    ConnectionClosed,
    DestinationExists,
    NotModified,
    PartsNotListed,
    S3Error,
    SourceChanged,
)
from asyncstream.objects import CompletedPart, MultipartUpload
from asyncstream.ports import Opened, Transport
from asyncstream.s3 import open_transport, replies
from asyncstream.s3.destination import S3Destination
from asyncstream.s3.regions import CHECKSUM_MODE, Learned
from asyncstream.s3.settings import ClientSettings
from asyncstream.s3.source import S3Source
from tests.servers import Bucket, content
from tests.servers.base import GUARD_SECONDS

CHUNK = 64 * KiB
WRONG = Checksum(CRC64NVME, "AAAAAAAAAAA=")
# The sources of transfers: sent at once; streamed by one PUT; uploaded, and copied, in two parts.
SMALL, STREAMED, PARTS = "in/small", "in/streamed", "in/parts"
SIZES = {SMALL: 1000, STREAMED: 200 * KiB}
PART_SIZES = (5 * MiB, 5)
CONTENT = {
    **{key: content(size) for key, size in SIZES.items()},
    PARTS: b"".join(map(content, PART_SIZES)),
}


class ZeroBytes:
    """The body of an upload."""

    error: Exception | None = None

    def __init__(self, length: int) -> None:
        self.length = self._left = length
        self.digests = Digests([CRC64NVME])

    async def next_chunk(self) -> bytes:
        chunk = bytes(min(CHUNK, self._left))
        self._left -= len(chunk)
        self.digests.update(chunk)
        return chunk

    def check(self) -> None:
        """Nothing stops it."""

    async def close(self) -> None:
        """Nothing is open."""


class Probe:
    """Asks one server, over the transport of one engine.

    Args:
        transport: open.
        url: the server's.
        bucket: a bucket that `fill` has filled.
    """

    def __init__(self, transport: Transport, url: str, bucket: str) -> None:
        self.transport = transport
        self.url = url
        self.bucket = bucket
        self.learned = Learned()  # of the source
        self.source = S3Source(transport, {}, self.learned)

    def object(self, key: str) -> S3Object:
        return S3Object(self.bucket, key)

    def destination(self, *, create_only: bool = False, **extra_args: Any) -> S3Destination:
        """Return a destination that has learned nothing of the server."""
        return S3Destination(self.transport, CHUNK, extra_args, Learned(), create_only=create_only)

    async def read(self, key: str) -> tuple[Opened, bytes]:
        """Return the reply to a GET, and all its bytes."""
        opened = await self.source.open(self.object(key), None, None)
        read = b""
        while chunk := await opened.stream.read():
            read += bytes(chunk)
        await opened.stream.close()
        return opened, read

    async def uploaded(self, to: S3Destination, key: str, *sizes: int) -> tuple[MultipartUpload, Any]:
        """Return an upload with parts of these sizes, and the parts."""
        upload = await to.create_upload(self.object(key), {})
        parts = []
        for number, size in enumerate(sizes, 1):
            try:
                written = await to.upload_part(upload, number, sum(sizes[: number - 1]), ZeroBytes(size))
            except (ConnectionClosed, ChecksumRefused):  # without Expect, or with a trailer, from now on
                written = await to.upload_part(upload, number, sum(sizes[: number - 1]), ZeroBytes(size))
            received = {} if written.checksum is None else {written.checksum.kind: written.checksum}
            parts.append(CompletedPart(number, written.etag, size, received))
        return upload, parts


def fill(bucket: Bucket) -> None:
    """Put what the probe reads into a bucket, and what transfers copy."""
    for name in ("there", "put", "completed"):
        bucket.put(name, content(5))
    bucket.put(SMALL, content(SIZES[SMALL]))
    bucket.put(STREAMED, content(SIZES[STREAMED]))
    key = {"Bucket": bucket.name, "Key": PARTS}
    upload = {"UploadId": bucket.client.create_multipart_upload(**key, ChecksumAlgorithm="CRC32")["UploadId"]}
    parts = []
    for number, size in enumerate(PART_SIZES, 1):
        sent = {"PartNumber": number, "Body": content(size), "ChecksumAlgorithm": "CRC32"}
        written = bucket.client.upload_part(**key, **upload, **sent)
        kept = {name: written[name] for name in ("ETag", "ChecksumCRC32") if name in written}
        parts.append({"PartNumber": number, **kept})
    bucket.client.complete_multipart_upload(**key, **upload, MultipartUpload={"Parts": parts})


async def _checks_puts(probe: Probe) -> str:
    to = probe.destination()
    try:
        await to.put(probe.object("wrong"), ZeroBytes(5), {}, WRONG)
    except ChecksumMismatch:
        return "yes"
    return "ignored" if to.verifies(probe.object("wrong")) else "refused"


async def _checks_uploads(probe: Probe) -> str:
    to = probe.destination()
    upload, parts = await probe.uploaded(to, "wrong", SIZES[STREAMED])
    try:
        await to.complete_upload(upload, parts, WRONG if upload.verified else None)
    except ChecksumMismatch:
        await to.abort_upload(upload)
        return "yes"
    return "parts only" if parts[0].checksums else "no"


async def _returns_checksums(probe: Probe) -> str:
    opened, _ = await probe.read("there")
    if (probe.bucket, CHECKSUM_MODE) in probe.learned.lacking:
        return "refused"
    return "no" if opened.checksum is None else "yes"


async def _obeys_if_match(probe: Probe) -> str:
    try:
        await probe.source.open(probe.object("there"), None, '"another"')
    except SourceChanged as error:
        return "ignored" if error.__cause__ is None else "yes"
    return "no"


async def _obeys_if_none_match(probe: Probe) -> str:
    opened, _ = await probe.read("there")
    try:
        await probe.source.open(probe.object("there"), None, None, opened.etag)
    except NotModified as error:
        return "ignored" if error.__cause__ is None else "yes"
    return "no"


async def _creates_only_by_put(probe: Probe) -> str:
    to = probe.destination(create_only=True)
    return await _outcome(partial(to.put, probe.object("put"), ZeroBytes(5), {}, None))


async def _creates_only_by_complete(probe: Probe) -> str:
    to = probe.destination(create_only=True)
    upload, parts = await probe.uploaded(to, "completed", 5)
    outcome = await _outcome(partial(to.complete_upload, upload, parts, None))
    if outcome != "ignored":
        await to.abort_upload(upload)
    return outcome


async def _outcome(overwrite: Callable[[], Awaitable[Any]]) -> str:
    """Return how a server answers a write with If-None-Match to an object that exists."""
    try:
        await overwrite()
    except DestinationExists:
        return "yes"
    except S3Error:
        return "refused"
    return "ignored"


async def _knows_part_numbers(probe: Probe) -> str:
    opened, _ = await probe.read(PARTS)
    size = await probe.source.part_size(probe.object(PARTS), opened.etag, 2)
    return "yes" if size == PART_SIZES[1] else "no"


async def _lists_parts(probe: Probe) -> str:
    to = probe.destination()
    upload, parts = await probe.uploaded(to, "listed", 5)
    try:
        listed, _ = await to.list_parts(upload, None)
    except PartsNotListed:
        return "refused"
    finally:
        await to.abort_upload(upload)
    return "yes" if [part.number for part in listed] == [part.number for part in parts] else "no"


async def _lists_uploads(probe: Probe) -> str:
    to = probe.destination()
    upload, _ = await probe.uploaded(to, "listed", 5)
    try:
        listed, _ = await to.list_uploads(S3Prefix(probe.bucket, "listed"), None)
    except S3Error:
        return "refused"
    finally:
        await to.abort_upload(upload)
    return "yes" if [each.upload_id for each in listed] == [upload.upload_id] else "no"


async def _takes_uneven_parts(probe: Probe) -> str:
    to = probe.destination()
    upload, parts = await probe.uploaded(to, "uneven", 5 * MiB, 5 * MiB + 1, 5)
    try:
        await to.complete_upload(upload, parts, None)
    except S3Error:
        await to.abort_upload(upload)
        return "refused"
    return "yes"


async def _writes_etags(probe: Probe) -> str:
    opened, _ = await probe.read("there")
    return {'"': "yes", "W": "weak"}.get(opened.etag[0], "no")


async def _lists_etags(probe: Probe) -> str:
    opened, _ = await probe.read("there")
    [listed], _ = await probe.source.list_page(S3Prefix(probe.bucket, "there"), None)
    return "yes" if replies.strong(listed.etag) == replies.strong(opened.etag) else "no"


async def _decodes_aws_chunked(probe: Probe) -> str:
    """Upload as other SDKs do over https: in chunks, with a trailer."""
    body = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    headers = {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Content-Sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        "X-Amz-Decoded-Content-Length": "5",
        "X-Amz-Trailer": "x-amz-checksum-crc32",
    }
    assert _put_by_hand(probe, "chunked", headers, body)[-1] == "200"
    _, read = await probe.read("chunked")
    reply = await probe.transport.call("HeadObject", {"Bucket": probe.bucket, "Key": "chunked"}, None)
    if read != b"hello":
        return "no"
    return "kept" if "aws-chunked" in reply.get("ContentEncoding", "") else "yes"


async def _answers_expect(probe: Probe) -> str:
    *interim, last = _put_by_hand(probe, "expected", {"Expect": "100-continue"}, b"hello")
    return ", ".join(dict.fromkeys(interim)) or last


def _put_by_hand(probe: Probe, key: str, headers: Mapping[str, str], body: bytes) -> list[str]:
    """PUT without an SDK, and return the status of each reply. The body follows the first 100 Continue."""
    at = urlsplit(probe.url)
    fields = {"Host": at.netloc, "Content-Length": str(len(body)), "Connection": "close", **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    statuses: list[str] = []
    with socket.create_connection((at.hostname or "", at.port or 80), GUARD_SECONDS) as connection:
        connection.sendall(f"PUT /{probe.bucket}/{key} HTTP/1.1\r\n{head}\r\n".encode())
        if "Expect" not in headers:
            connection.sendall(body)
        received = connection.makefile("rb")
        while not statuses or statuses[-1] < "200":
            status = re.match(rb"HTTP/1\.\d (\d+)", received.readline())
            assert status
            statuses.append(status[1].decode())
            while received.readline().strip():
                pass
            if statuses.count("100") == 1 and statuses[-1] == "100":
                connection.sendall(body)
    return statuses


async def _takes_tags(probe: Probe) -> str:
    try:
        await probe.destination(Tagging="a=b").put(probe.object("tagged"), ZeroBytes(5), {}, None)
    except S3Error:
        return "refused"
    return "yes"


# The columns whose lack a transfer meets in a way of its own.
CREATE_BY_PUT, CREATE_BY_COMPLETE = "If-None-Match of PUT", "If-None-Match of Complete"
LIST_PARTS, LIST_UPLOADS, TAGS = "ListParts", "ListMultipartUploads", "tags"
COLUMNS: Mapping[str, Callable[[Probe], Awaitable[str]]] = {
    "CRC64NVME of PUT": _checks_puts,
    "CRC64NVME of uploads": _checks_uploads,
    "checksums of sources": _returns_checksums,
    "If-Match of GET": _obeys_if_match,
    "If-None-Match of GET": _obeys_if_none_match,
    CREATE_BY_PUT: _creates_only_by_put,
    CREATE_BY_COMPLETE: _creates_only_by_complete,
    "part numbers": _knows_part_numbers,
    LIST_PARTS: _lists_parts,
    LIST_UPLOADS: _lists_uploads,
    "parts of any sizes": _takes_uneven_parts,
    "ETags in quotes": _writes_etags,
    "ETags listed the same": _lists_etags,
    "aws-chunked decoded": _decodes_aws_chunked,
    "reply to Expect": _answers_expect,
    TAGS: _takes_tags,
}


def measure(engine: EngineName, url: str, bucket: str) -> dict[str, str]:
    """Return each cell of a server's row."""
    running = open_engine(engine)

    async def ask() -> dict[str, str]:
        settings = ClientSettings(S3Access(endpoint_url=url), 1, CHUNK, 15.0, 60.0, 60.0)
        transport = await open_transport(engine, settings)
        try:
            probe = Probe(transport, url, bucket)
            return {name: await column(probe) for name, column in COLUMNS.items()}
        finally:
            await transport.close()

    try:
        return running.run(ask)
    finally:
        running.close()

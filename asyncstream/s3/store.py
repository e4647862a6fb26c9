"""The S3 store: what the pipeline asks of S3, written once over either transport; made by `session.py`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from asyncstream.errors import AsyncstreamError, S3Error, WrongRegion
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.plan import ByteRange, KiB
from asyncstream.ports import Body, CompletedPart, ListedObject, MultipartUpload, Opened, Transport
from asyncstream.s3 import replies, requests
from asyncstream.s3.requests import Params

# Bytes of a body that is sent as bytes: a copy of it then stands beside the chunk it was read into.
SMALL_BODY = 128 * KiB


class S3Store:
    """Reads and writes objects over one transport. One for a transfer.

    Args:
        transport: boto3 or aioboto3.
        chunk_size: bytes; a body no larger (and at most 128 KiB) is sent as bytes.
        extra_args: the user's settings for the destination.
        regions: bucket regions learned so far; shared by the transfers of a session.
    """

    def __init__(
        self,
        transport: Transport,
        chunk_size: int,
        extra_args: Mapping[str, Any],
        regions: dict[str, str],
    ) -> None:
        self._transport = transport
        self._chunk_size = chunk_size
        self._extra = extra_args
        self._regions = regions
        # Appending is atomic where several threads send; a counter's += is not.
        self._sent: list[str] = []

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return Counter(self._sent)

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return self._transport.slot_bytes

    async def open(self, source: S3Object, range_: ByteRange | None, etag: str | None) -> Opened:
        """GET a range (None: the whole), pinned to `etag` where it is known.

        Raises:
            SourceNotFound, SourceChanged, RangeNotSatisfiable, AccessDenied: as S3 said.
        """
        params = requests.get_object(source, range_, etag, self._extra)
        try:
            reply = await self._call("GetObject", params)
        except S3Error as error:
            if error.status == 412 and etag is not None:
                raise replies.source_changed(source, etag) from error
            raise
        stream = self._transport.stream(reply["Body"], int(reply.get("ContentLength", 0)))
        try:
            found, size = replies.extent(reply, source)
            pinned = replies.check_pinned(reply, source, etag)
            replies.check_extent(found, range_, size, source)
        except BaseException:
            await stream.close()
            raise
        return Opened(size, pinned, found, replies.attributes(reply), stream)

    async def put(self, target: S3Object, body: Body, attributes: Mapping[str, Any]) -> str:
        """Write an object with one request; its ETag."""
        params = requests.new_object(target, attributes, self._extra)
        reply = await self._send("PutObject", params, body)
        return str(reply["ETag"])

    async def create_upload(self, target: S3Object, attributes: Mapping[str, Any]) -> MultipartUpload:
        """Open a multipart upload."""
        params = requests.new_object(target, attributes, self._extra)
        reply = await self._call("CreateMultipartUpload", params)
        return MultipartUpload(target, reply["UploadId"])

    async def upload_part(self, upload: MultipartUpload, number: int, body: Body) -> CompletedPart:
        """Write one part; numbers count from 1."""
        reply = await self._send("UploadPart", requests.upload_part(upload, number, self._extra), body)
        return CompletedPart(number, reply["ETag"])

    async def complete_upload(self, upload: MultipartUpload, parts: Sequence[CompletedPart]) -> str:
        """Make the parts, in order of their numbers, an object; its ETag."""
        params = requests.complete_upload(upload, parts, self._extra)
        reply = await self._call("CompleteMultipartUpload", params)
        return str(reply["ETag"])

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Drop the upload and its parts. No part of it may be in flight."""
        try:
            await self._call("AbortMultipartUpload", requests.abort_upload(upload, self._extra))
        except S3Error as error:
            if error.code != "NoSuchUpload":  # gone already: that is what was wanted
                raise

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Up to 1,000 objects, and what to ask the next page with (None: there is none)."""
        reply = await self._call("ListObjectsV2", requests.list_page(prefix, token, self._extra))
        return replies.listing(reply)

    async def _send(self, operation: str, params: Params, body: Body) -> dict[str, Any]:
        # Small bodies go as bytes: no Expect round trip, and an empty streamed body would leave the
        # connection to a Go server unusable.
        small = body.length <= min(self._chunk_size, SMALL_BODY)
        payload: Body | bytes = await _collected(body) if small else body
        try:
            return await self._call(operation, params | {"Body": payload, "ContentLength": body.length})
        except AsyncstreamError as error:
            # The source broke while the SDK was sending: that, not its wrapping, is what happened.
            if body.error is not None:
                raise body.error from error
            raise

    async def _call(self, operation: str, params: Params) -> dict[str, Any]:
        self._sent.append(operation)
        bucket = params["Bucket"]
        try:
            return await self._transport.call(operation, params, self._regions.get(bucket))
        except WrongRegion as error:
            self._regions[bucket] = error.region
            if not isinstance(params.get("Body", b""), bytes):
                raise  # the body is used up: the part begins again, from its range
        self._sent.append(operation)
        return await self._transport.call(operation, params, self._regions[bucket])


async def _collected(body: Body) -> bytes:
    """A body that fits one chunk, as bytes."""
    chunks = []
    while chunk := await body.next_chunk():
        chunks.append(bytes(chunk))
    return b"".join(chunks)

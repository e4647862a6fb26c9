"""The S3 store: the operations that the pipeline needs, written once for both transports."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    DestinationExists,
    NotModified,
    S3Error,
    SourceNotFound,
    UploadGone,
)
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import (
    ByteRange,
    CompletedPart,
    ListedObject,
    MultipartUpload,
    OpenUpload,
    Origin,
    Stored,
    Written,
)
from asyncstream.ports import Body, Opened, Transport
from asyncstream.s3 import replies, requests
from asyncstream.s3.regions import Learned, RegionalRequests
from asyncstream.s3.requests import Params, UploadMarker
from asyncstream.units import KiB

# The largest body that is sent as bytes. The bytes are a copy in memory, in addition to the chunk.
SMALL_BODY = 128 * KiB

# Error codes with which servers that lack CRC64NVME refuse an upload that asks for it. Some ignore it.
_UNSUPPORTED = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})

# Operations that may end a little after the deadline: see `Deadline.ending`.
_MAY_END_LATER = frozenset(
    {"AbortMultipartUpload", "CreateMultipartUpload", "ListMultipartUploads", "ListParts"}
)


class S3Store:
    """Reads and writes objects over one transport, for one transfer.

    Args:
        transport: boto3 or aioboto3.
        chunk_size: bytes read at a time. A body of at most this size, and at most 128 KiB, is sent at once.
        extra_args: the user's settings for the destination.
        learned: facts about the buckets, shared by all transfers of a session.
        verify: whether to ask for checksums. Default: yes.
        create_only: whether to leave existing objects unchanged. Default: no.
        deadline: no bytes are read or written after it. Uploads may be created, completed and aborted a
            little later. Default: no deadline.
    """

    def __init__(
        self,
        transport: Transport,
        chunk_size: int,
        extra_args: Mapping[str, Any],
        learned: Learned,
        *,
        verify: bool = True,
        create_only: bool = False,
        deadline: Deadline = NO_DEADLINE,
    ) -> None:
        self._transport = transport
        self._chunk_size = chunk_size
        self._extra = extra_args
        self._learned = learned
        self._verify = verify
        self._transfer_time_left, self._upload_time_left = deadline.left_for_replies, deadline.ending
        self._create_only = {"IfNoneMatch": "*"} if create_only else {}
        self._requests = RegionalRequests(transport, learned.regions)

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return self._requests.sent

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return self._transport.slot_bytes

    async def open(
        self, source: S3Object, range_: ByteRange | None, etag: str | None, unless: str | None = None
    ) -> Opened:
        """GET a range (None: the whole object). With `etag`, only that version is read.

        Raises:
            NotModified: the object's ETag is `unless`.
            SourceNotFound, SourceChanged, AccessDenied: S3 refused the request.
        """
        params = requests.get_object(source, range_, etag, self._extra, verify=self._verify, unless=unless)
        reply = await self._pinned("GetObject", params, source, etag)
        length = int(reply.get("ContentLength", 0))
        stream = self._transport.stream(reply["Body"], length, self._transfer_time_left)
        try:
            found, size = replies.extent(reply, source)
            pinned = replies.check_pinned(reply, source, etag)
            replies.check_extent(found, range_, size, source)
        except BaseException:
            await stream.close()
            raise
        return Opened(
            size,
            pinned,
            found,
            replies.attributes(reply),
            stream,
            range_asked=range_ is not None,
            checksum=replies.checksum(reply) if range_ is None else None,
            composite=replies.composite(reply) if range_ is None else None,
        )

    async def head(self, source: S3Object, etag: str) -> Stored:
        """HEAD a source of this ETag, and return its size, checksum and origin.

        Raises:
            SourceNotFound, SourceChanged, AccessDenied: S3 refused the request.
        """
        reply = await self._pinned(
            "HeadObject", requests.head_source(source, etag, self._extra), source, etag
        )
        replies.check_pinned(reply, source, etag)
        return replies.stored(reply, source)

    async def part_size(self, source: S3Object, etag: str, number: int) -> int | None:
        """Return the bytes of one part that the source was uploaded in; None if the server does not say.

        A copy does not fail without the answer. A server without part numbers may refuse the request, or
        compare the part's own ETag. If the source was deleted or changed, its next GET fails.
        """
        try:
            reply = await self._call("HeadObject", requests.head_part(source, etag, number, self._extra))
        except (AccessDenied, S3Error, SourceNotFound):
            return None
        length = reply.get("ContentLength")
        return int(length) if length is not None and reply.get("ETag") == etag else None

    async def find(self, target: S3Object) -> Stored | None:
        """HEAD a destination, and return its size, checksum and origin; None if it does not exist."""
        try:
            reply = await self._call("HeadObject", requests.head_target(target, self._extra))
        except SourceNotFound:
            return None
        return replies.stored(reply, target)

    def sent_at_once(self, length: int) -> bool:
        """Whether a body is read before its PUT starts, so that the PUT can carry the body's checksum."""
        return length <= min(self._chunk_size, SMALL_BODY)

    def verifies(self, bucket: str) -> bool:
        """Whether the bucket's server checks uploads by CRC64NVME: yes, until a reply shows otherwise."""
        return bucket not in self._learned.unverified

    async def put(
        self,
        target: S3Object,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        """Write an object with one request. S3 refuses a body that does not match the checksum."""
        params = requests.new_object(target, attributes, origin, self._extra)
        params |= requests.checksum_params(checksum) | self._create_only
        try:
            return await self._send("PutObject", params, body)
        except S3Error as error:
            self._check_absent(target, error)
            raise

    async def create_upload(
        self, target: S3Object, attributes: Mapping[str, Any], origin: Origin | None = None
    ) -> MultipartUpload:
        """Open a multipart upload that S3 verifies as a whole, if the bucket's server supports that."""
        params = requests.new_object(target, attributes, origin, self._extra)
        if not self._verify or not self.verifies(target.bucket):
            reply = await self._call("CreateMultipartUpload", params)
            return MultipartUpload(target, replies.upload_id(reply, target))
        try:
            reply = await self._call("CreateMultipartUpload", params | requests.VERIFIED_UPLOAD)
        except S3Error as error:
            if error.code not in _UNSUPPORTED:
                raise
            reply = await self._call("CreateMultipartUpload", params)
            self._learned.unverified.add(target.bucket)
        if reply.get("ChecksumAlgorithm") != CRC64NVME:
            self._learned.unverified.add(target.bucket)
        return MultipartUpload(
            target, replies.upload_id(reply, target), verified=self.verifies(target.bucket)
        )

    async def upload_part(self, upload: MultipartUpload, number: int, body: Body) -> Written:
        """Write one part; numbers count from 1."""
        written = await self._send("UploadPart", requests.upload_part(upload, number, self._extra), body)
        if upload.verified and (written.checksum is None or written.checksum.kind != CRC64NVME):
            # The server accepts the algorithm's name, but ignores it.
            self._learned.unverified.add(upload.target.bucket)
        return written

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        """Complete an upload from its parts, in order of their numbers, if the whole matches the checksum."""
        params = requests.complete_upload(upload, parts, checksum, self._extra) | self._create_only
        try:
            reply = await self._call("CompleteMultipartUpload", params)
        except S3Error as error:
            self._check_absent(upload.target, error)
            raise
        return replies.completed(reply, upload.target)

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Abort the upload and delete its parts. None of its parts may be in flight."""
        with suppress(UploadGone):  # it is aborted already
            reply = await self._call("AbortMultipartUpload", requests.abort_upload(upload, self._extra))
            replies.check_empty(reply, f"AbortMultipartUpload {upload.target}")

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Return up to 1,000 objects, and the token of the next page (None: no more pages)."""
        reply = await self._call("ListObjectsV2", requests.list_page(prefix, token, self._extra))
        return replies.listing(reply, prefix)

    async def list_uploads(
        self, prefix: S3Prefix, after: UploadMarker | None
    ) -> tuple[list[OpenUpload], UploadMarker | None]:
        """Return up to 1,000 open uploads, sorted by key, and the `after` of the next page, if any."""
        reply = await self._call("ListMultipartUploads", requests.list_uploads(prefix, after, self._extra))
        return replies.uploads(reply, prefix)

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        """Return up to 1,000 stored parts, by number, and the `after` of the next page (None: no more pages).

        `after` is None for the first page. Each part has the checksum that S3 returns, if any.

        Raises:
            UploadGone: the upload was completed or aborted.
        """
        reply = await self._call("ListParts", requests.list_parts(upload, after, self._extra))
        return replies.parts(reply, upload, after)

    def _check_absent(self, target: S3Object, error: S3Error) -> None:
        """Raise DestinationExists if a refusal means that the destination exists."""
        if error.status == 412 and self._create_only:
            message = f'{target} exists and if_exists="fail" is set: the object was not changed'
            raise DestinationExists(message) from error

    async def _pinned(
        self, operation: str, params: Params, place: S3Object, etag: str | None
    ) -> dict[str, Any]:
        try:
            return await self._call(operation, params)
        except S3Error as error:
            if error.status == 412 and etag is not None:
                raise replies.source_changed(place, etag) from error
            if error.status == 304:
                raise NotModified(f"{place} has not changed") from error
            raise

    async def _send(self, operation: str, params: Params, body: Body) -> Written:
        # Small bodies are sent as bytes: this avoids the round trip of Expect. An empty streamed body would
        # make the connection to a Go server unusable.
        payload: Body | bytes = body
        if self.sent_at_once(body.length):
            payload = await _read_whole(body)
            if self.verifies(params["Bucket"]) and not any(name.startswith("Checksum") for name in params):
                params |= requests.checksum_params(body.digests.checksums().get(CRC64NVME))
        try:
            reply = await self._call(operation, params | {"Body": payload, "ContentLength": body.length})
        except AsyncstreamError as error:
            # Reading the source failed while the SDK was sending. Raise that error, not the SDK's wrapper.
            if body.error is not None:
                raise body.error from error
            raise
        return replies.written(reply, f"{operation} s3://{params['Bucket']}/{params['Key']}")

    async def _call(self, operation: str, params: Params) -> dict[str, Any]:
        sent_once = operation == "PutObject" and self._create_only
        may_end_later = sent_once or operation in _MAY_END_LATER
        left = self._upload_time_left if may_end_later else self._transfer_time_left
        return await self._requests.send(operation, params, left)


async def _read_whole(body: Body) -> bytes:
    """Read a whole body that fits one chunk, and return it as bytes."""
    chunks = []
    while chunk := await body.next_chunk():
        chunks.append(bytes(chunk))
    return b"".join(chunks)

"""The S3 store: what the pipeline asks of S3, written once over either transport."""

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

# Bytes of a body that is sent as bytes: a copy of it then stands beside the chunk it was read into.
SMALL_BODY = 128 * KiB


# What a server that knows no CRC64NVME says to an upload that asks for it, unless it says nothing.
_UNKNOWN = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})

# The other operations create or abort an upload, or list what became of it: they have a little more time, as
# has a PUT that may be made only once.
_ENDED_BY_DEADLINE = frozenset(
    {
        "CompleteMultipartUpload",
        "GetObject",
        "HeadObject",
        "ListObjectsV2",
        "PutObject",
        "UploadPart",
    }
)


class S3Store:
    """Reads and writes objects over one transport. One for a transfer.

    Args:
        transport: boto3 or aioboto3.
        chunk_size: bytes; a body no larger (and at most 128 KiB) is sent as bytes.
        extra_args: the user's settings for the destination.
        learned: what was learned of the buckets so far; shared by the transfers of a session.
        verify: whether checksums are asked for.
        create_only: whether objects that are there are left as they are.
        deadline: ends reading and writing; uploads may be created, completed and aborted a little later.
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
        self._left, self._ending = deadline.patience, deadline.ending
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
        """GET a range (None: the whole), pinned to `etag` where it is known.

        Raises:
            NotModified: it is the version that `unless` names.
            SourceNotFound, SourceChanged, AccessDenied: as S3 said.
        """
        params = requests.get_object(source, range_, etag, self._extra, verify=self._verify, unless=unless)
        reply = await self._pinned("GetObject", params, source, etag)
        stream = self._transport.stream(reply["Body"], int(reply.get("ContentLength", 0)), self._left)
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
        """HEAD of a source, pinned: what is stored, with its checksum.

        Raises:
            SourceNotFound, SourceChanged, AccessDenied: as S3 said.
        """
        reply = await self._pinned(
            "HeadObject", requests.head_source(source, etag, self._extra), source, etag
        )
        replies.check_pinned(reply, source, etag)
        return replies.stored(reply, source)

    async def part_size(self, source: S3Object, etag: str, number: int) -> int | None:
        """Bytes of one of the parts a source was uploaded in, pinned; None where the server tells none.

        No copy fails for want of the answer: a server that knows no part numbers may refuse it, or compare
        the part's own ETag with the pin. That the source is gone, or another, is for its next GET to find.
        """
        try:
            reply = await self._call("HeadObject", requests.head_part(source, etag, number, self._extra))
        except (AccessDenied, S3Error, SourceNotFound):
            return None
        length = reply.get("ContentLength")
        return int(length) if length is not None and reply.get("ETag") == etag else None

    async def find(self, target: S3Object) -> Stored | None:
        """HEAD of a destination: what is stored there, if anything is."""
        try:
            reply = await self._call("HeadObject", requests.head_target(target, self._extra))
        except SourceNotFound:
            return None
        return replies.stored(reply, target)

    def sent_at_once(self, length: int) -> bool:
        """Whether a body is in hand before its PUT begins, so that its own checksum can go with it."""
        return length <= min(self._chunk_size, SMALL_BODY)

    def verifies(self, bucket: str) -> bool:
        """Whether the bucket's server checks uploads by CRC64NVME: yes, until a reply has shown otherwise."""
        return bucket not in self._learned.unverified

    async def put(
        self,
        target: S3Object,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        """Write an object with one request; S3 refuses a body that has not the checksum given."""
        params = requests.new_object(target, attributes, origin, self._extra)
        params |= requests.of_checksum(checksum) | self._create_only
        try:
            return await self._send("PutObject", params, body)
        except S3Error as error:
            self._check_absent(target, error)
            raise

    async def create_upload(
        self, target: S3Object, attributes: Mapping[str, Any], origin: Origin | None = None
    ) -> MultipartUpload:
        """Open a multipart upload, of the kind that S3 verifies as a whole where that is to be had."""
        params = requests.new_object(target, attributes, origin, self._extra)
        if not self._verify or not self.verifies(target.bucket):
            reply = await self._call("CreateMultipartUpload", params)
            return MultipartUpload(target, replies.upload_id(reply, target))
        try:
            reply = await self._call("CreateMultipartUpload", params | requests.VERIFIED_UPLOAD)
        except S3Error as error:
            if error.code not in _UNKNOWN:
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
            # It takes the algorithm's name, and does nothing with it.
            self._learned.unverified.add(upload.target.bucket)
        return written

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        """Make the parts, in order of their numbers, an object, if that has the checksum given."""
        params = requests.complete_upload(upload, parts, checksum, self._extra) | self._create_only
        try:
            reply = await self._call("CompleteMultipartUpload", params)
        except S3Error as error:
            self._check_absent(upload.target, error)
            raise
        return replies.completed(reply, upload.target)

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Drop the upload and its parts. No part of it may be in flight."""
        with suppress(UploadGone):  # that is what was wanted
            reply = await self._call("AbortMultipartUpload", requests.abort_upload(upload, self._extra))
            replies.check_empty(reply, f"AbortMultipartUpload {upload.target}")

    async def list_page(self, prefix: S3Prefix, token: str | None) -> tuple[list[ListedObject], str | None]:
        """Up to 1,000 objects, and what to ask the next page with (None: there is none)."""
        reply = await self._call("ListObjectsV2", requests.list_page(prefix, token, self._extra))
        return replies.listing(reply, prefix)

    async def list_uploads(
        self, prefix: S3Prefix, after: UploadMarker | None
    ) -> tuple[list[OpenUpload], UploadMarker | None]:
        """Up to 1,000 uploads that are neither completed nor aborted, and where the next page begins."""
        reply = await self._call("ListMultipartUploads", requests.list_uploads(prefix, after, self._extra))
        return replies.uploads(reply, prefix)

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        """Return up to 1,000 parts that S3 has, by number, and the number to ask the next page with.

        Each has the checksum that S3 tells, if any. `after` is None for the first page, as is the number
        that comes with the last.

        Raises:
            UploadGone: it was completed or aborted.
        """
        reply = await self._call("ListParts", requests.list_parts(upload, after, self._extra))
        return replies.parts(reply, upload, after)

    def _check_absent(self, target: S3Object, error: S3Error) -> None:
        """Raise DestinationExists if that is what a refusal means."""
        if error.status == 412 and self._create_only:
            told = f'{target} is there already, and if_exists="fail": it was left as it is'
            raise DestinationExists(told) from error

    async def _pinned(
        self, operation: str, params: Params, place: S3Object, etag: str | None
    ) -> dict[str, Any]:
        try:
            return await self._call(operation, params)
        except S3Error as error:
            if error.status == 412 and etag is not None:
                raise replies.source_changed(place, etag) from error
            if error.status == 304:
                raise NotModified(f"{place} is as it was") from error
            raise

    async def _send(self, operation: str, params: Params, body: Body) -> Written:
        # Small bodies go as bytes: no Expect round trip, and an empty streamed body would leave the
        # connection to a Go server unusable.
        payload: Body | bytes = body
        if self.sent_at_once(body.length):
            payload = await _collected(body)
            own = body.digests.checksums().get(CRC64NVME)
            if self.verifies(params["Bucket"]) and not any(name.startswith("Checksum") for name in params):
                params |= requests.of_checksum(own)
        try:
            reply = await self._call(operation, params | {"Body": payload, "ContentLength": body.length})
        except AsyncstreamError as error:
            # The source broke while the SDK was sending: that, not its wrapping, is what happened.
            if body.error is not None:
                raise body.error from error
            raise
        return replies.written(reply, f"{operation} s3://{params['Bucket']}/{params['Key']}")

    async def _call(self, operation: str, params: Params) -> dict[str, Any]:
        repeatable = operation in _ENDED_BY_DEADLINE and not (operation == "PutObject" and self._create_only)
        return await self._requests.send(operation, params, self._left if repeatable else self._ending)


async def _collected(body: Body) -> bytes:
    """A body that fits one chunk, as bytes."""
    chunks = []
    while chunk := await body.next_chunk():
        chunks.append(bytes(chunk))
    return b"".join(chunks)

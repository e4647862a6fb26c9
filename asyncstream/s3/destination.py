"""The destination of a transfer in S3: write objects, by one request or by an upload."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from asyncstream.checksum import CRC64NVME, Checksum
from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.errors import (
    AccessDenied,
    CopyRefused,
    DestinationExists,
    PartsNotListed,
    ReplyIncomplete,
    S3Error,
    SourceNotFound,
    UploadGone,
)
from asyncstream.locations import S3Object, S3Prefix
from asyncstream.objects import (
    CompletedPart,
    CopiedRange,
    MultipartUpload,
    OpenUpload,
    Origin,
    Stored,
    Written,
)
from asyncstream.ports import Body, Transport
from asyncstream.s3 import listings, replies, requests
from asyncstream.s3.regions import (
    CHECKSUM_MODE,
    COPY_PART,
    CREATE_ONLY,
    LIST_PARTS,
    PUT_CHECKSUM,
    WHOLE_CHECKSUM,
    Learned,
)
from asyncstream.s3.requests import UploadMarker
from asyncstream.s3.sending import BodySender

_UNCHECKED = "does not check uploads: the bytes written were not compared"
# Method Not Allowed and Not Implemented.
_UNKNOWN_OPERATION = frozenset({405, 501})
# Servers that do not know UploadPartCopy take it for an UploadPart without a body, or of too few bytes.
_CANNOT_COPY = frozenset({400, 403, 405, 411, 501})


class S3Destination(BodySender):
    """Writes objects. See `ports.Destination`.

    Args:
        transport: see `S3Store`.
        chunk_size: see `BodySender`.
        extra_args: see `S3Store`.
        learned: see `S3Store`.
        verify: see `S3Store`.
        create_only: whether to leave existing objects unchanged. Default: no.
        deadline: see `S3Store`.
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
        super().__init__(transport, chunk_size, extra_args, learned, verify=verify, deadline=deadline)
        self._sends_instead = False
        self._create_only = {"IfNoneMatch": "*"} if create_only else {}
        if create_only:  # its PUT is sent once only, so its reply decides
            self._may_end_later |= {"PutObject"}

    @property
    def downgrades(self) -> list[str]:
        """See `ports.Destination`."""
        sent, sentences = self.requests, {}
        if self._verify:
            sentences[CRC64NVME] = _UNCHECKED
        if self._verify and "PutObject" in sent:
            sentences[PUT_CHECKSUM] = _UNCHECKED
        if self._verify and "CompleteMultipartUpload" in sent:
            sentences[WHOLE_CHECKSUM] = "does not check whole uploads: only their parts were compared"
        if self._sends_instead:
            sentences[COPY_PART] = "does not copy parts, or the role may not: their bytes were sent"
        if "ListParts" in sent:
            sentences[LIST_PARTS] = "does not list the parts of uploads: no upload was continued"
        if self._create_only:
            sentences[CREATE_ONLY] = (
                "has not shown that it obeys If-None-Match: an object that HEAD did not find may have been "
                "overwritten"
            )
        return self._lacking(sentences)

    async def find(self, target: S3Object) -> Stored | None:
        """HEAD a destination, and return its size, checksum and origin; None if it does not exist."""
        try:
            params, mode = requests.head_target_params(target, self._extra), requests.CHECKSUM_MODE
            reply = await self._call_with("HeadObject", params, mode, CHECKSUM_MODE)
        except SourceNotFound:
            return None
        return replies.stored(reply, target)

    async def compute_checksum(self, target: S3Object, kind: str) -> None:
        """Return None: S3 has the bytes."""

    def sent_at_once(self, target: S3Object, length: int) -> bool:
        """Whether a body is read before its PUT starts, so that the PUT can carry the body's checksum."""
        return self._sends_bytes(length)

    def verifies(self, target: S3Object) -> bool:
        """Whether the bucket's server checks uploads by CRC64NVME: yes, until a reply shows otherwise."""
        return (target.bucket, CRC64NVME) not in self._learned.lacking

    async def put(
        self,
        target: S3Object,
        body: Body,
        attributes: Mapping[str, Any],
        checksum: Checksum | None,
        origin: Origin | None = None,
    ) -> Written:
        """Write an object with one request. S3 refuses a body that does not match the checksum."""
        params = requests.new_object_params(target, attributes, origin, self._extra)
        try:
            written = await self._send("PutObject", params | self._create_only, body, checksum)
        except S3Error as error:
            self._check_absent(target, error)
            raise
        self._suspect_overwriting(target.bucket)
        if self._verify and written.checksum is None:
            self._learned.lacking.add((target.bucket, PUT_CHECKSUM))
        return written

    async def create_upload(
        self,
        target: S3Object,
        attributes: Mapping[str, Any],
        origin: Origin | None = None,
        kind: str = CRC64NVME,
    ) -> MultipartUpload:
        """Open a multipart upload that S3 verifies as a whole, if the bucket's server supports that."""
        params = requests.new_object_params(target, attributes, origin, self._extra)
        asked = requests.verified_upload_params(kind) if self._verify else {}
        reply = await self._call_with("CreateMultipartUpload", params, asked, CRC64NVME)
        if self._verify and reply.get("ChecksumAlgorithm") != kind:  # the server ignores the kind
            self._learned.lacking.add((target.bucket, CRC64NVME))
        verified = self._verify and self.verifies(target)
        if verified and reply.get("ChecksumType", "FULL_OBJECT") != "FULL_OBJECT":
            # The server would compare the object's checksum with the checksum of its parts' checksums.
            self._learned.lacking.add((target.bucket, WHOLE_CHECKSUM))
            verified = False
        return MultipartUpload(target, replies.upload_id(reply, target), verified=verified, kind=kind)

    async def upload_part(self, upload: MultipartUpload, number: int, start: int, body: Body) -> Written:
        """Write one part; numbers count from 1. S3 orders them by number."""
        params = requests.upload_part_params(upload, number, self._extra)
        written = await self._send("UploadPart", params, body, None)
        if upload.verified and (written.checksum is None or written.checksum.kind != upload.kind):
            # The server accepts the algorithm's name, but ignores it.
            self._learned.lacking.add((requests.target_of(upload).bucket, CRC64NVME))
        return written

    def copies_parts(self, target: S3Object) -> bool:
        """Whether the target's server copies parts: yes, until a reply shows otherwise."""
        lacks = (target.bucket, COPY_PART) in self._learned.lacking
        self._sends_instead |= lacks
        return not lacks

    async def copy_part(self, upload: MultipartUpload, number: int, copied: CopiedRange) -> Written:
        """Have S3 copy a part from another object.

        Raises:
            SourceChanged: the object was overwritten.
            CopyRefused: the server, or the role, cannot.
        """
        params = requests.copy_part_params(upload, number, copied, self._extra)
        try:
            return replies.copied(await self._call("UploadPartCopy", params), upload)
        except (AccessDenied, S3Error) as error:
            if isinstance(error, S3Error) and error.status == 412:
                raise replies.source_changed(copied.place, copied.etag) from error
            # rclone's reply has no ETag, without which a part cannot be used.
            if isinstance(error, AccessDenied | ReplyIncomplete) or error.status in _CANNOT_COPY:
                self._learned.lacking.add((requests.target_of(upload).bucket, COPY_PART))
                raise CopyRefused(str(error)) from error
            raise

    async def complete_upload(
        self, upload: MultipartUpload, parts: Sequence[CompletedPart], checksum: Checksum | None
    ) -> Written:
        """Complete an upload from its parts, in order of their numbers, if the whole matches the checksum."""
        params = requests.complete_upload_params(upload, parts, self._extra) | self._create_only
        whole = requests.whole_checksum_params(parts, checksum)
        target = requests.target_of(upload)
        try:
            reply = await self._call_with("CompleteMultipartUpload", params, whole, CRC64NVME)
        except S3Error as error:
            self._check_absent(target, error)
            raise
        written = replies.completed(reply, target)
        self._suspect_overwriting(target.bucket)
        if checksum is not None and written.checksum is None and self.verifies(target):
            self._learned.lacking.add((target.bucket, WHOLE_CHECKSUM))
        return written

    async def abort_upload(self, upload: MultipartUpload) -> None:
        """Abort the upload and delete its parts. None of its parts may be in flight."""
        with suppress(UploadGone):  # it is aborted already
            reply = await self._call(
                "AbortMultipartUpload", requests.abort_upload_params(upload, self._extra)
            )
            replies.check_empty(reply, f"AbortMultipartUpload {upload.target}")

    async def list_uploads(
        self, prefix: S3Prefix, after: UploadMarker | None
    ) -> tuple[list[OpenUpload], UploadMarker | None]:
        """Return up to 1,000 open uploads, sorted by key, and the `after` of the next page, if any."""
        params = requests.list_uploads_params(prefix, after, self._extra)
        try:
            reply = await self._call("ListMultipartUploads", params)
        except UploadGone:  # rclone's reply if there are none
            return [], None
        return listings.uploads(reply, prefix)

    async def list_parts(
        self, upload: MultipartUpload, after: int | None
    ) -> tuple[list[CompletedPart], int | None]:
        """Return up to 1,000 stored parts, by number, and the `after` of the next page (None: no more pages).

        `after` is None for the first page. Each part has the checksum that S3 returns, if any.

        Raises:
            UploadGone: the upload was completed or aborted.
            PartsNotListed: the server does not know the request.
        """
        try:
            reply = await self._call("ListParts", requests.list_parts_params(upload, after, self._extra))
        except S3Error as error:
            if error.status in _UNKNOWN_OPERATION:
                self._learned.lacking.add((requests.target_of(upload).bucket, LIST_PARTS))
                raise PartsNotListed(str(error), error.code, error.status) from error
            raise
        return replies.parts(reply, upload, after)

    def _check_absent(self, target: S3Object, error: S3Error) -> None:
        """Raise DestinationExists if a refusal means that the destination exists."""
        if not self._create_only:
            return
        if error.status == 412:
            self._learned.create_only.add(target.bucket)
            self._learned.lacking.discard((target.bucket, CREATE_ONLY))
            message = f'{target} exists and if_exists="fail" is set: the object was not changed'
            raise DestinationExists(message) from error
        if error.code == "NotImplemented":
            error.add_note(
                'with if_exists="fail" a write has If-None-Match, which this server may not know. '
                'Use if_exists="skip"'
            )

    def _suspect_overwriting(self, bucket: str) -> None:
        """Note that a write with If-None-Match proves nothing: some servers ignore it. AWS does not."""
        if self._create_only and not self._transport.is_aws and bucket not in self._learned.create_only:
            self._learned.lacking.add((bucket, CREATE_ONLY))

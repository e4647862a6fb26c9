"""Send the bodies of uploads to S3, each with a checksum in the form that its server accepts."""

from collections.abc import Mapping
from typing import Any

from asyncstream.checksum import CRC64NVME, Checksum, Digests
from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.errors import AsyncstreamError, ChecksumRefused, S3Error
from asyncstream.objects import Written
from asyncstream.ports import Body, Transport
from asyncstream.s3 import replies, requests
from asyncstream.s3.regions import Learned
from asyncstream.s3.requests import Params
from asyncstream.s3.store import S3Store, is_unsupported, requires_checksum
from asyncstream.s3.trailers import TrailerBody
from asyncstream.units import KiB

# The largest body that is sent as bytes. The bytes are a copy in memory, in addition to the chunk.
SMALL_BODY = 128 * KiB
_TRAILER_REFUSED = (
    "the checksum that Object Lock demands was sent after the bytes (x-amz-trailer), which AWS accepts over "
    "https only, and some servers never. Use an endpoint that does"
)


class BodySender(S3Store):
    """Sends bodies by PutObject and UploadPart.

    Args:
        transport: see `S3Store`.
        chunk_size: bytes read at a time. A body of at most this size, and at most 128 KiB, is sent as bytes.
        extra_args: see `S3Store`.
        learned: see `S3Store`.
        verify: see `S3Store`.
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
        deadline: Deadline = NO_DEADLINE,
    ) -> None:
        super().__init__(transport, extra_args, learned, verify=verify, deadline=deadline)
        self._chunk_size = chunk_size
        self._locks = any(name.startswith("ObjectLock") for name in extra_args)
        # Refusals of streamed bodies with a checksum, by bucket, key and part, until the next try.
        self._refused: dict[tuple[Any, ...], tuple[str, str, int]] = {}

    def _sends_bytes(self, length: int) -> bool:
        """Whether a body of this length is read before its request starts."""
        return length <= min(self._chunk_size, SMALL_BODY)

    async def _send(self, operation: str, params: Params, body: Body, checksum: Checksum | None) -> Written:
        # Small bodies are sent as bytes: this avoids the round trip of Expect. An empty streamed body would
        # make the connection to a Go server unusable.
        payload: Body | bytes = body
        if self._sends_bytes(body.length):
            payload = await _read_whole(body)
            checksum = checksum or body.digests.checksums().get(CRC64NVME)
        if any(name.startswith("Checksum") for name in params):  # the user's own
            checksum = None
        params |= {"Body": payload, "ContentLength": body.length}
        try:
            reply = await self._send_declared(operation, params, checksum)
        except AsyncstreamError as error:
            # Reading the source failed while the SDK was sending. Raise that error, not the SDK's wrapper.
            if body.error is not None:
                raise body.error from error
            raise
        return replies.written(reply, f"{operation} s3://{params['Bucket']}/{params['Key']}")

    async def _send_declared(
        self, operation: str, params: Params, checksum: Checksum | None
    ) -> dict[str, Any]:
        """Send a body with its checksum, or without it if the server does not know the kind.

        A streamed body is used up when the server refuses it. The caller's next try goes without the
        checksum, and only its success shows that the checksum was the reason.

        Raises:
            ChecksumRefused: this try was refused, perhaps for its checksum, or because it had none.
        """
        kind = CRC64NVME if checksum is None else checksum.kind
        if isinstance(params["Body"], bytes):
            return await self._send_bytes(operation, params, checksum, kind)
        place = (params["Bucket"], params["Key"], params.get("PartNumber"))
        refused = self._refused.pop(place, None)
        if refused is None and checksum is not None and (params["Bucket"], kind) not in self._learned.lacking:
            try:
                return await self._call(operation, params | requests.checksum_params(checksum))
            except S3Error as refusal:
                if not is_unsupported(refusal, operation):
                    raise
                self._refused[place] = (str(refusal), refusal.code, refusal.status)
                raise ChecksumRefused(str(refusal)) from refusal
        try:
            reply = await self._send_streamed(operation, params)
        except S3Error as error:
            if refused is not None:
                raise S3Error(*refused) from error
            raise
        if refused is not None:
            self._learned.lacking.add((params["Bucket"], kind))
        return reply

    async def _send_streamed(self, operation: str, params: Params) -> dict[str, Any]:
        """Send a body without a checksum, or with a trailer if the bucket demands a checksum.

        Raises:
            ChecksumRefused: this try has shown that the bucket demands one.
        """
        bucket = params["Bucket"]
        if not self._demands_checksum(bucket):
            try:
                return await self._call(operation, params)
            except S3Error as refusal:
                if not requires_checksum(refusal):
                    raise
                self._learned.locked.add(bucket)
                raise ChecksumRefused(str(refusal)) from refusal
        body = TrailerBody(params["Body"])
        try:
            return await self._call(operation, params | {"Body": body, "ContentLength": body.length})
        except S3Error as refusal:
            if is_unsupported(refusal, operation):
                refusal.add_note(_TRAILER_REFUSED)
            raise

    async def _send_bytes(
        self, operation: str, params: Params, checksum: Checksum | None, kind: str
    ) -> dict[str, Any]:
        """Send bytes with their checksum if there is one, or if the bucket demands one."""
        bucket = params["Bucket"]
        if not self._demands_checksum(bucket):
            try:
                return await self._call_with(operation, params, requests.checksum_params(checksum), kind)
            except S3Error as refusal:
                if not requires_checksum(refusal):
                    raise
                self._learned.locked.add(bucket)
        if checksum is None:
            digests = Digests([CRC64NVME])
            digests.update(params["Body"])
            checksum = digests.checksums()[CRC64NVME]
        return await self._call(operation, params | requests.checksum_params(checksum))

    def _demands_checksum(self, bucket: str) -> bool:
        return self._locks or bucket in self._learned.locked


async def _read_whole(body: Body) -> bytes:
    """Read a whole body that fits one chunk, and return it as bytes."""
    chunks = []
    while chunk := await body.next_chunk():
        chunks.append(bytes(chunk))
    return b"".join(chunks)

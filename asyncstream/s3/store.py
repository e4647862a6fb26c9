"""What both ends of a transfer share: how their requests to S3 are sent."""

from collections.abc import Mapping
from typing import Any

from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.errors import ChecksumRefused, S3Error
from asyncstream.ports import Transport
from asyncstream.s3.regions import Learned, RegionalRequests
from asyncstream.s3.requests import Params

# Codes of servers that do not know a parameter, and of their replies to HEAD, which have no body.
_UNSUPPORTED = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
_UNSUPPORTED_BY_HEAD = frozenset({"400", "501"})
# Operations that may end a little after the deadline: see `Deadline.left_for_uploads`.
_MAY_END_LATER = frozenset(
    {"AbortMultipartUpload", "CreateMultipartUpload", "ListMultipartUploads", "ListParts"}
)


class S3Store:
    """Sends the requests of one end of one transfer.

    Args:
        transport: boto3 or aioboto3.
        extra_args: the user's settings for the destination.
        learned: facts about the buckets, shared by all transfers of a session.
        verify: whether to ask for checksums. Default: yes.
        deadline: no bytes are read or written after it. Uploads may be created, completed and aborted a
            little later. Default: no deadline.
    """

    def __init__(
        self,
        transport: Transport,
        extra_args: Mapping[str, Any],
        learned: Learned,
        *,
        verify: bool = True,
        deadline: Deadline = NO_DEADLINE,
    ) -> None:
        self._transport = transport
        self._extra = extra_args
        self._learned = learned
        self._verify = verify
        self._may_end_later = _MAY_END_LATER
        self._transfer_time_left, self._upload_time_left = (
            deadline.left_for_replies,
            deadline.left_for_uploads,
        )
        self._requests = RegionalRequests(transport, learned.regions)

    @property
    def requests(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return self._requests.sent

    @property
    def downgrades(self) -> list[str]:
        """What the servers of the buckets used lack, as sentences."""
        return [lack for bucket in sorted(self._requests.buckets) for lack in self._learned.lacks(bucket)]

    @property
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return self._transport.slot_bytes

    async def _call(self, operation: str, params: Params) -> dict[str, Any]:
        left = self._upload_time_left if operation in self._may_end_later else self._transfer_time_left
        return await self._requests.send(operation, params, left)

    async def _call_with(
        self, operation: str, params: Params, optional: Params, refusing: set[str]
    ) -> dict[str, Any]:
        """Send a request with parameters that some servers refuse; without them if this one does.

        Args:
            operation: S3's name of the operation.
            params: the other parameters. A body among them is bytes, or else the caller repeats the request.
            optional: the parameters to leave out for the buckets in `refusing`.
            refusing: the buckets whose server has refused them; a new one is added.

        Raises:
            ChecksumRefused: the server refused them, and the body is used up. The next try leaves them out.
        """
        bucket = params["Bucket"]
        if not optional or bucket in refusing:
            return await self._call(operation, params)
        try:
            return await self._call(operation, params | optional)
        except S3Error as refusal:
            codes = _UNSUPPORTED_BY_HEAD if operation == "HeadObject" else _UNSUPPORTED
            if refusal.code not in codes:
                raise
            if not isinstance(params.get("Body", b""), bytes):
                refusing.add(bucket)
                raise ChecksumRefused(str(refusal)) from refusal
            reply = await self._call(operation, params)
        refusing.add(bucket)
        return reply

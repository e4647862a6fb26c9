"""What both ends of a transfer share: how their requests to S3 are sent."""

from collections.abc import Mapping
from typing import Any

from asyncstream.deadline import NO_DEADLINE, Deadline
from asyncstream.errors import S3Error
from asyncstream.ports import Transport
from asyncstream.s3.regions import Learned, RegionalRequests
from asyncstream.s3.requests import Params

# Codes of servers that do not know a parameter.
_UNSUPPORTED = frozenset({"InvalidArgument", "InvalidRequest", "NotImplemented"})
# The end of S3's sentence "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Part requests with
# Object Lock parameters". The parameters may be those of the request, or the bucket's default retention.
_LOCKED = "with Object Lock parameters"
# Any mistake of a HEAD has this code, such as an expired token. So it proves no lack.
_BAD_REQUEST = "400"
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
    def slot_bytes(self) -> int:
        """Bytes of memory that one part in flight costs."""
        return self._transport.slot_bytes

    async def _call(self, operation: str, params: Params) -> dict[str, Any]:
        left = self._upload_time_left if operation in self._may_end_later else self._transfer_time_left
        return await self._requests.send(operation, params, left)

    async def _call_with(self, operation: str, params: Params, optional: Params, lack: str) -> dict[str, Any]:
        """Send a request with parameters that some servers refuse; without them if this one does.

        Args:
            operation: S3's name of the operation.
            params: the other parameters. A body among them is bytes.
            optional: the parameters that may be refused.
            lack: what a server lacks that refuses them; see `Learned.lacking`.
        """
        fact = (params["Bucket"], lack)
        if not optional or fact in self._learned.lacking:
            return await self._call(operation, params)
        try:
            return await self._call(operation, params | optional)
        except S3Error as refusal:
            if not is_unsupported(refusal, operation):
                raise
            certain = refusal.code != _BAD_REQUEST
            reply = await self._call(operation, params)
        if certain:
            self._learned.lacking.add(fact)
        return reply

    def _lacking(self, sentences: Mapping[str, str]) -> list[str]:
        """Return the sentences, given by what a server lacks, that are true of the buckets used."""
        found = [
            f"s3://{bucket} {sentence}"
            for bucket in sorted(self._requests.buckets)
            for lack, sentence in sentences.items()
            if (bucket, lack) in self._learned.lacking
        ]
        return list(dict.fromkeys(found))


def is_unsupported(refusal: S3Error, operation: str) -> bool:
    """Return whether a refusal may mean that the server does not know a parameter."""
    if operation == "HeadObject":  # its reply has no body with a code
        return refusal.code in {_BAD_REQUEST, "501"}
    return refusal.code in _UNSUPPORTED


def requires_checksum(refusal: S3Error) -> bool:
    """Return whether a bucket with Object Lock has refused an upload because it had no checksum."""
    return refusal.code == "InvalidRequest" and _LOCKED in str(refusal)

"""Send requests to the region of their bucket, which S3 names when it refuses a request."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from asyncstream.errors import CredentialsExpired, S3Error, WrongRegion
from asyncstream.ports import TimeLeft, Transport
from asyncstream.s3.requests import Params

# What a server may lack, beside the kinds of checksum of uploads.
CHECKSUM_MODE = "checksum mode"
PUT_CHECKSUM = "checksum in the reply to a PUT"
WHOLE_CHECKSUM = "checksum of a whole upload"
LIST_PARTS = "ListParts"
COPY_PART = "UploadPartCopy"
CREATE_ONLY = "If-None-Match of writes"


class Learned(Struct):
    """Facts learned from the replies of one end.

    Attributes:
        regions: the regions of buckets.
        lacking: buckets, each with what its server refuses or ignores: a kind of checksum of uploads, the
            `CHECKSUM_MODE` of reads, or another of the constants above. `CREATE_ONLY` is only suspected: a
            server that ignores If-None-Match answers as one that has checked it.
        create_only: buckets whose server has refused to overwrite an object because of If-None-Match.
        locked: buckets that refuse an upload without a checksum, as S3 does with Object Lock.
    """

    regions: dict[str, str] = field(default_factory=dict)
    lacking: set[tuple[str, str]] = field(default_factory=set)
    locked: set[str] = field(default_factory=set)
    create_only: set[str] = field(default_factory=set)


class RegionalRequests:
    """Sends requests over one transport, each to its bucket's region, and counts them.

    Args:
        transport: boto3 or aioboto3.
        regions: the known regions by bucket. New ones are added.

    Attributes:
        buckets: the buckets that requests were sent to.
    """

    def __init__(self, transport: Transport, regions: dict[str, str]) -> None:
        self._transport = transport
        self._regions = regions
        # Several threads send. Appending to a list is atomic, a counter's += is not.
        self._sent: list[str] = []
        self.buckets: set[str] = set()

    @property
    def sent(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return Counter(self._sent)

    async def send(self, operation: str, params: Params, left: TimeLeft) -> dict[str, Any]:
        """Send a request and return the reply. If S3 names another region, send the request there.

        Raises:
            WrongRegion: the bucket is in another region, but the body is used up. The next try goes there.
            CredentialsExpired: the credentials have expired. The next try uses new ones.
            AsyncstreamError: any other error of the transport.
        """
        self._sent.append(operation)
        bucket = params["Bucket"]
        self.buckets.add(bucket)
        renewals = self._transport.renewals
        try:
            return await self._transport.call(operation, params, self._regions.get(bucket), left)
        except CredentialsExpired:
            await self._transport.renew(renewals)
            raise
        except WrongRegion as error:
            self._regions[bucket] = error.region or await self._find_region(bucket, error, left)
            if not isinstance(params.get("Body", b""), bytes):
                raise  # the body is used up: the part starts again and reads its range again
        self._sent.append(operation)
        try:
            return await self._transport.call(operation, params, self._regions[bucket], left)
        except WrongRegion as again:
            if operation != "HeadObject":
                raise
            # The bucket is in this region, so the 400 has another reason. A HEAD's reply has no body.
            what = f"HEAD of s3://{bucket}/{params['Key']}"
            raise S3Error(f"{what}: S3 answered 400 Bad Request without a reason", status=400) from again

    async def _find_region(self, bucket: str, refusal: WrongRegion, left: TimeLeft) -> str:
        """Ask S3 for the region of a bucket, if its refusal did not name one."""
        self._sent.append("HeadBucket")
        try:
            reply = await self._transport.call("HeadBucket", {"Bucket": bucket}, None, left)
        except WrongRegion as error:
            region = error.region
        else:
            region = str(reply.get("BucketRegion", ""))
        if not region:
            raise S3Error(f"{refusal}, which S3 does not name: set AWS_DEFAULT_REGION to it") from refusal
        return region

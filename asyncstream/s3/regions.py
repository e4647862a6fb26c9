"""Requests sent to the region of their bucket, which a refusal tells."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field

from asyncstream.errors import CredentialsExpired, S3Error, WrongRegion
from asyncstream.ports import TimeLeft, Transport
from asyncstream.s3.requests import Params


class Learned(Struct):
    """What replies have told of buckets: their regions, and which verify no uploads."""

    regions: dict[str, str] = field(default_factory=dict)
    unverified: set[str] = field(default_factory=set)


class RegionalRequests:
    """Sends requests over one transport, each to its bucket's region, and counts them.

    Args:
        transport: boto3 or aioboto3.
        regions: of the buckets, as far as they are known; more are added.
    """

    def __init__(self, transport: Transport, regions: dict[str, str]) -> None:
        self._transport = transport
        self._regions = regions
        # Appending is atomic where several threads send; a counter's += is not.
        self._sent: list[str] = []

    @property
    def sent(self) -> Mapping[str, int]:
        """Requests sent so far, by operation."""
        return Counter(self._sent)

    async def send(self, operation: str, params: Params, left: TimeLeft) -> dict[str, Any]:
        """Send a request, to another region if S3 names one, and return the reply.

        Raises:
            WrongRegion: the bucket is elsewhere, and the body is used up: the next try goes there.
            CredentialsExpired: the next try has new ones.
            AsyncstreamError: as the transport has it.
        """
        self._sent.append(operation)
        bucket = params["Bucket"]
        renewals = self._transport.renewals
        try:
            return await self._transport.call(operation, params, self._regions.get(bucket), left)
        except CredentialsExpired:
            await self._transport.renew(renewals)
            raise
        except WrongRegion as error:
            self._regions[bucket] = error.region or await self._find_region(bucket, error, left)
            if not isinstance(params.get("Body", b""), bytes):
                raise  # the body is used up: the part begins again, from its range
        self._sent.append(operation)
        try:
            return await self._transport.call(operation, params, self._regions[bucket], left)
        except WrongRegion as again:
            if operation != "HeadObject":
                raise
            # It is there: a HEAD's 400, which has no words, was about something else.
            what = f"HEAD of s3://{bucket}/{params['Key']}"
            raise S3Error(f"{what}: 400 Bad Request, and no word of the reason", "400", 400) from again

    async def _find_region(self, bucket: str, refusal: WrongRegion, left: TimeLeft) -> str:
        """Ask for the region that a refusal did not name."""
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

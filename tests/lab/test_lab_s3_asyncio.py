"""The lab S3 with aioboto3: many tasks stream bodies both ways at once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import aioboto3
import pytest
from botocore.exceptions import ClientError

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.checksums import crc64nvme, encoded_crc64nvme
from tests.servers.base import GUARD_SECONDS

PASS_THROUGH = {
    "s3": {"payload_signing_enabled": False},
    "request_checksum_calculation": "when_required",
    "response_checksum_validation": "when_required",
}


@pytest.fixture
def client(client_arguments: Callable[..., dict[str, Any]]) -> Callable[..., Any]:
    return lambda **config: aioboto3.Session().client("s3", **client_arguments(**config))


class Chunks:
    """A request body that streams from the network, like the bodies that asyncstream sends."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, _size: int = -1) -> bytes:
        raise AssertionError("aiohttp iterates instead")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while chunk := await self._body.read(65536):
            yield chunk


def test_objects_pass_through_from_get_to_put(
    client: Callable[..., Any], lab: LabS3, discarding: str
) -> None:
    keys = lab.declare_many(discarding, "from/", 8, 1_500_000)

    async def copy(s3: Any, key: str) -> None:
        reply = await s3.get_object(Bucket=discarding, Key=key)
        target = {"Bucket": discarding, "Key": key.replace("from", "to")}
        await s3.put_object(**target, Body=Chunks(reply["Body"]), ContentLength=reply["ContentLength"])

    async def copy_all() -> None:
        async with client(max_pool_connections=20, **PASS_THROUGH) as s3, asyncio.TaskGroup() as tasks:
            for key in keys:
                tasks.create_task(copy(s3, key))

    asyncio.run(copy_all())
    found = lab.checksums(discarding)
    assert all(found[key][:2] == found[key.replace("from", "to")][:2] for key in keys)


def test_ranges_multipart_listing_and_odd_keys(client: Callable[..., Any], kept: str) -> None:
    key = "//odd +%/../é?#"
    body = b"a" * 5 * 1024 * 1024 + b"bc"

    async def use() -> None:
        async with client() as s3:
            target = {"Bucket": kept, "Key": key}
            upload = (await s3.create_multipart_upload(**target))["UploadId"]
            parts = []
            for number, data in ((1, body[:-2]), (2, body[-2:])):
                reply = await s3.upload_part(**target, UploadId=upload, PartNumber=number, Body=data)
                parts.append({"PartNumber": number, "ETag": reply["ETag"]})
            reply = await s3.complete_multipart_upload(
                **target, UploadId=upload, MultipartUpload={"Parts": parts}
            )
            assert reply["ChecksumCRC64NVME"] == encoded_crc64nvme(crc64nvme(memoryview(body)))
            ranged = await s3.get_object(**target, Range="bytes=-3")
            assert await ranged["Body"].read() == b"abc"
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket=kept)
            assert [entry["Key"] async for page in pages for entry in page["Contents"]] == [key]

    asyncio.run(use())


def test_a_refused_upload_of_a_large_body_does_not_hang(client: Callable[..., Any]) -> None:
    async def refused() -> None:
        async with client() as s3:
            with pytest.raises(ClientError, match="NoSuchBucket"):
                await s3.put_object(Bucket="nowhere", Key="k", Body=b"x" * 8_000_000)

    asyncio.run(asyncio.wait_for(refused(), GUARD_SECONDS))

"""The objects that a workload copies."""

from __future__ import annotations

import gzip
import random
from typing import TYPE_CHECKING, Any

import boto3

from tests.benchmarks.peers import GZIPPED

if TYPE_CHECKING:
    from asyncstream.lab.s3 import LabS3

BLOCK = 20 * 10**6
LEVEL = 6  # the default of the gzip program


def synthetic(lab: LabS3, bucket: str, count: int, size: int) -> list[str]:
    """Declare objects that take no disk space; return their keys."""
    lab.create_bucket(bucket, keep=False)
    return lab.declare_many(bucket, "object-", count, size)


def gzipped(lab: LabS3, bucket: str, count: int, size: int) -> list[str]:
    """Put objects of text, and the same objects compressed into a second bucket; return their keys.

    Each object repeats one block, which is compressed once: gzip members may follow each other.
    """
    block = text(BLOCK)
    contents = {bucket: block, bucket + GZIPPED: gzip.compress(block, LEVEL)}
    keys = [f"object-{number:06d}" for number in range(count)]
    s3 = client(lab)
    for name, content in contents.items():
        lab.create_bucket(name, keep=True)
        body = content * (size // BLOCK)
        for key in keys:
            s3.put_object(Bucket=name, Key=key, Body=body)
    return keys


def client(lab: LabS3) -> Any:
    """Return a client of a lab."""
    return boto3.client(
        "s3",
        endpoint_url=lab.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id="AKIALAB",
        aws_secret_access_key="lab",
    )


def text(size: int) -> bytes:
    """Return lines of words from a vocabulary of 3,000; gzip compresses them to a third."""
    drawn = random.Random(1)  # the same in every run
    words = [f"{drawn.getrandbits(40):x}".encode() for _ in range(3000)]
    lines = (b" ".join(drawn.choices(words, k=12)) for _ in range(size // 100))
    return b"\n".join(lines)[:size]

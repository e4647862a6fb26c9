"""A running lab S3, over http and https, and clients of both SDKs."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

os.environ.setdefault("BOTO_DISABLE_CRT", "true")  # read on botocore's import; the CRT breaks streamed bodies

import boto3
from botocore.config import Config

from asyncstream.lab.s3 import LabS3

_bucket_numbers = itertools.count(1)


@pytest.fixture(scope="session", params=["http", "https"])
def lab(request: pytest.FixtureRequest) -> Iterator[LabS3]:
    with LabS3(tls=request.param == "https") as running:
        yield running


@pytest.fixture(scope="session")
def client_arguments(lab: LabS3) -> Callable[..., dict[str, Any]]:
    """Return a function of a client's arguments, for either SDK, which takes settings of its Config."""

    def arguments(**config: Any) -> dict[str, Any]:
        variables = lab.environment()
        return {
            "endpoint_url": variables["AWS_ENDPOINT_URL_S3"],
            "aws_access_key_id": variables["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": variables["AWS_SECRET_ACCESS_KEY"],
            "region_name": variables["AWS_DEFAULT_REGION"],
            "verify": variables.get("AWS_CA_BUNDLE"),
            "config": Config(retries={"total_max_attempts": 1}, **config),
        }

    return arguments


@pytest.fixture(scope="session")
def s3(client_arguments: Callable[..., dict[str, Any]]) -> Iterator[Any]:
    with closing(boto3.session.Session().client("s3", **client_arguments())) as client:
        yield client


@pytest.fixture
def kept(lab: LabS3) -> str:
    """Create a bucket that keeps what is uploaded; return its name."""
    name = f"kept-{next(_bucket_numbers)}"
    lab.create_bucket(name, keep=True)
    return name


@pytest.fixture
def discarding(lab: LabS3) -> str:
    """Create a bucket that keeps sizes and checksums only; return its name."""
    name = f"discarding-{next(_bucket_numbers)}"
    lab.create_bucket(name, keep=False)
    return name

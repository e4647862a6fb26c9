"""Fixtures for archives: a bucket that has one, and faults that end with their test."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline import plan
from tests.handlers.invocations import PART
from tests.handlers.labs import open_lab

from .packing import ARCHIVE, pack

_names = itertools.count()


@pytest.fixture(scope="package")
def lab() -> Iterator[LabS3]:
    """A lab of their own, because requests that stall here go on while other tests count theirs."""
    with open_lab() as lab:
        yield lab


@pytest.fixture
def s3(lab: LabS3) -> Iterator[Any]:
    client = boto3.client("s3")
    yield client
    client.close()


@pytest.fixture
def source(lab: LabS3, s3: Any) -> str:
    """Create a bucket with an archive and an object that is none."""
    name = f"archives-{next(_names)}"
    lab.create_bucket(name, keep=True)
    s3.put_object(Bucket=name, Key=ARCHIVE, Body=pack())
    s3.put_object(Bucket=name, Key="in/plain.csv", Body=b"plain")
    return name


@pytest.fixture
def put(s3: Any, source: str) -> Callable[..., None]:
    """Return a function that replaces the archive, or stores another object."""
    return lambda body, key=ARCHIVE: s3.put_object(Bucket=source, Key=key, Body=body)


@pytest.fixture
def faulty(lab: LabS3) -> Iterator[Callable[[Any], None]]:
    """Return a function that sets faults until the test ends."""
    yield lab.set_faults
    lab.set_faults([])


@pytest.fixture
def short_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut files of archives that later invocations continue, as if they had gigabytes."""
    monkeypatch.setattr(plan, "CHAINED_PART", PART)

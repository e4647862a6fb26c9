"""Fixtures for the tests of traces: the receiver, and a lab S3 to copy from."""

from collections.abc import Iterator

import pytest

from asyncstream.lab.s3 import LabS3
from asyncstream.lab.xray import XRayReceiver

from .tracing_checks import (
    sent_to,
    trace_ids,
)


@pytest.fixture(scope="module")
def receiver() -> Iterator[XRayReceiver]:
    with XRayReceiver() as receiver:
        yield receiver


@pytest.fixture(scope="module")
def lab(credentials: None) -> Iterator[LabS3]:
    with LabS3() as lab:
        lab.create_bucket("source", keep=True)
        lab.create_bucket("results", keep=False)
        yield lab


@pytest.fixture(autouse=True)
def as_before(lab: LabS3) -> None:
    lab.set_model("off")
    lab.reset_stats()


@pytest.fixture
def traced(receiver: XRayReceiver) -> Iterator[set[str]]:
    """Turn tracing on; yield the ids of the traces that exist before the test."""
    receiver.settle()
    with sent_to(receiver):
        yield trace_ids(receiver)

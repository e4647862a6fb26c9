"""A function whose source and destination are two servers: an object may keep its bucket and key."""

from collections.abc import Iterator
from typing import Any

import pytest

from asyncstream.lab.s3 import LabS3

from .deliveries import Deliver
from .trigger_events import object_created, s3_batch, s3_put, sqs

KEY = "in/000000"


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[LabS3]:
    with LabS3() as server:
        yield server


@pytest.fixture
def same_names(source: str, elsewhere: LabS3, monkeypatch: pytest.MonkeyPatch, deliver: Deliver) -> None:
    """Deploy a function that writes where it reads, as far as the names say."""
    elsewhere.create_bucket(source, keep=False)
    monkeypatch.setenv("DEPLOYED_DESTINATION", f"s3://{source}/")
    monkeypatch.delenv("DEPLOYED_TRIGGER")


def events(bucket: str) -> list[Any]:
    place = f"s3://{bucket}/{KEY}"
    direct = {"files": [{"source": place, "destination": place}]}
    return [
        direct,
        {"source_prefix": f"s3://{bucket}/in/", "destination": f"s3://{bucket}/in/"},
        s3_put(bucket, KEY),
        object_created(bucket, KEY),
        s3_batch(bucket, KEY),
        sqs(direct),
    ]


@pytest.mark.usefixtures("same_names")
def test_an_object_keeps_its_name_on_another_server(
    deliver: Deliver, source: str, elsewhere: LabS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_DESTINATION_ENDPOINT_URL", elsewhere.endpoint_url)
    for event in events(source):
        reply = deliver(event)
        assert KEY in elsewhere.checksums(source), reply
        elsewhere.discard(source, "")


@pytest.mark.usefixtures("same_names")
def test_another_role_is_not_another_server(
    deliver: Deliver, lab: LabS3, source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASYNCSTREAM_DESTINATION_ROLE_ARN", "arn:aws:iam::123456789012:role/writer")
    monkeypatch.setenv("ASYNCSTREAM_DESTINATION_ENDPOINT_URL", lab.endpoint_url + "/")
    for event in events(source):
        deliver(event)
        assert lab.stats()["operations"] == {}

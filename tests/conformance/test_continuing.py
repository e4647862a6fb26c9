"""A deadline leaves a file pending, and another engine continues it with the parts that S3 lists."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from asyncstream import AccessDenied, MiB, TransferConfig, TransferReport, TransferSession
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.pipeline.progress import BytesMoved, Event
from tests.servers import Bucket, S3Server, content

from .clocks import Clock
from .fixture_types import Pairs

Copy = Callable[..., TransferReport]
# At the deadline, a third part is under way.
MOVED = 11 * MiB
TIMED: dict[str, Any] = {"multipart": True, "max_concurrency": 1, "deadline": 500.0, "at_deadline": "pending"}


def test_parts_that_s3_lists_are_not_sent_again(
    engine: EngineName, server: S3Server, bucket: Bucket, copy: Copy, pairs: Pairs, clock: Clock
) -> None:
    bucket.put("a", content(21 * MiB, 1))
    moved = 0

    def count(event: Event) -> None:
        nonlocal moved
        moved += event.bytes if isinstance(event, BytesMoved) else 0
        clock.now += 1000 * (moved >= MOVED)

    report = copy(pairs("a"), count, **TIMED)

    [left] = report.continuations.values()
    assert [(run.first, run.last, run.length) for run in left.runs] == [(1, 2, 10 * MiB)]
    other = ENGINES[ENGINES.index(engine) - 1]
    with closing(TransferSession(other, endpoint_url=server.endpoint_url)) as session:
        report = session.transfer(pairs("a"), TransferConfig(**TIMED), continuations=report.continuations)

    [result] = report.files
    assert result.error is None
    assert (result.status, result.restarted, result.parts) == ("copied", None, 5)
    assert (report.requests["ListParts"], report.requests["UploadPart"]) == (1, 3)
    assert bucket.get("copies/a") == bucket.get("a")
    assert bucket.uploads() == []


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_denied_listing_names_the_permission(
    lab: LabS3, bucket: Bucket, copy: Copy, pairs: Pairs, clock: Clock
) -> None:
    bucket.put("a", content(11 * MiB, 1))

    def stop(event: Event) -> None:
        clock.now += 1000 * isinstance(event, BytesMoved)

    report = copy(pairs("a"), stop, **TIMED)
    lab.set_faults([Fault("refuse", "ListParts", status=403, code="AccessDenied")])
    report = copy(pairs("a"), continuations=report.continuations, **TIMED)

    [failed] = report.failed
    assert isinstance(failed.error, AccessDenied)
    assert "s3:ListMultipartUploadParts" in str(failed.error)
    assert bucket.uploads() == []

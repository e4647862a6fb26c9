"""The deadline ends every wait: a Lambda's time runs out whether or not S3 answers."""

import pytest

from asyncstream import Continuation, DeadlineExceeded, KiB, MiB, S3Object, S3Prefix, SlowDown, TransferReport
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.servers import Bucket
from tests.servers.base import PATIENCE

from .clocks import Clock
from .fixture_types import Copy, Pairs, UntilItStalls

pytestmark = [pytest.mark.loops, pytest.mark.parametrize("server", ["lab"], indirect=True)]

FOR_EVER = 3600.0
# Only these tests use this timeout, because their clients are patient: see `until_it_stalls`.
OWN = {"stall_timeout": 14.0}


@pytest.mark.parametrize(
    ("operation", "size", "at"),
    [
        ("GetObject", 1 * MiB, 0.0),
        ("GetObject", 11 * MiB, 0.5),
        ("PutObject", 1 * MiB, 0.5),
        ("UploadPart", 11 * MiB, 0.0),
        ("UploadPart", 11 * MiB, 0.5),
    ],
)
def test_the_deadline_ends_a_read_or_write_that_stalls(
    lab: LabS3,
    bucket: Bucket,
    copy: Copy,
    pairs: Pairs,
    until_it_stalls: UntilItStalls,
    operation: str,
    size: int,
    at: float,
) -> None:
    lab.declare(bucket.name, [("a", size), ("warm", 1)])
    copy(pairs("warm"), **OWN).raise_for_failures()  # opens the clients
    report = until_it_stalls(
        Fault("stall", operation, key="*a", at=at, seconds=FOR_EVER),
        lambda deadline: copy(pairs("a"), deadline=deadline, multipart=True, **OWN),
    )
    [result] = report.failed
    assert isinstance(result.error, DeadlineExceeded)
    assert bucket.uploads() == []


@pytest.mark.parametrize("max_attempts", [1, 4])
def test_what_the_deadline_cut_off_can_be_taken_up(
    lab: LabS3, bucket: Bucket, copy: Copy, pairs: Pairs, until_it_stalls: UntilItStalls, max_attempts: int
) -> None:
    """The same holds for the last attempt: S3 did not fail."""
    lab.declare(bucket.name, [("a", 11 * MiB), ("warm", 1)])
    # One part after the other: the third stalls when two are confirmed.
    settings = {"multipart": True, "max_attempts": max_attempts, "max_concurrency": 1, **OWN}
    copy(pairs("warm"), **settings).raise_for_failures()
    left: dict[tuple[S3Object, S3Object], Continuation] = {}

    def transfer(deadline: float) -> TransferReport:
        report = copy(pairs("a"), continuations=left, deadline=deadline, at_deadline="pending", **settings)
        left.update(report.continuations)
        return report

    report = until_it_stalls(Fault("stall", "UploadPart", part_number=3, seconds=FOR_EVER), transfer)
    [result] = report.pending
    copy(pairs("a"), continuations=left, **settings).raise_for_failures()
    assert result.continuation is not None
    assert result.continuation.runs[0].last >= 2
    stored = lab.checksums(bucket.name)
    assert stored["copies/a"].crc64nvme == stored["a"].crc64nvme
    assert bucket.uploads() == []


def test_an_object_whose_complete_the_deadline_cut_off_is_found(
    lab: LabS3, bucket: Bucket, copy: Copy, pairs: Pairs, until_it_stalls: UntilItStalls
) -> None:
    """A busy machine needs a longer deadline, which leaves more time to look."""
    lab.declare(bucket.name, [*((str(each), 11 * MiB) for each in PATIENCE), ("warm", 1)])
    copy(pairs("warm"), **OWN).raise_for_failures()
    stall = Fault("stall", "CompleteMultipartUpload", seconds=FOR_EVER)
    for least in PATIENCE:

        def transfer(deadline: float, least: float = least) -> TransferReport:
            return copy(pairs(str(least)), deadline=max(least, deadline), multipart=True, **OWN)

        report = until_it_stalls(stall, transfer)
        if report.copied:
            break
    [result] = report.copied
    assert result.write_verified == "CRC64NVME"
    assert report.requests["CompleteMultipartUpload"] == 1


def test_a_listing_that_the_deadline_ends_says_so(
    lab: LabS3, bucket: Bucket, copy: Copy, until_it_stalls: UntilItStalls
) -> None:
    lab.declare(bucket.name, [("in/a", 1)])
    files = [(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "copies/"))]
    copy(files, **OWN).raise_for_failures()

    def transfer(deadline: float) -> None:
        with pytest.raises(DeadlineExceeded):
            copy(files, deadline=deadline, **OWN)

    until_it_stalls(Fault("stall", "ListObjectsV2", seconds=FOR_EVER), transfer)


def test_a_retry_due_after_the_deadline_is_not_made(
    lab: LabS3, bucket: Bucket, copy: Copy, pairs: Pairs, clock: Clock
) -> None:
    """The file fails, or stays pending for the next transfer.

    The clock stands still, so an engine that waited nevertheless would retry.
    """
    lab.declare(bucket.name, [("a", 1 * KiB)])
    lab.set_faults([Fault("refuse", "GetObject", retry_after=20)])
    failing = copy(pairs("a"), deadline=19.0)
    pending = copy(pairs("a"), deadline=19.0, at_deadline="pending")
    assert isinstance(failing.failed[0].error, DeadlineExceeded)
    assert isinstance(failing.failed[0].error.__cause__, SlowDown)
    assert "SlowDown" in str(failing.failed[0].error)
    assert [result.status for result in pending.files] == ["pending"]
    assert (failing.requests["GetObject"], pending.requests["GetObject"]) == (1, 1)

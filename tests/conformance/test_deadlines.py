"""The deadline ends what is waited for: a Lambda's time runs out whether or not S3 answers."""

import pytest

from asyncstream import DeadlineExceeded, KiB, MiB, S3Prefix, SlowDown
from asyncstream.lab.s3.faults import Fault

pytestmark = [pytest.mark.parametrize("server", ["lab"], indirect=True), pytest.mark.timeout(30)]

# Far more seconds than the deadline gives, and than a test is to take.
FOR_LONG = {"stall_timeout": 15.0}
LATE = 10.0


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
def test_the_deadline_ends_a_read_or_write_that_stalls(server, bucket, copy, pairs, operation, size, at):
    server.lab.declare(bucket.name, [("a", size), ("warm", 1)])
    copy(pairs("warm"), **FOR_LONG).raise_for_failures()  # the clients are there from now on
    server.lab.set_faults([Fault("stall", operation, key="*a", at=at, seconds=60)])
    report = copy(pairs("a"), deadline=0.4, multipart=True, **FOR_LONG)
    struck = server.lab.faults_struck()
    server.lab.set_faults([])
    assert struck != [0]
    [result] = report.failed
    assert isinstance(result.error, DeadlineExceeded)
    assert report.seconds < LATE
    assert bucket.uploads() == []


@pytest.mark.parametrize("max_attempts", [1, 4])
@pytest.mark.parametrize(
    "stalling", [{"operation": "UploadPart", "part_number": 3}, {"operation": "CompleteMultipartUpload"}]
)
def test_what_the_deadline_cut_off_can_be_taken_up(server, bucket, copy, pairs, stalling, max_attempts):
    """Also by its last try: it was no failure of S3's."""
    server.lab.declare(bucket.name, [("a", 11 * MiB), ("warm", 1)])
    settings = {"at_deadline": "pending", "multipart": True, "max_attempts": max_attempts, **FOR_LONG}
    copy(pairs("warm"), **FOR_LONG).raise_for_failures()
    server.lab.set_faults([Fault("stall", seconds=60, **stalling)])
    report = copy(pairs("a"), deadline=1.0, **settings)
    server.lab.set_faults([])
    [result] = report.pending
    assert report.seconds < LATE
    again = copy(pairs("a"), continuations=report.continuations, **settings)
    again.raise_for_failures()
    assert {part.number for part in result.continuation.parts} >= {1, 2}
    stored = server.lab.checksums(bucket.name)
    assert stored["copies/a"].crc64nvme == stored["a"].crc64nvme
    assert bucket.uploads() == []


def test_a_listing_that_the_deadline_ends_says_so(server, bucket, copy):
    server.lab.declare(bucket.name, [("in/a", 1)])
    files = [(S3Prefix(bucket.name, "in/"), S3Prefix(bucket.name, "copies/"))]
    copy(files, **FOR_LONG).raise_for_failures()
    server.lab.set_faults([Fault("stall", "ListObjectsV2", seconds=60)])
    with pytest.raises(DeadlineExceeded):
        copy(files, deadline=0.4, **FOR_LONG)
    server.lab.set_faults([])


def test_a_try_that_would_come_after_the_deadline_is_left_to_the_next_transfer(server, bucket, copy, pairs):
    server.lab.declare(bucket.name, [("a", 1 * KiB)])
    server.lab.set_faults([Fault("refuse", "GetObject", retry_after=20)])
    failing = copy(pairs("a"), deadline=5.0)
    pending = copy(pairs("a"), deadline=5.0, at_deadline="pending")
    server.lab.set_faults([])
    assert isinstance(failing.failed[0].error, DeadlineExceeded)
    assert isinstance(failing.failed[0].error.__cause__, SlowDown)
    assert "SlowDown" in str(failing.failed[0].error)
    assert [result.status for result in pending.files] == ["pending"]
    assert pending.seconds < 5.0

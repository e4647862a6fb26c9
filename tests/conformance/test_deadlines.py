"""The deadline ends what is waited for: a Lambda's time runs out whether or not S3 answers."""

import pytest

from asyncstream import DeadlineExceeded, KiB, MiB, SlowDown
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
    server.lab.declare(bucket.name, [("a", size)])
    server.lab.set_faults([Fault("stall", operation, at=at, seconds=60)])
    report = copy(pairs("a"), deadline=0.25, multipart=True, **FOR_LONG)
    server.lab.set_faults([])
    [result] = report.failed
    assert isinstance(result.error, DeadlineExceeded)
    assert report.seconds < LATE
    assert bucket.uploads() == []


def test_what_the_deadline_cut_off_can_be_taken_up(server, bucket, copy, pairs):
    server.lab.declare(bucket.name, [("a", 11 * MiB)])
    server.lab.set_faults([Fault("stall", "UploadPart", part_number=3, seconds=60)])
    report = copy(pairs("a"), deadline=0.7, at_deadline="pending", multipart=True, **FOR_LONG)
    server.lab.set_faults([])
    [result] = report.pending
    assert report.seconds < LATE
    assert {part.number for part in result.continuation.parts} <= {1, 2}


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

"""A range that fails once is repeated from its start; a file that keeps failing is given up cleanly."""

import pytest

from asyncstream import ConnectionFailed, DeadlineExceeded, Event, MiB, ServiceBusy
from asyncstream.errors import TruncatedBody
from asyncstream.pipeline.progress import BytesMoved, PartRetried
from tests.places import key_of
from tests.servers import Bucket, content

from .clocks import Clock
from .faulty_transport import (
    ALWAYS,
    DownloadBroken,
    DownloadTruncated,
    Refused,
    ReplyLost,
    UploadBroken,
)
from .fixture_types import Copy, Pairs

LARGE = 6 * MiB  # two parts, the second of 1 MiB
SMALL = 1 * MiB  # more than any engine reads at once

# The faults are on the client's side of the connection: other servers would show nothing new.
pytestmark = [pytest.mark.loops, pytest.mark.parametrize("server", ["lab"], indirect=True)]


@pytest.mark.parametrize(
    ("kind", "operation", "error"),
    [
        (DownloadBroken, "GetObject", ConnectionFailed),
        (DownloadTruncated, "GetObject", TruncatedBody),
        (UploadBroken, "UploadPart", ConnectionFailed),
        (ReplyLost, "UploadPart", ConnectionFailed),
        (Refused, "UploadPart", ServiceBusy),
    ],
)
def test_a_part_that_fails_once_is_read_and_sent_again(
    copy_with_faults: Copy,
    bucket: Bucket,
    pairs: Pairs,
    kind: type,
    operation: str,
    error: type[BaseException],
) -> None:
    """The engine repeats only that part: at most one more GET and one more UploadPart."""
    bucket.put("file", content(LARGE))
    events: list[Event] = []
    report = copy_with_faults(
        pairs("file"), kind(operation, times=[2]), on_event=events.append, multipart=True, max_concurrency=1
    )
    report.raise_for_failures()
    assert bucket.get("copies/file") == content(LARGE)
    assert report.files[0].attempts == 3
    assert report.requests["GetObject"] == 3
    assert report.requests["CreateMultipartUpload"] == report.requests["CompleteMultipartUpload"] == 1
    [retried] = [event for event in events if isinstance(event, PartRetried)]
    assert isinstance(retried.error, error)


@pytest.mark.parametrize(
    ("kind", "operation"),
    [
        (DownloadBroken, "GetObject"),
        (DownloadTruncated, "GetObject"),
        (UploadBroken, "PutObject"),
        (ReplyLost, "PutObject"),
        (Refused, "PutObject"),
    ],
)
def test_a_put_that_fails_once_is_read_and_sent_again(
    copy_with_faults: Copy, bucket: Bucket, pairs: Pairs, kind: type, operation: str
) -> None:
    bucket.put("file", content(SMALL))
    report = copy_with_faults(pairs("file"), kind(operation))
    report.raise_for_failures()
    assert bucket.get("copies/file") == content(SMALL)
    assert report.files[0].attempts == report.requests["GetObject"] == 2


@pytest.mark.parametrize("operation", ["GetObject", "CreateMultipartUpload", "CompleteMultipartUpload"])
def test_a_request_without_a_body_of_ours_is_repeated(
    copy_with_faults: Copy, bucket: Bucket, pairs: Pairs, operation: str
) -> None:
    bucket.put("file", content(LARGE))
    report = copy_with_faults(pairs("file"), Refused(operation), multipart=True, max_concurrency=1)
    report.raise_for_failures()
    assert bucket.get("copies/file") == content(LARGE)
    assert bucket.uploads() == []


def test_a_part_that_keeps_failing_is_given_up_with_its_upload(
    copy_with_faults: Copy, bucket: Bucket, pairs: Pairs
) -> None:
    """The other file is copied."""
    size = 11 * MiB  # three parts
    for key in ("doomed", "good"):
        bucket.put(key, content(size, key))
    fault = Refused("UploadPart", ALWAYS, Key="copies/doomed", PartNumber=2)
    report = copy_with_faults(
        pairs("doomed", "good"), fault, multipart=True, max_attempts=3, max_concurrency=1
    )
    doomed, good = report.files
    assert isinstance(doomed.error, ServiceBusy)
    assert doomed.status == "failed"
    assert good.status == "copied"
    # The first part once, the second three times, the third never.
    assert doomed.attempts == 4
    assert report.requests["AbortMultipartUpload"] == 1
    assert bucket.keys("copies/") == {"copies/good"}
    assert bucket.get("copies/good") == content(size, "good")
    assert bucket.uploads() == []


def test_an_upload_that_cannot_be_aborted_is_noted_on_the_error(
    copy_with_faults: Copy, bucket: Bucket, pairs: Pairs
) -> None:
    bucket.put("file", content(LARGE))
    report = copy_with_faults(
        pairs("file"),
        Refused("UploadPart", ALWAYS),
        Refused("AbortMultipartUpload", ALWAYS),
        multipart=True,
        max_attempts=2,
    )
    error = report.files[0].error
    assert error is not None
    [note] = error.__notes__
    assert f"s3://{bucket.name}/copies/file" in note
    assert "could not be aborted" in note
    assert report.requests["AbortMultipartUpload"] == 2
    assert bucket.uploads() == ["copies/file"]


def test_an_abort_that_fails_once_is_repeated(copy_with_faults: Copy, bucket: Bucket, pairs: Pairs) -> None:
    bucket.put("file", content(LARGE))
    report = copy_with_faults(
        pairs("file"),
        Refused("UploadPart", ALWAYS),
        Refused("AbortMultipartUpload"),
        multipart=True,
        max_attempts=2,
    )
    assert not hasattr(report.files[0].error, "__notes__")
    assert bucket.uploads() == []


@pytest.mark.parametrize("multipart", [False, True])
def test_files_not_done_by_the_deadline_fail_and_leave_nothing(
    copy: Copy, bucket: Bucket, pairs: Pairs, clock: Clock, multipart: bool
) -> None:
    for key in ("early", "caught", "late"):
        bucket.put(key, content(LARGE, key))

    def pass_the_deadline(event: Event) -> None:
        if isinstance(event, BytesMoved) and key_of(event.source) == "caught":
            clock.now = 61.0

    report = copy(
        pairs("early", "caught", "late"),
        pass_the_deadline,
        deadline=60,
        multipart=multipart,
        max_concurrency=1,
    )
    assert [result.status for result in report.files] == ["copied", "failed", "failed"]
    assert {type(result.error) for result in report.failed} == {DeadlineExceeded}
    assert bucket.keys("copies/") == {"copies/early"}
    assert bucket.uploads() == []

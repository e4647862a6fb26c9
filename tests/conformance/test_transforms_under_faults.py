"""Files transformed while requests fail, sources change and the deadline passes, with every engine."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from asyncstream import MiB
from asyncstream.errors import DeadlineExceeded, SourceChanged
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault, Kind
from asyncstream.pipeline.progress import BytesMoved, PartRetried
from tests.conformance import CLIENTS
from tests.servers import Bucket, content

from .clocks import Clock
from .fixture_types import Copy, NothingIsLeft, Pairs, UntilItStalls

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)

GET, PUT, UPLOAD = "GetObject", "PutObject", "UploadPart"
CREATE, COMPLETE = "CreateMultipartUpload", "CompleteMultipartUpload"
SIZES = {"single PUT": 1 * MiB, "multipart": 6 * MiB}


@dataclass(frozen=True)
class Row:
    """A fault that strikes an operation once, and the expected number of GETs."""

    operation: str
    kind: Kind
    gets: int = 1

    @property
    def mode(self) -> str:
        return "single PUT" if self.operation == PUT else "multipart"


ROWS = [
    *(Row(GET, kind, gets=2) for kind in ("reset-body", "truncate", "reset", "wrong-byte")),
    *(
        Row(operation, kind)
        for operation in (PUT, UPLOAD, COMPLETE)
        for kind in ("refuse", "reset", "lost-reply")
    ),
    Row(CREATE, "refuse"),
    Row(COMPLETE, "error-in-200"),
    *(Row(operation, kind) for operation in (PUT, UPLOAD) for kind in ("reset-body", "wrong-byte")),
]


@on_the_lab
@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.operation} {row.kind}")
@pytest.mark.varied("row", engine=CLIENTS)
def test_what_goes_wrong_once_is_overcome(
    copy: Copy, lab: LabS3, bucket: Bucket, pairs: Pairs, row: Row
) -> None:
    """Parts are sent again from memory. Only a failed read causes a second read of the source."""
    body = content(SIZES[row.mode])
    bucket.put("file", body)
    # A read breaks when a part is already being sent.
    lab.set_faults([Fault(row.kind, row.operation, times=[1], at=0.95)])
    net: list[int] = []

    def count(event: Any) -> None:
        if isinstance(event, BytesMoved | PartRetried):
            net.append(event.bytes if isinstance(event, BytesMoved) else -event.bytes)

    report = copy(pairs("file"), count, transform="gzip", max_concurrency=2)
    struck = lab.faults_struck()
    lab.set_faults([])
    [result] = report.files
    assert struck[0] >= 1
    assert result.error is None
    # If a connection proves closed before the first byte, the request does not count as an attempt.
    assert report.requests[GET] == row.gets or (row.kind == "reset" and report.requests[GET] < row.gets)
    assert sum(net) == len(body)
    assert gzip.decompress(bucket.get("copies/file")) == body
    assert bucket.uploads() == []


@on_the_lab
def test_a_source_overwritten_half_way_is_made_of_as_it_was(
    copy: Copy, lab: LabS3, bucket: Bucket, pairs: Pairs
) -> None:
    """One GET reads the whole old version; a GET that breaks could not resume it."""
    lab.declare(bucket.name, [("file", 12 * MiB)])
    before = bucket.get("file")
    lab.set_faults([Fault("overwrite-source", GET, times=[1], at=0.1)])
    copy(pairs("file"), transform="gzip").raise_for_failures()
    assert lab.faults_struck() == [1]
    assert gzip.decompress(bucket.get("copies/file")) == before != bucket.get("file")


@on_the_lab
def test_a_broken_body_is_not_resumed_from_another_version(
    copy: Copy, lab: LabS3, bucket: Bucket, pairs: Pairs, nothing_is_left: NothingIsLeft
) -> None:
    bucket.put("file", content(12 * MiB))
    lab.set_faults([Fault("truncate", GET, times=[1], at=0.7)])
    overwritten: list[str] = []

    def overwrite(event: Any) -> None:
        if isinstance(event, PartRetried) and not overwritten:
            overwritten.append(bucket.put("file", bytes(12 * MiB)))

    [result] = copy(pairs("file"), overwrite, transform="gzip").files
    assert isinstance(result.error, SourceChanged)
    nothing_is_left()


@on_the_lab
def test_the_deadline_fails_started_files_and_leaves_nothing(
    copy: Copy, bucket: Bucket, pairs: Pairs, nothing_is_left: NothingIsLeft, until_it_stalls: UntilItStalls
) -> None:
    """The file fails even if a plain copy would stay pending."""
    bucket.put("file", content(12 * MiB))
    bucket.put("before", b"")
    settings = {"transform": "gzip", "stall_timeout": 13.0}  # only this test uses this timeout
    copy(pairs("before"), **settings).raise_for_failures()  # opens the clients
    report = until_it_stalls(
        Fault("stall", UPLOAD, part_number=2, seconds=3600),
        lambda deadline: copy(pairs("file"), deadline=deadline, at_deadline="pending", **settings),
    )
    [result] = report.files
    assert isinstance(result.error, DeadlineExceeded)
    assert result.continuation is None
    nothing_is_left(kept=["before"])


@on_the_lab
def test_the_deadline_ends_what_only_computes(
    copy: Copy, bucket: Bucket, pairs: Pairs, nothing_is_left: NothingIsLeft, clock: Clock
) -> None:
    bucket.put("file", content(1 * MiB))

    def endless(_: bytes) -> Iterator[bytes]:
        while True:
            yield b""
            clock.now += 1

    report = copy(pairs("file"), transform=endless, deadline=60)
    assert isinstance(report.files[0].error, DeadlineExceeded)
    nothing_is_left()

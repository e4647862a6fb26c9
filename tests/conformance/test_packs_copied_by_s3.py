"""Packs of which S3 copies the large pieces itself."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from asyncstream import Concat, KiB, MiB, S3Object, S3Prefix, SourceChanged, Tar, TransferReport, Zip
from asyncstream.lab.s3 import Fault as LabFault
from asyncstream.lab.s3 import LabS3
from asyncstream.pipeline.progress import BytesMoved, Event, FileStarted, ignore
from tests.servers import Bucket, content

from .fixture_types import Copy, StopAfter

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
FILES: Mapping[str, bytes] = {
    "a": content(12 * MiB, 1),
    "b": content(100 * KiB, 2),
    "c": content(11 * MiB + 7, 3),
    "d": b"",
    "e": content(5 * MiB, 4),
    "f": content(20 * MiB, 5),
    "g": b"the end",
}


@pytest.fixture
def pack(copy: Copy, bucket: Bucket) -> Callable[..., TransferReport]:
    """Put files into the bucket, and pack them."""

    def pack(kind: Any, on_event: Any = ignore, **settings: Any) -> TransferReport:
        for name, body in FILES.items():
            bucket.put(f"in/{name}", body)
        into = kind(S3Object(bucket.name, "copies/x"), copy_parts=True)
        return copy([(S3Prefix(bucket.name, "in/"), into)], on_event, **settings)

    return pack


def unpacked(bucket: Bucket, kind: Any) -> dict[str, bytes] | bytes:
    body = bucket.get("copies/x")
    if kind is Tar:
        with tarfile.open(fileobj=io.BytesIO(body)) as archive:
            return {each.name: archive.extractfile(each).read() for each in archive}  # type: ignore[union-attr]
    if kind is Zip:
        with zipfile.ZipFile(io.BytesIO(body)) as zipped:
            return {name: zipped.read(name) for name in zipped.namelist()}
    return body


@pytest.mark.parametrize("kind", [Tar, Zip, Concat])
def test_the_bytes_are_those_of_any_pack(
    pack: Callable[..., TransferReport], bucket: Bucket, kind: Any
) -> None:
    """Also on a server that copies no parts: their bytes are sent."""
    report = pack(kind)
    report.raise_for_failures()
    assert unpacked(bucket, kind) == (b"".join(FILES.values()) if kind is Concat else dict(FILES))
    assert report.requests["UploadPartCopy"]
    assert bucket.uploads() == []


@on_the_lab
@pytest.mark.parametrize("kind", [Tar, Concat])
def test_large_pieces_do_not_pass_through(
    pack: Callable[..., TransferReport], bucket: Bucket, kind: Any
) -> None:
    moved: list[int] = []

    def on_event(event: Event) -> None:
        if isinstance(event, BytesMoved):
            moved.append(event.bytes)

    report = pack(kind, on_event)
    assert report.requests["UploadPartCopy"] == 3
    assert sum(moved) == report.bytes == bucket.head("copies/x")["ContentLength"]
    assert report.files[0].parts == report.files[0].attempts == report.requests["UploadPart"] + 3
    assert report.downgrades == []


@on_the_lab
def test_a_server_that_cannot_copy_is_named(
    pack: Callable[..., TransferReport], bucket: Bucket, lab: LabS3
) -> None:
    lab.set_faults([LabFault("refuse", operation="UploadPartCopy", status=501, code="NotImplemented")])
    report = pack(Concat)
    assert unpacked(bucket, Concat) == b"".join(FILES.values())
    assert "does not copy parts" in report.downgrades[0]


@on_the_lab
def test_an_object_that_is_overwritten_meanwhile_fails_the_pack(
    pack: Callable[..., TransferReport], bucket: Bucket
) -> None:
    def on_event(event: Event) -> None:
        if isinstance(event, FileStarted):
            bucket.put("in/f", content(20 * MiB, 6))

    report = pack(Tar, on_event)
    assert isinstance(report.failed[0].error, SourceChanged)
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


@on_the_lab
def test_a_deadline_leaves_nothing_that_cannot_be_continued(
    pack: Callable[..., TransferReport], bucket: Bucket, stop_after: StopAfter
) -> None:
    pack(Tar)
    again = Tar(S3Object(bucket.name, "copies/y"), copy_parts=True)
    report = stop_after((S3Prefix(bucket.name, "in/"), again), 15 * MiB)
    assert report.count("pending") == 1
    assert report.continuations == {}
    assert bucket.uploads() == []

"""A pack is right, or fails as a whole: members that change, broken connections, damaged bytes."""

import io
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from asyncstream import BytesMoved, Concat, LocalFolder, MiB, S3Object, Tar, Zip, ZipEntries
from asyncstream.errors import AsyncstreamError, ChecksumMismatch, ServiceBusy, SourceChanged, SourceNotFound
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault, mix
from tests.servers import Bucket, content

from .fixture_types import Copy, Pack
from .test_packs import FEW, LARGE, MANY, READ, into_archives

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
of_both_files = pytest.mark.parametrize("files", [LARGE, MANY], ids=["large", "many"])


def nothing_is_made(bucket: Bucket) -> bool:
    return not bucket.keys("out") and bucket.uploads() == []


@of_both_files
@into_archives
@pytest.mark.varied("into", engine="threads")
def test_failing_requests_change_no_byte(
    pack: Pack, bucket: Bucket, lab: LabS3, files: Mapping[str, bytes], into: Any
) -> None:
    usual = sum(pack(into, files=files).requests.values())
    bucket.empty()
    struck = seed = 0
    while struck < 3:
        lab.set_faults(mix(0.08), seed=seed)
        report = pack(into, files=files)
        struck, seed = sum(lab.faults_struck()), seed + 1
        lab.set_faults([])
        if report.failed:  # such as by wrong bytes twice
            assert isinstance(report.failed[0].error, AsyncstreamError)
            assert nothing_is_made(bucket)
        else:
            assert READ[into](bucket.get("out")) == files
            assert bucket.uploads() == []
        # A part that is sent again reads its members again, and so does a pack that starts over.
        assert sum(report.requests.values()) <= 4 * usual + 10 * struck
        bucket.empty()


@pytest.mark.parametrize("how", ["write", "truncate", "remove"])
@pytest.mark.varied("how", engine="threads")
def test_a_local_member_that_changes_fails_the_pack(
    copy: Copy, bucket: Bucket, tmp_path: Path, how: str
) -> None:
    for name, body in LARGE.items():
        (tmp_path / name).write_bytes(body)
    changes: dict[str, Callable[[], Any]] = {
        "write": lambda: (tmp_path / "c").write_bytes(content(4 * MiB, "other")),
        "truncate": lambda: (tmp_path / "c").write_bytes(b""),
        "remove": (tmp_path / "c").unlink,
    }
    left = [changes[how]]

    def on_event(event: object) -> None:
        if left and isinstance(event, BytesMoved):
            left.pop()()

    pair = LocalFolder(str(tmp_path)), Tar(S3Object(bucket.name, "out"))
    [result] = copy([pair], on_event, max_concurrency=1).files
    assert isinstance(result.error, SourceNotFound if how == "remove" else SourceChanged)
    assert str(tmp_path / "c") in str(result.error)
    assert nothing_is_made(bucket)


@into_archives
@pytest.mark.parametrize(("files", "name"), [(MANY, "0007"), (LARGE, "a")], ids=["many", "large"])
@pytest.mark.varied("files", "name", engine="threads")
def test_a_member_that_cannot_be_read_fails_the_pack(
    pack: Pack,
    bucket: Bucket,
    lab: LabS3,
    files: Mapping[str, bytes],
    name: str,
    into: Any,
) -> None:
    lab.set_faults([Fault("refuse", "GetObject", key=f"in/{name}", status=500, code="InternalError")])
    [result] = pack(into, files=files).files
    tries = sum(lab.faults_struck())
    assert isinstance(result.error, ServiceBusy)
    assert f"in/{name}" in str(result.error)
    # A request, the body that needs it, and the part have four tries each; two parts have it.
    assert tries <= 4 * 4 * 4 * 2
    assert nothing_is_made(bucket)


# Members that are in one part, in two parts, and small.
@pytest.mark.parametrize(
    ("files", "names"), [(FEW, ["deep/er/b.bin"]), (LARGE, ["a", "c"]), (MANY, ["0000"])]
)
@pytest.mark.parametrize("into", [Tar, Zip, Concat])
@pytest.mark.varied("into", engine="threads")
def test_a_byte_changed_once_is_read_again(
    pack: Pack, bucket: Bucket, lab: LabS3, files: Mapping[str, bytes], names: list[str], into: Any
) -> None:
    pack(into, files=files).raise_for_failures()
    expected = bucket.get("out")
    for name in names:
        bucket.put("out", b"earlier")
        lab.set_faults([Fault("wrong-byte", "GetObject", key=f"in/{name}", times=[1], at=0.2)])
        report = pack(into, files=files)
        assert lab.faults_struck() == [1]
        lab.set_faults([])
        report.raise_for_failures()
        assert bucket.get("out") == expected


@of_both_files
@into_archives
def test_a_member_with_another_checksum_is_never_visible(
    pack: Pack, bucket: Bucket, lab: LabS3, files: Mapping[str, bytes], into: Any
) -> None:
    name = next(iter(files))
    lab.set_faults([Fault("wrong-byte", "GetObject", key=f"in/{name}", at=0.2)])
    [result] = pack(into, files=files).files
    lab.set_faults([])
    assert isinstance(result.error, ChecksumMismatch)
    assert f"in/{name}" in str(result.error)
    assert nothing_is_made(bucket)


def test_crc32s_without_a_checksum_of_s3_are_compared(pack: Pack, bucket: Bucket, lab: LabS3) -> None:
    """They are computed by a first pass, and the bytes that are sent have to have them."""
    lab.declare(bucket.name, [("in/a", 7 * MiB), ("in/b", 300_000)], checksum=None)
    lab.set_faults([Fault("wrong-byte", "GetObject", key="in/a", times=[1], at=0.2)])
    report = pack(Zip)
    assert lab.faults_struck() == [1]
    lab.set_faults([])
    report.raise_for_failures()
    assert report.files[0].restarted is not None
    assert READ[Zip](bucket.get("out")).keys() == {"a", "b"}  # it compares them, too


@of_both_files
def test_a_connection_that_breaks_is_resumed(
    pack: Pack, bucket: Bucket, lab: LabS3, files: Mapping[str, bytes]
) -> None:
    lab.set_faults([Fault("truncate", "GetObject", times=[1, 3], at=0.7)])
    report = pack(Tar, files=files)
    assert lab.faults_struck() == [2]
    lab.set_faults([])
    report.raise_for_failures()
    assert report.files[0].restarted is None
    assert READ[Tar](bucket.get("out")) == files


def test_an_early_refusal_of_a_part_is_repeated(pack: Pack, bucket: Bucket, lab: LabS3) -> None:
    """S3 answers before it has read the body, so a member is open."""
    refused = Fault("refuse", "UploadPart", times=[1, 3, 4])
    for fault in (refused, Fault("reset-body", "UploadPart", times=[1, 3])):
        lab.set_faults([fault])
        report = pack(Tar, files=LARGE)
        struck = lab.faults_struck()
        lab.set_faults([])
        report.raise_for_failures()
        assert struck == [len(fault.times or ())]
        assert READ[Tar](bucket.get("out")) == LARGE


@into_archives
def test_an_entry_that_breaks_is_resumed(copy: Copy, bucket: Bucket, lab: LabS3, into: Any) -> None:
    """An entry of an archive is decoded from its start again, and what was read before is dropped."""
    lines = {name: b"".join(b"%07d %s\n" % (line, name.encode()) for line in range(300_000)) for name in "ab"}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in lines.items():
            archive.writestr(name, body)
    bucket.put("a.zip", packed.getvalue())
    lab.set_faults([Fault("truncate", "GetObject", times=[3, 4], at=0.6)])
    report = copy([(ZipEntries(S3Object(bucket.name, "a.zip")), into(S3Object(bucket.name, "out")))])
    assert lab.faults_struck() == [2]
    lab.set_faults([])
    report.raise_for_failures()
    assert READ[into](bucket.get("out")) == lines

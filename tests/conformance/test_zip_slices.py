"""Slices of archives, and the rest of an archive that a deadline has interrupted, in every engine."""

import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from asyncstream import (
    CorruptInput,
    InputError,
    KiB,
    MiB,
    OutputTooLarge,
    S3Object,
    S3Prefix,
    SourceChanged,
    Tar,
    TransferConfig,
    TransferReport,
    TransferSession,
    ZipEntries,
    ZipEntry,
    ZipSlice,
)
from asyncstream.archives import zip_source
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault, LabS3
from asyncstream.pipeline import plan
from tests.servers import Bucket, S3Server, content

from .fixture_types import Copy, NewSession, StopAfter

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
SMALL = {f"{number:03d}.txt": content(1_000 + number, number) for number in range(250)}


def pack(files: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return packed.getvalue()


def unpacked(bucket: Bucket) -> dict[str, bytes]:
    return {key.removeprefix("copies/"): bucket.get(key) for key in bucket.keys("copies/")}


@pytest.fixture
def put(bucket: Bucket) -> Callable[[bytes], ZipEntries]:
    """Put an archive into the bucket, and return its entries."""

    def put(archive: bytes) -> ZipEntries:
        bucket.put("a.zip", archive)
        return ZipEntries(S3Object(bucket.name, "a.zip"))

    return put


@pytest.fixture
def later(engine: EngineName, server: S3Server) -> Callable[..., TransferReport]:
    """Transfer what a report left, as its JSON says, with another engine."""
    names = list(ENGINES)
    name = names[(names.index(engine) + 1) % len(names)]

    def later(report: TransferReport, **settings: Any) -> TransferReport:
        [(entries, target)] = report.unfinished
        again = msgspec.json.decode(msgspec.json.encode(entries.slice), type=ZipSlice)
        pairs = [(ZipEntries(entries.archive, entries.select, slice=again), target)]
        config = TransferConfig(chunk_size=64 * KiB, part_size=5 * MiB, **settings)
        with TransferSession(name, endpoint_url=server.endpoint_url) as session:
            return session.transfer(pairs, config, continuations=report.continuations)

    return later


def test_slices_unpack_the_whole(
    put: Callable[..., ZipEntries], new_session: NewSession, copy: Copy, bucket: Bucket
) -> None:
    entries = put(pack(SMALL))
    slices = new_session().slice_archive(entries, 100)
    assert [each.slice.count for each in slices if each.slice is not None] == [100, 100, 50]
    for each in slices:
        copy([(each, S3Prefix(bucket.name, "copies/"))]).raise_for_failures()
    assert unpacked(bucket) == SMALL


def test_a_slice_reads_its_own_bytes_only(
    put: Callable[..., ZipEntries], new_session: NewSession, copy: Copy, bucket: Bucket, lab: LabS3
) -> None:
    archive = pack(SMALL)
    entries = new_session().slice_archive(put(archive), 100)[1]
    lab.reset_stats()
    report = copy([(entries, S3Prefix(bucket.name, "copies/"))])
    report.raise_for_failures()
    assert entries.slice is not None
    asked = [each["range"] for each in lab.request_log() if each["operation"] == "GetObject"]
    ranges = [tuple(map(int, each.removeprefix("bytes=").split("-"))) for each in asked]
    directory = entries.slice.start, entries.slice.stop - 1
    assert ranges.count(directory) == 1
    data = [each for each in ranges if each != directory]
    assert min(data)[0] == archive.index(b"100.txt") - 30
    assert max(last for _, last in data) == entries.slice.end - 1
    assert "HeadObject" not in report.requests


def test_a_directory_that_breaks_off_is_read_again(
    put: Callable[..., ZipEntries], copy: Copy, bucket: Bucket, lab: LabS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is longer than the bytes that are read of an archive's end."""
    monkeypatch.setattr(zip_source, "TAIL", 1_000)
    entries = put(pack(SMALL))
    lab.set_faults([Fault("truncate", operation="GetObject", times=[3], at=0.7)])
    copy([(entries, S3Prefix(bucket.name, "copies/"))]).raise_for_failures()
    assert lab.faults_struck() == [1]
    assert unpacked(bucket) == SMALL


def test_slices_of_selected_files_leave_out_empty_ones(
    put: Callable[..., ZipEntries], new_session: NewSession, copy: Copy, bucket: Bucket
) -> None:
    whole = put(pack(SMALL))
    slices = new_session().slice_archive(ZipEntries(whole.archive, "1*.txt"), 50)
    assert len(slices) == 2
    copy([(each, S3Prefix(bucket.name, "copies/")) for each in slices]).raise_for_failures()
    assert unpacked(bucket) == {name: body for name, body in SMALL.items() if name.startswith("1")}


def test_a_slice_of_an_overwritten_archive_is_refused(
    put: Callable[..., ZipEntries], new_session: NewSession, copy: Copy, bucket: Bucket
) -> None:
    [entries, *_] = new_session().slice_archive(put(pack(SMALL)), 100)
    put(pack({**SMALL, "new": b"new"}))
    with pytest.raises(SourceChanged):
        copy([(entries, S3Prefix(bucket.name, "copies/"))])
    assert unpacked(bucket) == {}


def test_the_whole_is_checked_when_slices_are_made(
    put: Callable[..., ZipEntries], new_session: NewSession
) -> None:
    session = new_session()
    with pytest.raises(InputError, match=r"a\.zip: two entries have the name 'same_1'"):
        session.slice_archive(put(pack({"same_1": b"1", "x": b"", "same_2": b"2"}).replace(b"_2", b"_1")), 1)
    with pytest.raises(CorruptInput, match=r"a\.zip: it is not a ZIP archive"):
        session.slice_archive(put(b"x" * 1000))
    with pytest.raises(InputError, match="at least 1"):
        session.slice_archive(put(pack(SMALL)), 0)


def test_another_engine_takes_up_what_the_deadline_left(
    put: Callable[..., ZipEntries],
    bucket: Bucket,
    stop_after: StopAfter,
    later: Callable[..., TransferReport],
) -> None:
    files = {f"{number:02d}": content(1 * MiB, number) for number in range(12)}
    entries = put(pack(files))
    report = stop_after((entries, S3Prefix(bucket.name, "copies/")), 4 * MiB)
    done = unpacked(bucket)
    assert 0 < len(done) < len(files)
    [(rest, _)] = report.unfinished
    assert len(msgspec.json.encode(rest.slice)) <= 200
    again = later(report)
    again.raise_for_failures()
    assert {file.source.name for file in again.copied if isinstance(file.source, ZipEntry)} == (
        files.keys() - done.keys()
    )
    assert unpacked(bucket) == files
    assert bucket.uploads() == []
    assert again.unfinished == []


def test_what_a_slice_left_is_taken_up(
    put: Callable[..., ZipEntries],
    new_session: NewSession,
    bucket: Bucket,
    stop_after: StopAfter,
    later: Callable[..., TransferReport],
) -> None:
    files = {f"{number:02d}": content(1 * MiB, number) for number in range(12)}
    entries = new_session().slice_archive(put(pack(files)), 8)[1]
    report = stop_after((entries, S3Prefix(bucket.name, "copies/")), 2 * MiB)
    assert report.count("copied") < 4
    later(report).raise_for_failures()
    assert unpacked(bucket) == {name: files[name] for name in ("08", "09", "10", "11")}


def test_an_entry_in_parts_is_continued(
    put: Callable[..., ZipEntries],
    bucket: Bucket,
    stop_after: StopAfter,
    later: Callable[..., TransferReport],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next transfer confirms the parts that are there, and sends the others of the same upload."""
    monkeypatch.setattr(plan, "CHAINED_PART", 5 * MiB)  # as if the file had gigabytes
    files = {"large": content(17 * MiB), "small": b"1"}
    report = stop_after((put(pack(files)), S3Prefix(bucket.name, "copies/")), 12 * MiB)
    assert len(report.continuations) == 1
    assert len(bucket.uploads()) == 1
    again = later(report, multipart=True)
    again.raise_for_failures()
    assert "CreateMultipartUpload" not in again.requests
    assert again.requests["UploadPart"] < 4
    assert unpacked(bucket) == files
    assert bucket.uploads() == []


def test_the_rest_of_an_overwritten_archive_is_refused(
    put: Callable[..., ZipEntries],
    bucket: Bucket,
    stop_after: StopAfter,
    later: Callable[..., TransferReport],
) -> None:
    files = {f"{number:02d}": content(1 * MiB, number) for number in range(8)}
    report = stop_after((put(pack(files)), S3Prefix(bucket.name, "copies/")), 2 * MiB)
    put(pack({**files, "new": b""}))
    with pytest.raises(SourceChanged):
        later(report)


@pytest.mark.parametrize(
    ("setting", "words"),
    [({"max_output": 1_000_000}, "max_output allows"), ({}, "the 250 times that max_ratio allows")],
)
def test_a_file_that_promises_too_much_fails_before_bytes_move(
    put: Callable[..., ZipEntries],
    copy: Copy,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    setting: dict[str, Any],
    words: str,
) -> None:
    """By the size in the directory; the other files are unpacked."""
    monkeypatch.setattr(zip_source, "RATIO_COUNTS_FROM", 64 * KiB)
    entries = put(pack({"bomb": bytes(1 * MiB), "good": b"1"}, zipfile.ZIP_DEFLATED))
    pair = entries, S3Prefix(bucket.name, "copies/")
    report = copy([pair], **setting)
    [failed] = report.failed
    assert isinstance(failed.error, OutputTooLarge)
    assert words in str(failed.error)
    assert "bomb" in str(failed.error)
    assert unpacked(bucket) == {"good": b"1"}
    copy([pair], max_ratio=None).raise_for_failures()


def test_a_pack_of_entries_reads_the_directory_once(
    put: Callable[..., ZipEntries], copy: Copy, bucket: Bucket, lab: LabS3
) -> None:
    """Names in the encoding that was asked for are found, too."""
    files = {"xx.txt": content(40_000), **SMALL}
    whole = put(pack(files).replace(b"xx.txt", b"\xc3\xbc.txt"))
    lab.reset_stats()
    entries = ZipEntries(whole.archive, encoding="latin-1")
    copy([(entries, Tar(S3Object(bucket.name, "copies/a.tar")))]).raise_for_failures()
    with tarfile.open(fileobj=io.BytesIO(bucket.get("copies/a.tar"))) as packed:
        found = {member.name: packed.extractfile(member).read() for member in packed}  # type: ignore[union-attr]
    assert found == {"Ã¼.txt": files.pop("xx.txt"), **files}
    ranges = [each["range"] for each in lab.request_log() if each["operation"] == "GetObject"]
    assert ranges.count("bytes=0-0") == 1


def test_two_selections_of_one_archive_are_both_unpacked(
    put: Callable[..., ZipEntries], copy: Copy, bucket: Bucket
) -> None:
    whole = put(pack({"a.csv": b"1", "b.txt": b"2"}))
    copy(
        [
            (ZipEntries(whole.archive, "*.csv"), S3Prefix(bucket.name, "copies/csv/")),
            (ZipEntries(whole.archive, "*.txt"), S3Prefix(bucket.name, "copies/txt/")),
        ]
    ).raise_for_failures()
    assert unpacked(bucket) == {"csv/a.csv": b"1", "txt/b.txt": b"2"}

"""ZIP archives as sources: each entry is an object, compared with the CRC32 that the directory has."""

import io
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from asyncstream import (
    FileStarted,
    InputError,
    LocalFile,
    LocalFolder,
    MiB,
    S3Object,
    S3Prefix,
    SourceChanged,
    TransferReport,
    ZipEntries,
    ZipEntry,
)
from asyncstream.archives import zip_source
from asyncstream.errors import ChecksumMismatch, CorruptInput, DamagedInput
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from asyncstream.pipeline.progress import ignore
from tests.servers import Bucket, content

from .archive_set import FILES, TEXT
from .fixture_types import Copy

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)


def pack(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED, before: bytes = b"") -> bytes:
    packed = io.BytesIO(before)
    packed.seek(len(before))
    with zipfile.ZipFile(packed, "a" if before else "w", method) as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    return packed.getvalue()


@pytest.fixture
def unzip(copy: Copy, bucket: Bucket) -> Callable[..., TransferReport]:
    """Put an archive into the bucket, and unpack it under `copies/`."""

    def unzip(archive: bytes, on_event: Any = ignore, **options: Any) -> TransferReport:
        bucket.put("a.zip", archive)
        entries = ZipEntries(
            S3Object(bucket.name, "a.zip"),
            **{name: options.pop(name) for name in ("select", "encoding") if name in options},
        )
        return copy([(entries, S3Prefix(bucket.name, "copies/"))], on_event, **options)

    return unzip


def unpacked(bucket: Bucket) -> dict[str, bytes]:
    return {key.removeprefix("copies/"): bucket.get(key) for key in bucket.keys("copies/")}


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entries_become_objects(unzip: Callable[..., TransferReport], bucket: Bucket, method: int) -> None:
    report = unzip(pack(FILES, method))
    report.raise_for_failures()
    assert unpacked(bucket) == FILES
    assert {file.read_verified for file in report.files if file.bytes} == {"CRC32"}
    assert report.bytes == sum(map(len, FILES.values()))
    assert bucket.uploads() == []


@on_the_lab
def test_a_program_before_the_archive_is_skipped(
    unzip: Callable[..., TransferReport], bucket: Bucket
) -> None:
    unzip(pack(FILES, before=b"#!/bin/sh\n" * 1000)).raise_for_failures()
    assert unpacked(bucket) == FILES


@on_the_lab
def test_small_neighbours_share_a_request(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    files = {f"{number:04d}": content(5000, number) for number in range(600)}
    report = unzip(pack(files))
    report.raise_for_failures()
    assert unpacked(bucket) == files
    assert report.requests["GetObject"] <= len(files) / 40 + 10
    assert report.requests["PutObject"] == len(files)


@on_the_lab
def test_large_entries_are_decoded_once(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    """Parts that run at once would each decode all bytes before them."""
    report = unzip(pack({"large": content(11 * MiB)}), multipart=True, part_size=5 * MiB)
    report.raise_for_failures()
    assert report.requests["PutObject"] == 1
    assert report.requests["GetObject"] <= 4  # its size, the end, the directory, the entry


@on_the_lab
def test_only_selected_entries_are_unpacked(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    unzip(pack(FILES), select="*.txt").raise_for_failures()
    assert unpacked(bucket).keys() == {"a.txt", "ü/文.txt"}


@on_the_lab
def test_a_second_run_skips_what_is_there(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    """By size and CRC32, without metadata of ours; also of an archive that was packed again."""
    unzip(pack(FILES)).raise_for_failures()
    again = unzip(pack({**FILES, "new": b"new"}, zipfile.ZIP_STORED), if_exists="skip")
    assert {str(file.source).rpartition("!/")[2] for file in again.copied if file.bytes} == {"new"}


@on_the_lab
def test_one_entry_is_a_file_like_any_other(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(pack(FILES))
    archive = LocalFile(str(tmp_path / "a.zip"))
    copy(
        [
            (ZipEntry(archive, "text.log"), S3Object(bucket.name, "copies/x")),
            (ZipEntry(archive, "a.txt"), LocalFile(str(tmp_path / "a.txt"))),
        ]
    ).raise_for_failures()
    assert unpacked(bucket) == {"x": TEXT}
    assert (tmp_path / "a.txt").read_bytes() == b"x"


@on_the_lab
def test_entries_become_files(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    bucket.put("a.zip", pack(FILES))
    copy([(ZipEntries(S3Object(bucket.name, "a.zip")), LocalFolder(str(tmp_path)))]).raise_for_failures()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {str(path.relative_to(tmp_path)): path.read_bytes() for path in written} == FILES


@on_the_lab
def test_a_transform_follows(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    unzip(pack({"t": TEXT}), transform="gzip").raise_for_failures()
    bucket.put("t.gz", bucket.get("copies/t"))
    import gzip  # noqa: PLC0415

    assert gzip.decompress(bucket.get("t.gz")) == TEXT


@on_the_lab
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_entry_fails_and_others_go_on(
    unzip: Callable[..., TransferReport], bucket: Bucket, method: int
) -> None:
    archive = bytearray(pack(FILES, method))
    at = archive.index(b"text.log") + 5000
    archive[at] ^= 1
    report = unzip(bytes(archive))
    [failed] = report.failed
    assert isinstance(failed.error, ChecksumMismatch | DamagedInput)
    assert unpacked(bucket) == {name: body for name, body in FILES.items() if name != "text.log"}
    assert bucket.uploads() == []


def test_a_wrong_crc_in_the_directory_is_never_visible(
    unzip: Callable[..., TransferReport], bucket: Bucket
) -> None:
    """On every server, also on those that keep an object whose checksum does not match."""
    archive = bytearray(pack({"x": TEXT}))
    row = archive.rindex(b"PK\x01\x02")
    archive[row + 16] ^= 1
    assert isinstance(unzip(bytes(archive)).failed[0].error, ChecksumMismatch)
    assert unpacked(bucket) == {}
    assert bucket.uploads() == []


@on_the_lab
def test_an_archive_that_changes_fails_the_rest(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    archive = pack({f"{number}": content(1 * MiB, number) for number in range(8)}, zipfile.ZIP_STORED)

    def overwrite(event: Any) -> None:
        if isinstance(event, FileStarted) and str(event.source).endswith("!/3"):
            bucket.put("a.zip", pack(FILES))

    report = unzip(archive, overwrite, max_concurrency=1)
    assert report.failed
    assert all(isinstance(file.error, SourceChanged) for file in report.failed)
    assert all(bucket.get(f"copies/{name}") == content(1 * MiB, int(name)) for name in unpacked(bucket))


@on_the_lab
@pytest.mark.parametrize(
    "method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_a_broken_connection_resumes_within_an_entry(
    unzip: Callable[..., TransferReport], bucket: Bucket, lab: LabS3, method: int
) -> None:
    lab.set_faults([Fault("truncate", operation="GetObject", times=[3], at=0.7)])
    report = unzip(pack({"x": content(3 * MiB)}, method))
    report.raise_for_failures()
    assert lab.faults_struck() == [1]
    assert report.files[0].attempts == 2
    assert unpacked(bucket) == {"x": content(3 * MiB)}


HOSTILE = ["../x", "/x", "a/../../x", "C:/x", "a//x", "x\ny"]


@on_the_lab
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.varied("name", engine="threads")
def test_a_hostile_name_fails_its_entry(
    unzip: Callable[..., TransferReport], bucket: Bucket, name: str
) -> None:
    report = unzip(pack({"good": b"1", name: b"2"}))
    [failed] = report.failed
    assert isinstance(failed.error, InputError)
    assert "its name" in str(failed.error)
    assert unpacked(bucket) == {"good": b"1"}


@on_the_lab
def test_entries_that_cannot_be_read_fail_by_name(
    unzip: Callable[..., TransferReport], bucket: Bucket
) -> None:
    archive = bytearray(pack({"good": b"1", "secret": b"2" * 100, "odd": b"3" * 100}))
    for name, at, value in ((b"secret", 8, 1), (b"odd", 10, 98)):
        row = archive.rindex(name) - 46
        struct.pack_into("<H", archive, row + at, value)
    report = unzip(bytes(archive))
    told = {str(file.source).rpartition("!/")[2]: str(file.error) for file in report.failed}
    assert "encrypted" in told["secret"]
    assert "method 98 (PPMd)" in told["odd"]
    assert unpacked(bucket) == {"good": b"1"}


def _twice(files: Mapping[str, bytes]) -> bytes:
    """Return an archive in which two entries have one name."""
    return pack(files).replace(b"_2", b"_1")


def _overlapping() -> bytes:
    """Return an archive whose rows share the data of one entry."""
    archive = bytearray(pack({"a": TEXT, "b": TEXT}))
    second = archive.rindex(b"PK\x01\x02")
    struct.pack_into("<I", archive, second + 42, 0)
    return bytes(archive)


WHOLE = pack(FILES)


@on_the_lab
@pytest.mark.parametrize(
    ("archive", "words"),
    [
        (b"not a zip" * 10_000, "not a ZIP archive"),
        (b"", "not a ZIP archive"),
        (WHOLE[: len(WHOLE) // 2], "not a ZIP archive"),
        (WHOLE[10_000:], "truncated or damaged"),
        (WHOLE.replace(b"PK\x01\x02", b"PK\x01\x00"), "does not start as one"),
        (_overlapping(), "overlaps the next"),
        (_twice({"same_1": b"1", "same_2": b"2"}), "two entries have the name 'same_1'"),
    ],
    ids=["other", "empty", "cut", "headless", "rows", "overlap", "duplicate"],
)
@pytest.mark.varied("archive", "words", engine="threads")
def test_a_bad_archive_is_refused_as_a_whole(
    unzip: Callable[..., TransferReport], bucket: Bucket, archive: bytes, words: str
) -> None:
    with pytest.raises((CorruptInput, InputError), match=words) as raised:
        unzip(archive)
    assert "a.zip" in str(raised.value)
    assert unpacked(bucket) == {}


@on_the_lab
def test_a_deadline_keeps_what_is_done(
    unzip: Callable[..., TransferReport], bucket: Bucket, stop_after: Callable[..., TransferReport]
) -> None:
    files = {f"{number}": content(1 * MiB, number) for number in range(8)}
    bucket.put("a.zip", pack(files, zipfile.ZIP_STORED))
    pair = ZipEntries(S3Object(bucket.name, "a.zip")), S3Prefix(bucket.name, "copies/")
    report = stop_after(pair, 4 * MiB)
    assert {file.status for file in report.files} == {"copied", "pending"}
    assert len(unpacked(bucket)) == report.count("copied")
    assert bucket.uploads() == []
    unzip(pack(files, zipfile.ZIP_STORED), if_exists="skip").raise_for_failures()
    assert unpacked(bucket) == files


@on_the_lab
def test_links_are_left_out_and_counted(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    packed = io.BytesIO(pack({"a": b"1"}))
    link = zipfile.ZipInfo("link")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(link, "a")
    report = unzip(packed.getvalue())
    report.raise_for_failures()
    assert unpacked(bucket) == {"a": b"1"}
    assert any(
        "1 symbolic links or special files, which were left out" in sentence for sentence in report.downgrades
    )


@on_the_lab
@pytest.mark.parametrize(("encoding", "name"), [(None, "Ã¼.txt"), ("cp932", "ﾃｼ.txt"), ("latin-1", "Ã¼.txt")])
@pytest.mark.varied("encoding", "name", engine="threads")
def test_names_are_decoded_as_asked(
    unzip: Callable[..., TransferReport], bucket: Bucket, encoding: str | None, name: str
) -> None:
    """Without a mark or an encoding, names that are valid UTF-8 are UTF-8."""
    archive = pack({"xx.txt": b"1"}).replace(b"xx.txt", b"\xc3\xbc.txt")
    unzip(archive, encoding=encoding).raise_for_failures()
    assert unpacked(bucket) == {"ü.txt" if encoding is None else name: b"1"}


@on_the_lab
def test_a_directory_beyond_the_memory_is_refused(
    unzip: Callable[..., TransferReport], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive says how large its directory is: a hostile one would end the function."""
    monkeypatch.setattr(zip_source, "_BYTES_OF_ENTRY", 1 << 30)
    with pytest.raises(InputError, match="needs more memory than there is"):
        unzip(pack(FILES))
    assert unpacked(bucket) == {}

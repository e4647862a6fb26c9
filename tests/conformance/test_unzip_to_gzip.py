"""Gzip files made of the entries of archives, without inflating them."""

import gzip
import io
import tarfile
from collections.abc import Callable
from typing import Any

import pytest

from asyncstream import InputError, LocalFolder, S3Object, S3Prefix, Tar, TransferReport, ZipEntries, ZipEntry
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.servers import Bucket, content
from tests.zip_packing import Row, pack_rows

from .archive_set import FILES, TEXT
from .fixture_types import Copy

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)


@pytest.fixture
def unzip(copy: Copy, bucket: Bucket) -> Callable[..., TransferReport]:
    """Put an archive of these entries into the bucket, and make gzip files of them under `copies/`."""

    def unzip(*rows: Row, **options: Any) -> TransferReport:
        bucket.put("a.zip", pack_rows(rows))
        entries = ZipEntries(S3Object(bucket.name, "a.zip"), as_gzip=True)
        return copy([(entries, S3Prefix(bucket.name, "copies/"))], **options)

    return unzip


def unpacked(bucket: Bucket) -> dict[str, bytes]:
    keys = bucket.keys("copies/")
    assert all(key.endswith(".gz") for key in keys)
    return {key[len("copies/") : -len(".gz")]: gzip.decompress(bucket.get(key)) for key in keys}


@pytest.mark.parametrize("method", [8, 0])
def test_entries_become_gzip_files(unzip: Callable[..., TransferReport], bucket: Bucket, method: int) -> None:
    report = unzip(*(Row(name, body, method) for name, body in FILES.items()))
    report.raise_for_failures()
    assert unpacked(bucket) == FILES
    assert {file.read_verified for file in report.files} == {None}
    assert report.bytes == sum(len(bucket.get(key)) for key in bucket.keys("copies/"))


@on_the_lab
def test_they_are_said_to_be_gzip_and_nothing_to_decode(
    unzip: Callable[..., TransferReport], bucket: Bucket, lab: LabS3
) -> None:
    """With a content encoding, clients would decompress what they download."""
    unzip(Row("x", TEXT)).raise_for_failures()
    head = bucket.head("copies/x.gz")
    assert head["ContentType"] == "application/gzip"
    assert "ContentEncoding" not in head


@on_the_lab
def test_other_methods_fail_by_name(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    report = unzip(Row("good", TEXT), Row("odd", TEXT, method=12), Row("other", b"?", method=98, data=b"?"))
    told = {str(file.source).partition("!/")[2]: str(file.error) for file in report.failed}
    assert told.keys() == {"odd", "other"}
    assert "method 12: only deflated and stored files become gzip files" in told["odd"]
    assert unpacked(bucket) == {"good": TEXT}


@on_the_lab
def test_a_wrong_crc_is_found_by_readers_of_the_gzip_file(
    unzip: Callable[..., TransferReport], bucket: Bucket
) -> None:
    unzip(Row("x", TEXT, crc32=1)).raise_for_failures()
    with pytest.raises(gzip.BadGzipFile, match="CRC check failed"):
        unpacked(bucket)


@on_the_lab
@pytest.mark.parametrize("method", [8, 0])
def test_a_broken_connection_resumes(
    unzip: Callable[..., TransferReport], bucket: Bucket, lab: LabS3, method: int
) -> None:
    lab.set_faults([Fault("truncate", operation="GetObject", times=[3], at=0.7)])
    whole = content(3 << 20)
    report = unzip(Row("x", whole, method))
    report.raise_for_failures()
    assert report.files[0].attempts == 2
    assert unpacked(bucket) == {"x": whole}


@on_the_lab
def test_a_second_run_skips_what_is_there(unzip: Callable[..., TransferReport], bucket: Bucket) -> None:
    rows = [Row(name, body) for name, body in FILES.items()]
    unzip(*rows, if_exists="skip").raise_for_failures()
    assert {file.status for file in unzip(*rows, if_exists="skip").files} == {"skipped"}


@on_the_lab
def test_only_the_same_gzip_file_is_skipped(copy: Copy, bucket: Bucket) -> None:
    """Not the file itself, nor the gzip file of another, although their archive has not changed."""
    bucket.put("a.zip", pack_rows([Row("x", b"1" * 500), Row("y", b"2" * 500)]))
    archive = S3Object(bucket.name, "a.zip")
    packed = [ZipEntry(archive, name, as_gzip=True) for name in "xy"]
    for entry in (ZipEntry(archive, "x"), *packed):
        for status in ("copied", "skipped"):
            [file] = copy([(entry, S3Object(bucket.name, "copies/k.gz"))], if_exists="skip").files
            assert file.status == status
    assert unpacked(bucket) == {"k": b"2" * 500}


@on_the_lab
def test_a_pack_of_gzip_files_has_their_names(copy: Copy, bucket: Bucket) -> None:
    bucket.put("a.zip", pack_rows([Row("d/x", TEXT), Row("y", TEXT, method=0)]))
    entries = ZipEntries(S3Object(bucket.name, "a.zip"), as_gzip=True)
    copy([(entries, Tar(S3Object(bucket.name, "all.tar")))]).raise_for_failures()
    with tarfile.open(fileobj=io.BytesIO(bucket.get("all.tar"))) as packed:
        content_of = {row.name: packed.extractfile(row) for row in packed}
        assert content_of.keys() == {"d/x.gz", "y.gz"}
        assert all(file is not None and gzip.decompress(file.read()) == TEXT for file in content_of.values())


@on_the_lab
def test_one_entry_keeps_the_name_of_its_destination(copy: Copy, bucket: Bucket, tmp_path: Any) -> None:
    bucket.put("a.zip", pack_rows([Row("deep/x", TEXT)]))
    archive = S3Object(bucket.name, "a.zip")
    entry = ZipEntry(archive, "deep/x", as_gzip=True)
    copy([(entry, S3Object(bucket.name, "copies/y.gz"))]).raise_for_failures()
    copy([(ZipEntries(archive, as_gzip=True), LocalFolder(str(tmp_path)))]).raise_for_failures()
    assert unpacked(bucket) == {"y": TEXT}
    assert gzip.decompress((tmp_path / "deep/x.gz").read_bytes()) == TEXT


@on_the_lab
def test_a_name_too_long_with_its_end_fails_alone(
    unzip: Callable[..., TransferReport], bucket: Bucket
) -> None:
    long = "x" * (1024 - len("copies/"))
    report = unzip(Row("good", TEXT), Row(long, TEXT))
    [failed] = report.failed
    assert isinstance(failed.error, InputError)
    assert unpacked(bucket) == {"good": TEXT}

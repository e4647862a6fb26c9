"""Files of archives that are larger than one PUT may be, and archives of more than 4 GiB."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from asyncstream import GiB, LocalFile, MiB, S3Object, S3Prefix, Tar, Zip, ZipEntries
from asyncstream.pipeline import plan
from tests.servers import Bucket, content

from .fixture_types import Copy

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
TEXT = b"".join(b"%07d GET /index.html %s\n" % (n, content(8, n % 97).hex().encode()) for n in range(400_000))
FILES = {"large": TEXT, "small": b"small"}


def zipped(method: int) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method, compresslevel=1) as archive:
        for name, body in FILES.items():
            archive.writestr(name, body)
    return packed.getvalue()


@pytest.fixture
def small_puts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let one PUT have 6 MiB at most, as if each byte of a test were a thousand."""
    monkeypatch.setattr(plan, "MAX_PUT", 6 * MiB)


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_file_over_one_put_goes_in_parts(copy: Copy, bucket: Bucket, small_puts: None, method: int) -> None:
    bucket.put("a.zip", zipped(method))
    pair = ZipEntries(S3Object(bucket.name, "a.zip")), S3Prefix(bucket.name, "copies/")
    report = copy([pair])
    report.raise_for_failures()
    assert {key: bucket.get(f"copies/{key}") for key in FILES} == FILES
    assert report.files[0].parts > 1
    assert bucket.uploads() == []


@pytest.mark.parametrize("kind", [Tar, Zip])
def test_a_pack_over_one_put_goes_in_parts(
    copy: Copy, bucket: Bucket, small_puts: None, kind: type[Tar | Zip]
) -> None:
    """Also of the files of an archive, which can only be read in order."""
    bucket.put("a.zip", zipped(zipfile.ZIP_DEFLATED))
    report = copy([(ZipEntries(S3Object(bucket.name, "a.zip")), kind(S3Object(bucket.name, "copies/x")))])
    report.raise_for_failures()
    body = io.BytesIO(bucket.get("copies/x"))
    if kind is Zip:
        with zipfile.ZipFile(body) as archive:
            assert {name: archive.read(name) for name in archive.namelist()} == FILES
    else:
        with tarfile.open(fileobj=body) as tarred:
            assert {each.name: tarred.extractfile(each).read() for each in tarred} == FILES  # type: ignore[union-attr]
    assert report.files[0].parts > 1


def test_an_archive_may_lie_beyond_4_gib(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    """Here as the end of a program that unpacks it, whose bytes take no room on the disk."""
    with (tmp_path / "a.exe").open("wb") as file:
        file.seek(5 * GiB)
        file.write(zipped(zipfile.ZIP_DEFLATED))
    pair = ZipEntries(LocalFile(str(tmp_path / "a.exe"))), S3Prefix(bucket.name, "copies/")
    copy([pair]).raise_for_failures()
    assert {key: bucket.get(f"copies/{key}") for key in FILES} == FILES

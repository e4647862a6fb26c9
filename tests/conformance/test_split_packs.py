"""Packs that are split into archives of at most some bytes."""

import io
import tarfile
import zipfile
from typing import Any

import pytest

from asyncstream import (
    InputError,
    KiB,
    LocalFile,
    LocalFolder,
    MiB,
    S3Object,
    S3Prefix,
    SourceChanged,
    Tar,
    Zip,
)
from asyncstream.locations import StandardStream
from tests.servers import Bucket, content

from .fixture_types import Copy

FILES = {f"{number:03d}.bin": content(100 * KiB, number) for number in range(40)} | {"z": content(3 * MiB)}


@pytest.fixture
def sources(bucket: Bucket) -> S3Prefix:
    for name, body in FILES.items():
        bucket.put(f"in/{name}", body)
    return S3Prefix(bucket.name, "in/")


def entries(archive: bytes) -> dict[str, bytes]:
    packed = io.BytesIO(archive)
    if zipfile.is_zipfile(packed):
        with zipfile.ZipFile(packed) as zipped:
            return {name: zipped.read(name) for name in zipped.namelist()}
    packed.seek(0)
    with tarfile.open(fileobj=packed) as tarred:
        return {each.name: tarred.extractfile(each).read() for each in tarred}  # type: ignore[union-attr]


@pytest.mark.parametrize("server", ["lab"], indirect=True)
@pytest.mark.parametrize("kind", [Tar, Zip])
def test_each_archive_is_whole_and_no_larger_than_asked(
    copy: Copy, bucket: Bucket, sources: S3Prefix, kind: type[Tar | Zip]
) -> None:
    report = copy([(sources, kind(S3Object(bucket.name, "copies/x.y/all.a"), split=MiB))])
    report.raise_for_failures()
    keys = sorted(bucket.keys("copies/"))
    assert keys == [f"copies/x.y/all-{number:05d}.a" for number in range(1, len(report.files) + 1)]
    archives = [bucket.get(key) for key in keys]
    assert all(len(archive) <= MiB or len(entries(archive)) == 1 for archive in archives)
    unpacked: dict[str, bytes] = {}
    for archive in archives:
        unpacked |= entries(archive)
    assert unpacked == FILES
    assert len(archives) <= 7  # 4 MB in archives that are nearly full, and one large file


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_archives_of_an_earlier_run_are_left_out(copy: Copy, bucket: Bucket, sources: S3Prefix) -> None:
    pair: Any = (sources, Tar(S3Object(bucket.name, "in/all.tar"), split=MiB))
    first = copy([pair], if_exists="skip")
    again = copy([pair], if_exists="skip")
    assert again.count("skipped") == len(first.files)
    assert "left out" in again.downgrades[0]


@pytest.mark.parametrize(
    ("target", "split"),
    [(StandardStream(), 5 * MiB), (LocalFile("x"), 0), (LocalFile("x"), "5MiB"), (LocalFile("x"), 1000)],
)
def test_what_cannot_be_split_is_refused(target: Any, split: Any) -> None:
    with pytest.raises(InputError, match="split"):
        Tar(target, split=split)


def test_archives_that_are_planned_together_leave_nothing_out() -> None:
    with pytest.raises(InputError, match="split: "):
        Zip(LocalFile("x"), "leave_out", split=MiB)
    with pytest.raises(InputError, match="copy_parts: "):
        Tar(LocalFile("x"), "leave_out", copy_parts=True)


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_volume_of_other_files_is_refused(
    copy: Copy, bucket: Bucket, sources: S3Prefix, tmp_path: Any
) -> None:
    """Its borders may have moved: files would be lost, or packed twice."""
    whole = copy([(sources, Tar(LocalFile(str(tmp_path / "all.tar")), split=MiB))])
    bucket.delete("in/000.bin")
    with pytest.raises(SourceChanged, match="Pack all of them again"):
        copy([(whole.files[1].source, whole.files[1].destination)])


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_a_volume_overwrites_no_source_and_no_other_target(
    copy: Copy, bucket: Bucket, sources: S3Prefix
) -> None:
    bucket.put("all-00001.tar", b"a source")
    mine = S3Object(bucket.name, "all-00001.tar")
    into = Tar(S3Object(bucket.name, "all.tar"), split=MiB)
    with pytest.raises(InputError, match="is also a source or another destination"):
        copy([([mine], into)])
    with pytest.raises(InputError, match="is also a source or another destination"):
        copy([(sources, into), (S3Object(bucket.name, "in/z"), mine)])
    assert bucket.get("all-00001.tar") == b"a source"


@pytest.mark.parametrize("server", ["lab"], indirect=True)
def test_one_volume_is_continued_on_its_own(
    copy: Copy, bucket: Bucket, sources: S3Prefix, tmp_path: Any
) -> None:
    """As `unfinished` names it."""
    whole = copy([(sources, Tar(LocalFile(str(tmp_path / "all.tar")), split=MiB))])
    second = whole.files[1]
    (tmp_path / "all-00002.tar").unlink()
    copy([(second.source, second.destination)]).raise_for_failures()
    assert entries((tmp_path / "all-00002.tar").read_bytes())
    assert LocalFolder(str(tmp_path)).item("all-00002.tar") == second.destination

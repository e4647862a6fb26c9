"""Packs: many files become one archive, or one joined file, and every tool reads it."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from asyncstream import (
    BytesMoved,
    Concat,
    FileStarted,
    InputError,
    KiB,
    LocalFile,
    LocalFolder,
    MiB,
    S3Object,
    S3Prefix,
    Tar,
    TransferReport,
    Zip,
    ZipEntries,
)
from asyncstream.engines import ENGINES
from asyncstream.errors import ChecksumMismatch, LineTooLong, SourceChanged, SourceNotFound
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault, mix
from asyncstream.pipeline import packing
from asyncstream.pipeline.progress import OnEvent, ignore
from tests.servers import Bucket, content

from .fixture_types import Copy, StopAfter

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
Pack = Callable[..., TransferReport]

LONG = "long/" + "x" * 90 + "/" + "y" * 120 + ".txt"
FEW: Mapping[str, bytes] = {
    "a.txt": b"x",
    "deep/er/b.bin": content(300 * KiB),
    "empty": b"",
    LONG: content(700),
    "ü/文.txt": b"\xff" * 70_000,
}
# Parts of 5 MiB start and end within these.
LARGE: Mapping[str, bytes] = {
    "a": content(7 * MiB, 1),
    "b": content(100, 2),
    "c": content(9 * MiB, 3),
    "d": b"",
}
# Parts of 5 MiB of these are assembled by several tasks.
MANY: Mapping[str, bytes] = {f"{number:04}": content(20_000 + number, number) for number in range(600)}
SETS = {"few": FEW, "large": LARGE, "many": MANY}
of_any_set = pytest.mark.parametrize("files", SETS.values(), ids=SETS)


def read_tar(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]


def read_zip(archive: bytes) -> dict[str, bytes]:
    """Return the files of an archive; `read` compares each with its CRC32."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


READ: Mapping[Any, Callable[[bytes], dict[str, bytes]]] = {Tar: read_tar, Zip: read_zip}
into_archives = pytest.mark.parametrize("into", [Tar, Zip])


@pytest.fixture
def put(bucket: Bucket) -> Callable[[Mapping[str, bytes]], None]:
    """Store files under `in/`."""

    def put(files: Mapping[str, bytes]) -> None:
        for name, body in files.items():
            bucket.put(f"in/{name}", body)

    return put


@pytest.fixture
def pack(copy: Copy, bucket: Bucket) -> Pack:
    """Pack what is stored under `in/` into the object `out`."""

    def pack(into: Callable[[S3Object], Any], on_event: OnEvent = ignore, **options: Any) -> TransferReport:
        pair = S3Prefix(bucket.name, "in/"), into(S3Object(bucket.name, "out"))
        return copy([pair], on_event, **options)

    return pack


@into_archives
@of_any_set
@pytest.mark.varied("files", server="lab")
def test_files_become_one_archive(
    pack: Pack, put: Callable[..., None], bucket: Bucket, into: Any, files: Mapping[str, bytes]
) -> None:
    put(files)
    report = pack(into)
    report.raise_for_failures()
    archive = bucket.get("out")
    assert READ[into](archive) == files
    [result] = report.files
    assert result.bytes == len(archive)
    assert bucket.head("out")["ContentType"] == f"application/{'x-tar' if into is Tar else 'zip'}"
    assert bucket.uploads() == []


@on_the_lab
@of_any_set
@pytest.mark.parametrize("separator", [b"", b"\n--\n"])
@pytest.mark.varied("separator", engine="threads")
def test_files_are_joined(
    pack: Pack, put: Callable[..., None], bucket: Bucket, files: Mapping[str, bytes], separator: bytes
) -> None:
    put(files)
    pack(partial(Concat, separator=separator)).raise_for_failures()
    assert bucket.get("out") == separator.join(files[name] for name in sorted(files))


@on_the_lab
@into_archives
@of_any_set
def test_work_is_counted_once(
    pack: Pack,
    put: Callable[..., None],
    bucket: Bucket,
    into: Any,
    files: Mapping[str, bytes],
) -> None:
    put(files)
    moved: list[int] = []
    report = pack(into, lambda event: moved.append(event.bytes) if isinstance(event, BytesMoved) else None)
    report.raise_for_failures()
    [result] = report.files
    assert sum(moved) == result.bytes == len(bucket.get("out"))
    assert result.attempts == result.parts == max(1, report.requests.get("UploadPart", 0))
    assert result.restarted is None

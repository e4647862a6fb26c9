"""Check what a run wrote: every byte of every object must be in its place."""

from __future__ import annotations

import gzip
import ssl
import tarfile
import tempfile
import zipfile
from typing import IO, TYPE_CHECKING, Any
from urllib.request import urlopen

from asyncstream.lab.s3.checksums import crc64nvme, encoded_crc64nvme
from tests.benchmarks.archives import TAR, ZIP
from tests.benchmarks.measure import BenchmarkError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncstream.lab.s3 import LabS3

CHUNK = 1 << 20
GZIP = ".gz"
Found = tuple[int, str]  # size, and CRC64NVME as S3 writes it


def copies(lab: LabS3, source: str, destination: str) -> None:
    """Compare the objects of two buckets. Gzip files must become the objects of their names.

    Raises:
        BenchmarkError: an object is missing or differs.
    """
    written = lab.checksums(destination)
    found = {key: (each.size, each.crc64nvme) for key, each in written.items()}
    for key in [key for key in found if key.endswith(GZIP)]:
        with _get(lab, destination, key) as reply, gzip.open(reply) as content:
            found[key.removesuffix(GZIP)] = _read(content)
    _compare(lab, source, found)


def packs_or_copies(lab: LabS3, source: str, destination: str) -> None:
    """Compare the objects of a bucket with the entries of an archive in another one, or with its objects."""
    written = lab.checksums(destination)
    if TAR in written:
        _compare(lab, source, dict(_tar_entries(lab, destination)))
    elif ZIP in written:
        _compare(lab, source, dict(_zip_entries(lab, destination)))
    else:
        copies(lab, source, destination)


def nothing(lab: LabS3, source: str, destination: str) -> None:
    """Check nothing, because nothing was written."""


def _tar_entries(lab: LabS3, bucket: str) -> Iterator[tuple[str, Found]]:
    with (
        _get(lab, bucket, TAR) as reply,
        tarfile.open(fileobj=reply, mode="r|") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member)
            if content is not None:
                yield member.name, _read(content)


def _zip_entries(lab: LabS3, bucket: str) -> Iterator[tuple[str, Found]]:
    with tempfile.TemporaryFile() as file:
        with _get(lab, bucket, ZIP) as reply:
            while chunk := reply.read(CHUNK):
                file.write(chunk)
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                with archive.open(name) as content:
                    yield name, _read(content)


def _get(lab: LabS3, bucket: str, key: str) -> Any:
    context = ssl.create_default_context(cafile=lab.ca_bundle) if lab.ca_bundle else None
    return urlopen(f"{lab.endpoint_url}/{bucket}/{key}", context=context)


def _read(content: IO[bytes] | gzip.GzipFile) -> Found:
    size = crc = 0
    while chunk := content.read(CHUNK):
        size, crc = size + len(chunk), crc64nvme(memoryview(chunk), crc)
    return size, encoded_crc64nvme(crc)


def _compare(lab: LabS3, source: str, found: dict[str, Found]) -> None:
    for key, expected in lab.checksums(source).items():
        if found.get(key) != (expected.size, expected.crc64nvme):
            raise BenchmarkError(f"{key} was written wrongly: {found.get(key)} instead of {expected}")

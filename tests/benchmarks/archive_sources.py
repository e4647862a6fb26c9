"""The archives that the benchmarks unpack, and the objects that are in them."""

from __future__ import annotations

import struct
import tempfile
import zipfile
from typing import IO, TYPE_CHECKING
from urllib.request import urlopen

from tests.benchmarks.archives import ZIP, ZIPPED
from tests.benchmarks.sources import BLOCK, client, synthetic, text

if TYPE_CHECKING:
    from asyncstream.lab.s3 import LabS3

# Bytes between the headers of two entries in the archive of many.
_APART = 61
_ROW = struct.Struct("<4s6H3I5H2I")


def deflated(lab: LabS3, bucket: str, count: int, size: int) -> list[str]:
    """Put objects of text, and a ZIP archive of them into a second bucket; return their keys.

    Objects that are larger than a block of text repeat it. Smaller ones have different texts.
    """
    block = text(BLOCK)
    keys = [f"object-{number:06d}" for number in range(count)]
    lab.create_bucket(bucket, keep=True)
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, key in enumerate(keys):
                content = _text_of(block, number, size)
                client(lab).put_object(Bucket=bucket, Key=key, Body=content)
                archive.writestr(key, content)
        _put_archive(lab, bucket, file)
    return keys


def stored(lab: LabS3, bucket: str, count: int, size: int) -> list[str]:
    """Declare objects, and put a ZIP archive that stores them into a second bucket; return their keys."""
    keys = synthetic(lab, bucket, count, size)
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for key in keys:
                archive.writestr(key, urlopen(f"{lab.endpoint_url}/{bucket}/{key}").read())
        _put_archive(lab, bucket, file)
    return keys


def directory_of_many(lab: LabS3, bucket: str, count: int, size: int) -> list[str]:
    """Put an archive of `count` entries, with zeros in their place; return no keys."""
    lab.create_bucket(bucket, keep=False)
    start, length = count * _APART, 0
    with tempfile.TemporaryFile() as file:
        file.truncate(start)
        file.seek(start)
        for number in range(count):
            length += file.write(_row(number, size))
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, start + length, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))
        _put_archive(lab, bucket, file)
    return []


def _text_of(block: bytes, number: int, size: int) -> bytes:
    if size >= BLOCK:
        return (block * (size // BLOCK + 1))[:size]
    start = number * size % (BLOCK - size)
    return block[start : start + size]


def _row(number: int, size: int) -> bytes:
    """Return a row of the directory, with the field for the time that Info-ZIP writes."""
    name = b"%03d/part-%08d.csv" % (number // 1000, number)
    crc32 = number * 2_654_435_761 % (1 << 32)
    time = struct.pack("<2HBI", 0x5455, 5, 1, 1_700_000_000 + number)
    lengths, place = (len(name), len(time), 0, 0, 0), (0o100644 << 16, number * _APART)
    return _ROW.pack(b"PK\1\2", 0x31E, 20, 0, 0, 0, 0x21, crc32, size, size, *lengths, *place) + name + time


def _put_archive(lab: LabS3, bucket: str, file: IO[bytes]) -> None:
    lab.create_bucket(bucket + ZIPPED, keep=True)
    file.seek(0)
    client(lab).put_object(Bucket=bucket + ZIPPED, Key=ZIP, Body=file)

"""Archives for the tests of handlers."""

import io
import zipfile
from collections.abc import Mapping
from typing import Any

from asyncstream.lab.s3.faults import Fault

ARCHIVE = "in/2026.zip"
FILES = {"a.csv": b"1,2\n" * 100, "deep/b.csv": b"3,4\n", "deep/c.txt": b"text" * 500, "empty": b""}
MANY = {f"{number:02d}": bytes([number]) * 200_000 for number in range(40)}
LARGE = {"large": bytes(range(256)) * 70_000, "small": b"small"}  # four parts of 5 MiB
# No slot gets beyond these files of `MANY`, and the invocation runs out of time.
STALLED = [Fault("stall", "PutObject", key="*2?", seconds=3600)]


def pack(files: Mapping[str, bytes] = FILES, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return a ZIP archive of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, body in files.items():
            archive.writestr(zipfile.ZipInfo(name), body, method)  # of 1980: the same bytes each time
    return packed.getvalue()


def mark_encrypted(archive: bytes, name: str) -> bytes:
    """Return an archive whose directory says that one file is encrypted, so that only this one fails."""
    marked = bytearray(archive)
    row = archive.index(name.encode(), archive.index(b"PK\x01\x02")) - 46
    assert archive[row : row + 4] == b"PK\x01\x02"
    marked[row + 8] |= 1
    return bytes(marked)


def objects(s3: Any, bucket: str) -> dict[str, bytes]:
    """Return the content of all objects of a bucket, by key."""
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {row["Key"]: s3.get_object(Bucket=bucket, Key=row["Key"])["Body"].read() for row in listed}


def under(prefix: str, files: Mapping[str, bytes] = FILES) -> dict[str, bytes]:
    """Return the files by the keys that they have under a prefix."""
    return {prefix + name: body for name, body in files.items()}

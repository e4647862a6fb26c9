"""How often the members of a ZIP archive are read, whose CRC32s stand before their bytes."""

import io
import zipfile

import pytest

from asyncstream import KiB, MiB, S3Object, S3Prefix, Zip
from tests.servers import Bucket, content

from .fixture_types import Copy

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
FILES = {f"{number:02d}": content(300 * KiB, number) for number in range(40)}


def test_members_of_medium_size_are_read_once(copy: Copy, bucket: Bucket) -> None:
    """But for those that two parts share: their rest is read again."""
    for name, body in FILES.items():
        bucket.put(f"in/{name}", body)
    into = Zip(S3Object(bucket.name, "copies/a.zip"))
    report = copy([(S3Prefix(bucket.name, "in/"), into)], part_size=5 * MiB)
    report.raise_for_failures()
    with zipfile.ZipFile(io.BytesIO(bucket.get("copies/a.zip"))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == FILES
    assert report.requests.get("HeadObject", 0) == 0
    assert report.requests["GetObject"] <= len(FILES) + report.files[0].parts

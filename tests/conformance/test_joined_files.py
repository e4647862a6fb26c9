"""Files of lines joined to one, whose header is that of the first: `Concat(..., header="first")`."""

import io
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pytest

from asyncstream import Concat, KiB, LocalFile, LocalFolder, MiB, S3Object, ZipEntries
from asyncstream.errors import LineTooLong
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.s3.faults import Fault
from tests.servers import Bucket, S3Server

from .fixture_types import Copy, Pack, Put

pytestmark = pytest.mark.parametrize("server", ["lab"], indirect=True)
into_one = partial(Concat, header="first")


def table(header: bytes, rows: int, end: bytes = b"\n") -> bytes:
    return header + end + b"".join(b"%07d,%d%s" % (row, row * row, end) for row in range(rows))


WIDE = b"c" * (70 * KiB)
JOINED: Mapping[str, tuple[list[bytes], bytes]] = {
    "tables": ([b"h\n1\n", b"h\n2\n3\n", b"h\n4\n"], b"h\n1\n2\n3\n4\n"),
    "no last line end": ([b"h\n1", b"h\n2", b"h\n3"], b"h\n1\n2\n3\n"),
    "only a header": ([b"h\n", b"h\n", b"h", b"h\n1"], b"h\n1\n"),
    "only one header": ([b"h", b"h", b"h"], b"h\n"),
    "empty files": ([b"h\n1\n", b"", b"h\n2\n", b""], b"h\n1\n2\n"),
    "an empty first file": ([b"", b"", b"h\n1\n", b"h\n2\n"], b"h\n1\n2\n"),
    "all empty": ([b"", b""], b""),
    "CRLF": ([b"h\r\n1\r\n", b"h\r\n2", b"h\r\n3\r\n"], b"h\r\n1\r\n2\r\n3\r\n"),
    "a long header": ([table(WIDE, 9), table(WIDE, 3)], table(WIDE, 9) + table(b"", 3)[1:]),
    "an empty line first": ([b"\n1\n", b"\n2\n"], b"\n1\n2\n"),
}


@pytest.mark.parametrize("case", JOINED)
@pytest.mark.varied("case", engine="threads")
def test_the_header_is_that_of_the_first_file(pack: Pack, put: Put, bucket: Bucket, case: str) -> None:
    files, joined = JOINED[case]
    put({f"{number}.csv": body for number, body in enumerate(files)})
    pack(into_one).raise_for_failures()
    assert bucket.get("out") == joined


def test_large_tables_are_joined_in_parts(pack: Pack, put: Put, bucket: Bucket) -> None:
    tables = [table(b"number,square", 200_000 + each) for each in range(3)]
    put({f"{number}.csv": body for number, body in enumerate(tables)})
    report = pack(into_one)
    report.raise_for_failures()
    assert report.files[0].parts > 1
    header = len(b"number,square\n")
    assert bucket.get("out") == b"".join([tables[0], *(body[header:] for body in tables[1:])])


def test_a_header_without_an_end_is_too_long(
    pack: Pack, bucket: Bucket, lab: LabS3, server: S3Server
) -> None:
    lab.declare(bucket.name, [("in/a", 10), ("in/b", 9 * MiB)])
    bucket.put("in/b", bytes(9 * MiB))
    with (
        server.counted() as seen,
        pytest.raises(LineTooLong, match=r"in/b.* in the 8,388,608 bytes from byte 0 on"),
    ):
        pack(into_one)
    assert not seen.keys() & {"PutObject", "CreateMultipartUpload"}
    assert seen["GetObject"] <= 12  # each asks for as much as is known


def test_files_of_other_places_are_joined(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    """Local files, and entries of an archive, which are decoded from their start."""
    first, second = table(b"h" * 100_000, 20_000), table(b"h" * 100_000, 7)
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
        opened.writestr("1", first)
        opened.writestr("2", second)
    bucket.put("a.zip", archive.getvalue())
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "1").write_bytes(first)
    (tmp_path / "in" / "2").write_bytes(second)
    for members in (LocalFolder(str(tmp_path / "in")), ZipEntries(S3Object(bucket.name, "a.zip"))):
        copy([(members, into_one(LocalFile(str(tmp_path / "out"))))]).raise_for_failures()
        assert (tmp_path / "out").read_bytes() == first + second[100_001:]


def test_a_failed_look_at_a_header_is_repeated(pack: Pack, put: Put, bucket: Bucket, lab: LabS3) -> None:
    put({"a": table(b"h", 9), "b": table(b"h", 9)})
    lab.set_faults([Fault("truncate", "GetObject", times=[1]), Fault("refuse", "GetObject", times=[2])])
    pack(into_one).raise_for_failures()
    assert lab.faults_struck() == [1, 1]
    assert bucket.get("out") == table(b"h", 9) + table(b"h", 9)[2:]

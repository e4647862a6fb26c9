"""Texts cut at line ends: ranges that are copied or transformed at once, each an object of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncstream import (
    Concat,
    InputError,
    KiB,
    Lines,
    LineTooLong,
    LocalFile,
    MiB,
    NothingToTransfer,
    S3Object,
    S3Prefix,
    TransferReport,
)
from asyncstream.transforms import map_lines
from tests.servers import Bucket, content

from .fixture_types import Copy, StopAfter

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
ROWS = [b"%06d,%s\n" % (n, content(n % 97, n).hex().encode()) for n in range(30_000)]
TEXT = b"".join(ROWS)


@pytest.fixture
def split(copy: Copy, bucket: Bucket) -> Callable[..., list[bytes]]:
    """Put a text into the bucket, cut it, and return its ranges."""

    def split(text: bytes, ranges: int = 7, header: bool = False, **settings: Any) -> list[bytes]:
        bucket.put("text", text)
        lines = Lines(S3Object(bucket.name, "text"), ranges, header)
        copy([(lines, S3Prefix(bucket.name, "copies/"))], **settings).raise_for_failures()
        assert bucket.uploads() == []
        return [bucket.get(key) for key in sorted(bucket.keys("copies/"))]

    return split


def test_ranges_end_with_lines_and_make_the_text(split: Callable[..., list[bytes]]) -> None:
    made = split(TEXT)
    assert len(made) == 7
    assert b"".join(made) == TEXT
    assert all(each.endswith(b"\n") for each in made)
    assert max(map(len, made)) < 1.1 * min(map(len, made))


@on_the_lab
def test_each_range_starts_with_the_header(split: Callable[..., list[bytes]]) -> None:
    made = split(b"id,value\r\n" + TEXT, header=True)
    assert all(each.startswith(b"id,value\r\n") for each in made)
    assert b"".join(each.removeprefix(b"id,value\r\n") for each in made) == TEXT


@on_the_lab
@pytest.mark.parametrize(
    "text", [b"x", b"\n", b"\n\n\n", b"a\nb", b"a\r\nb\r\n", b"x" * 70_000 + b"\ny\n" * 50_000]
)
def test_odd_texts_are_cut_at_their_line_ends(split: Callable[..., list[bytes]], text: bytes) -> None:
    made = split(text)
    assert b"".join(made) == text
    assert all(each.endswith(b"\n") for each in made[:-1])
    assert all(made)


@on_the_lab
def test_a_text_of_a_header_only_is_one_range(split: Callable[..., list[bytes]]) -> None:
    assert split(b"id,value\n", header=True) == [b"id,value\n"]


@on_the_lab
def test_a_line_may_be_longer_than_one_request(split: Callable[..., list[bytes]]) -> None:
    text = b"x" * (3 * MiB) + b"\n" + b"y" * (300 * KiB)
    assert split(text) == [b"x" * (3 * MiB) + b"\n", b"y" * (300 * KiB)]


@on_the_lab
def test_a_line_of_many_megabytes_is_refused(split: Callable[..., list[bytes]]) -> None:
    with pytest.raises(
        LineTooLong, match=r"text: no line ends in the 8,388,608 bytes from byte 10,485,759 on\."
    ):
        split(b"x" * (20 * MiB), ranges=2)


@on_the_lab
def test_an_empty_text_has_no_ranges(split: Callable[..., list[bytes]]) -> None:
    with pytest.raises(NothingToTransfer, match="empty"):
        split(b"")


@on_the_lab
def test_each_range_is_transformed_on_its_own(split: Callable[..., list[bytes]]) -> None:
    made = split(TEXT, transform=map_lines(bytes.upper))
    assert len(made) == 7
    assert b"".join(made) == TEXT.upper()


@on_the_lab
def test_ranges_are_joined_again(split: Callable[..., list[bytes]], copy: Copy, bucket: Bucket) -> None:
    split(b"id,value\n" + TEXT, header=True)
    joined = Concat(S3Object(bucket.name, "joined"), header="first")
    copy([(S3Prefix(bucket.name, "copies/"), joined)]).raise_for_failures()
    assert bucket.get("joined") == b"id,value\n" + TEXT


@on_the_lab
def test_a_local_text_is_cut(copy: Copy, bucket: Bucket, tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(TEXT)
    report: TransferReport = copy(
        [(Lines(LocalFile(str(tmp_path / "text")), 3), S3Prefix(bucket.name, "copies/"))]
    )
    assert report.raise_for_failures() is None
    assert b"".join(bucket.get(key) for key in sorted(bucket.keys("copies/"))) == TEXT


@on_the_lab
def test_only_ranges_that_are_left_are_made_again(copy: Copy, bucket: Bucket, stop_after: StopAfter) -> None:
    bucket.put("text", TEXT)
    pair = Lines(S3Object(bucket.name, "text"), 7), S3Prefix(bucket.name, "copies/")
    report = stop_after(pair, len(TEXT) // 2)
    done, [left] = report.count("copied"), report.unfinished
    assert 0 < done < 7
    again = copy([left])
    again.raise_for_failures()
    assert (again.count("copied"), left[0].only) == (7 - done, f"{done}-6")
    assert b"".join(bucket.get(key) for key in sorted(bucket.keys("copies/"))) == TEXT


@pytest.mark.parametrize("ranges", [0, -1, 10_001, 1.5])
def test_a_wrong_number_of_ranges_is_refused(ranges: Any) -> None:
    with pytest.raises(InputError, match="ranges="):
        Lines(S3Object("bucket", "key"), ranges)

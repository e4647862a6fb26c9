"""Ranges of a CSV: line ends within quotes, transforms, and the ranges put together again."""

from collections.abc import Callable, Iterable, Mapping
from threading import Barrier
from typing import Any

import pytest

from asyncstream import Concat, CutInQuotes, KiB, Lines, MiB, S3Object, S3Prefix, TransferReport
from asyncstream.transforms import map_csv
from tests.servers import Bucket, S3Server, content
from tests.servers.base import GUARD_SECONDS

from .faulty_transport import DownloadBroken
from .fixture_types import Copy, StopAfter

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
HEADER = b'id,"the value"\r\n'
PLAIN = HEADER + b"".join(b'%06d,"v,""%d"""\r\n' % (n, n) for n in range(20_000))
# One value of 200 lines in the middle.
LONG = b'1,"' + b"x" * 1000 + b"\n" + b'within,"",quotes\n' * 200 + b'"\r\n'
MIDDLE = PLAIN.index(b"\n", len(PLAIN) // 2) + 1
QUOTED = PLAIN[:MIDDLE] + LONG + PLAIN[MIDDLE:]


def doubled(row: Mapping[str, str]) -> Mapping[str, str] | None:
    """Return a row with one more column; every third row is dropped."""
    return {**row, "twice": row["id"] * 2} if int(row["id"]) % 3 else None


@pytest.fixture
def split(copy: Copy, bucket: Bucket) -> Callable[..., TransferReport]:
    """Cut a CSV into ranges under `copies/`."""

    def split(text: bytes, ranges: int, **settings: Any) -> TransferReport:
        bucket.put("text", text)
        lines = Lines(S3Object(bucket.name, "text"), ranges, header=True, csv=True)
        return copy([(lines, S3Prefix(bucket.name, "copies/"))], **settings)

    return split


def made(bucket: Bucket) -> bytes:
    """Return all ranges, with one header."""
    ranges = [bucket.get(key) for key in sorted(bucket.keys("copies/"))]
    assert all(each.startswith(HEADER) for each in ranges)
    return HEADER + b"".join(each.removeprefix(HEADER) for each in ranges)


def test_a_csv_without_line_ends_in_quotes_is_cut(
    split: Callable[..., TransferReport], bucket: Bucket
) -> None:
    split(PLAIN, 7).raise_for_failures()
    assert made(bucket) == PLAIN


@on_the_lab
def test_line_ends_in_quotes_within_a_range_do_no_harm(
    split: Callable[..., TransferReport], bucket: Bucket
) -> None:
    split(QUOTED, 3).raise_for_failures()
    assert made(bucket) == QUOTED


def test_a_cut_within_quotes_fails_both_ranges(split: Callable[..., TransferReport], bucket: Bucket) -> None:
    report = split(QUOTED, 2)
    assert [type(file.error) for file in report.failed] == [CutInQuotes, CutInQuotes]
    assert "quotes, an odd number: a cut is within quotes" in str(report.failed[0].error)
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


@on_the_lab
@pytest.mark.parametrize(
    "settings", [{"part_size": 5 * MiB}, {"verify": "off"}, {"transform": map_csv(dict)}]
)
def test_a_cut_is_seen_however_a_range_is_read(
    split: Callable[..., TransferReport], bucket: Bucket, settings: dict[str, Any]
) -> None:
    """In parts that several tasks read, and as a stream that is transformed."""
    row = b'1,"%s"\n' % (b"x" * 1000)
    text = HEADER + row * 7000 + b'2,"' + b"\n" * 100_000 + b'"\n' + row * 7000
    report = split(text, 2, **settings)
    assert report.count("failed") == 2
    assert bucket.keys("copies/") == set()
    assert bucket.uploads() == []


@on_the_lab
@pytest.mark.parametrize("text", [PLAIN * 5, PLAIN * 5 + LONG], ids=["even", "long"])
def test_connections_that_break_lose_no_quote(copy_with_faults: Copy, bucket: Bucket, text: bytes) -> None:
    bucket.put("text", text)
    lines = Lines(S3Object(bucket.name, "text"), 2, header=True, csv=True)
    faults = [DownloadBroken("GetObject", set(range(4, 9)))]
    report = copy_with_faults([(lines, S3Prefix(bucket.name, "copies/"))], *faults)
    report.raise_for_failures()
    assert made(bucket) == text


@on_the_lab
def test_a_range_that_ran_out_of_time_starts_again(copy: Copy, bucket: Bucket, stop_after: StopAfter) -> None:
    """The quotes of its first part would be unknown."""
    text = HEADER + b'1,"%s"\n' % (b"x" * 1000) * 20_000
    bucket.put("text", text)
    lines = Lines(S3Object(bucket.name, "text"), 1, header=True, csv=True)
    report = stop_after((lines, S3Prefix(bucket.name, "copies/")), 11 * MiB)
    assert (report.count("pending"), report.continuations, bucket.uploads()) == (1, {}, [])
    copy(report.unfinished).raise_for_failures()
    assert bucket.get("copies/part-00000") == text


@on_the_lab
@pytest.mark.parametrize("ranges", [1, 4, 33])
def test_ranges_are_transformed_as_the_whole_is(
    split: Callable[..., TransferReport], copy: Copy, bucket: Bucket, ranges: int
) -> None:
    """Ranges of one text run in all slots at once, each with a transform of its own."""
    report = split(PLAIN, ranges, transform=map_csv(doubled), max_concurrency=4)
    report.raise_for_failures()
    assert report.count("copied") == ranges
    whole = S3Object(bucket.name, "text"), S3Object(bucket.name, "whole")
    copy([whole], transform=map_csv(doubled)).raise_for_failures()
    joined = Concat(S3Object(bucket.name, "joined"), header="first")
    copy([(S3Prefix(bucket.name, "copies/part-"), joined)]).raise_for_failures()
    assert bucket.get("joined") == bucket.get("whole")


@on_the_lab
@pytest.mark.parametrize("engine", ["threads", "asyncio"], indirect=True)
def test_ranges_are_transformed_at_once(split: Callable[..., TransferReport], bucket: Bucket) -> None:
    """Two transforms wait for each other: one range after the other would break the barrier."""
    both = Barrier(2)

    class Waiting:
        def __init__(self) -> None:
            self._has_met = False

        def feed(self, chunk: bytes | memoryview) -> Iterable[bytes]:
            if not self._has_met:
                both.wait(GUARD_SECONDS)
            self._has_met = True
            return [bytes(chunk)]

        def finish(self) -> bytes:
            return b""

    split(PLAIN, 2, transform=Waiting, max_concurrency=2).raise_for_failures()
    assert made(bucket) == PLAIN


@on_the_lab
def test_ranges_are_put_together_by_the_server(
    split: Callable[..., TransferReport], copy: Copy, bucket: Bucket, server: S3Server
) -> None:
    """Large ranges are copied without their headers; small neighbours pass through."""
    row = b"1,%s\n" % content(100 * KiB, 1).hex().encode()
    long = b"2," + b"y" * (7 * MiB) + b"\n"
    text = HEADER + row * 20 + long + row * 20 + long + row * 20
    split(text, 9).raise_for_failures()
    keys = sorted(bucket.keys("copies/"))
    assert len(keys) == 7  # in two ranges no line starts
    joined = Concat(S3Object(bucket.name, "joined"), header="first", copy_parts=True)
    with server.counted() as seen:
        report = copy([(S3Prefix(bucket.name, "copies/part-"), joined)])
    report.raise_for_failures()
    assert bucket.get("joined") == text
    large = [key for key in keys if bucket.head(key)["ContentLength"] - len(HEADER) >= 5 * MiB]
    assert seen["UploadPartCopy"] == len(large) == 2
    assert report.downgrades == []

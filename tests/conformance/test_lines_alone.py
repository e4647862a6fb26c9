"""Ranges of a text that are made each by a transfer of its own, as by several workers."""

import gzip
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from asyncstream import InputError, Lines, LocalFile, S3Object, S3Prefix, SourceChanged
from asyncstream.runs.rows import LineRanges, Row
from tests.servers import Bucket, S3Server

from .fixture_types import Copy

on_the_lab = pytest.mark.parametrize("server", ["lab"], indirect=True)
HEADER = b"id,value\r\n"
ROWS = HEADER + b"".join(b"%07d,%d\r\n" % (n, n * n) for n in range(40_000))
pieces = st.sampled_from([b"", b"\r", b"a", b"bc\r", b"d" * 70, b"e" * 70_000])
texts = st.one_of(
    st.builds(
        lambda ended, last: b"".join(each + b"\n" for each in ended) + last,
        st.lists(pieces, max_size=12),
        pieces,
    ).filter(bool),
    st.integers(1, 20).map(lambda count: b"\n" * count),
)


@pytest.fixture
def make(copy: Copy, bucket: Bucket) -> Callable[..., dict[str, bytes]]:
    """Make ranges of the object `text`, and return them by their names."""

    def make(lines: Lines, **settings: Any) -> dict[str, bytes]:
        report = copy([(lines, S3Prefix(bucket.name, "copies/"))], **settings)
        report.raise_for_failures()
        made = {key.removeprefix("copies/"): bucket.get(key) for key in sorted(bucket.keys("copies/"))}
        assert len(made) == len(report.files)
        for name in made:
            bucket.delete(f"copies/{name}")
        return made

    return make


@on_the_lab
@settings(
    max_examples=12,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(text=texts, ranges=st.integers(1, 9), header=st.booleans())
def test_ranges_made_alone_are_those_made_together(
    make: Callable[..., dict[str, bytes]], bucket: Bucket, text: bytes, ranges: int, header: bool
) -> None:
    bucket.put("text", text)
    lines = Lines(S3Object(bucket.name, "text"), ranges, header)
    alone: dict[str, bytes] = {}
    for number in range(ranges):
        made = make(replace(lines, only=str(number)))
        assert made.keys() <= {f"part-{number:05d}"}
        alone |= made
    assert alone == make(lines)
    first = text[: text.find(b"\n") + 1 or len(text)] if header else b""
    assert all(each.startswith(first) for each in alone.values())
    assert first + b"".join(each.removeprefix(first) for each in alone.values()) == text


def test_a_range_asks_for_its_own_line_ends(
    make: Callable[..., dict[str, bytes]], bucket: Bucket, server: S3Server
) -> None:
    """One request for the header, two for line ends, two for the bytes: the size and the ETag are known."""
    bucket.put("text", ROWS)
    head = bucket.head("text")
    row = Row(
        f"s3://{bucket.name}/text",
        f"s3://{bucket.name}/copies/",
        head["ContentLength"],
        head["ETag"],
        lines=LineRanges(90, "7", header=True),
    )
    lines = row.pair[0]
    assert isinstance(lines, Lines)
    with server.counted() as seen:
        [(name, made)] = make(lines, verify="off").items()
    assert name == "part-00007"
    assert made.startswith(HEADER)
    assert made.removeprefix(HEADER) in ROWS
    assert (seen["HeadObject"], seen["GetObject"]) == (0, 6)  # the last GET is the test's own


@on_the_lab
def test_neighbours_share_the_line_end_between_them(
    make: Callable[..., dict[str, bytes]], bucket: Bucket, server: S3Server
) -> None:
    bucket.put("text", ROWS)
    lines = Lines(S3Object(bucket.name, "text"), 90, only="7-9")
    with server.counted() as seen:
        assert len(make(lines, verify="off")) == 3
    assert (seen["HeadObject"], seen["GetObject"]) == (1, 1 + 4 + 3 + 3)


def test_a_text_that_has_changed_since_the_plan_fails(
    make: Callable[..., dict[str, bytes]], bucket: Bucket
) -> None:
    bucket.put("text", ROWS)
    head = bucket.head("text")
    lines = Lines(S3Object(bucket.name, "text"), 9, size=head["ContentLength"], etag=head["ETag"])
    assert make(replace(lines, only="3"))
    bucket.put("text", ROWS.replace(b"1", b"2"))
    with pytest.raises(SourceChanged):
        make(replace(lines, only="4"))
    assert bucket.keys("copies/") == set()


@on_the_lab
def test_a_size_that_is_not_the_texts_fails(make: Callable[..., dict[str, bytes]], bucket: Bucket) -> None:
    bucket.put("text", ROWS)
    wrong = Lines(S3Object(bucket.name, "text"), 9, size=len(ROWS) - 1, etag=bucket.head("text")["ETag"])
    with pytest.raises(SourceChanged, match=f"has {len(ROWS)} bytes, and not {len(ROWS) - 1}"):
        make(wrong)


@on_the_lab
def test_a_range_in_which_no_line_starts_is_left_out(
    make: Callable[..., dict[str, bytes]], bucket: Bucket
) -> None:
    bucket.put("text", b"x" * 100 + b"\ny\n")
    lines = Lines(S3Object(bucket.name, "text"), 4)
    assert list(make(lines)) == ["part-00000", "part-00003"]
    assert make(replace(lines, only="1-2")) == {}


@on_the_lab
def test_a_compressed_text_is_refused(make: Callable[..., dict[str, bytes]], bucket: Bucket) -> None:
    """Also by a worker that makes other ranges than the first."""
    bucket.put("text", gzip.compress(ROWS))
    for header in (False, True):
        with pytest.raises(InputError, match="text is compressed by gzip"):
            make(Lines(S3Object(bucket.name, "text"), 4, header, only="3"))
    assert bucket.keys("copies/") == set()


def test_a_text_with_an_encoding_is_refused(make: Callable[..., dict[str, bytes]], bucket: Bucket) -> None:
    bucket.put("text", ROWS, ContentEncoding="br")
    with pytest.raises(InputError, match=r"is compressed by br.*: decompress it first"):
        make(Lines(S3Object(bucket.name, "text"), 4, only="3"))


@on_the_lab
def test_a_compressed_file_is_refused(make: Callable[..., dict[str, bytes]], tmp_path: Any) -> None:
    (tmp_path / "text").write_bytes(gzip.compress(ROWS))
    with pytest.raises(InputError, match="is compressed by gzip"):
        make(Lines(LocalFile(str(tmp_path / "text")), 4))

"""Where texts are cut, and which texts are not. Pure, but for the text's bytes."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream import CutInQuotes, InputError, Lines, S3Object, S3Prefix
from asyncstream.archives.line_layout import (
    check_header,
    check_plain,
    cut_places,
    lay_out_lines,
    ranges_with_lines,
)
from asyncstream.archives.pack_members import Member
from asyncstream.objects import ByteRange
from asyncstream.runs.rows import LineRanges, Row, decode_rows, encode_rows

TEXT = S3Object("raw", "text")
lines = st.sampled_from([b"", b"\r", b"a", b"bc\r", b"d" * 9, b"e" * 40])
texts = st.builds(
    lambda ended, last: b"".join(each + b"\n" for each in ended) + last, st.lists(lines, max_size=30), lines
).filter(bool)


def line_end(text: bytes, start: int) -> int:
    found = text.find(b"\n", start)
    return len(text) if found < 0 else found + 1


def cut(text: bytes, ranges: int, numbers: Iterable[range], *, header: bool) -> dict[int, ByteRange]:
    """Return the ranges, after looking for the line ends that these ranges need."""
    first = line_end(text, 0) if header else 0
    places = cut_places(first, len(text), ranges, numbers)
    edges = {number: line_end(text, place) for number, place in places.items()}
    return ranges_with_lines(edges | {0: first, ranges: len(text)}, numbers)


@given(texts, st.integers(1, 40), st.booleans())
def test_ranges_cover_the_lines_once(text: bytes, ranges: int, header: bool) -> None:
    found = cut(text, ranges, [range(ranges)], header=header)
    made = [text[start:stop] for start, stop in found.values()]
    assert b"".join(made) == text[line_end(text, 0) if header else 0 :]
    assert all(each.endswith(b"\n") for each in made[:-1])
    assert list(found) == sorted(found)
    assert min(found) == 0


@given(texts, st.integers(1, 40), st.booleans())
def test_a_range_alone_is_that_among_all(text: bytes, ranges: int, header: bool) -> None:
    alone: dict[int, ByteRange] = {}
    for number in range(ranges):
        alone |= cut(text, ranges, [range(number, number + 1)], header=header)
    assert alone == cut(text, ranges, [range(ranges)], header=header)


@given(texts, st.integers(1, 40))
def test_a_range_starts_after_the_line_feed_of_its_place(text: bytes, ranges: int) -> None:
    """After the first line feed at or after its place minus one; the first range at the start."""
    for number, (start, stop) in cut(text, ranges, [range(ranges)], header=False).items():
        place, after = (len(text) * each // ranges for each in (number, number + 1))
        assert start == (0 if number == 0 else line_end(text, max(0, place - 1)))
        assert stop == (len(text) if number == ranges - 1 else line_end(text, max(0, after - 1)))


def test_a_range_needs_at_most_two_line_ends() -> None:
    assert cut_places(0, 1000, 10, [range(7, 8)]) == {7: 699, 8: 799}
    assert cut_places(0, 1000, 10, [range(1)]) == {1: 99}
    assert cut_places(0, 1000, 10, [range(9, 10)]) == {9: 899}
    assert cut_places(0, 1000, 1, [range(1)]) == {}


def test_neighbours_share_a_line_end() -> None:
    assert list(cut_places(0, 1000, 10, [range(3), range(7, 9)])) == [1, 2, 3, 7, 8, 9]


def test_the_header_is_in_no_range() -> None:
    assert cut_places(100, 1000, 3, [range(3)]) == {1: 399, 2: 699}
    assert cut_places(100, 101, 3, [range(3)]) == {1: 100, 2: 100}


def test_a_range_with_a_header_has_both() -> None:
    layout = lay_out_lines(Member(TEXT, "", 100, '"e"', 7, 0, 100, True), 10, ByteRange(30, 50))
    assert layout.size == 30
    assert [(each.start, each.stop) for each in layout.members] == [(0, 10), (30, 50)]


def test_what_a_range_is_made_of_tells_versions_apart() -> None:
    def etag(member: Member, start: int = 30) -> str:
        return lay_out_lines(member, 10, ByteRange(start, 50)).etag

    text = Member(TEXT, "", 100, '"e"', 7, 0, 100, True)
    assert etag(text) == etag(text._replace(modified=0))
    assert len({etag(text), etag(text, 31), etag(text._replace(etag='"f"'))}) == 3


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"\x1f\x8b\x08\0", "gzip"),
        (b"\x28\xb5\x2f\xfd$", "zstd"),
        (b"\x5e\x2a\x4d\x18", "zstd"),
        (b"BZh91AY&SY", "bzip2"),
        (b"\xfd7zXZ\0\0", "xz"),
        (b"PK\x03\x04", "zip"),
    ],
)
def test_compressed_texts_are_known_by_their_first_bytes(start: bytes, kind: str) -> None:
    with pytest.raises(InputError, match=rf"text is compressed by {kind}, .* first, and cut the copy"):
        check_plain(TEXT, start, "")


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, X-GZIP"])
def test_compressed_texts_are_known_by_their_encoding(encoding: str) -> None:
    with pytest.raises(InputError, match="is compressed by"):
        check_plain(TEXT, b"id,value\n", encoding)


@pytest.mark.parametrize(
    "start", ["\ufeffid".encode("utf-16-le"), "id".encode("utf-16"), "id".encode("utf-32")]
)
def test_texts_of_wide_characters_are_refused(start: bytes) -> None:
    """A line feed has two bytes there, and another character may have a byte 0x0A."""
    with pytest.raises(InputError, match="UTF-16 or UTF-32"):
        check_plain(TEXT, start, "")


@pytest.mark.parametrize(
    "start", [b"", b"\n", b"BZh is a name\n", b"PK,name\n", b"\xef\xbb\xbfid\n", b"\xff\n"]
)
def test_other_texts_are_plain(start: bytes) -> None:
    check_plain(TEXT, start, "")
    check_plain(TEXT, start, "identity, utf-8")


def test_a_header_with_a_line_end_in_quotes_is_refused() -> None:
    check_header(TEXT, b'"id","the ""value"""\n')
    with pytest.raises(CutInQuotes, match="would cut its header"):
        check_header(TEXT, b'id,"the\n')


@pytest.mark.parametrize(
    "given",
    [
        {"only": "3-7"},
        {"only": "7"},
        {"size": 3},
        {"etag": '"e"'},
        {"size": -1, "etag": '"e"'},
        {"size": 3, "etag": '"\n"'},
        {"size": 3, "etag": "e" * 3000},
    ],
)
def test_ranges_and_versions_that_cannot_be_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(InputError, match=r"^(only=|size=|etag)"):
        Lines(TEXT, 7, **given)  # type: ignore[arg-type]


def test_the_numbers_to_make_are_those_of_only() -> None:
    assert Lines(TEXT, 7).numbers == [range(7)]
    assert Lines(TEXT, 7, only="0,3-6").numbers == [range(1), range(3, 7)]


@pytest.mark.parametrize(
    ("size", "etag", "version"),
    [(100, '"e"', (100, '"e"')), (None, '"e"', (None, "")), (100, "", (None, ""))],
)
def test_a_row_pins_the_version_that_it_knows(
    size: int | None, etag: str, version: tuple[int | None, str]
) -> None:
    row = Row("s3://raw/text", "s3://clean/x/", size, etag, lines=LineRanges(9, "7", header=True, csv=True))
    [again] = decode_rows(encode_rows([row]), "a batch")
    lines, folder = again.pair
    assert lines == Lines(TEXT, 9, True, "7", True, *version)
    assert folder == S3Prefix("clean", "x/")

"""The directory of a ZIP archive, as Python's `zipfile` writes it, and damaged."""

import io
import math
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.archives.zip_directory import TAIL, RawEntry, find_directory
from asyncstream.archives.zip_names import decode_name
from asyncstream.archives.zip_scan import Area, Scan
from asyncstream.errors import CorruptInput, InputError
from asyncstream.locations import LocalFile, ZipEntries
from tests.zip_listings import read_rows

ARCHIVE = ZipEntries(LocalFile("a.zip"))
_NAME = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
NAMES = st.lists(_NAME, max_size=6, unique=True)


def pack(names: list[str], comment: bytes = b"") -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.comment = comment
        for name in names:
            archive.writestr(name, name * 3)
    return packed.getvalue()


def rows(archive: bytes) -> list[RawEntry]:
    """Return the rows of an archive's directory."""
    where = find_directory(archive[-TAIL:], len(archive)).range
    return list(read_rows(archive[where.start : where.stop]))


@given(NAMES, st.binary(max_size=40), st.binary(max_size=40))
def test_a_directory_has_what_zipfile_wrote(names: list[str], comment: bytes, before: bytes) -> None:
    before, comment = (text.replace(b"PK", b"pk") for text in (before, comment))
    archive = before + pack(names, comment)
    found = rows(archive)
    with zipfile.ZipFile(io.BytesIO(archive)) as read:
        expected = [(info.orig_filename, info.file_size, info.CRC) for info in read.infolist()]
    assert [(row.name.decode(), row.size, row.crc32) for row in found] == [
        (name, size, crc) for name, size, crc in expected
    ]
    assert find_directory(archive[-TAIL:], len(archive)).shift == len(before)


@given(NAMES, st.data())
def test_a_damaged_archive_never_crashes(names: list[str], data: st.DataObject) -> None:
    """Any change of a byte makes another directory, or an error that says so."""
    archive = bytearray(pack(names, b"comment"))
    at = data.draw(st.integers(0, len(archive) - 1))
    archive[at] = data.draw(st.integers(0, 255))
    with suppress(CorruptInput, InputError):
        where = find_directory(bytes(archive[-TAIL:]), len(archive))
        scan = Scan(ARCHIVE, Area.of(where), 2, math.inf, by_name=False)
        scan.feed(bytes(archive[where.range.start : where.range.stop]))
        scan.finish()


@given(NAMES, st.data())
def test_a_cut_archive_is_told(names: list[str], data: st.DataObject) -> None:
    archive = pack(names)
    cut = archive[: data.draw(st.integers(0, len(archive) - 1))]
    with pytest.raises(CorruptInput):
        find_directory(cut[-TAIL:], len(cut))


def test_an_end_record_within_a_comment_is_not_the_end() -> None:
    archive = pack(["a"], comment=b"PK\x05\x06" + bytes(30))
    assert [row.name for row in rows(archive)] == [b"a"]


def test_zip64_fields_replace_full_ones() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive, archive.open("a", "w", force_zip64=True) as entry:
        entry.write(b"123")
    assert [(row.size, row.compressed_size) for row in rows(packed.getvalue())] == [(3, 3)]


@pytest.mark.parametrize(
    ("name", "host", "flags", "encoding", "expected"),
    [
        (b"a\\b", 0, 0, None, "a/b"),
        (b"a\\b", 3, 0, None, "a\\b"),
        (b"a\\b/c", 0, 0, None, "a\\b/c"),
        (b"././a", 3, 0, None, "a"),
        ("ü".encode(), 3, 0, None, "ü"),
        (b"\x81", 0, 0, None, "ü"),
        (b"\x81", 0, 1 << 11, None, "\ufffd"),
        (b"\x83\x65", 0, 0, "cp932", "テ"),
    ],
)
def test_names_are_decoded(name: bytes, host: int, flags: int, encoding: str | None, expected: str) -> None:
    row = RawEntry(name, None, flags, 0, 0, 0, 0, 0, host, 0)
    assert decode_name(row, encoding) == expected

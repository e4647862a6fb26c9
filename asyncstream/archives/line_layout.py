"""Ranges of the lines of a text: where to look for line ends, and what each range is made of. Pure.

The places depend on the size of the text, its header and the number of ranges alone. So each range has a
number of its own that any process can compute, whichever other ranges it makes.
"""

from collections.abc import Iterable, Mapping, Sequence

from asyncstream.archives.pack_layout import ConcatLayout, Layout
from asyncstream.archives.pack_members import Member, PackMembers
from asyncstream.errors import CutInQuotes, InputError
from asyncstream.locations import LocalFile, S3Object
from asyncstream.objects import ByteRange

# The first bytes of files whose line feeds are no line ends.
_MAGICS: Sequence[tuple[bytes, str]] = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    *((bytes([first]) + b"\x2a\x4d\x18", "zstd") for first in range(0x50, 0x60)),
    *((b"BZh%d1AY&SY" % level, "bzip2") for level in range(1, 10)),
    (b"\xfd7zXZ\0", "xz"),
    (b"PK\x03\x04", "zip"),
)
# What decompresses them, as users call it.
_ADVICE = {
    "gzip": 'copy it with transform="gunzip"',
    "zstd": 'copy it with transform="unzstd"',
    "bzip2": 'copy it with transform="bunzip2"',
    "xz": 'copy it with transform="unxz"',
    "zip": "copy its ZipEntries",
}
_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd", "br": "br", "deflate": "deflate"}
# The marks of UTF-32 and UTF-16. A line feed has several bytes there, the last of which may be zero.
_WIDE = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")


def check_plain(file: S3Object | LocalFile, start: bytes, encoding: str) -> None:
    """Check that the bytes of a text are its lines.

    Args:
        file: the text.
        start: its first bytes.
        encoding: its Content-Encoding.

    Raises:
        InputError: it is compressed, or is in UTF-16 or UTF-32.
    """
    codings = [_CODINGS.get(each.strip().lower()) for each in encoding.split(",")]
    packed = next((each for each in codings if each), None) or next(
        (name for magic, name in _MAGICS if start.startswith(magic)), None
    )
    if packed is not None:
        raise InputError(
            f"{file} is compressed by {packed}, so its lines are not known before all of it is read: "
            f"{_ADVICE.get(packed, 'decompress it')} first, and cut the copy"
        )
    if start.startswith(_WIDE):
        raise InputError(
            f"{file} is in UTF-16 or UTF-32, and only bytes of 0x0A end lines: make it UTF-8 first"
        )


def check_header(file: S3Object | LocalFile, header: bytes) -> None:
    """Check that no quoted value of a CSV's header has a line end.

    Raises:
        CutInQuotes: one has.
    """
    if header.count(b'"') % 2:
        raise CutInQuotes(f"{file}: a line end within quotes would cut its header. Copy it as one file")


def cut_places(header: int, size: int, ranges: int, numbers: Iterable[range]) -> dict[int, int]:
    """Return the positions from which to search for the line ends before and after ranges.

    Args:
        header: bytes of the first line if it is put at the start of each range; else 0.
        size: bytes of the text.
        ranges: the number of all ranges.
        numbers: those that are to be made.

    Returns:
        By the number of the range that starts after that line end. The first range, and the end of the last,
        need no search.
    """
    starts = {each for several in numbers for number in several for each in (number, number + 1)}
    return {
        number: max(header + (size - header) * number // ranges - 1, header)
        for number in sorted(starts - {0, ranges})
    }


def ranges_with_lines(edges: Mapping[int, int], numbers: Iterable[range]) -> dict[int, ByteRange]:
    """Return the ranges that are to be made, by their numbers, without those in which no line starts.

    The first range is always made: a text may have a header only.

    Args:
        edges: where ranges start, by their numbers; the next one's start is where a range ends.
        numbers: those that are to be made.
    """
    found = {number: ByteRange(edges[number], edges[number + 1]) for several in numbers for number in several}
    return {number: range_ for number, range_ in found.items() if range_.length or number == 0}


def lay_out_lines(text: Member, header: int, range_: ByteRange) -> Layout:
    """Return the layout of some lines, after the header."""
    members = PackMembers(lambda _: text.place, lambda _: "")
    # Without the time of the last change: a plan does not know it, and the ETag says enough.
    members.add(0, text.size, text.etag, 0)
    members.repeat(0, *range_, ends_line=True)
    members.cut(0, 0, header, ends_line=True)
    return ConcatLayout(members, b"")

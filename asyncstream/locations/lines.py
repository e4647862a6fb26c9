"""The lines of one text, in ranges that are files of their own."""

from collections.abc import Iterable

from msgspec import Struct
from msgspec.structs import replace

from asyncstream.errors import InputError
from asyncstream.locations.archives import check_etag, format_rows, parse_rows
from asyncstream.locations.local import LocalFile
from asyncstream.locations.s3 import S3Object

# Ranges of one file. Each takes a request to find its end, and an object.
MOST_RANGES = 10_000


def range_name(number: int) -> str:
    """Return the name of a range, by its number."""
    return f"part-{number:05d}"


class Lines(Struct, frozen=True):
    """The lines of an uncompressed text, cut at line ends into ranges of about the same size.

    A range begins after the first line feed at or after its place minus one, and ends where the next one
    begins. The ranges are named `part-00000`, `part-00001` and so on, by their places alone, so that several
    processes may each make some. A range in which no line starts is not made: its name is left out.

    Attributes:
        file: the text.
        ranges: the number of ranges, 1 to 10,000.
        header: whether the first line is put at the start of each range, as for CSV.
        only: the numbers of the ranges to make, such as "7,90-99"; empty: all. `unfinished` of a report sets
            it.
        csv: whether the text is a CSV as in RFC 4180: a range that has an odd number of quotes fails, because
            it starts or ends within a quoted value. No later transfer can continue a part of such a range.
        size: bytes of the text; None: ask for them, and for the ETag.
        etag: the ETag of the version to read, given with `size`, so that all ranges are of one version.

    Raises:
        InputError: a number is out of bounds, `only` is malformed, or only one of `size` and `etag` is given.
    """

    file: S3Object | LocalFile
    ranges: int = 100
    header: bool = False
    only: str = ""
    csv: bool = False
    size: int | None = None
    etag: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.ranges, int) or not 1 <= self.ranges <= MOST_RANGES:
            raise InputError(f"ranges={self.ranges!r:.100} must be a number from 1 to {MOST_RANGES:,}")
        numbers = self.numbers
        if numbers[-1].stop > self.ranges:
            raise InputError(
                f"only={self.only!r:.100} names the range {numbers[-1].stop - 1}, and those of "
                f"ranges={self.ranges} are 0 to {self.ranges - 1}"
            )
        if (self.size is None) != (not self.etag):
            raise InputError(f"size={self.size} and etag={self.etag!r:.100}: give both, or none of them")
        if self.size is not None and self.size < 0:
            raise InputError(f"size={self.size} is not a number of bytes")
        check_etag(self.etag, "etag")

    @property
    def numbers(self) -> list[range]:
        """The numbers of the ranges to make, in ascending order."""
        return parse_rows(self.only) or [range(self.ranges)]

    @property
    def prefix(self) -> str:
        """Empty: the names of ranges start in the text."""
        return ""

    @property
    def uri(self) -> str:
        """The URI of the text, for display."""
        return f"{self.file.uri}#"

    def __str__(self) -> str:
        return f"{self.file}#"

    def item(self, name: str) -> "LineRange":
        """Return the range of this name."""
        return LineRange(replace(self, only="") if self.only else self, name)

    def only_ranges(self, uris: Iterable[str]) -> "Lines":
        """Return this text with only these ranges, in ascending order."""
        numbers = (int(uri.rpartition("-")[2]) for uri in uris)
        return replace(self, only=format_rows([each] for each in numbers))


class LineRange(Struct, frozen=True):
    """One range of the lines of a text.

    Attributes:
        lines: the text, and how it is cut.
        name: the range's name, such as `part-00000`.
    """

    lines: Lines
    name: str

    @property
    def uri(self) -> str:
        """The URI of the text and the name, for display."""
        return f"{self.lines.uri}{self.name}"

    def __str__(self) -> str:
        return f"{self.lines}{self.name}"

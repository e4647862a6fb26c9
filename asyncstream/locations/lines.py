"""The lines of one text, in ranges that are files of their own."""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from asyncstream.errors import InputError
from asyncstream.locations.archives import format_rows, parse_rows
from asyncstream.locations.local import LocalFile
from asyncstream.locations.s3 import S3Object

# Ranges of one file. Each takes a request to find its end, and an object.
MOST_RANGES = 10_000


def range_name(number: int) -> str:
    """Return the name of a range, by its number."""
    return f"part-{number:05d}"


class Lines(Struct, frozen=True):
    """The lines of an uncompressed text, cut at line ends into ranges of about the same size.

    The ranges are named `part-00000`, `part-00001` and so on. A text of few lines has fewer ranges than that.
    Lines end with `\\n`. A CSV whose quoted values have line ends cannot be cut like this.

    Attributes:
        file: the text.
        ranges: the number of ranges, 1 to 10,000.
        header: whether the first line is put at the start of each range, as for CSV.
        only: the numbers of the ranges to make, such as "7,90-99"; empty: all. `unfinished` of a report sets
            it.

    Raises:
        InputError: the number is out of bounds, or `only` is malformed.
    """

    file: S3Object | LocalFile
    ranges: int = 100
    header: bool = False
    only: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.ranges, int) or not 1 <= self.ranges <= MOST_RANGES:
            raise InputError(f"ranges={self.ranges!r:.100} must be a number from 1 to {MOST_RANGES:,}")
        parse_rows(self.only)

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

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Return those of the names of all ranges that are to be made."""
        if not self.only:
            return list(names)
        return [names[at] for numbers in parse_rows(self.only) for at in numbers if at < len(names)]

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

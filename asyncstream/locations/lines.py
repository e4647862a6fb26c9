"""The lines of one text, in ranges that are files of their own."""

from msgspec import Struct

from asyncstream.errors import InputError
from asyncstream.locations.local import LocalFile
from asyncstream.locations.s3 import S3Object

# Ranges of one file. Each takes a request to find its end, and an object.
MOST_RANGES = 10_000


class Lines(Struct, frozen=True):
    """The lines of an uncompressed text, cut at line ends into ranges of about the same size.

    The ranges are named `part-00000`, `part-00001` and so on. A text of few lines has fewer ranges than that.
    Lines end with `\\n`. A CSV whose quoted values have line ends cannot be cut like this.

    Attributes:
        file: the text.
        ranges: the number of ranges, 1 to 10,000.
        header: whether the first line is put at the start of each range, as for CSV.

    Raises:
        InputError: the number is out of bounds.
    """

    file: S3Object | LocalFile
    ranges: int = 100
    header: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.ranges, int) or not 1 <= self.ranges <= MOST_RANGES:
            raise InputError(f"ranges={self.ranges!r:.100} must be a number from 1 to {MOST_RANGES:,}")

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
        return LineRange(self, name)


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

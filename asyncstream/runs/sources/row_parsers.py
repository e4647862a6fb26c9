"""Read the rows of a list from chunks of its bytes, and collect them in pages."""

from abc import abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Protocol

from asyncstream.errors import InputError, LineTooLong
from asyncstream.runs.pages import PAGE_FILES, Findings
from asyncstream.runs.sources.chunks import Chunk
from asyncstream.transforms.lines import LineSplitter
from asyncstream.units import KiB

# Bytes of a row. A URI has up to 1,100 bytes, and in JSON up to six times as many.
MAX_LINE = 64 * KiB
TOO_LONG = "No row of such a list is: give another list"


class RowParser(Protocol):
    """Finds files in the bytes of a list.

    Attributes:
        rows: the number of rows read so far.
    """

    rows: int

    def feed(self, data: bytes | memoryview, findings: Findings) -> None:
        """Add what is found in the rows that end in these bytes.

        Raises:
            InputError: a row is malformed; the message has its line.
        """

    def finish(self, findings: Findings) -> None:
        """Add what is found in a last row without line end."""


class LineParser(RowParser):
    """Parses lists with one row a line.

    Args:
        name: the list, for messages.
        skip: the number of rows to pass over.
    """

    def __init__(self, name: object, skip: int) -> None:
        self.rows = 0
        self._name = name
        self._skip = skip
        self._splitter = LineSplitter(MAX_LINE, TOO_LONG)

    def feed(self, data: bytes | memoryview, findings: Findings) -> None:
        """See `RowParser`."""
        try:
            lines = self._splitter.split(data)
        except LineTooLong as error:
            raise InputError(f"{self._name}, {error}") from None
        self._take(lines, findings)

    def finish(self, findings: Findings) -> None:
        """See `RowParser`."""
        rest = self._splitter.rest()
        self._take([rest] if rest else [], findings)

    def _take(self, lines: Sequence[bytes], findings: Findings) -> None:
        before, self.rows = self.rows, self.rows + len(lines)
        passed_over = max(0, self._skip - before)
        if passed_over < len(lines):
            self.parse(lines[passed_over:] if passed_over else lines, before + passed_over + 1, findings)

    @abstractmethod
    def parse(self, lines: Sequence[bytes], number: int, findings: Findings) -> None:
        """Add what is found in lines, the first of which has this number."""


async def read_findings(
    chunks: AsyncGenerator[Chunk, None], parser: RowParser, skip: int
) -> AsyncGenerator[tuple[Findings, int], None]:
    """Yield what a parser finds, and the number of bytes read so far, after every thousand rows or more.

    Args:
        chunks: the list. It is closed at the end.
        parser: reads its rows.
        skip: the number of rows that the parser passes over.
    """
    findings, before, read = Findings(), skip, 0
    async with aclosing(chunks):
        async for data, read in chunks:
            parser.feed(data, findings)
            if parser.rows - before >= PAGE_FILES:
                yield findings, read
                findings, before = Findings(), parser.rows
    parser.finish(findings)
    if parser.rows > before:
        yield findings, read

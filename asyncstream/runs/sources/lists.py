"""A list of files as one object: JSON Lines, or CSV with a header. Both may be compressed as `.gz`.

Fields: `source` (an `s3://` URI), and if known `destination`, `version_id`, `size` and `etag`. A field of
another name is an error: with a misspelled destination, a file would be copied to the wrong place. A file
that the list names twice is found twice.
"""

import csv
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from asyncstream.errors import InputError, TransformError
from asyncstream.locations import S3Object, is_folder_marker
from asyncstream.pipeline.context import Ends
from asyncstream.runs.pages import (
    Findings,
    Found,
    LeftOut,
    Page,
    Position,
    UriParser,
    decode_position,
    encode_position,
)
from asyncstream.runs.sources.chunks import find_object, read_chunks
from asyncstream.runs.sources.row_parsers import MAX_LINE, TOO_LONG, LineParser, RowParser, read_findings
from asyncstream.transforms.records import RecordSplitter

_BOM = b"\xef\xbb\xbf"


class ListRow(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A row of a list; see `Found`. The ETag may have no quotes."""

    source: str
    destination: str = ""
    version_id: str = ""
    size: Annotated[int, Meta(ge=0)] | None = None
    etag: str = ""


_FIELDS = ListRow.__struct_fields__


class _Position(Struct, forbid_unknown_fields=True):
    etag: str = ""
    rows: Annotated[int, Meta(ge=0)] = 0


async def read_list(
    ends: Ends, kind: Literal["jsonl", "csv"], place: S3Object, position: Position | None
) -> AsyncGenerator[Page, None]:
    """Yield the files of a list. It is read again up to the position.

    Raises:
        InputError: a line is malformed.
        SourceChanged: the list was overwritten since the position was written.
    """
    start = decode_position(position, _Position)
    stored = await find_object(ends, place, start.etag or None)
    parser: RowParser = JsonLines(place, start.rows) if kind == "jsonl" else CsvRows(place, start.rows)
    pieces = read_findings(read_chunks(ends, place, stored), parser, start.rows)
    async with aclosing(pieces):
        async for findings, read in pieces:
            after = encode_position(_Position(stored.etag, parser.rows))
            yield Page(findings.found, findings.left_out, after, read / stored.size)


class _Rows:
    """Turns rows of lists into files."""

    def __init__(self) -> None:
        self._split = UriParser().split

    def add(self, row: ListRow, findings: Findings) -> None:
        """Add the file that a row names.

        Raises:
            InputError: source or destination is not the URI of an object.
        """
        bucket, key = self._split(row.source)
        destination, etag = row.destination, row.etag
        if destination:
            self._split(destination)
        if row.size == 0 and is_folder_marker(key, 0):
            findings.leave_out(LeftOut.FOLDER_MARKER)
            return
        if etag and etag[-1] != '"':
            etag = f'"{etag}"'
        findings.found.append(Found(bucket, key, row.size, etag, row.version_id, destination))


class JsonLines(LineParser):
    """Reads a list in JSON Lines. Blank lines are passed over."""

    def __init__(self, place: S3Object, skip: int) -> None:
        super().__init__(place, skip)
        self._decode = msgspec.json.Decoder(ListRow).decode
        self._add = _Rows().add

    def parse(self, lines: Sequence[bytes], number: int, findings: Findings) -> None:
        """See `LineParser`."""
        decode, add = self._decode, self._add
        if number == 1:
            lines = [lines[0].removeprefix(_BOM), *lines[1:]]
        for at, line in enumerate(lines, number):
            try:
                add(decode(line), findings)
            except (msgspec.DecodeError, InputError, UnicodeDecodeError) as error:
                if line.strip():
                    raise InputError(f"{self._name}, line {at}: {error}: correct the list") from None


class CsvRows:
    """Reads a list in CSV (RFC 4180, UTF-8). Its first record has the names of the fields.

    Args:
        place: the list, for messages.
        skip: the number of records to pass over, with that of the names.

    Attributes:
        rows: the number of records read so far.
    """

    def __init__(self, place: S3Object, skip: int) -> None:
        self.rows = 0
        self._name = place
        self._skip = skip
        self._splitter = RecordSplitter(MAX_LINE, TOO_LONG)
        self._fields: list[str] = []
        self._add = _Rows().add

    def feed(self, data: bytes | memoryview, findings: Findings) -> None:
        """See `RowParser`."""
        try:
            for record in self._splitter.split(data):
                self._read(record, findings)
        except TransformError as error:
            raise InputError(f"{self._name}, {error}") from None

    def finish(self, findings: Findings) -> None:
        """See `RowParser`.

        Raises:
            InputError: the list does not even have the names of its fields, or a quote is open.
        """
        try:
            for record in self._splitter.rest():
                self._read(record, findings)
        except TransformError as error:
            raise InputError(f"{self._name}, {error}") from None
        if not self._fields:
            raise InputError(f"{self._name} has no header: start the list with the names of its fields")

    def _read(self, record: bytes, findings: Findings) -> None:
        self.rows += 1
        if self._fields and self.rows <= self._skip:
            return
        try:
            row = _parse_record(record)
            if row and not self._fields:
                self._fields = _check_fields(row)
            elif row:
                self._add(self._row(row), findings)
        except (msgspec.ValidationError, InputError, csv.Error, UnicodeDecodeError) as error:
            line = self._splitter.line
            raise InputError(f"{self._name}, line {line}: {error}: correct the list") from None

    def _row(self, row: Sequence[str]) -> ListRow:
        if len(row) != len(self._fields):
            raise InputError(f"the row has {len(row)} fields, and the header has {len(self._fields)}")
        given = {name: text for name, text in zip(self._fields, row, strict=True) if text}
        return msgspec.convert(given, ListRow, strict=False)


def _parse_record(record: bytes) -> list[str]:
    rows = list(csv.reader([record.removeprefix(_BOM).decode()], strict=True))
    return rows[0] if rows else []


def _check_fields(names: list[str]) -> list[str]:
    unknown = ", ".join(sorted(set(names) - set(_FIELDS)))
    if unknown or len(set(names)) < len(names) or "source" not in names:
        wrong = f"has {unknown:.100}" if unknown else "has no `source`, or a name twice"
        raise InputError(f"the header {wrong}: a list has {', '.join(_FIELDS)}, at least `source`")
    return names

"""A page's rows as the JSON that the statement takes, and pages as batches. Pure.

What Postgres takes is decided by the columns' types: a string for a number, a date or an enum is fine if it
reads as one. What JSON has no form for is written as:

- datetimes: in UTC; one without a zone is taken for UTC, whatever the session's zone.
- Decimal, UUID, dates, times, IP addresses: their text. timedelta: microseconds. Enum: its value.
- bytes: hexadecimal, as `bytea` reads it; other columns are refused them.
- NaN and infinities: their names, which float and numeric columns read. ints: exactly, of any size.
- dict, list: JSON, for `jsonb`, `json` and arrays. Within them NaN and bytes are refused.

A text with NUL reaches Postgres, which refuses it: its text cannot have one.
"""

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any
from uuid import UUID

from msgspec import Struct

from asyncstream.errors import RowRefused
from asyncstream.gathering.postgres.statements import Upsert

_PLAIN = frozenset({str, int, bool, type(None)})
_IP = (IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network)
_MICROSECOND = timedelta(microseconds=1)
_SHOWN = 80


class PageRows(Struct, frozen=True):
    """The rows of one page, written all or not at all.

    Attributes:
        id: the page's.
        count: of its rows.
        json: the rows, with commas between. ASCII: its length is its bytes.
        columns: those that its rows write; none where there are no rows.
    """

    id: str
    count: int
    json: str
    columns: frozenset[str] = frozenset()


def page_of(page_id: str, rows: Iterable[Mapping[str, Any]], upsert: Upsert) -> PageRows:
    """A page of these rows, to be written by this upsert.

    Raises:
        RowRefused: there is no list of rows; or one has a column that is not written, or other columns than
            the first (where `Table.columns` says nothing), or no value in its key, or a value that has no
            JSON. The message says which, and the number of the row, from 1.
    """
    if rows is None or isinstance(rows, (Mapping, str, bytes)):
        what = "nothing" if rows is None else f"one {type(rows).__name__}"
        raise RowRefused(f"the page was made {what}: return a list of rows, each a dict of columns")
    reader = _RowReader(upsert)
    values = [reader.values(number, row) for number, row in enumerate(rows, 1)]
    try:
        json = _ENCODER.encode(values)[1:-1]
    except _NO_JSON as error:
        raise _first_refused(values, error) from error
    return PageRows(page_id, len(values), json, reader.columns if values else frozenset())


class _RowReader:
    """Checks the rows of one page. `columns` are those that they write: declared, or those of the first."""

    def __init__(self, upsert: Upsert) -> None:
        self._table = upsert.table
        self._names = upsert.names
        self._of_bytes = upsert.of_bytes
        self.columns = frozenset[str]() if upsert.table.columns is None else upsert.names

    def values(self, number: int, row: Any) -> dict[str, Any]:
        """A row as JSON has it; RowRefused, if it cannot be written."""
        if not isinstance(row, (dict, Mapping)):  # the ABC alone takes longer to ask than all else here
            raise RowRefused(f"row {number} is {_shown(row)}: a row is a dict of columns")
        if not self._names.issuperset(row):
            unknown = next(name for name in row if name not in self._names)
            raise RowRefused(
                f"row {number}: {unknown!r} is none of the columns written to {self._table.quoted}:"
                f" {', '.join(sorted(self._names))}"
            )
        for name in self._table.key:
            if row.get(name) is None:
                raise RowRefused(f"row {number}: {name!r} is of the key, and has no value")
        if self._table.columns is None:
            self._check_alike(number, row)
        return {
            name: value if type(value) in _PLAIN else self._plain(number, name, value)
            for name, value in row.items()
        }

    def _check_alike(self, number: int, row: Mapping[str, Any]) -> None:
        """What one row has and another has not would be made NULL, whoever had written it."""
        self.columns = self.columns or frozenset(row)
        if row.keys() == self.columns:
            return
        lacks, has = sorted(self.columns - row.keys()), sorted(row.keys() - self.columns)
        difference = f"lacks {lacks[0]!r}, which row 1 has" if lacks else f"has {has[0]!r}, which row 1 lacks"
        raise RowRefused(
            f"row {number} {difference}: give all rows of a page the same columns, None where there is no"
            " value, or name the table's `columns`"
        )

    def _plain(self, number: int, name: str, value: Any) -> Any:
        """The value of a column, where JSON's form of it is not the one wanted."""
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # nan, inf and -inf
        if not isinstance(value, (bytes, bytearray, memoryview)):
            return value
        if name not in self._of_bytes:
            raise RowRefused(f"row {number}: {name!r} takes no bytes, which the value is: decode them")
        return f"\\x{value.hex()}"


def _first_refused(rows: list[dict[str, Any]], error: Exception) -> RowRefused:
    """Which row it was: looked for only now, as a page is encoded faster than its rows one by one."""
    for number, row in enumerate(rows, 1):
        try:
            _ENCODER.encode(row)
        except _NO_JSON as found:
            return RowRefused(f"row {number} cannot be written: {found}")
    return RowRefused(f"the rows cannot be written: {error}")


def _within_json(value: Any) -> Any:
    """What JSON has no form for, as what Postgres reads."""
    match value:
        case datetime():
            aware = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
            return aware.isoformat()
        case date() | time():
            return value.isoformat()
        case timedelta():
            return f"{value // _MICROSECOND} microseconds"
        case Enum():
            return value.value
    if isinstance(value, (Decimal, UUID, *_IP)):
        return str(value)
    raise TypeError(f"{_shown(value)} has no form in JSON or SQL")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text[:_SHOWN]}..." if len(text) > _SHOWN else text


# ASCII: whatever the encodings of server and connection. Postgres knows no NaN in JSON.
_ENCODER = json.JSONEncoder(allow_nan=False, default=_within_json)
_NO_JSON = (TypeError, ValueError, OverflowError, RecursionError)


class Batches:
    """Collects pages until a batch is full. Bounded: it holds less than two batches, or one page.

    Args:
        rows: the most in a batch, except where a page by itself has more.
        size: the most bytes of JSON, likewise.
    """

    def __init__(self, rows: int, size: int) -> None:
        self._most_rows = rows
        self._most_bytes = size
        self._pages: list[PageRows] = []
        self._rows = 0
        self._bytes = 0

    def add(self, page: PageRows) -> list[PageRows]:
        """Take in a page; the batch that had no more room for it, empty if this one has."""
        full = self._rows + page.count > self._most_rows or self._bytes + len(page.json) > self._most_bytes
        batch = self.rest() if full else []
        self._pages.append(page)
        self._rows += page.count
        self._bytes += len(page.json)
        return batch

    def rest(self) -> list[PageRows]:
        """What has been collected and not handed on."""
        batch, self._pages = self._pages, []
        self._rows = self._bytes = 0
        return batch

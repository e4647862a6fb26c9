"""Encode the rows of a page as the JSON that the statement takes, and collect them into batches. Does no I/O.

The type of a column decides which values Postgres accepts. A string for a number, a date or an enum is fine
if Postgres can parse it. Values are written as follows:

- datetime: in UTC. One without a time zone counts as UTC, independently of the session's time zone.
- Decimal, UUID, date, time, IP address: its text. timedelta: microseconds. Enum: its value.
- bytes: hexadecimal digits, which `bytea` reads. Other columns may not have bytes.
- NaN and infinities: their names, which float and numeric columns read. int: exact, of any size.
- dict, list: JSON, for `jsonb`, `json` and arrays. NaN and bytes within them are refused.

A text that contains NUL is sent to Postgres, which refuses it.
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
        id: the ID of the page.
        count: the number of rows.
        json: the rows, separated by commas. It is ASCII, so its length is its bytes.
        columns: the columns that the rows write; empty if there are no rows.
    """

    id: str
    count: int
    json: str
    columns: frozenset[str] = frozenset()


def encode_page(page_id: str, rows: Iterable[Mapping[str, Any]], upsert: Upsert) -> PageRows:
    """Check and encode the rows of a page for this upsert.

    Raises:
        RowRefused: `rows` is not a list of rows, or a row has an unknown column, other columns than the first
            row (if `Table.columns` is None), no value in its key, or a value without a form in JSON. The
            message names the row (from 1) and the column or value.
    """
    if rows is None or isinstance(rows, (Mapping, str, bytes)):
        what = "nothing" if rows is None else f"one {type(rows).__name__}"
        raise RowRefused(f"`rows` returned {what}: return a list of rows, each a dict of columns")
    reader = _RowReader(upsert)
    values = [reader.values(number, row) for number, row in enumerate(rows, 1)]
    try:
        json = _ENCODER.encode(values)[1:-1]
    except _NO_JSON as error:
        raise _first_refused(values, error) from error
    return PageRows(page_id, len(values), json, reader.columns if values else frozenset())


class _RowReader:
    """Checks the rows of one page. `columns` are those of the table, if declared, or of the first row."""

    def __init__(self, upsert: Upsert) -> None:
        self._table = upsert.table
        self._names = upsert.names
        self._bytea_names = upsert.bytea_names
        self.columns = frozenset[str]() if upsert.table.columns is None else upsert.names

    def values(self, number: int, row: Any) -> dict[str, Any]:
        """Return a row for the JSON encoder; raise RowRefused if it cannot be written."""
        if not isinstance(row, (dict, Mapping)):  # the check for Mapping is slower than everything below
            raise RowRefused(f"row {number} is {_shown(row)}: a row is a dict of columns")
        if not self._names.issuperset(row):
            unknown = next(name for name in row if name not in self._names)
            raise RowRefused(
                f"row {number}: {unknown!r} is not one of the columns written to {self._table.quoted}:"
                f" {', '.join(sorted(self._names))}"
            )
        for name in self._table.key:
            if row.get(name) is None:
                raise RowRefused(f"row {number}: {name!r} is part of the key and has no value: give it one")
        if self._table.columns is None:
            self._check_alike(number, row)
        return {
            name: value if type(value) in _PLAIN else self._plain(number, name, value)
            for name, value in row.items()
        }

    def _check_alike(self, number: int, row: Mapping[str, Any]) -> None:
        """Raise RowRefused if a row has other columns than row 1: those that it lacks would become NULL."""
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
        """Return the value to encode: a text for bytes, NaN and infinities, otherwise the same value."""
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # nan, inf and -inf
        if not isinstance(value, (bytes, bytearray, memoryview)):
            return value
        if name not in self._bytea_names:
            raise RowRefused(f"row {number}: {name!r} is not a bytea column and has bytes: decode them")
        return f"\\x{value.hex()}"


def _first_refused(rows: list[dict[str, Any]], error: Exception) -> RowRefused:
    """Find the row that cannot be encoded; only after an error, as encoding row by row is slower."""
    for number, row in enumerate(rows, 1):
        try:
            _ENCODER.encode(row)
        except _NO_JSON as found:
            return RowRefused(f"row {number} cannot be written: {found}")
    return RowRefused(f"the rows cannot be written: {error}")


def _within_json(value: Any) -> Any:
    """Return a form of a value that JSON has and Postgres reads."""
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


# The encoder's output is ASCII, which every encoding of server and connection can represent. Postgres does
# not accept NaN in JSON.
_ENCODER = json.JSONEncoder(allow_nan=False, default=_within_json)
_NO_JSON = (TypeError, ValueError, OverflowError, RecursionError)


class Batches:
    """Collects pages until a batch is full. It holds less than two batches, or one page.

    Args:
        rows: the most rows in a batch, unless a single page has more.
        size: the most bytes of JSON in a batch, unless a single page has more.
    """

    def __init__(self, rows: int, size: int) -> None:
        self._max_rows = rows
        self._max_bytes = size
        self._pages: list[PageRows] = []
        self._rows = 0
        self._bytes = 0

    def add(self, page: PageRows) -> list[PageRows]:
        """Add a page. If the current batch has no room for it, return that batch; otherwise an empty list."""
        full = self._rows + page.count > self._max_rows or self._bytes + len(page.json) > self._max_bytes
        batch = self.rest() if full else []
        self._pages.append(page)
        self._rows += page.count
        self._bytes += len(page.json)
        return batch

    def rest(self) -> list[PageRows]:
        """Remove and return the current batch."""
        batch, self._pages = self._pages, []
        self._rows = self._bytes = 0
        return batch

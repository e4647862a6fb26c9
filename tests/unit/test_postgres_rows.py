"""Rows as JSON, and pages as batches."""

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncstream.errors import RowRefused
from asyncstream.gathering.postgres.rows import Batches, PageRows, encode_page
from asyncstream.gathering.postgres.statements import Column, Table, build_upsert

COLUMNS = [Column("id", "integer"), Column("v", "jsonb")]
UPSERT = build_upsert(Table(name="t", key=("id",)), COLUMNS)
DECLARED = build_upsert(Table(name="t", key=("id",), columns=("v",)), COLUMNS)


class Opaque:
    def __repr__(self) -> str:
        return "x" * 1000


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("text", "row 2 is 'text'"),
        (None, "row 2 is None"),
        ({"id": 1, "w": 1}, "row 2: 'w' is not one of the columns"),
        ({1: 1}, "row 2: 1 is not one of the columns"),
        ({}, "row 2: 'id' is part of the key"),
        ({"id": None, "v": 1}, "row 2: 'id' is part of the key"),
        ({"id": 1, "v": b"bytes"}, "row 2: 'v' is not a bytea column and has bytes: decode them"),
        ({"id": 1, "v": object}, "has no form"),
        ({"id": 1, "v": {1, 2}}, "has no form"),
        ({"id": 1, "v": {"x": b"bytes"}}, "has no form"),
        ({"id": 1, "v": [math.nan]}, "row 2 cannot be written"),
        ({"id": 1, "v": {(1, 2): 3}}, "row 2 cannot be written"),
        ({"id": 1, "v": deep(100_000)}, "row 2 cannot be written"),
        ({"id": 10**5000}, "row 2 cannot be written"),
        ({"id": datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2)))}, "row 2 cannot be written"),
    ],
)
def test_a_row_that_cannot_be_written_is_refused_by_its_number(row: Any, reason: str) -> None:
    with pytest.raises(RowRefused) as raised:
        encode_page("page", [{"id": 1}, row], DECLARED)
    assert reason in str(raised.value)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        (None, "`rows` returned nothing"),
        ({"id": 1}, "one dict: return a list"),
        ("id", "one str: return a list"),
        ([{"id": 1, "v": 1}, {"id": 2}], "row 2 lacks 'v', which row 1 has"),
        ([{"id": 1}, {"id": 2, "v": None}], "row 2 has 'v', which row 1 lacks"),
    ],
)
def test_rows_must_be_a_list_with_the_columns_of_the_first(rows: Any, reason: str) -> None:
    with pytest.raises(RowRefused, match=re.escape(reason)):
        encode_page("page", rows, UPSERT)


def test_declared_columns_are_written_even_if_rows_lack_them() -> None:
    assert encode_page("page", [{"id": 1, "v": 1}, {"id": 2}], DECLARED).columns == {"id", "v"}
    assert encode_page("page", [{"id": 2}], DECLARED).columns == {"id", "v"}
    assert encode_page("page", [{"id": 2}], UPSERT).columns == {"id"}
    assert encode_page("page", [], DECLARED).columns == set()


def test_a_long_value_is_shown_in_part() -> None:
    with pytest.raises(RowRefused) as raised:
        encode_page("page", [{"id": 1, "v": Opaque()}], UPSERT)
    assert len(str(raised.value)) < 200


def test_the_json_is_ascii_so_its_length_is_its_bytes() -> None:
    """The encodings of client and database do not matter."""
    page = encode_page("page", [{"id": 1, "v": "é\U0001f600"}], UPSERT)
    assert page.json.isascii()
    assert json.loads(page.json) == {"id": 1, "v": "é\U0001f600"}


def test_rows_are_taken_from_any_iterable_and_any_mapping() -> None:
    class Row(Mapping[str, Any]):
        def __getitem__(self, name: str) -> Any:
            return {"id": 1}[name]

        def __iter__(self) -> Any:
            return iter(["id"])

        def __len__(self) -> int:
            return 1

    assert encode_page("page", iter([Row()]), UPSERT) == PageRows("page", 1, '{"id": 1}', frozenset({"id"}))


@given(st.datetimes(timezones=st.none() | st.timezones()))
def test_a_datetime_is_written_as_the_same_moment_in_utc(moment: datetime) -> None:
    try:
        expected = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError:
        return  # outside the years 1 to 9999
    [row] = json.loads(f"[{encode_page('page', [{'id': moment}], UPSERT).json}]")
    assert datetime.fromisoformat(row["id"]) == expected
    assert row["id"].endswith("+00:00")


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 100)), max_size=30),
    st.integers(1, 10),
    st.integers(1, 150),
)
def test_batches_are_full_and_have_every_page_once_in_order(
    sizes: list[tuple[int, int]], max_rows: int, max_bytes: int
) -> None:
    """No batch has room for the page that follows it."""
    pages = [PageRows(str(n), rows, "x" * length) for n, (rows, length) in enumerate(sizes)]
    batches = Batches(max_rows, max_bytes)
    made = [*filter(None, map(batches.add, pages)), batches.rest()]
    assert [page for batch in made for page in batch] == pages
    assert batches.rest() == []

    def fits(batch: list[PageRows]) -> bool:
        rows, length = sum(page.count for page in batch), sum(len(page.json) for page in batch)
        return rows <= max_rows and length <= max_bytes

    assert all(fits(batch) or len(batch) == 1 for batch in made)
    for batch, following in pairwise(made):
        assert following == [] or not fits([*batch, following[0]])

"""The columns of a statement and their quoting. `tests/conformance` tests statements on a real Postgres."""

from typing import Any

import pytest

from asyncstream.errors import ConfigError, TableMismatch, TableNotFound
from asyncstream.gathering.postgres.statements import Column, Table, build_upsert, quoted

FOUND = [
    Column("id", "integer"),
    Column("name", 'text COLLATE pg_catalog."C"'),
    Column("at", "timestamp with time zone", has_default=True),
    Column("number", "bigint", generated=True, has_default=True),
]


@pytest.mark.parametrize(
    ("columns", "allowed", "usual"),
    [
        (None, {"id", "name", "at"}, {"id", "name"}),
        ((), {"id"}, {"id"}),
        (("at",), {"id", "at"}, {"id", "at"}),
        (("name", "id", "at"), {"id", "name", "at"}, {"id", "name", "at"}),
    ],
)
def test_rows_may_have_the_declared_or_all_writable_columns(
    columns: tuple[str, ...] | None, allowed: set[str], usual: set[str]
) -> None:
    """A generated column is not writable."""
    upsert = build_upsert(Table(name="t", key=("id",), columns=columns), FOUND)
    assert upsert.names == allowed
    assert upsert.usual == usual


@pytest.mark.parametrize("names", [{"id"}, {"id", "name"}, {"id", "at", "name"}])
def test_a_statement_names_the_columns_of_its_rows_and_no_other(names: set[str]) -> None:
    statement = build_upsert(Table(name="t", key=("id",)), FOUND).statement(names)
    assert {column.name for column in FOUND if quoted(column.name) in statement} - {"number"} == names


def test_a_key_is_usual_though_it_has_a_default() -> None:
    assert "at" in build_upsert(Table(name="t", key=("at",)), FOUND).usual


@pytest.mark.parametrize(
    ("table", "word"),
    [
        (Table(name="t", key=("no",)), "'no'"),
        (Table(name="t", key=("id",), columns=("no",)), "it has id, name, at, number"),
        (Table(name="t", key=("number",)), "generated"),
        (Table(name="t", key=("id",), columns=("number",)), "generated"),
    ],
)
def test_a_table_without_what_is_to_be_written_is_reported(table: Table, word: str) -> None:
    with pytest.raises(TableMismatch, match=word):
        build_upsert(table, FOUND)


def test_a_schema_in_the_name_of_a_table_is_refused() -> None:
    """The error says how to give schema and name separately."""
    with pytest.raises(TableNotFound, match="schema='shop', name='prices'"):
        build_upsert(Table(name="shop.prices", key=("id",)), [])


def test_a_table_without_columns_is_none() -> None:
    with pytest.raises(TableNotFound, match=r'"s"\."t"'):
        build_upsert(Table(name="t", schema="s", key=("id",)), [])


@pytest.mark.parametrize(
    "values",
    [
        {"key": ()},
        {"key": (1,)},
        {"key": ("id", "id")},
        {"name": 5},
        {"name": "\ud800"},
        {"schema": 5},
        {"key": "id"},
        {"columns": "id"},
        {"name": ""},
        {"name": "a\0b"},
        {"name": "ä" * 32},
        {"key": ("x" * 64,)},
        {"schema": ""},
        {"columns": ("",)},
    ],
)
def test_what_cannot_be_a_table_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Table(**{"name": "t", "key": ("id",)} | values)


def test_no_name_ends_its_quotes() -> None:
    assert quoted('a"b') == '"a""b"'
    assert Table(name='t"', schema="s.", key=("id",)).quoted == '"s."."t"""'

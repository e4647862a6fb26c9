"""Rows written to a real Postgres by every engine: once, in whole pages; refused rows have clear errors."""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from ipaddress import ip_address
from typing import Any
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from asyncstream.engines import EngineName
from asyncstream.errors import RowRefused, TableMismatch
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.statements import Table
from asyncstream.gathering.postgres.writing import PageWritten
from tests.servers.base import until
from tests.servers.postgres import Schema

from .postgres_writing import Writing

TABLE = Table(name="t", key=("id",))

Open = Callable[..., Writing]


@pytest.fixture
def open_writing(engine: EngineName, schema: Schema) -> Iterator[Open]:
    """Open a writer to the test's own schema; it closes with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            contextlib.closing(Writing(engine, DatabaseConfig(**{"dsn": schema.server.dsn()} | settings)))
        )


def counts(outcomes: Mapping[Any, PageWritten]) -> dict[Any, tuple[int, int]]:
    return {page: (outcome.stored, outcome.unchanged) for page, outcome in outcomes.items()}


def test_rows_written_twice_are_stored_once(schema: Schema, open_writing: Open) -> None:
    """The second write does not touch them."""
    schema.create("id int PRIMARY KEY, name text, price numeric(8, 2), tags jsonb")
    pages = {
        page: [{"id": 10 * page + n, "name": f"{page}/{n}", "price": 1.5, "tags": [n]} for n in range(10)]
        for page in range(5)
    }
    writing = open_writing(batch_rows=25)
    upsert = writing.check(TABLE)
    assert counts(writing.write(upsert, pages)) == dict.fromkeys(pages, (10, 0))
    first = schema.execute("SELECT ctid, xmin, * FROM {schema}.t ORDER BY id")
    assert len(first) == 50
    assert counts(writing.write(upsert, pages)) == dict.fromkeys(pages, (0, 10))
    assert schema.execute("SELECT ctid, xmin, * FROM {schema}.t ORDER BY id") == first


def test_what_has_changed_is_told_page_by_page(schema: Schema, open_writing: Open) -> None:
    schema.create("id int PRIMARY KEY, v text")
    writing = open_writing()
    upsert = writing.check(TABLE)
    writing.write(
        upsert, {"a": [{"id": 1, "v": "x"}, {"id": 2, "v": None}], "b": [{"id": 3, "v": "x"}], "none": []}
    )
    outcomes = writing.write(
        upsert,
        {
            "a": [{"id": 1, "v": "y"}, {"id": 2, "v": None}, {"id": 4, "v": None}],
            "none": [],
            "b": [{"id": 3, "v": "x"}],
        },
    )
    assert counts(outcomes) == {"a": (2, 1), "none": (0, 0), "b": (0, 1)}
    assert schema.rows() == [(1, "y"), (2, None), (3, "x"), (4, None)]


@pytest.mark.parametrize(
    ("place", "bad", "reason"),
    [
        (0, {"n": "many"}, "many"),
        (6, {"n": "many"}, "many"),
        (3, {"n": -1}, "positive"),
        (3, {"n": None}, "null value"),
        (3, {"n": 1, "u": 0}, "duplicate key"),
        (3, {"n": 1, "short": "four"}, "too long"),
        (3, {"n": 1, "name": "NUL \0"}, "Unicode"),
        (3, {"n": 2**40}, "out of range"),
        (3, {"n": 1, "name": "raise"}, "no such name"),
        (3, {"n": 1, "name": "mine"}, "MY001"),
        (3, {"n": 1, "name": "assert"}, "P0004"),
        (3, {"n": 1, "name": "hidden"}, "row-level security"),
    ],
)
def test_a_bad_row_fails_its_page_as_a_whole_and_no_other(
    schema: Schema, open_writing: Open, place: int, bad: dict[str, Any], reason: str
) -> None:
    schema.create(
        "id int PRIMARY KEY, n int NOT NULL CONSTRAINT positive CHECK (n > 0), u int UNIQUE,"
        " short varchar(3), name text"
    )
    schema.execute(
        "CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS"
        " $$BEGIN IF NEW.name = 'raise' THEN RAISE 'no such name'; END IF;"
        " IF NEW.name = 'mine' THEN RAISE SQLSTATE 'MY001'; END IF;"
        " ASSERT NEW.name IS DISTINCT FROM 'assert'; RETURN NEW; END$$"
    )
    schema.execute(
        "CREATE TRIGGER refuse BEFORE INSERT ON {schema}.t FOR EACH ROW EXECUTE FUNCTION {schema}.refuse()"
    )
    schema.execute("CREATE POLICY seen ON {schema}.t USING (name IS DISTINCT FROM 'hidden')")
    schema.execute("ALTER TABLE {schema}.t ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    schema.execute("INSERT INTO {schema}.t VALUES (-1, 1, 0)")
    plain = {"n": 1, "u": None, "short": None, "name": None}
    pages = {page: [{"id": 3 * page + n, **plain} for n in range(3)] for page in range(7)}
    pages[place][1] |= bad
    writing = open_writing()
    outcomes = writing.write(writing.check(TABLE), pages)
    assert isinstance(outcomes[place].error, RowRefused)
    assert reason in str(outcomes[place].error)
    error = outcomes[place].error
    assert error is not None
    assert isinstance(error.__cause__, psycopg.Error)
    # The kept errors hold no frames, because frames hold the rows.
    assert error.__traceback__ is error.__cause__.__traceback__ is None
    others = [page for page in pages if page != place]
    assert counts({page: outcomes[page] for page in others}) == dict.fromkeys(others, (3, 0))
    assert [id_ for id_, *_ in schema.rows()] == [-1, *(3 * page + n for page in others for n in range(3))]


def test_a_bad_page_is_found_by_halving_the_batch(schema: Schema, open_writing: Open) -> None:
    """The search needs no more statements than halving does."""
    schema.create("id int PRIMARY KEY")
    pages: dict[int, list[dict[str, Any]]] = {page: [{"id": page}] for page in range(64)}
    pages[37] = [{"id": "x"}]
    writing = open_writing()
    upsert = writing.check(TABLE)
    before = writing.driver.statements
    outcomes = writing.write(upsert, pages)
    assert [page for page, outcome in outcomes.items() if outcome.error] == [37]
    assert writing.driver.statements - before <= 1 + 2 * math.log2(64)
    assert writing.driver.connections == 1  # a refused row does not end the connection


def test_pages_that_are_all_bad_all_fail(schema: Schema, open_writing: Open) -> None:
    schema.create("id int PRIMARY KEY")
    writing = open_writing()
    outcomes = writing.write(writing.check(TABLE), {page: [{"id": "x"}] for page in range(5)})
    assert all(isinstance(outcome.error, RowRefused) for outcome in outcomes.values())
    assert schema.rows() == []


def test_if_rows_of_a_batch_share_a_key_the_last_is_written(schema: Schema, open_writing: Open) -> None:
    """Keys are equal if Postgres says so."""
    schema.create("id numeric, name char(3), v int, PRIMARY KEY (id, name)")
    writing = open_writing()
    upsert = writing.check(Table(name="t", key=("id", "name")))
    pages = {
        "a": [{"id": 1, "name": "x", "v": 1}, {"id": 2, "name": "x", "v": 1}],
        "b": [{"id": "1.0", "name": "x ", "v": 2}, {"id": Decimal("1.00"), "name": "x", "v": 3}],
    }
    outcomes = writing.write(upsert, pages)
    assert counts(outcomes) == {"a": (1, 0), "b": (1, 0)}
    assert [outcome.replaced for outcome in outcomes.values()] == [1, 1]
    again = writing.write(upsert, pages)
    assert counts(again) == {"a": (0, 1), "b": (0, 1)}
    assert [(int(id_), name, v) for id_, name, v in schema.rows()] == [(1, "x  ", 3), (2, "x  ", 1)]


class Colour(Enum):
    RED = "red"


ROUND_TRIPS: dict[str, list[tuple[Any, Any]]] = {
    "text": [("", ""), ("a'b\"c\\d%s$1", "a'b\"c\\d%s$1"), ("日本 \U0001f600", "日本 \U0001f600"), (5, "5")],
    "varchar(5)": [("12345", "12345")],
    "bigint": [(2**62, 2**62), ("7", 7), (True, psycopg.DataError)],
    "numeric": [(Decimal("1.10"), Decimal("1.10")), (10**60 + 1, Decimal(10**60 + 1)), (0.1, Decimal("0.1"))],
    "double precision": [(0.1, 0.1), (math.inf, math.inf), (-math.inf, -math.inf), (1e300, 1e300)],
    "boolean": [(True, True), (False, False), ("yes", True)],
    "date": [(date(2024, 2, 29), date(2024, 2, 29)), ("2024-02-29", date(2024, 2, 29))],
    "time": [(time(1, 2, 3, 4), time(1, 2, 3, 4))],
    "timestamptz": [
        (datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 1, 1, tzinfo=UTC)),
        (datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC)),
    ],
    "timestamp": [
        (datetime(2024, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), datetime(2024, 1, 1)),
        (datetime(2024, 1, 1, 2), datetime(2024, 1, 1, 2)),
    ],
    "interval": [(timedelta(days=-1, microseconds=1), timedelta(days=-1, microseconds=1))],
    "bytea": [(b"\0\xff", b"\0\xff"), (bytearray(b""), b"")],
    "jsonb": [
        (
            {"a": [1, None, {"b": 2**80}], "at": date(2024, 1, 2)},
            {"a": [1, None, {"b": 2**80}], "at": "2024-01-02"},
        ),
        ([], []),
        ("text", "text"),
    ],
    "json": [({"b": 1, "a": 2}, {"b": 1, "a": 2})],
    "int[]": [([1, 2, None], [1, 2, None]), ((1,), [1])],
    "uuid": [(UUID(int=5), UUID(int=5))],
    "inet": [(ip_address("::1"), ip_address("::1"))],
    "point": [("(1,2)", "(1,2)")],
    'text COLLATE "POSIX"': [("é", "é")],
    "colour": [(Colour.RED, "red"), ("red", "red")],
}


def test_values_of_every_type_come_back_as_they_were(schema: Schema, open_writing: Open) -> None:
    """A second write reports them as unchanged, even types without an equality, such as json and point.

    A refused value fails only its own page.
    """
    schema.execute("CREATE TYPE {schema}.colour AS ENUM ('red')")
    kinds = list(ROUND_TRIPS)
    columns = {kind: f"c{number}" for number, kind in enumerate(kinds)}
    schema.create("id int PRIMARY KEY, " + ", ".join(f"{name} {kind}" for kind, name in columns.items()))
    cases = [(kind, value, back) for kind in kinds for value, back in [*ROUND_TRIPS[kind], (None, None)]]
    writing = open_writing()
    upsert = writing.check(TABLE)
    pages = {n: [{"id": n, columns[kind]: value}] for n, (kind, value, _) in enumerate(cases)}
    outcomes = writing.write(upsert, pages)
    refused = {n for n, (_, _, back) in enumerate(cases) if back is psycopg.DataError}
    assert {n for n, outcome in outcomes.items() if outcome.error} == refused
    stored = {row[0]: row[1:] for row in schema.rows()}
    for n, (kind, value, back) in enumerate(cases):
        if n not in refused:
            assert stored[n][kinds.index(kind)] == back, (kind, value)
    again = writing.write(upsert, {n: page for n, page in pages.items() if n not in refused})
    assert set(counts(again).values()) == {(0, 1)}


def test_only_byte_columns_take_bytes(schema: Schema, open_writing: Open) -> None:
    """The base type of a domain decides, not its name."""
    schema.execute("CREATE DOMAIN {schema}.blob AS bytea")
    schema.execute("CREATE DOMAIN {schema}.words AS text")
    schema.create("id int PRIMARY KEY, b blob, w words, n name")
    writing = open_writing()
    upsert = writing.check(TABLE)
    assert writing.write(upsert, {"a": [{"id": 1, "b": b"x"}]})["a"].stored == 1
    for name in ("w", "n"):
        with pytest.raises(RowRefused, match="is not a bytea column"):
            writing.write(upsert, {"a": [{"id": 1, name: b"x"}]})
    assert schema.rows() == [(1, b"x", None, None)]


def test_not_a_number_is_stored_as_such(schema: Schema, open_writing: Open) -> None:
    schema.create("id int PRIMARY KEY, f float8, n numeric")
    writing = open_writing()
    upsert = writing.check(TABLE)
    page = {"a": [{"id": 1, "f": math.nan, "n": Decimal("NaN")}]}
    assert counts(writing.write(upsert, page)) == {"a": (1, 0)}
    [(_, as_float, as_numeric)] = schema.rows()
    assert math.isnan(as_float)
    assert as_numeric.is_nan()
    assert counts(writing.write(upsert, page)) == {"a": (0, 1)}


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)
@given(st.lists(st.tuples(texts, st.none() | st.integers(), documents, st.binary()), max_size=5))
def test_written_values_are_read_back_unchanged(
    schema: Schema, open_writing: Open, values: list[tuple[Any, ...]]
) -> None:
    schema.execute("DROP TABLE IF EXISTS {schema}.t")
    schema.create("id int PRIMARY KEY, s text, n numeric, doc jsonb, b bytea")
    writing = open_writing()
    rows = [{"id": n, "s": s, "n": i, "doc": doc, "b": b} for n, (s, i, doc, b) in enumerate(values)]
    outcomes = writing.write(writing.check(TABLE), {"page": rows})
    assert outcomes["page"].error is None
    assert schema.rows() == [(n, *row) for n, row in enumerate(values)]
    writing.close()


HOSTILE = "Ro\"bert'); DROP TABLE {x} %s %(a)s $1 -- \\"


def test_names_and_values_are_never_taken_for_sql(schema: Schema, open_writing: Open) -> None:
    names = [f"{HOSTILE}{n}" for n in range(3)]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    schema.create(
        f'{quoted[0]} text, {quoted[1]} text, "number" int, PRIMARY KEY ({quoted[0]})', name=HOSTILE
    )
    writing = open_writing()
    upsert = writing.check(Table(name=HOSTILE, schema=schema.name, key=(names[0],)))
    page = {"a": [{names[0]: HOSTILE, names[1]: "'; DROP", "number": 1}]}
    assert counts(writing.write(upsert, page)) == {"a": (1, 0)}
    assert counts(writing.write(upsert, page)) == {"a": (0, 1)}
    assert schema.rows(HOSTILE) == [(HOSTILE, "'; DROP", 1)]


@pytest.mark.parametrize("name", ["input", "latest", "stored", "kept", "excluded", "select"])
def test_tables_may_use_the_names_that_the_statement_uses(
    schema: Schema, open_writing: Open, name: str
) -> None:
    """Their columns may use them, too."""
    schema.create(
        '"input" int PRIMARY KEY, "stored" int, "kept" int, "excluded" int, "number" int', name=name
    )
    writing = open_writing()
    upsert = writing.check(Table(name=name, key=("input",)))
    page = {"a": [{"input": 1, "stored": 2, "kept": 3, "excluded": 4, "number": 5}]}
    assert counts(writing.write(upsert, page)) == {"a": (1, 0)}
    assert counts(writing.write(upsert, page)) == {"a": (0, 1)}
    assert schema.rows(name) == [(1, 2, 3, 4, 5)]


def test_columns_that_postgres_fills_are_left_to_it(schema: Schema, open_writing: Open) -> None:
    """A row may replace a default, but not a generated value."""
    schema.create(
        "url text PRIMARY KEY, v int, number int GENERATED ALWAYS AS IDENTITY,"
        " twice int GENERATED ALWAYS AS (v * 2) STORED, source text DEFAULT 'web',"
        " at timestamptz DEFAULT now()"
    )
    writing = open_writing()
    upsert = writing.check(Table(name="t", key=("url",)))
    writing.write(upsert, {"a": [{"url": "x", "v": 2}]})
    [(*_, source, at)] = schema.rows()
    assert source == "web"
    assert counts(writing.write(upsert, {"a": [{"url": "x", "source": "mail"}]})) == {"a": (1, 0)}
    assert schema.rows() == [("x", 2, 1, 4, "mail", at)]
    for column in ("number", "twice"):
        with pytest.raises(TableMismatch, match=column):
            writing.check(Table(name="t", key=("url",), columns=(column,)))


def test_columns_that_no_row_of_a_page_has_are_left_as_they_are(schema: Schema, open_writing: Open) -> None:
    schema.create("id int PRIMARY KEY, price int, note text")
    writing = open_writing()
    upsert = writing.check(TABLE)
    schema.execute("INSERT INTO {schema}.t VALUES (1, 1, 'by hand'), (2, 1, 'by hand')")
    pages: dict[str, list[dict[str, Any]]] = {
        "a": [{"id": 1, "price": 2}],
        "b": [{"id": 2, "note": "new"}],
        "c": [{"id": 3}],
    }
    assert counts(writing.write(upsert, pages)) == dict.fromkeys(pages, (1, 0))
    assert schema.rows() == [(1, 2, "by hand"), (2, 1, "new"), (3, None, None)]


def test_declared_columns_that_a_row_lacks_are_null(schema: Schema, open_writing: Open) -> None:
    schema.create("id int PRIMARY KEY, price int, discount int, note text")
    writing = open_writing()
    upsert = writing.check(Table(name="t", key=("id",), columns=("price", "discount")))
    schema.execute("INSERT INTO {schema}.t VALUES (1, 1, 1, 'by hand')")
    assert counts(writing.write(upsert, {"a": [{"id": 1, "price": 2}]})) == {"a": (1, 0)}
    assert schema.rows() == [(1, 2, None, "by hand")]


def test_a_table_of_nothing_but_its_key_can_be_written(schema: Schema, open_writing: Open) -> None:
    schema.create("a int, b int, PRIMARY KEY (b, a)")
    writing = open_writing()
    upsert = writing.check(Table(name="t", key=("a", "b")))
    assert counts(writing.write(upsert, {"p": [{"a": 1, "b": 2}]})) == {"p": (1, 0)}
    assert counts(writing.write(upsert, {"p": [{"a": 1, "b": 2}, {"a": 2, "b": 1}]})) == {"p": (1, 1)}


def test_a_latin1_database_is_written_by_its_own_column_names(schema: Schema, open_writing: Open) -> None:
    """A page with text outside the encoding fails alone."""
    name = schema.name.replace(" ", "_")
    schema.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    dsn = schema.server.dsn(dbname=name, user="postgres")
    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as session:
        session.execute('CREATE TABLE t ("größe" text PRIMARY KEY)')
        writing = open_writing(dsn=dsn)
        upsert = writing.check(Table(name="t", key=("größe",)))
        outcomes = writing.write(upsert, {"a": [{"größe": "übel"}], "b": [{"größe": "日本"}]})
        assert isinstance(outcomes["b"].error, RowRefused)
        assert session.execute("SELECT * FROM t").fetchall() == [("übel",)]
        writing.close()
    schema.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_many_batches_go_over_one_connection(schema: Schema, open_writing: Open) -> None:
    schema.create("id int PRIMARY KEY")
    writing = open_writing(batch_rows=10)
    upsert = writing.check(TABLE)
    writing.write(upsert, {page: [{"id": 10 * page + n} for n in range(10)] for page in range(30)})
    # Connections of other tests may end a little after they were closed.
    until(lambda: len(schema.backends()) == 1)
    assert writing.driver.connections == 1
    assert len(schema.rows()) == 300
    writing.close()
    until(lambda: not schema.backends())

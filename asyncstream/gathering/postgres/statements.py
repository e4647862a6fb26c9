"""The two statements: which columns a table has, and rows into it. Pure.

Names are quoted and values bound. A batch is one parameter, a JSON array, cast by the columns' own types,
and one statement: neither a prepared one nor SET, so that RDS Proxy need not pin the connection to its
client (which a statement of more than 16 KB makes it do, too: the batch is none of its text, names of some
hundred columns are).

Why not COPY into a temporary table and INSERT from there: that table is session state, and takes five round
trips a batch instead of one. Of 10,000 rows in batches of 1,000 over loopback, where round trips are free,
it took 0.5 to 0.9 of the time of this, Python's JSON included; pipelined `executemany` took 2 to 3.5 times
as long, and row by row 5 to 8 times.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any

from msgspec import Meta, Struct

from asyncstream.errors import ConfigError, TableMismatch, TableNotFound

# Longer names Postgres cuts off, with no more than a notice.
_LONGEST_NAME = 63

# One row a column: its name; its type and collation, as a definition spells them; whether Postgres alone
# fills it in, and whether it does where nothing is given; whether it is of bytes. $1: the table's quoted
# name.
COLUMNS_OF = """\
SELECT a.attname,
       format_type(a.atttypid, a.atttypmod)
           || CASE WHEN a.attcollation <> t.typcollation
              THEN format(' COLLATE %I.%I', n.nspname, c.collname) ELSE '' END,
       a.attgenerated <> '' OR a.attidentity = 'a',
       a.atthasdef OR a.attidentity <> '',
       coalesce(nullif(t.typbasetype, 0), t.oid) = 'pg_catalog.bytea'::regtype
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation c ON c.oid = a.attcollation
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace
WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum"""


class Table(Struct, frozen=True, kw_only=True):
    """A table to write rows to.

    Attributes:
        name: as Postgres knows it: neither quoted nor folded to lower case.
        key: columns by which a row is known again; the table needs a primary key or unique index over just
            them. Every row has a value for each.
        schema: where the table is; None: the first of the user's `search_path` that has one.
        columns: those that every row writes; the key's are always among them. What a row lacks of them is
            NULL. None: those that a page's rows have, which then are the same for all rows of a page. Other
            columns are left as they are, or get their default: one that is NOT NULL needs one, also where a
            row is there already.

    Raises:
        ConfigError: there is no key, or a name that Postgres cannot have.
    """

    name: Annotated[str, Meta(min_length=1)]
    key: Annotated[tuple[str, ...], Meta(min_length=1)]
    schema: str | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for field in ("key", "columns"):
            # Else its letters would be taken for columns.
            if isinstance(given := getattr(self, field), str):
                raise ConfigError(f"{field}={given!r} is one string: write {field}=({given!r},)")
        if not self.key:
            raise ConfigError(
                f"the table {self.name!r} needs a key: the columns by which a row is known again"
            )
        schema = () if self.schema is None else (self.schema,)
        for name in (self.name, *schema, *self.key, *(self.columns or ())):
            if not _is_name(name):
                raise ConfigError(
                    f"{name!r} is no name of Postgres's: a text of 1 to {_LONGEST_NAME} bytes, none of them 0"
                )
        if len(set(self.key)) < len(self.key):
            raise ConfigError(f"key={self.key!r} names a column twice")

    @property
    def quoted(self) -> str:
        """Its name in a statement."""
        return quoted(*filter(None, (self.schema, self.name)))


class Column(Struct, frozen=True):
    """A column as `COLUMNS_OF` tells of it. `definition` is SQL, and Postgres's own."""

    name: str
    definition: str
    generated: bool = False
    has_default: bool = False
    is_bytes: bool = False


class Upsert(Struct, frozen=True):
    """How rows are written to one table.

    Attributes:
        table: which.
        columns: those that a row may have.
    """

    table: Table
    columns: Sequence[Column]

    @property
    def names(self) -> frozenset[str]:
        """Those that a row may have."""
        return frozenset(column.name for column in self.columns)

    @property
    def of_bytes(self) -> frozenset[str]:
        """Of those, what takes bytes: in all others they would be hexadecimal digits."""
        return frozenset(column.name for column in self.columns if column.is_bytes)

    @property
    def usual(self) -> frozenset[str]:
        """Those that rows have, as far as is known: declared, or not filled in by a default."""
        if self.table.columns is not None:
            return self.names
        key = self.table.key
        return frozenset(each.name for each in self.columns if each.name in key or not each.has_default)

    def statement(self, names: Collection[str]) -> str:
        """The one that writes rows of these columns; the key's are among them."""
        return _statement(self.table, [column for column in self.columns if column.name in names])


def _is_name(name: Any) -> bool:
    try:
        return isinstance(name, str) and "\0" not in name and 0 < len(name.encode()) <= _LONGEST_NAME
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def quoted(*names: str) -> str:
    """Return names as SQL takes any name, with dots between them."""
    from psycopg.sql import Identifier  # noqa: PLC0415 - of an extra, and loaded with the driver by now

    return Identifier(*names).as_string()


def upsert_of(table: Table, found: Sequence[Column]) -> Upsert:
    """How to write rows to a table of which these columns were found.

    Raises:
        TableNotFound: none were.
        TableMismatch: it has not the columns wanted, or fills one in by itself.
    """
    if not found:
        raise TableNotFound(f"there is no table {table.quoted}: {_instead(table)}", "42P01")
    wanted = {*table.key, *(table.columns or ())}
    if missing := sorted(wanted - {column.name for column in found}):
        has = ", ".join(column.name for column in found)
        raise TableMismatch(f"the table {table.quoted} has no column {missing[0]!r}; it has {has}", "42703")
    if generated := [column.name for column in found if column.generated and column.name in wanted]:
        raise TableMismatch(f"the column {generated[0]!r} of {table.quoted} is generated: no row has it")
    if table.columns is None:
        return Upsert(table, [column for column in found if not column.generated])
    return Upsert(table, [column for column in found if column.name in wanted])


def _instead(table: Table) -> str:
    schema, dot, name = table.name.partition(".")
    if dot and table.schema is None:
        return f"a table of a schema is written schema={schema!r}, name={name!r}"
    return "create it, or give its schema"


def _statement(table: Table, columns: Sequence[Column]) -> str:
    """Rows in; out, as two JSON arrays, the numbers (from 1) of those stored, and of those replaced.

    - Of rows with one key, the last is written and replaces the others: ON CONFLICT refuses to touch a row
      twice. Equal is what the column calls equal (1 and "1", citext), so Postgres does it. It sorts by key
      for that, so sessions that write the same rows lock them in the same order.
    - A row that is there already is left alone if it would not change: by image (`*<>`), as not every type
      has an equality, and as 1.0 and 1.00, or "A" and "a" of citext, are changes that a reader sees.
    """
    names = _list(column.name for column in columns)
    key = _list(table.key)
    number = quoted(_free_name({column.name for column in columns}))
    values = [column.name for column in columns if column.name not in table.key]
    definitions = ", ".join(f"{quoted(column.name)} {column.definition}" for column in columns)
    # Every name in it is quoted, and the definitions are Postgres's own.
    return f"""\
WITH input AS (
    SELECT * FROM ROWS FROM (json_to_recordset($1::json) AS ({definitions}))
    WITH ORDINALITY AS input ({names}, {number})
), latest AS (
    SELECT DISTINCT ON ({key}) * FROM input ORDER BY {key}, {number} DESC
), stored AS (
    INSERT INTO {table.quoted} AS kept ({names}) SELECT {names} FROM latest
    ON CONFLICT ({key}) DO {_update(values)}
    RETURNING {_list(table.key, of="kept")}
)
SELECT
    (SELECT coalesce(json_agg({number} ORDER BY {number}), '[]') FROM latest JOIN stored USING ({key})),
    (SELECT coalesce(json_agg({number} ORDER BY {number}), '[]') FROM input
     WHERE {number} NOT IN (SELECT {number} FROM latest))"""  # noqa: S608


def _update(values: Sequence[str]) -> str:
    if not values:
        return "NOTHING"
    changes = ", ".join(f"{quoted(name)} = excluded.{quoted(name)}" for name in values)
    kept, excluded = _list(values, of="kept"), _list(values, of="excluded")
    return f"UPDATE SET {changes}\n    WHERE ROW({kept})::record *<> ROW({excluded})::record"


def _list(names: Iterable[str], of: str = "") -> str:
    return ", ".join(f"{of}.{quoted(name)}" if of else quoted(name) for name in names)


def _free_name(taken: set[str]) -> str:
    name = "number"
    while name in taken:
        name += "_"
    return name

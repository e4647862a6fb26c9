"""`RowsTable`: the temporary table into which a comparison gathers rows."""

import secrets
from contextlib import ExitStack
from typing import Any, LiteralString

import psycopg
from psycopg.sql import SQL, Identifier

from asyncstream.engines.closing import Closing
from asyncstream.errors import AsyncstreamError
from asyncstream.gathering.postgres import failures
from asyncstream.lab.compare.verification import Row

KEY = "id"
_SECONDS = 10


class RowsTable(Closing):
    """A table with a unique name and its own connection; a context manager.

    Args:
        dsn: names a database in which the user may create tables.

    Attributes:
        name: the name of the table.

    Raises:
        AsyncstreamError: raised by all methods, for any error of psycopg, without passwords.
    """

    def __init__(self, dsn: str) -> None:
        self.name = f"asyncstream_compare_{secrets.token_hex(6)}"
        self._undo = ExitStack()
        try:
            self._connection = psycopg.connect(dsn, autocommit=True, connect_timeout=_SECONDS)
        except psycopg.Error as error:
            raise failures.connection_error(error) from error
        try:
            self._undo.callback(self._connection.close)
            self._execute("CREATE TABLE {} (id bigint PRIMARY KEY, page int, name text, price numeric)")
            self._undo.callback(self._drop)
        except BaseException:
            self._undo.close()
            raise

    def close(self) -> None:
        """Drop the table and close the connection."""
        self._undo.close()

    def empty(self) -> None:
        """Delete all rows."""
        self._execute("TRUNCATE {}")

    def rows(self) -> dict[int, Row]:
        """Return all rows by key."""
        found = self._execute("SELECT id, page, name, price FROM {}").fetchall()
        return {key: tuple(others) for key, *others in found}

    def _drop(self) -> None:
        try:
            self._execute("DROP TABLE {}")
        except AsyncstreamError as error:
            raise AsyncstreamError(f"the table {self.name} was not dropped, so drop it: {error}") from error

    def _execute(self, statement: LiteralString) -> psycopg.Cursor[Any]:
        try:
            return self._connection.execute(SQL(statement).format(Identifier(self.name)))
        except psycopg.Error as error:
            raise failures.statement_error(error) from error

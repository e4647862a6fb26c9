"""A real Postgres for the tests, filled and checked with plain psycopg."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from asyncstream.lab.postgres import PostgresServer

from .base import GUARD_SECONDS

PASSWORD = "PasswordThatNobodyMaySee0123"
# The application name of the code under test; the tests' own connections have other names.
APPLICATION = "under-test"


class TestServer:
    """A server with a role `app` that owns nothing and may write only where it is granted."""

    __test__ = False

    def __init__(self) -> None:
        self.server = PostgresServer(PASSWORD)
        self._schemas = itertools.count(1)
        self._kept: psycopg.Connection[tuple[Any, ...]] | None = None
        self.execute(sql.SQL("CREATE ROLE app LOGIN PASSWORD {}").format(PASSWORD))

    def dsn(self, port: int | None = None, **options: str) -> str:
        """Return a DSN for the code under test. It disables TLS, so that a proxy can read the traffic."""
        given = {
            "host": "127.0.0.1",
            "port": str(port or self.server.port),
            "user": "app",
            "password": PASSWORD,
            "dbname": "postgres",
            "application_name": APPLICATION,
            "sslmode": "disable",
        } | options
        return psycopg.conninfo.make_conninfo("", **given)

    @contextlib.contextmanager
    def session(self, *, autocommit: bool = True) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Open a session as the superuser."""
        dsn = self.dsn(user="postgres", application_name="test")
        with contextlib.closing(psycopg.connect(dsn, autocommit=autocommit)) as connection:
            yield connection

    def execute(self, statement: sql.SQL | sql.Composed, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute a statement in a kept superuser session: most statements are quicker than a log-in."""
        if self._kept is None:
            self._kept = psycopg.connect(self.dsn(user="postgres", application_name="test"), autocommit=True)
        # Without parameters, a % is not a placeholder.
        cursor = self._kept.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def crash(self) -> None:
        """Kill the server in the middle of its work."""
        self._log_out()
        self.server.crash()

    def close(self) -> None:
        self._log_out()
        self.server.close()

    def _log_out(self) -> None:
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    def new_schema(self) -> "Schema":
        return Schema(self, f"tests {next(self._schemas)}")


class Schema:
    """A schema for one test, in which `app` may do everything."""

    def __init__(self, server: TestServer, name: str) -> None:
        self.server = server
        self.name = name
        self.execute("CREATE SCHEMA {schema} AUTHORIZATION app")
        self.execute("ALTER ROLE app SET search_path = {schema}")

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Execute a statement as the superuser; `{schema}` stands for the schema's name."""
        return self.server.execute(sql.SQL(statement).format(schema=sql.Identifier(self.name)), *parameters)

    def create(self, columns: str, name: str = "t") -> None:
        """Create a table; `columns` is SQL."""
        table = sql.Identifier(self.name, name)
        self.execute("SET search_path = {schema}")
        self.server.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(columns)))
        self.server.execute(sql.SQL("ALTER TABLE {} OWNER TO app").format(table))

    def rows(self, name: str = "t") -> list[tuple[Any, ...]]:
        """Return all rows of a table, sorted by the first column."""
        table = sql.Identifier(self.name, name)
        return self.server.execute(sql.SQL("SELECT * FROM {} ORDER BY 1").format(table))

    def close(self) -> None:
        self.execute("DROP SCHEMA {schema} CASCADE")

    def backends(self) -> list[int]:
        """Return the process ids of the connections of the code under test."""
        found = self.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", APPLICATION)
        return [pid for (pid,) in found]

    def open_now(self, session: psycopg.Connection[tuple[Any, ...]]) -> int:
        """Return how many connections the code under test has, asked in a session that is already open."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        [(count,)] = session.execute(asked, (APPLICATION,)).fetchall()
        return int(count)

    def waiting(self) -> list[int]:
        """Return the process ids of those connections that wait for a lock."""
        found = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
            APPLICATION,
        )
        return [pid for (pid,) in found]

    @contextlib.contextmanager
    def locked(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """Lock the table `t` against writing until the block or the transaction ends."""
        with self.server.session(autocommit=False) as session:
            session.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(self.name, "t")))
            yield session

    def terminate(self, pids: list[int]) -> None:
        for pid in pids:
            self.execute("SELECT pg_terminate_backend(%s)", pid)


@contextlib.contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """Run `work` on another thread during the block; raise its error at the end of the block."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join(GUARD_SECONDS)
    assert not thread.is_alive()
    if failures:
        raise failures[0]

"""A real Postgres for the tests, arranged and verified with plain psycopg."""

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from asyncstream.lab.postgres import PostgresServer
from servers.base import GUARD_SECONDS

PASSWORD = "PasswordThatNobodyMaySee0123"
# What the code under test connects as; the tests' own connections have other names.
APPLICATION = "under-test"


class TestServer:
    """A server, and a role `app` that owns nothing but may write to what it is granted."""

    __test__ = False

    def __init__(self) -> None:
        self.server = PostgresServer(PASSWORD)
        self._schemas = itertools.count(1)
        self._kept: psycopg.Connection[tuple[Any, ...]] | None = None
        self.execute(sql.SQL("CREATE ROLE app LOGIN PASSWORD {}").format(PASSWORD))

    def dsn(self, port: int | None = None, **options: str) -> str:
        """For the code under test. Without TLS, so that a proxy sees what passes."""
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
        """A session of the superuser's."""
        dsn = self.dsn(user="postgres", application_name="test")
        with contextlib.closing(psycopg.connect(dsn, autocommit=autocommit)) as connection:
            yield connection

    def execute(self, statement: sql.Composable, *parameters: Any) -> list[tuple[Any, ...]]:
        """By a session of the superuser's that is kept, as to log in takes longer than most statements."""
        if self._kept is None:
            self._kept = psycopg.connect(self.dsn(user="postgres", application_name="test"), autocommit=True)
        # Without parameters, a % is no placeholder.
        cursor = self._kept.execute(statement, parameters or None)
        return cursor.fetchall() if cursor.description else []

    def crash(self) -> None:
        """End the server in the middle of whatever it does."""
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
    """A schema of one test's own, in which `app` may do everything."""

    def __init__(self, server: TestServer, name: str) -> None:
        self.server = server
        self.name = name
        self.execute("CREATE SCHEMA {schema} AUTHORIZATION app")
        self.execute("ALTER ROLE app SET search_path = {schema}")

    def execute(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """As the superuser; `{schema}` stands for its name."""
        return self.server.execute(sql.SQL(statement).format(schema=sql.Identifier(self.name)), *parameters)

    def create(self, columns: str, name: str = "t") -> None:
        """A table; its columns as SQL."""
        table = sql.Identifier(self.name, name)
        self.execute("SET search_path = {schema}")
        self.server.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(columns)))
        self.server.execute(sql.SQL("ALTER TABLE {} OWNER TO app").format(table))

    def rows(self, name: str = "t") -> list[tuple[Any, ...]]:
        """All of a table, sorted by its first column."""
        table = sql.Identifier(self.name, name)
        return self.server.execute(sql.SQL("SELECT * FROM {} ORDER BY 1").format(table))

    def close(self) -> None:
        self.execute("DROP SCHEMA {schema} CASCADE")

    def backends(self) -> list[int]:
        """Of the code under test."""
        found = self.execute("SELECT pid FROM pg_stat_activity WHERE application_name = %s", APPLICATION)
        return [pid for (pid,) in found]

    def open_now(self, session: psycopg.Connection[tuple[Any, ...]]) -> int:
        """How many connections the code under test has, asked in a session that is open already."""
        asked = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
        [(count,)] = session.execute(asked, (APPLICATION,)).fetchall()
        return int(count)

    def waiting(self) -> list[int]:
        """Those of them that wait for a lock."""
        found = self.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'",
            APPLICATION,
        )
        return [pid for (pid,) in found]

    @contextlib.contextmanager
    def locked(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        """The table `t`, kept from being written until the block is left or the transaction ended."""
        with self.server.session(autocommit=False) as session:
            session.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(self.name, "t")))
            yield session

    def terminate(self, pids: list[int]) -> None:
        for pid in pids:
            self.execute("SELECT pg_terminate_backend(%s)", pid)


@contextlib.contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """`work` on another thread while the block runs; what it raises is raised at its end."""
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

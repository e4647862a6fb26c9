"""A real Postgres for the tests, arranged and verified with plain psycopg."""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
from psycopg import sql

from asyncstream.lab.postgres import PostgresServer

PASSWORD = "PasswordThatNobodyMaySee0123"
# What the code under test connects as; the tests' own connections have other names.
APPLICATION = "under-test"
WAIT_SECONDS = 10.0


class TestServer:
    """A server, and a role `app` that owns nothing but may write to what it is granted."""

    __test__ = False

    def __init__(self) -> None:
        self.server = PostgresServer(PASSWORD)
        self._schemas = itertools.count(1)
        with self.session() as session:
            session.execute(sql.SQL("CREATE ROLE app LOGIN PASSWORD {}").format(PASSWORD))

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

    def close(self) -> None:
        self.server.close()

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
        with self.server.session() as session:
            cursor = session.execute(sql.SQL(statement).format(schema=sql.Identifier(self.name)), parameters)
            return cursor.fetchall() if cursor.description else []

    def create(self, columns: str, name: str = "t") -> None:
        """A table; its columns as SQL."""
        with self.server.session() as session:
            table = sql.Identifier(self.name, name)
            session.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(self.name)))
            session.execute(sql.SQL("CREATE TABLE {} ({})").format(table, sql.SQL(columns)))
            session.execute(sql.SQL("ALTER TABLE {} OWNER TO app").format(table))

    def rows(self, name: str = "t") -> list[tuple[Any, ...]]:
        """All of a table, sorted by its first column."""
        with self.server.session() as session:
            table = sql.Identifier(self.name, name)
            return session.execute(sql.SQL("SELECT * FROM {} ORDER BY 1").format(table)).fetchall()

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
        thread.join(3 * WAIT_SECONDS)
    assert not thread.is_alive()
    if failures:
        raise failures[0]


def until(condition: Callable[[], Any]) -> Any:
    """What the condition says as soon as it says something."""
    end = time.monotonic() + WAIT_SECONDS
    while not (told := condition()):
        assert time.monotonic() < end, "not so in time"
        time.sleep(0.005)
    return told

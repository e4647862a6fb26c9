"""Failures between the client and Postgres, with every engine: whole pages, no doubled rows, clear errors."""

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
import trustme

from asyncstream.deadline import Deadline
from asyncstream.engines import EngineName
from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    DatabaseError,
    DeadlineExceeded,
    RowRefused,
    ServerNotTrusted,
    ServiceBusy,
    TableMismatch,
    TableNotFound,
    TransactionConflict,
)
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.statements import Table
from asyncstream.gathering.postgres.writing import PageWritten
from asyncstream.retry import RetryPolicy
from tests.servers.base import until
from tests.servers.postgres import PASSWORD, Schema, meanwhile
from tests.servers.postgres_proxy import Proxy

from .postgres_writing import Writing

Pages = Mapping[Any, list[dict[str, int]]]

TABLE = Table(name="t", key=("id",))
# Retries for longer than any server needs to restart.
PATIENT = RetryPolicy(max_attempts=1000, base_delay=0.02, max_delay=0.02)

Open = Callable[..., Writing]


@pytest.fixture
def open_writing(engine: EngineName, schema: Schema) -> Iterator[Open]:
    """Open a writer to the test's own schema; it closes with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            contextlib.closing(Writing(engine, DatabaseConfig(**{"dsn": schema.server.dsn()} | settings)))
        )


@pytest.fixture
def pages(schema: Schema) -> dict[str, list[dict[str, int]]]:
    """Create the table `t` and return three pages for it."""
    schema.create("id int PRIMARY KEY, v int")
    return {page: [{"id": 10 * n + row, "v": n} for row in range(3)] for n, page in enumerate("abc")}


def rows_of(pages: Pages) -> list[tuple[int, int]]:
    return sorted((row["id"], row["v"]) for rows in pages.values() for row in rows)


def counts(outcomes: Mapping[Any, PageWritten]) -> dict[Any, tuple[int, int]]:
    return {page: (outcome.stored, outcome.unchanged) for page, outcome in outcomes.items()}


def test_a_postgres_crash_mid_batch_loses_and_doubles_nothing(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    """Postgres is down for a while and comes back."""
    writing = open_writing(batch_rows=3)
    writing.policy = PATIENT
    upsert = writing.check(TABLE)
    writing.write(upsert, {"a": pages["a"]})

    with schema.locked():

        def crash() -> None:
            until(schema.waiting)
            schema.server.crash()
            until(lambda: len(writing.told) > 1)  # while it is down, it refuses connections
            schema.server.server.start()

        with meanwhile(crash):
            outcomes = writing.write(upsert, pages)
    assert type(writing.told[0]) is ConnectionClosed
    assert counts(outcomes) == {"a": (0, 3), "b": (3, 0), "c": (3, 0)}
    assert schema.rows() == rows_of(pages)


def test_another_session_writes_the_batch_of_a_terminated_one(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    """The session is terminated in the middle of the batch."""
    writing = open_writing()
    upsert = writing.check(TABLE)
    with schema.locked() as lock:

        def terminate() -> None:
            schema.terminate(until(schema.waiting))
            until(lambda: writing.told)
            lock.rollback()

        with meanwhile(terminate):
            outcomes = writing.write(upsert, pages)
    assert counts(outcomes) == dict.fromkeys(pages, (3, 0))
    assert schema.rows() == rows_of(pages)
    assert [type(error) for error in writing.told] == [ConnectionClosed]
    until(lambda: len(schema.backends()) == 1)


def test_a_batch_whose_reply_is_lost_is_written_once(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    """The retry reports its rows as unchanged."""
    with Proxy(schema.server.server.port) as proxy:
        writing = open_writing(dsn=schema.server.dsn(proxy.port))
        upsert = writing.check(TABLE)
        proxy.cut_reply_to(b'"id": 10')
        outcomes = writing.write(upsert, pages)
        assert proxy.cuts == 1
        writing.close()
    assert counts(outcomes) == dict.fromkeys(pages, (0, 3))
    assert schema.rows() == rows_of(pages)


def test_an_idle_connection_that_died_is_reopened(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    """A single allowed attempt is enough, as after a Lambda environment was frozen."""
    writing = open_writing()
    writing.policy = RetryPolicy(max_attempts=1)
    upsert = writing.check(TABLE)
    schema.terminate(schema.backends())
    until(lambda: not schema.backends())
    assert counts(writing.write(upsert, pages)) == dict.fromkeys(pages, (3, 0))


def test_a_deadlock_ends_with_both_sessions_rows(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    schema.execute("INSERT INTO {schema}.t VALUES (0, -1), (22, -1), (99, -1)")
    writing = open_writing()
    upsert = writing.check(TABLE)
    with schema.server.session(autocommit=False) as other:
        # Postgres ends a deadlock by failing the session that has waited this long.
        other.execute("SET LOCAL deadlock_timeout = '60s'")
        other.execute(f'UPDATE "{schema.name}".t SET v = -2 WHERE id IN (22, 99)')

        def meet() -> None:
            until(schema.waiting)
            other.execute(f'UPDATE "{schema.name}".t SET v = -2 WHERE id = 0')
            other.commit()

        with meanwhile(meet):
            outcomes = writing.write(upsert, pages)
    assert [type(error) for error in writing.told] == [TransactionConflict]
    assert counts(outcomes) == dict.fromkeys(pages, (3, 0))
    assert schema.rows() == [*rows_of(pages), (99, -2)]


def test_a_batch_that_takes_too_long_is_cancelled_in_postgres(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    writing = open_writing(statement_timeout=0.2)
    writing.policy = PATIENT
    upsert = writing.check(TABLE)
    with schema.locked() as lock:

        def release() -> None:
            until(lambda: len(writing.told) > 2)
            until(lambda: len(schema.waiting()) <= 1)  # one backend at most, not one per attempt
            lock.rollback()

        with meanwhile(release):
            outcomes = writing.write(upsert, pages)
    assert isinstance(writing.told[0], ConnectionFailed)
    assert "0.2 s" in str(writing.told[0])
    # On a busy machine the reply may come too late: the retry then finds the rows unchanged.
    assert {stored + unchanged for stored, unchanged in counts(outcomes).values()} == {3}
    assert schema.rows() == rows_of(pages)


def test_the_deadline_ends_a_batch_and_nothing_is_half_written(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    writing = open_writing(batch_rows=3)
    upsert = writing.check(TABLE)
    writing.write(upsert, {"a": pages["a"]})
    with schema.locked():
        outcomes = writing.write(upsert, pages, Deadline(0.3, time.monotonic))
        assert all(isinstance(outcome.error, DeadlineExceeded) for outcome in outcomes.values())
        until(lambda: not schema.waiting())
    assert schema.rows() == rows_of({"a": pages["a"]})


def test_no_connection_is_opened_that_may_outlast_the_deadline(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    writing = open_writing()
    with pytest.raises(DeadlineExceeded):
        writing.check(TABLE, Deadline(1.0, lambda: 0.0))
    assert writing.driver.connections == 0


def test_several_hosts_that_may_outlast_the_deadline_are_refused(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    """The writer opens no connection to any of them."""
    writing = open_writing(host="127.0.0.1,127.0.0.1")
    with pytest.raises(DeadlineExceeded, match="less than 4 s"):
        writing.check(TABLE, Deadline(3.0, lambda: 0.0))
    assert writing.driver.connections == 0
    writing.check(TABLE, Deadline(30.0, lambda: 0.0))


def test_a_page_denied_by_postgres_keeps_the_others_written(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    writing = open_writing(batch_rows=3)
    upsert = writing.check(TABLE)
    schema.execute(
        "CREATE FUNCTION {schema}.revoke() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS"
        " $$BEGIN IF NEW.id = 10 THEN RAISE insufficient_privilege; END IF; RETURN NEW; END$$"
    )
    schema.execute(
        "CREATE TRIGGER revoke BEFORE INSERT ON {schema}.t FOR EACH ROW EXECUTE FUNCTION {schema}.revoke()"
    )
    outcomes = writing.write(upsert, pages)
    assert isinstance(outcomes["b"].error, AccessDenied)
    assert counts({page: outcomes[page] for page in "ac"}) == {"a": (3, 0), "c": (3, 0)}
    assert schema.rows() == rows_of({page: pages[page] for page in "ac"})


def refused_at_check(writing: Writing, table: Table = TABLE) -> AsyncstreamError:
    with pytest.raises(AsyncstreamError) as raised:
        writing.check(table)
    return raised.value


@pytest.mark.parametrize(
    ("settings", "kind", "word"),
    [
        ({"password": "wrong"}, AccessDenied, "password authentication failed"),
        ({"user": "stranger"}, AccessDenied, "stranger"),
        ({"dbname": "elsewhere"}, DatabaseError, "elsewhere"),
        ({"sslmode": "require"}, ServerNotTrusted, "does not support SSL"),
        ({"sslmode": "some"}, ConfigError, "sslmode"),
        ({"port": "1"}, ConnectionFailed, "refused"),
    ],
)
def test_the_check_reports_a_wrong_connection_setting(
    schema: Schema, open_writing: Open, settings: dict[str, Any], kind: type[BaseException], word: str
) -> None:
    """The check runs before any page is fetched."""
    error = refused_at_check(open_writing(dsn=schema.server.dsn(**settings)))
    assert type(error) is kind
    assert word in str(error)
    assert isinstance(error.__cause__, psycopg.Error)


@pytest.mark.parametrize(
    ("columns", "table", "kind", "word"),
    [
        ("id int PRIMARY KEY", Table(name="T", key=("id",)), TableNotFound, '"T"'),
        ("id int PRIMARY KEY", Table(name="t", schema="none", key=("id",)), TableNotFound, '"none"."t"'),
        ("id int PRIMARY KEY", Table(name="t", key=("url",)), TableMismatch, "'url'"),
        ("id int PRIMARY KEY", Table(name="t", key=("id",), columns=("v",)), TableMismatch, "'v'"),
        ("id int, v int", TABLE, TableMismatch, r"(id)"),
        ("id int, v int, UNIQUE (id, v)", TABLE, TableMismatch, r"(id)"),
    ],
)
def test_the_check_reports_a_wrong_table(
    schema: Schema, open_writing: Open, columns: str, table: Table, kind: type[BaseException], word: str
) -> None:
    """The check runs before any page is fetched."""
    schema.create(columns)
    error = refused_at_check(open_writing(), table)
    assert type(error) is kind
    assert word in str(error)


def test_the_check_reports_a_table_that_may_not_be_written(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    """The check runs before any page is fetched."""
    schema.execute("ALTER TABLE {schema}.t OWNER TO postgres")
    schema.execute("GRANT SELECT, INSERT ON {schema}.t TO app")
    error = refused_at_check(open_writing())
    assert type(error) is AccessDenied
    assert "permission denied" in str(error)


def test_a_server_without_connections_left_is_asked_again_later(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    schema.execute("ALTER ROLE app CONNECTION LIMIT 0")
    writing = open_writing()
    writing.policy = PATIENT

    def admit() -> None:
        until(lambda: writing.told)
        schema.execute("ALTER ROLE app CONNECTION LIMIT -1")

    with meanwhile(admit):
        writing.check(TABLE)
    assert type(writing.told[0]) is ServiceBusy


def test_only_a_verified_server_is_sent_the_password(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]], tmp_path: Path
) -> None:
    """The certificate must name the host and come from the given issuer."""
    authority, other = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "root.pem")
    other.cert_pem.write_to_path(tmp_path / "other.pem")
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(shown)
    with Proxy(schema.server.server.port, shown) as proxy:

        def verified(host: str, root: str) -> dict[str, Any]:
            return {
                "dsn": schema.server.dsn(proxy.port),
                "host": host,
                "sslmode": "verify-full",
                "sslrootcert": str(tmp_path / root),
            }

        for settings in (verified("127.0.0.1", "root.pem"), verified("localhost", "other.pem")):
            error = refused_at_check(open_writing(**settings))
            assert type(error) is ServerNotTrusted
            assert "sslrootcert" in str(error)
        missing = refused_at_check(open_writing(**verified("localhost", "none.pem")))
        assert type(missing) is ServerNotTrusted
        writing = open_writing(**verified("localhost", "root.pem"))
        assert counts(writing.write(writing.check(TABLE), pages)) == dict.fromkeys(pages, (3, 0))
        writing.close()


def test_no_password_is_in_what_is_said(
    schema: Schema,
    open_writing: Open,
    pages: dict[str, list[dict[str, int]]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "psycopg")
    said = []
    odd: tuple[dict[str, Any], ...] = (
        {"sslmode": "require"},
        {"dbname": "elsewhere"},
        {"user": "stranger"},
        {"port": 1},
        {},
    )
    for options in odd:
        writing = open_writing(dsn=schema.server.dsn(**options))
        said.append(repr(writing.config))
        try:
            outcomes = writing.write(writing.check(TABLE), {"a": [{"id": "x"}]})
            assert isinstance(outcomes["a"].error, RowRefused)
            said += [repr(outcomes), repr(vars(writing.connection))]
        except AsyncstreamError as error:
            said += [repr(error), str(error), repr(error.__cause__), str(error.__cause__)]
    with pytest.raises(ConfigError) as raised:
        open_writing(dsn=f"postgresql//app:{PASSWORD}@localhost/postgres")
    said += [repr(raised.value), repr(raised.value.__cause__)]
    assert PASSWORD not in "\n".join([*said, caplog.text])


@pytest.mark.parametrize("engine", ["asyncio"], indirect=True)
def test_cancelling_a_batch_leaves_neither_rows_nor_a_connection(
    schema: Schema, open_writing: Open, pages: dict[str, list[dict[str, int]]]
) -> None:
    writing = open_writing()
    upsert = writing.check(TABLE)

    async def cancelled() -> None:
        task = asyncio.ensure_future(writing._write(upsert, pages, Deadline(None, time.monotonic)))
        await asyncio.to_thread(until, schema.waiting)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with schema.locked():
        writing.engine.run(cancelled)
        until(lambda: not schema.backends())
    assert schema.rows() == []
    assert counts(writing.write(upsert, pages)) == dict.fromkeys(pages, (3, 0))

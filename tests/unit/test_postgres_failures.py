"""The mapping from Postgres's and libpq's errors to asyncstream's."""

from types import SimpleNamespace

import pytest

from asyncstream import errors
from asyncstream.gathering.postgres.failures import connection_error, statement_error


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("08006", errors.ConnectionClosed),
        ("57P01", errors.ConnectionClosed),
        ("57P02", errors.ConnectionClosed),
        ("40P01", errors.TransactionConflict),
        ("40001", errors.TransactionConflict),
        ("55P03", errors.TransactionConflict),
        ("57014", errors.TransactionConflict),
        ("53200", errors.ServiceBusy),
        ("22P02", errors.RowRefused),
        ("23505", errors.RowRefused),
        ("54000", errors.RowRefused),
        ("P0001", errors.RowRefused),
        ("P0004", errors.RowRefused),
        ("MY001", errors.RowRefused),
        ("99999", errors.RowRefused),
        ("45000", errors.RowRefused),
        ("20000", errors.RowRefused),
        ("0A000", errors.DatabaseError),
        ("55000", errors.DatabaseError),
        ("42P01", errors.TableNotFound),
        ("3F000", errors.TableNotFound),
        ("42703", errors.TableMismatch),
        ("42P10", errors.TableMismatch),
        ("42501", errors.AccessDenied),
        ("25006", errors.ServiceBusy),
        ("XX000", errors.DatabaseError),
    ],
)
def test_a_statements_error_is_known_by_its_code(state: str, kind: type[Exception]) -> None:
    diagnosis = SimpleNamespace(message_primary="what", message_detail="d" * 1000, message_hint=None)
    error = statement_error(SimpleNamespace(sqlstate=state, diag=diagnosis))
    assert type(error) is kind
    assert "what; ddd" in str(error)
    assert state in str(error)
    assert len(str(error)) < 500
    assert getattr(error, "sqlstate", state) == state


def test_a_value_that_is_repeated_is_cut_short() -> None:
    assert len(str(statement_error(_error("22P02", "invalid input: " + "x" * 1_000_000)))) < 400


def test_a_policy_refuses_a_row_and_a_missing_privilege_all() -> None:
    policy = 'new row violates row-level security policy for table "t"'
    assert type(statement_error(_error("42501", policy))) is errors.RowRefused
    denied = statement_error(_error("42501", "permission denied for table t"))
    assert type(denied) is errors.AccessDenied
    assert "SELECT, INSERT and UPDATE" in str(denied)


@pytest.mark.parametrize("state", ["23502", "23514", "44000"])
def test_a_row_that_fails_a_check_is_not_repeated(state: str) -> None:
    error = statement_error(_error(state, "violates check", "Failing row contains (1, 4111-1111)."))
    assert "violates check" in str(error)
    assert "4111" not in str(error)


def _error(state: str, said: str, detail: str | None = None) -> SimpleNamespace:
    diagnosis = SimpleNamespace(message_primary=said, message_detail=detail, message_hint=None)
    return SimpleNamespace(sqlstate=state, diag=diagnosis)


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("fe_sendauth: no password supplied", "PGPASSWORD"),
        ('connection to server on socket "/run/.s.PGSQL.5432" failed: No such file', "give host or dsn"),
        ("Connection refused", "check host and port"),
    ],
)
def test_what_to_do_about_a_connection_is_said(said: str, advice: str) -> None:
    assert advice in str(connection_error(RuntimeError(said)))


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ('FATAL:  password authentication failed for user "app"', errors.AccessDenied),
        ('FATAL:  PAM authentication failed for user "app"', errors.AccessDenied),
        (
            'FATAL:  no pg_hba.conf entry for host "1.2.3.4", user "app", database "x", SSL off',
            errors.AccessDenied,
        ),
        ("fe_sendauth: no password supplied", errors.AccessDenied),
        ('FATAL:  role "app" does not exist', errors.AccessDenied),
        ("FATAL:  This RDS Proxy has no credentials for the role app", errors.AccessDenied),
        ('FATAL:  permission denied for database "x"', errors.AccessDenied),
        ('FATAL:  database "x" does not exist', errors.DatabaseError),
        ("FATAL:  sorry, too many clients already", errors.ServiceBusy),
        ('FATAL:  too many connections for role "app"', errors.ServiceBusy),
        ("FATAL:  remaining connection slots are reserved for roles with", errors.ServiceBusy),
        ("FATAL:  the database system is starting up", errors.ServiceBusy),
        ("FATAL:  the database system is not yet accepting connections", errors.ServiceBusy),
        ("SSL error: certificate verify failed", errors.ServerNotTrusted),
        ('server certificate for "a" does not match host name "b"', errors.ServerNotTrusted),
        ('root certificate file "/root/.postgresql/root.crt" does not exist', errors.ServerNotTrusted),
        ("server does not support SSL, but SSL was required", errors.ServerNotTrusted),
        ('connection is bad: invalid sslmode value: "some"', errors.ConfigError),
        ("Connection refused\n\tIs the server running on that host?", errors.ConnectionFailed),
        ("connection timeout expired", errors.ConnectionFailed),
        ("failed to resolve host 'db'", errors.ConnectionFailed),
        ("FATAL:  le mot de passe est faux", errors.ConnectionFailed),
    ],
)
def test_why_there_is_no_connection_is_known_by_words(said: str, kind: type[Exception]) -> None:
    error = connection_error(RuntimeError(said))
    assert type(error) is kind
    assert " ".join(said.split()) in str(error)


def test_an_error_without_a_code_is_a_connection_that_broke() -> None:
    class Broke(Exception):
        sqlstate = None

    assert (
        type(statement_error(Broke("server closed the connection unexpectedly"))) is errors.ConnectionClosed
    )

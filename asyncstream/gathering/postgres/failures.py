"""Convert Postgres's errors into asyncstream's, for both drivers. Pure: this only reads psycopg's errors.

libpq reports no SQLSTATE for an error while connecting, so these errors are distinguished by their words.
"""

from collections.abc import Sequence
from typing import Any

from asyncstream.errors import (
    AccessDenied,
    AsyncstreamError,
    ConfigError,
    ConnectionClosed,
    ConnectionFailed,
    DatabaseError,
    RowRefused,
    ServerNotTrusted,
    ServiceBusy,
    TableMismatch,
    TableNotFound,
    TransactionConflict,
)

_LONGEST = 300
_DETAIL_IS_ROW = frozenset({"23502", "23514", "44000"})
# Classes of SQLSTATE that do not concern a row. A state neither here nor in `_BY_STATE` was raised by a
# trigger or function of the user, or by an error within one.
_NOT_ABOUT_ROWS = frozenset(
    {"0A", "0B", "0F", "0L", "0P", "0Z", "24", "25", "26", "2B", "2D", "34", "3B", "3D", "3F"}
    | {"42", "53", "55", "57", "58", "72", "F0", "HV", "XX"}
)
_PRIVILEGES = "writing rows needs USAGE of the schema, and SELECT, INSERT and UPDATE of the table"

# By SQLSTATE, or by its first three or two characters (two are its class). 54: a row too large for an index.
# 44: a view's check refused the row.
_BY_STATE: dict[str, type[AsyncstreamError]] = {
    "08": ConnectionClosed,
    "21": RowRefused,
    "22": RowRefused,
    "23": RowRefused,
    "44": RowRefused,
    "54": RowRefused,
    "28": AccessDenied,
    "42501": AccessDenied,
    "42P01": TableNotFound,
    "3F000": TableNotFound,
    "42703": TableMismatch,
    "42P10": TableMismatch,
    "40": TransactionConflict,
    "55P03": TransactionConflict,
    "57014": TransactionConflict,
    "53": ServiceBusy,
    # Read-only: after a failover, the connection is to the former primary. A new one reaches the new primary.
    "25006": ServiceBusy,
    "57P": ConnectionClosed,
}
_WHILE_CONNECTING: Sequence[tuple[type[AsyncstreamError], tuple[str, ...], str]] = (
    (
        AccessDenied,
        (
            "authentication failed",
            "no pg_hba.conf entry",
            "pg_hba.conf rejects",
            "is not permitted to log in",
            "permission denied",
            "has no credentials",
        ),
        "check the user, its password or IAM grant, and whether it may connect",
    ),
    (
        AccessDenied,
        ("no password supplied",),
        "give one: in the dsn, as PGPASSWORD, or by a secret of Secrets Manager; or log in by IAM",
    ),
    (
        ServerNotTrusted,
        ("certificate", "does not support SSL", "SSL error"),
        "give the issuer's certificates (AWS's global-bundle.pem) as sslrootcert, and the host as certified",
    ),
    (
        ServiceBusy,
        (
            "too many c",
            "connection slots are reserved",
            "starting up",
            "shutting down",
            "in recovery mode",
            "not yet accepting connections",
            "Timed-out waiting to acquire",
        ),
        "Postgres does not accept connections now",
    ),
    (AccessDenied, ('role "',), "check the user"),
    (DatabaseError, ('database "',), "check dbname"),
    (
        ConnectionFailed,
        ('on socket "',),
        "without a host, libpq tries a socket: give host or dsn, or check that Postgres runs here",
    ),
    (
        ConfigError,
        ("ProactorEventLoop",),
        "on Windows use the engine 'threads', or await gather_pages_async on a SelectorEventLoop",
    ),
    (ConfigError, ("connection is bad: invalid", "bad value for"), "check the DSN and libpq's variables"),
)


def connection_error(error: Exception) -> AsyncstreamError:
    """Return asyncstream's error for psycopg's error while connecting."""
    message = " ".join(str(error).split())
    for kind, words, advice in _WHILE_CONNECTING:
        if any(each in message for each in words):
            return kind(f"no connection to Postgres: {message}; {advice}")
    return ConnectionFailed(f"no connection to Postgres: {message}; check host and port, and that it runs")


def statement_error(error: Any) -> AsyncstreamError:
    """Return asyncstream's error for a statement that Postgres refused, or whose connection broke."""
    state: str | None = error.sqlstate
    if state is None:
        return ConnectionClosed(f"the connection to Postgres broke: {' '.join(str(error).split())}")
    message = f"Postgres says: {_one_line_message(error)}"
    kind = _kind(state, message)
    if kind is AccessDenied:
        message += f"; {_PRIVILEGES}"
    return kind(message, state) if issubclass(kind, DatabaseError) else kind(message)


def _kind(state: str, message: str) -> type[AsyncstreamError]:
    # A policy's check has the SQLSTATE of missing privileges, so only its words distinguish it. Privileges
    # were not missing when the writer checked the table.
    if "row-level security" in message:
        return RowRefused
    rows = (_BY_STATE.get(state[:length]) for length in (5, 3, 2))
    return next(filter(None, rows), DatabaseError if state[:2] in _NOT_ABOUT_ROWS else RowRefused)


def _one_line_message(error: Any) -> str:
    """Return message, detail and hint in one line, with the SQLSTATE."""
    diagnosis = error.diag
    # If a row fails a check, the detail is the whole row, which must not be logged.
    detail = None if error.sqlstate in _DETAIL_IS_ROW else diagnosis.message_detail
    parts = (diagnosis.message_primary, detail, diagnosis.message_hint)
    return f"{'; '.join(map(_shortened, filter(None, parts)))} ({error.sqlstate})"


def _shortened(text: str) -> str:
    """Shorten a text, since it may repeat a value of any length."""
    return f"{text[:_LONGEST]}..." if len(text) > _LONGEST else text

"""Postgres's errors as asyncstream's, mapped once, for both drivers. Pure: psycopg's own are only looked at.

While a connection is made, libpq tells no SQLSTATE: what Postgres says is told apart by its words.
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

# A failing row's detail is the row; more of it than this says no more.
_DETAIL = 300

# By SQLSTATE, or its class: the first two characters. A row may also be refused for its size in an index
# (54), by a view's check (44), or by a trigger's RAISE (P0001).
_BY_STATE: dict[str, type[AsyncstreamError]] = {
    "08": ConnectionClosed,
    "21": RowRefused,
    "22": RowRefused,
    "23": RowRefused,
    "44": RowRefused,
    "54": RowRefused,
    "P0001": RowRefused,
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
    # Read-only: over a connection to what was the primary until a failover. A new one goes to the next.
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
            "no password supplied",
            "has no credentials",
        ),
        "check the user, its password or IAM grant, and whether it may connect",
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
        "Postgres takes no connection for now",
    ),
    (AccessDenied, ('role "',), "check the user"),
    (DatabaseError, ('database "',), "check dbname"),
    (ConfigError, ("connection is bad: invalid", "bad value for"), "check the DSN and libpq's variables"),
)


def while_connecting(error: Exception) -> AsyncstreamError:
    """What an error means that came instead of a connection."""
    said = " ".join(str(error).split())
    for kind, words, advice in _WHILE_CONNECTING:
        if any(each in said for each in words):
            return kind(f"no connection to Postgres: {said}; {advice}")
    return ConnectionFailed(f"no connection to Postgres: {said}; check host and port, and that it runs")


def of_statement(error: Any) -> AsyncstreamError:
    """What an error means that a statement ended with: Postgres's own, or that of a connection that broke."""
    state: str | None = error.sqlstate
    if state is None:
        return ConnectionClosed(f"the connection to Postgres broke: {' '.join(str(error).split())}")
    kind = _kind(state)
    said = f"Postgres says: {_said(error)}"
    return kind(said, state) if issubclass(kind, DatabaseError) else kind(said)


def _kind(state: str) -> type[AsyncstreamError]:
    rows = (_BY_STATE.get(state[:length]) for length in (5, 3, 2))
    return next(filter(None, rows), DatabaseError)


def _said(error: Any) -> str:
    """Message, detail and hint, in one line, with the SQLSTATE."""
    diagnosis = error.diag
    detail = diagnosis.message_detail or ""
    if len(detail) > _DETAIL:
        detail = f"{detail[:_DETAIL]}..."
    parts = (diagnosis.message_primary, detail, diagnosis.message_hint)
    return f"{'; '.join(filter(None, parts))} ({error.sqlstate})"

"""psycopg's blocking connections, for the sequential and the thread engine.

The methods block and never suspend.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from asyncstream.errors import ConnectionFailed
from asyncstream.gathering.postgres import failures
from asyncstream.gathering.postgres.waiting import TookTooLong, within

_CANCEL_SECONDS = 1.0


class BlockingDriver:
    """See `ports.Driver`."""

    async def connect(self, parameters: Mapping[str, str], seconds: float) -> "_Connection":
        """See `ports.Driver`."""
        try:
            return _Connection(
                _Bounded.connect(
                    make_conninfo("", **{**parameters, "connect_timeout": str(int(seconds))}),
                    # Every statement is its own transaction, without BEGIN and COMMIT.
                    autocommit=True,
                    # Prepared statements are session state, which a proxy cannot share.
                    prepare_threshold=None,
                    # Parameters are $1 instead of %s, since names may contain a %.
                    cursor_factory=psycopg.RawCursor,
                )
            )
        except psycopg.Error as error:
            raise failures.connection_error(error) from error


class _Bounded(psycopg.Connection[tuple[Any, ...]]):
    seconds = 0.0

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return super().wait(within(gen, self.seconds), *args, **options)


class _Connection:
    """See `ports.Connection`."""

    def __init__(self, connection: _Bounded) -> None:
        self._connection = connection

    async def fetch(self, statement: str, parameters: Sequence[str], seconds: float) -> list[tuple[Any, ...]]:
        self._connection.seconds = seconds
        try:
            return self._connection.execute(statement.encode(), parameters).fetchall()
        except TookTooLong as error:
            # Otherwise Postgres would continue, maybe until after a retry over another connection.
            with suppress(psycopg.Error):  # the caller closes the connection anyway
                self._connection.cancel_safe(timeout=_CANCEL_SECONDS)
            raise ConnectionFailed(f"Postgres: {error}") from error
        except psycopg.Error as error:
            raise failures.statement_error(error) from error

    async def close(self) -> None:
        self._connection.close()

"""psycopg's asyncio connections, for the asyncio engine."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from asyncstream.errors import ConnectionFailed
from asyncstream.gathering.postgres import failures
from asyncstream.gathering.postgres.waiting import TookTooLong, within

_CANCEL_SECONDS = 1.0


class AsyncioDriver:
    """See `ports.Driver`. `blocking.py` explains the options, which are the same."""

    async def connect(self, parameters: Mapping[str, str], seconds: float) -> "_Connection":
        """See `ports.Driver`."""
        try:
            return _Connection(
                await _Bounded.connect(
                    make_conninfo("", **{**parameters, "connect_timeout": str(int(seconds))}),
                    autocommit=True,
                    prepare_threshold=None,
                    cursor_factory=psycopg.AsyncRawCursor,
                )
            )
        except psycopg.Error as error:
            raise failures.connection_error(error) from error


class _Bounded(psycopg.AsyncConnection[tuple[Any, ...]]):
    seconds = 0.0

    async def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        return await super().wait(within(gen, self.seconds), *args, **options)


class _Connection:
    """See `ports.Connection`."""

    def __init__(self, connection: _Bounded) -> None:
        self._connection = connection

    async def fetch(self, statement: str, parameters: Sequence[str], seconds: float) -> list[tuple[Any, ...]]:
        self._connection.seconds = seconds
        try:
            cursor = await self._connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()
        except TookTooLong as error:
            with suppress(psycopg.Error):  # the caller closes the connection anyway
                await self._connection.cancel_safe(timeout=_CANCEL_SECONDS)
            raise ConnectionFailed(f"Postgres: {error}") from error
        except psycopg.Error as error:
            raise failures.statement_error(error) from error

    async def close(self) -> None:
        await self._connection.close()

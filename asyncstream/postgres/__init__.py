"""Rows into Postgres: pure statements and rows, and one writer over two drivers of psycopg's."""

from asyncstream.errors import ConfigError
from asyncstream.postgres.ports import Driver


def open_driver(engine: str) -> Driver:
    """The driver an engine can run.

    Raises:
        ConfigError: psycopg is not installed, or finds no libpq.
    """
    try:
        if engine == "asyncio":
            from asyncstream.postgres.aio import AsyncioDriver  # noqa: PLC0415

            return AsyncioDriver()
        from asyncstream.postgres.blocking import BlockingDriver  # noqa: PLC0415

        return BlockingDriver()
    except ImportError as error:
        raise ConfigError(f"writing to Postgres needs asyncstream[postgres]: {error}") from error

"""Rows into Postgres: pure statements and rows, and one writer over two drivers of psycopg's."""

from asyncstream.errors import ConfigError
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.connecting import Connector, KeptConnection
from asyncstream.gathering.postgres.ports import Driver, PasswordSource
from asyncstream.ports import Engine


def open_driver(engine: str) -> Driver:
    """The driver an engine can run.

    Raises:
        ConfigError: psycopg is not installed, or finds no libpq.
    """
    try:
        if engine == "asyncio":
            from asyncstream.gathering.postgres.aio import AsyncioDriver  # noqa: PLC0415

            return AsyncioDriver()
        from asyncstream.gathering.postgres.blocking import BlockingDriver  # noqa: PLC0415

        return BlockingDriver()
    except ImportError as error:
        raise ConfigError(f"writing to Postgres needs asyncstream[postgres]: {error}") from error


def open_connection(engine: Engine, config: DatabaseConfig) -> KeptConnection:
    """A connection for an engine, made when it is first used.

    Raises:
        ConfigError: psycopg is not installed, or the DSN cannot be read.
    """
    return KeptConnection(Connector(open_driver(engine.name), config, _passwords(engine, config)))


def _passwords(engine: Engine, config: DatabaseConfig) -> PasswordSource | None:
    if config.secret is None and not config.iam:
        return None
    from asyncstream.gathering.postgres.aws import AwsPasswords  # noqa: PLC0415 - loads boto3

    return AwsPasswords(engine.compute)

"""Write rows to Postgres: pure statements and rows, and one writer over psycopg's two drivers."""

from asyncstream.errors import ConfigError
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.connecting import Connector, KeptConnection
from asyncstream.gathering.postgres.ports import Driver, PasswordSource
from asyncstream.ports import Engine


def open_driver(engine: str) -> Driver:
    """Return the driver for this engine.

    Raises:
        ConfigError: psycopg is not installed, or cannot find libpq.
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
    """Return a connection for this engine; its first use opens it.

    Raises:
        ConfigError: psycopg is not installed, or the DSN cannot be read.
    """
    return KeptConnection(Connector(open_driver(engine.name), config, _passwords(engine, config)))


def _passwords(engine: Engine, config: DatabaseConfig) -> PasswordSource | None:
    if config.secret is None and not config.iam:
        return None
    from asyncstream.gathering.postgres.aws import AwsPasswords  # noqa: PLC0415 - loads boto3

    return AwsPasswords(engine.compute)

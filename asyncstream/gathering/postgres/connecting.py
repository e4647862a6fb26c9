"""Open connections to one database with a password from any source, and keep them while they work.

A `KeptConnection` lasts across warm invocations. If the connection died meanwhile, the first statement finds
out. It is then opened again, which does not count as an attempt (`retry.py`: ConnectionClosed).
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from asyncstream.deadline import Deadline
from asyncstream.errors import AccessDenied, ConfigError, CredentialsExpired, DeadlineExceeded, RowRefused
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.conninfo import hosts_to_try, names_a_server, parameters, with_sslmode
from asyncstream.gathering.postgres.ports import Connection, Driver, PasswordSource

_DEFAULT_PORT = "5432"
# libpq's minimum time to connect. With less time left, connecting could outlast the deadline.
_MIN_SECONDS = 2.0


class _Secret(Struct):
    """The fields that RDS writes into a secret. Except for `username`, they are named as in `parameters`."""

    password: str
    username: str | None = None
    host: str | None = None
    port: int | str | None = None
    dbname: str | None = None


class Connector:
    """Opens connections to one database. Reads the secret once and keeps it for all of them.

    Args:
        driver: the engine's driver.
        config: the address of the database, the login and the time-outs.
        passwords: the source of the password if the configuration names a secret or IAM, otherwise None.

    Raises:
        ConfigError: the DSN cannot be read.
    """

    def __init__(self, driver: Driver, config: DatabaseConfig, passwords: PasswordSource | None) -> None:
        self.config = config
        self._driver = driver
        self._passwords = passwords
        self._given = parameters(config)
        self._secret: Mapping[str, str] | None = None

    async def connect(self, deadline: Deadline) -> Connection:
        """Open a connection.

        Raises:
            AccessDenied: Postgres refused the user, or AWS access to the secret.
            CredentialsExpired: Postgres refused the secret's password. The next attempt reads the secret
                again.
            ConnectionFailed, ServiceBusy, ServerNotTrusted, ConfigError, DatabaseError: connecting failed.
            DeadlineExceeded: there is not enough time left to connect.
        """
        self._check_time(deadline, hosts=1)
        login = await self._login(deadline.left())
        # libpq applies the time-out to each of several hosts.
        hosts = max(1, len(hosts_to_try(login, os.environ)))
        self._check_time(deadline, hosts)
        try:
            return await self._driver.connect(
                login, min(self.config.connect_timeout, deadline.left() / hosts)
            )
        except AccessDenied as error:
            if self.config.secret is None:
                raise
            self._secret = None
            raise CredentialsExpired(f"{error} (with the password of {self.config.secret})") from error

    @property
    def _password_source(self) -> PasswordSource:
        assert self._passwords is not None  # noqa: S101 - given if the configuration needs one
        return self._passwords

    @staticmethod
    def _check_time(deadline: Deadline, hosts: int) -> None:
        least = _MIN_SECONDS * hosts
        if deadline.left() < least:
            raise DeadlineExceeded(f"less than {least:g} s are left, too little to connect to Postgres")

    async def _login(self, seconds: float) -> dict[str, str]:
        """Return the parameters with the password. Given settings override those of the secret."""
        if self.config.secret is not None:
            secret = self._secret  # read once, since another thread may set it to None meanwhile
            if secret is None:
                secret = _parse_secret(
                    await self._password_source.secret(self.config.secret, seconds), self.config.secret
                )
                self._secret = secret
            known = {**secret, **self._given, "password": secret["password"]}
            if not names_a_server(known, os.environ):
                raise ConfigError(
                    f"neither the secret {self.config.secret} nor the settings name a host: give one"
                )
            return with_sslmode(known, os.environ)
        if not self.config.iam:
            return with_sslmode(self._given, os.environ)
        known = with_sslmode(self._given, os.environ, token=True)
        host, user = (known.get(name) or os.environ.get(f"PG{name.upper()}") for name in ("host", "user"))
        if not host or not user:
            raise ConfigError("an IAM token needs a host and a user: give both")
        port = known.get("port") or os.environ.get("PGPORT", _DEFAULT_PORT)
        if "," in host or not port.isdigit():
            raise ConfigError(f"an IAM token needs one host and one port, not {host!r} and {port!r}")
        return {**known, "password": await self._password_source.token(host, int(port), user)}


def _parse_secret(text: str, name: str) -> dict[str, str]:
    """Return a secret as libpq's parameters. Error messages contain nothing of its text."""
    try:
        secret = msgspec.json.decode(text, type=_Secret)
        if not secret.password or "\0" in secret.password:
            raise ValueError("no password")  # libpq would connect without one
    except (msgspec.DecodeError, ValueError):
        raise ConfigError(
            f"the secret {name} does not have the form that RDS writes: use JSON with username and password"
        ) from None
    known = {
        "password": secret.password,
        "user": secret.username,
        "host": secret.host,
        "port": secret.port,
        "dbname": secret.dbname,
    }
    return {key: str(value) for key, value in known.items() if value not in (None, "")}


class KeptConnection:
    """At most one connection: opened when needed, closed after any failure of it.

    Only one task at a time may use it.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._connection: Connection | None = None

    async def fetch(
        self, statement: str, parameters: Sequence[str], deadline: Deadline
    ) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows; see `ports.Connection`.

        Raises:
            AsyncstreamError: it failed. If the connection broke, Postgres may have executed it or not.
        """
        deadline.check()
        if self._connection is None:
            self._connection = await self._connector.connect(deadline)
        seconds = min(self._connector.config.statement_timeout, deadline.left())
        try:
            return await self._connection.fetch(statement, parameters, seconds)
        except RowRefused:
            raise  # the connection still works
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection; the next statement opens a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

"""Connections to one database: made with passwords of any source, kept while they work.

Whoever owns a `KeptConnection` keeps it across warm invocations. One that died meanwhile is found out by the
first statement over it, and is made anew without that being counted as a try (`retry.py`: ConnectionClosed).
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from asyncstream.deadline import Deadline
from asyncstream.errors import AccessDenied, ConfigError, CredentialsExpired, DeadlineExceeded, RowRefused
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.conninfo import hosts_of, is_placed, parameters, secured
from asyncstream.gathering.postgres.ports import Connection, Driver, PasswordSource

_DEFAULT_PORT = "5432"
# libpq waits no shorter for a connection, so none is begun that could outlast the deadline.
_LEAST_SECONDS = 2.0


class _Secret(Struct):
    """What RDS writes into a secret. Of a name of `parameters`, but for `username`."""

    password: str
    username: str | None = None
    host: str | None = None
    port: int | str | None = None
    dbname: str | None = None


class Connector:
    """Opens connections to one database. Keeps the secret that it read, for all of them.

    Args:
        driver: the engine's.
        config: which database.
        passwords: asked only where the configuration names a secret or IAM; None where it does not.

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
        """A new connection.

        Raises:
            AccessDenied: Postgres refused the user, or AWS the secret.
            CredentialsExpired: it refused the password of the secret, which is read anew for the next try.
            ConnectionFailed, ServiceBusy, ServerNotTrusted, ConfigError, DatabaseError: it could not be made.
            DeadlineExceeded: there is no time left for it.
        """
        self._check_time(deadline, hosts=1)
        login = await self._login(deadline.left())
        # libpq waits so long for each of several hosts.
        hosts = max(1, len(hosts_of(login, os.environ)))
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
    def _asked(self) -> PasswordSource:
        assert self._passwords is not None  # noqa: S101 - given, where the configuration has a use for it
        return self._passwords

    @staticmethod
    def _check_time(deadline: Deadline, hosts: int) -> None:
        least = _LEAST_SECONDS * hosts
        if deadline.left() < least:
            raise DeadlineExceeded(
                f"less than {least:g} s are left: no connection is begun, as it may take so long"
            )

    async def _login(self, seconds: float) -> dict[str, str]:
        """The parameters with the password. Whatever is given wins over what the secret says."""
        if self.config.secret is not None:
            secret = self._secret  # which another thread may forget meanwhile
            if secret is None:
                secret = _read(await self._asked.secret(self.config.secret, seconds), self.config.secret)
                self._secret = secret
            known = {**secret, **self._given, "password": secret["password"]}
            if not is_placed(known, os.environ):
                raise ConfigError(
                    f"neither the secret {self.config.secret} nor the settings name a host: give one"
                )
            return secured(known, os.environ)
        if not self.config.iam:
            return secured(self._given, os.environ)
        known = secured(self._given, os.environ, token=True)
        host, user = (known.get(name) or os.environ.get(f"PG{name.upper()}") for name in ("host", "user"))
        if not host or not user:
            raise ConfigError("an IAM token is made for a host and a user: give both")
        port = known.get("port") or os.environ.get("PGPORT", _DEFAULT_PORT)
        if "," in host or not port.isdigit():
            raise ConfigError(f"an IAM token is made for one host and port, not for {host!r} and {port!r}")
        return {**known, "password": await self._asked.token(host, int(port), user)}


def _read(text: str, name: str) -> dict[str, str]:
    """A secret as libpq's parameters. Nothing of its text is in any message."""
    try:
        secret = msgspec.json.decode(text, type=_Secret)
        if not secret.password or "\0" in secret.password:
            raise ValueError("no password")  # libpq would go on without it
    except (msgspec.DecodeError, ValueError):
        raise ConfigError(
            f"the secret {name} is not as RDS writes it: JSON with username, password and the like"
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
    """At most one connection at a time: opened when it is needed, dropped when anything went wrong with it.

    For one task at a time.
    """

    def __init__(self, connector: Connector) -> None:
        self._connector = connector
        self._connection: Connection | None = None

    async def fetch(
        self, statement: str, parameters: Sequence[str], deadline: Deadline
    ) -> list[tuple[Any, ...]]:
        """What a statement returns; see `ports.Connection`.

        Raises:
            AsyncstreamError: it failed. Whether it was done is not known where the connection broke.
        """
        deadline.check()
        if self._connection is None:
            self._connection = await self._connector.connect(deadline)
        seconds = min(self._connector.config.statement_timeout, deadline.left())
        try:
            return await self._connection.fetch(statement, parameters, seconds)
        except RowRefused:
            raise  # no fault of the connection's
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close what is open; the next statement opens another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

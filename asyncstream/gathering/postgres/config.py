"""`DatabaseConfig`: the Postgres database, the login, time-outs and batch sizes. Pure."""

from ipaddress import ip_address
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from asyncstream.errors import ConfigError
from asyncstream.settings import Settings
from asyncstream.units import MiB

Text = Annotated[str, Meta(min_length=1)] | None


class DatabaseConfig(Settings, frozen=True, kw_only=True):
    """The database to write rows to, the login, and the limits for writing.

    libpq takes a setting that is not given from its own variables (PGHOST, PGUSER, PGPASSWORD, PGSSLMODE,
    PGSSLROOTCERT and so on) and defaults.

    Attributes:
        dsn: a libpq URL (`postgresql://user:password@host/db`) or `key=value` pairs.
        host, port, dbname, user: override those of the `dsn` and of the secret.
        secret: ARN or name of a Secrets Manager secret in the form that RDS writes: JSON with `username` and
            `password`, and optionally `host`, `port` and `dbname`. It is kept in memory. If Postgres refuses
            the password, the secret is read again once, since rotation changes it.
        iam: log in with a token of RDS's IAM authentication, a new one for each connection.
        sslmode: libpq's sslmode. Default: the one of the `dsn` or PGSSLMODE. Without either, "verify-full";
            for this machine (a socket, localhost, a loopback address), libpq's default. An sslmode in a
            service file is not noticed.
        sslrootcert: path of the certificates to verify the server with; for RDS, AWS's global-bundle.pem.
        connect_timeout: seconds, at least 2 (libpq's minimum). Default: 5.
        statement_timeout: seconds that one batch may take before it is cancelled and retried on a new
            connection. The client measures it; setting it in Postgres would be session state. Default: 30.
        batch_rows: the most rows in one statement; a page with more is a batch by itself. Default: 1,000.
        batch_bytes: the most bytes of JSON in one statement; a page with more is a batch by itself. Default:
            1 MiB.

    Raises:
        ConfigError: a value has the wrong type or is outside its limits, or two contradict each other.
    """

    dsn: Text = None
    host: Text = None
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    dbname: Text = None
    user: Text = None
    secret: Text = None
    iam: bool = False
    sslmode: Text = None
    sslrootcert: Text = None
    connect_timeout: Annotated[float, Meta(ge=2)] = 5.0
    statement_timeout: Annotated[float, Meta(gt=0)] = 30.0
    batch_rows: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    batch_bytes: Annotated[int, Meta(ge=1, le=64 * MiB)] = 1 * MiB

    _prefix: ClassVar[str] = "POSTGRES_"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.secret is not None and self.iam:
            raise ConfigError("secret and iam are two ways to log in: give one of them")

    def _masked(self) -> dict[str, Any]:
        # The DSN may contain a password.
        return {} if self.dsn is None else {"dsn": "..."}

    def _refusal(self, error: msgspec.ValidationError) -> str:
        return f"the database's settings: {error}"


def is_local(hosts: str) -> bool:
    """Return whether every host of libpq's comma-separated `host` is this machine; empty means a socket."""
    return all(map(_is_this_machine, hosts.split(",")))


def _is_this_machine(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""`DatabaseConfig`: which Postgres, as whom, how patiently; used by whoever opens a connection. Pure."""

from ipaddress import ip_address
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from asyncstream.errors import ConfigError
from asyncstream.settings import Settings
from asyncstream.units import MiB

Text = Annotated[str, Meta(min_length=1)] | None


class DatabaseConfig(Settings, frozen=True, kw_only=True):
    """Where rows are written, and how.

    What is given nowhere, libpq takes from its own variables (PGHOST, PGUSER, PGPASSWORD, PGSSLMODE,
    PGSSLROOTCERT and so on) and defaults.

    Attributes:
        dsn: a libpq URL (`postgresql://user:password@host/db`) or `key=value` pairs.
        host, port, dbname, user: win over those of the `dsn` and of the secret.
        secret: ARN or name of a secret of Secrets Manager, as RDS writes it: JSON with `username` and
            `password`, and maybe `host`, `port` and `dbname`. Kept in memory, and read anew once when
            Postgres refuses the password, as rotation changes it.
        iam: log in with a token of RDS's IAM authentication, a new one for each connection.
        sslmode: libpq's. Default: that of the `dsn` or PGSSLMODE; else "verify-full", and for this machine
            (a socket, localhost, a loopback address) libpq's own. What a service file says of it is not seen.
        sslrootcert: path of the certificates that the server's is verified by; AWS's global-bundle.pem for
            RDS.
        connect_timeout: seconds, at least 2 (libpq's least). Default: 5.
        statement_timeout: seconds that one batch may take before it is called off and tried again, on a new
            connection. Looked at here and not set there: that would be session state. Default: 30.
        batch_rows: rows written by one statement; a page of more is a batch by itself. Default: 1,000.
        batch_bytes: bytes of their JSON, likewise. Default: 1 MiB.

    Raises:
        ConfigError: a value is of the wrong type or outside its limits, or two contradict each other.
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
        # A password may be in the DSN.
        return {} if self.dsn is None else {"dsn": "..."}

    def _refusal(self, error: msgspec.ValidationError) -> str:
        return f"the database's settings: {error}"


def is_local(hosts: str) -> bool:
    """Whether libpq's `host` (several, with commas between; empty: its default, a socket) is this machine."""
    return all(map(_is_this_machine, hosts.split(",")))


def _is_this_machine(host: str) -> bool:
    if host in {"", "localhost"} or host.startswith(("/", "@")):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False

"""What libpq is told to connect by: the DSN, the parts laid over it, TLS decided; used by `connecting.py`."""

from collections.abc import Mapping

from asyncstream.errors import ConfigError
from asyncstream.postgres.config import DatabaseConfig, is_local

# A peer that is gone is noticed within half a minute, and a firewall does not forget a connection in use.
_DEFAULTS = {
    "fallback_application_name": "asyncstream",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_PARTS = ("host", "port", "dbname", "user", "sslmode", "sslrootcert")
# Under which IAM tokens may be sent: whoever reads one can log in with it for 15 minutes.
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})


def parameters(config: DatabaseConfig) -> dict[str, str]:
    """The parameters of libpq, but for those that a secret knows.

    Raises:
        ConfigError: the DSN cannot be read. It is not repeated, as it may hold a password.
    """
    import psycopg  # noqa: PLC0415 - of an extra: `open_driver` says so where it is not installed
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        dsn = {name: str(value) for name, value in conninfo_to_dict(config.dsn or "").items()}
    except psycopg.Error:
        raise ConfigError(
            "the DSN cannot be read: write postgresql://user:password@host:5432/database (with special"
            " characters of the password as %XX), or key=value pairs"
        ) from None
    parts = {name: str(value) for name in _PARTS if (value := getattr(config, name)) is not None}
    return {**_DEFAULTS, **dsn, **parts}


def secured(given: Mapping[str, str], environ: Mapping[str, str], *, token: bool = False) -> dict[str, str]:
    """The parameters with the `sslmode` that is wanted where none is: "verify-full", but on this machine.

    Args:
        given: the parameters, those of the secret among them.
        environ: whose PGSSLMODE and PGHOST count as given.
        token: whether the password is an IAM token.

    Raises:
        ConfigError: a token would be sent unencrypted.
    """
    mode = given.get("sslmode") or environ.get("PGSSLMODE")
    hosts = given.get("host") or given.get("hostaddr") or environ.get("PGHOST", "")
    if mode is None and not is_local(hosts):
        mode = "verify-full"
    if token and mode not in _ENCRYPTED:
        raise ConfigError(f"an IAM token is sent over TLS only, and sslmode is {mode}: give verify-full")
    return dict(given) if mode is None else {**given, "sslmode": mode}

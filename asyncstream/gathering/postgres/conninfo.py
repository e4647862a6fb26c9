"""libpq's connection parameters: those of the DSN, overridden by single settings, with an sslmode."""

from collections.abc import Mapping

from asyncstream.errors import ConfigError
from asyncstream.gathering.postgres.config import DatabaseConfig, is_local

# The keepalives detect a dead peer within half a minute, and keep firewalls from dropping the connection.
_DEFAULTS = {
    "fallback_application_name": "asyncstream",
    # The encoding of our statements and names. libpq sends it while connecting, without SET.
    "client_encoding": "UTF8",
    "keepalives_idle": "15",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
_PARTS = ("host", "port", "dbname", "user", "sslmode", "sslrootcert")
# The sslmodes with which IAM tokens may be sent: anyone who reads one can log in with it for 15 minutes.
_ENCRYPTED = frozenset({"require", "verify-ca", "verify-full"})


def parameters(config: DatabaseConfig) -> dict[str, str]:
    """Return libpq's parameters, except for those of a secret.

    Raises:
        ConfigError: the DSN cannot be read. The message does not repeat it, since it may contain a password.
    """
    import psycopg  # noqa: PLC0415 - of an extra: if it is not installed, `open_driver` reports that
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    if not _is_escaped(config.dsn or ""):
        raise _unreadable()
    try:
        dsn = {name: str(value) for name, value in conninfo_to_dict(config.dsn or "").items()}
    except (psycopg.Error, UnicodeError):
        raise _unreadable() from None
    if not _is_read_as_meant(dsn):
        raise _unreadable()
    parts = {name: str(value) for name in _PARTS if (value := getattr(config, name)) is not None}
    return {**_DEFAULTS, **dsn, **parts}


def _unreadable() -> ConfigError:
    return ConfigError(
        "the DSN cannot be read: write postgresql://user:password@host:5432/database (with special"
        " characters of the password as %XX), or key=value pairs"
    )


def _is_escaped(dsn: str) -> bool:
    """Return whether libpq finds the end of a URL's password at the last `@`, and before any `/`."""
    _, mark, rest = dsn.partition("://")
    authority, _, path = rest.partition("/")
    return not mark or (authority.count("@") <= 1 and "@" not in path.partition("?")[0])


def _is_read_as_meant(dsn: Mapping[str, str]) -> bool:
    """Return whether host and port look valid, so that neither is part of a password."""
    hosts = (host for host in dsn.get("host", "").split(",") if not host.startswith(("/", "@")))
    ports = dsn.get("port", "").split(",")
    return not any("@" in host or "/" in host for host in hosts) and all(
        port.isascii() and (port.isdigit() or not port) for port in ports
    )


def hosts_to_try(given: Mapping[str, str], environ: Mapping[str, str]) -> list[str]:
    """Return the hosts that libpq tries in turn, from parameters and environment; empty: its default."""
    hosts = given.get("hostaddr") or given.get("host") or environ.get("PGHOSTADDR") or environ.get("PGHOST")
    return hosts.split(",") if hosts else []


def names_a_server(given: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Return whether a host or service is given. Without one, libpq looks for a socket of this machine."""
    return bool(hosts_to_try(given, environ) or given.get("service") or environ.get("PGSERVICE"))


def with_sslmode(
    given: Mapping[str, str], environ: Mapping[str, str], *, token: bool = False
) -> dict[str, str]:
    """Return the parameters with an `sslmode`. If none is given, it is "verify-full", except on this machine.

    Args:
        given: the parameters, including those of the secret.
        environ: its PGSSLMODE, PGHOST and similar variables count as given.
        token: whether the password is an IAM token.

    Raises:
        ConfigError: a token would be sent unencrypted, or there is no host name to verify a certificate with.
    """
    mode = given.get("sslmode") or environ.get("PGSSLMODE")
    if mode is None and not _is_here(given, environ):
        mode = "verify-full"
    if mode == "verify-full" and _is_nameless(given, environ):
        raise ConfigError("hostaddr is given without host: give the host that the certificate names")
    if token and mode not in _ENCRYPTED:
        raise ConfigError(f"an IAM token is sent over TLS only, and sslmode is {mode}: give verify-full")
    return dict(given) if mode is None else {**given, "sslmode": mode}


def _is_here(given: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    """Return whether host and address both are this machine; False for a service, which only libpq reads."""
    if given.get("service") or environ.get("PGSERVICE"):
        return False
    named = given.get("host") or environ.get("PGHOST", "")
    addressed = given.get("hostaddr") or environ.get("PGHOSTADDR", "")
    return is_local(named) and is_local(addressed)


def _is_nameless(given: Mapping[str, str], environ: Mapping[str, str]) -> bool:
    addressed = given.get("hostaddr") or environ.get("PGHOSTADDR")
    named = given.get("host") or environ.get("PGHOST") or given.get("service") or environ.get("PGSERVICE")
    return bool(addressed and not named)

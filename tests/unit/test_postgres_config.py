"""The address and TLS settings of a connection: from settings, environment, DSN and secret combined."""

from inspect import signature
from typing import Any

import pytest

from asyncstream import TransferConfig
from asyncstream.errors import ConfigError
from asyncstream.gathering import GatherConfig
from asyncstream.gathering.postgres.config import DatabaseConfig, is_local
from asyncstream.gathering.postgres.conninfo import hosts_to_try, names_a_server, parameters, with_sslmode

REMOTE = "db.example.com"


@pytest.mark.parametrize(
    "values",
    [
        {"port": 0},
        {"port": "5432"},
        {"connect_timeout": 1},
        {"statement_timeout": 0},
        {"batch_rows": 0},
        {"host": ""},
        {"iam": "yes"},
        {"secret": "db", "iam": True},
    ],
)
def test_a_setting_outside_its_limits_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        DatabaseConfig(**values)


def test_neither_the_dsn_nor_a_wrong_value_is_repeated() -> None:
    config = DatabaseConfig(dsn="postgresql://app:geheim@db/x", host=REMOTE)
    assert "geheim" not in repr(config)
    assert REMOTE in repr(config)
    assert "geheim" not in str(list(GatherConfig(database=config).__rich_repr__()))
    with pytest.raises(ConfigError) as raised:
        DatabaseConfig(dsn=["geheim"])  # type: ignore[arg-type]
    assert "geheim" not in str(raised.value)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql//app:geheim@db/x",
        "postgresql://app:p@geheim@db/x",
        "postgresql://app:p@@geheim@db/x",
        "postgresql://app:geheim@@db/x",
        "postgresql://app:p@/geheim@db/x",
        "postgresql://app:12/geheim@db/x",
        "postgresql://app:geheim/p@db/x",
        "postgresql://app:p/geheim@db/x",
        "postgresql://app:p%geheim@db/x",
        "postgresql://app:geh%eceim@db/x",
        "host=db port=geheim",
    ],
)
def test_a_dsn_that_cannot_be_read_is_not_repeated(dsn: str) -> None:
    with pytest.raises(ConfigError, match="the DSN cannot be read") as raised:
        parameters(DatabaseConfig(dsn=dsn))
    assert "geheim" not in f"{raised.value!r} {raised.value.__cause__!r}"


@pytest.mark.parametrize(
    ("dsn", "host", "password"),
    [
        ("postgresql://app:p%40%2Fss@db/x", "db", "p@/ss"),
        ("postgresql://app@%2Frun%2Fpg/x?options=-c%20a@b", "/run/pg", None),
        ("postgresql://a:1,b:2/x", "a,b", None),
        ("postgresql:///x", None, None),
        ("host=/run/pg password=p@/ss", "/run/pg", "p@/ss"),
    ],
)
def test_a_dsn_is_read_as_libpq_reads_it(dsn: str, host: str | None, password: str | None) -> None:
    given = parameters(DatabaseConfig(dsn=dsn))
    assert (given.get("host"), given.get("password")) == (host, password)


@pytest.mark.parametrize("environ", [{}, {"PGSSLMODE": "verify-full"}])
def test_a_certificate_is_verified_by_a_name(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="without host"):
        with_sslmode({"hostaddr": "10.0.0.1"}, environ)
    assert with_sslmode({"hostaddr": "10.0.0.1", "service": "x"}, environ)["sslmode"] == "verify-full"


def test_no_signature_shows_the_environment() -> None:
    for config in (DatabaseConfig, GatherConfig, TransferConfig):
        assert signature(config.from_env).parameters["environ"].default is None


def test_the_environment_overrides_the_defaults() -> None:
    """Variables of other programs are ignored."""
    environ = {
        "POSTGRES_DSN": "host=db",
        "POSTGRES_PORT": "5433",
        "POSTGRES_IAM": "true",
        "POSTGRES_USER": "",
        "POSTGRES_PASSWORD": "of Docker's image",
    }
    config = DatabaseConfig.from_env(environ, port=1, user="app")
    assert config == DatabaseConfig(dsn="host=db", port=5433, iam=True, user="app")
    with pytest.raises(ConfigError, match="POSTGRES_"):
        DatabaseConfig.from_env({"POSTGRES_PORT": "http"})


def test_parts_are_laid_over_the_dsn() -> None:
    config = DatabaseConfig(dsn=f"postgresql://app:p%40ss@{REMOTE}:1/x?keepalives_idle=7", port=2, dbname="y")
    given = parameters(config)
    assert given | {"host": REMOTE, "port": "2", "dbname": "y", "user": "app", "password": "p@ss"} == given
    assert given["keepalives_idle"] == "7"


@pytest.mark.parametrize(
    ("given", "environ", "mode"),
    [
        ({"host": REMOTE}, {}, "verify-full"),
        ({"hostaddr": "10.0.0.1", "host": REMOTE}, {}, "verify-full"),
        ({"hostaddr": "10.0.0.1", "sslmode": "require"}, {}, "require"),
        ({"host": REMOTE, "hostaddr": "127.0.0.1"}, {}, "verify-full"),
        ({"host": "localhost", "hostaddr": "10.0.0.1"}, {}, "verify-full"),
        ({"host": "localhost"}, {"PGHOSTADDR": "10.0.0.1"}, "verify-full"),
        ({}, {"PGHOSTADDR": "10.0.0.1", "PGHOST": REMOTE}, "verify-full"),
        ({"service": "prod"}, {}, "verify-full"),
        ({"host": "localhost"}, {"PGSERVICE": "prod"}, "verify-full"),
        ({"hostaddr": "127.0.0.1"}, {}, None),
        ({"host": f"localhost,{REMOTE}"}, {}, "verify-full"),
        ({}, {"PGHOST": REMOTE}, "verify-full"),
        ({"host": REMOTE, "sslmode": "disable"}, {}, "disable"),
        ({"host": REMOTE}, {"PGSSLMODE": "require"}, "require"),
        ({"host": REMOTE, "sslmode": "verify-ca"}, {"PGSSLMODE": "require"}, "verify-ca"),
        ({"host": "localhost"}, {}, None),
        ({"host": "127.0.0.2,::1"}, {}, None),
        ({"host": "/run/postgresql"}, {"PGHOST": REMOTE}, None),
        ({}, {}, None),
    ],
)
def test_certificates_are_verified_unless_the_host_is_local(
    given: dict[str, str], environ: dict[str, str], mode: str | None
) -> None:
    """A setting may ask for less."""
    assert with_sslmode(given, environ).get("sslmode") == mode


@pytest.mark.parametrize(
    ("given", "environ", "hosts"),
    [
        ({"host": "a,b"}, {}, ["a", "b"]),
        ({"host": "a", "hostaddr": "1.1.1.1,1.1.1.2"}, {}, ["1.1.1.1", "1.1.1.2"]),
        ({}, {"PGHOST": "a"}, ["a"]),
        ({}, {}, []),
    ],
)
def test_the_hosts_are_those_that_are_connected_to(
    given: dict[str, str], environ: dict[str, str], hosts: list[str]
) -> None:
    assert hosts_to_try(given, environ) == hosts
    assert names_a_server(given, environ) == bool(hosts)


@pytest.mark.parametrize(
    "host", ["localhost.example.com", "127.0.0.1.example.com", "10.0.0.1", "::2", "0.0.0.0"]
)
def test_what_only_looks_like_this_machine_is_not_it(host: str) -> None:
    assert not is_local(host)

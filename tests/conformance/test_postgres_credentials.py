"""Passwords from Secrets Manager and IAM tokens: read when needed, kept, and read again when refused."""

import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import boto3
import pytest

from asyncstream.engines import EngineName
from asyncstream.errors import (
    AccessDenied,
    ConfigError,
    ConnectionFailed,
    CredentialsExpired,
)
from asyncstream.gathering.postgres import aws
from asyncstream.gathering.postgres.config import DatabaseConfig
from asyncstream.gathering.postgres.statements import Table
from tests.servers import S3Server
from tests.servers.postgres import PASSWORD, Schema

from .postgres_writing import Writing

TABLE = Table(name="t", key=("id",))
NEXT_PASSWORD = "NextPasswordThatNobodyMaySee0123"

Open = Callable[..., Writing]


@pytest.fixture
def secrets(running: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client of Secrets Manager; the code under test uses the same server."""
    url = running("moto").endpoint_url
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
    with contextlib.closing(boto3.client("secretsmanager")) as client:
        yield client


@pytest.fixture
def new_secret(secrets: Any) -> Callable[..., str]:
    """Create a secret and return its ARN."""

    def new_secret(**text: Any) -> str:
        return str(secrets.create_secret(Name=f"db-{uuid4()}", SecretString=json.dumps(text))["ARN"])

    return new_secret


@pytest.fixture
def open_writing(engine: EngineName, schema: Schema) -> Iterator[Open]:
    schema.create("id int PRIMARY KEY")
    with contextlib.ExitStack() as stack:
        yield lambda **settings: stack.enter_context(
            contextlib.closing(Writing(engine, DatabaseConfig(**settings)))
        )


def as_rds_writes(schema: Schema, password: str = PASSWORD) -> dict[str, Any]:
    return {
        "username": "app",
        "password": password,
        "engine": "postgres",
        "host": "127.0.0.1",
        "port": schema.server.server.port,
        "dbname": "postgres",
        "dbInstanceIdentifier": "db-1",
    }


def test_a_secret_as_rds_writes_it_is_all_that_is_needed(
    schema: Schema, open_writing: Open, new_secret: Callable[..., str]
) -> None:
    writing = open_writing(secret=new_secret(**as_rds_writes(schema)))
    upsert = writing.check(TABLE)
    assert writing.write(upsert, {"a": [{"id": 1}]})["a"].stored == 1


def test_parts_given_win_over_those_of_the_secret(
    schema: Schema, open_writing: Open, new_secret: Callable[..., str]
) -> None:
    secret = new_secret(**as_rds_writes(schema) | {"host": "nowhere.invalid", "port": "1"})
    open_writing(secret=secret, host="127.0.0.1", port=schema.server.server.port).check(TABLE)


def test_a_secret_is_read_once_until_its_password_changes(
    schema: Schema,
    open_writing: Open,
    new_secret: Callable[..., str],
    secrets: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reads = []
    read = aws.AwsPasswords.secret

    async def counted(self: aws.AwsPasswords, name: str, seconds: float) -> str:
        reads.append(name)
        return await read(self, name, seconds)

    monkeypatch.setattr(aws.AwsPasswords, "secret", counted)
    secret = new_secret(**as_rds_writes(schema))
    writing = open_writing(secret=secret)
    upsert = writing.check(TABLE)
    writing.engine.run(writing.connection.close)
    writing.write(upsert, {"a": [{"id": 1}]})
    assert len(reads) == 1
    try:
        schema.execute(f"ALTER ROLE app PASSWORD '{NEXT_PASSWORD}'")
        secrets.put_secret_value(
            SecretId=secret, SecretString=json.dumps(as_rds_writes(schema, NEXT_PASSWORD))
        )
        writing.engine.run(writing.connection.close)
        assert writing.write(upsert, {"a": [{"id": 2}]})["a"].stored == 1
        assert len(reads) == 2
    finally:
        schema.execute(f"ALTER ROLE app PASSWORD '{PASSWORD}'")
    assert [type(error) for error in writing.told] == [CredentialsExpired]


def test_a_password_refused_twice_is_given_up(
    schema: Schema, open_writing: Open, new_secret: Callable[..., str]
) -> None:
    """The secret is read again between the two tries."""
    writing = open_writing(secret=new_secret(**as_rds_writes(schema, "WrongPassword")))
    with pytest.raises(CredentialsExpired, match="password authentication failed") as raised:
        writing.check(TABLE)
    assert writing.driver.connections == 2
    assert isinstance(raised.value.__cause__, AccessDenied)
    assert "WrongPassword" not in f"{raised.value!r} {raised.value.__cause__!r} {writing.config!r}"


@pytest.mark.parametrize(
    "text",
    [
        "PasswordOnly",
        '{"password": ""}',
        '{"password": "PasswordOnly\\u0000", "host": "localhost"}',
        '{"password": 5, "x": "PasswordOnly"}',
        '["PasswordOnly"]',
    ],
)
def test_a_secret_of_another_form_is_refused_without_quoting_it(
    schema: Schema, open_writing: Open, secrets: Any, text: str
) -> None:
    name = f"odd-{uuid4()}"
    secrets.create_secret(Name=name, SecretString=text)
    with pytest.raises(ConfigError, match=name) as raised:
        open_writing(secret=name).check(TABLE)
    assert raised.value.__cause__ is None
    assert "PasswordOnly" not in str(raised.value)


def test_a_secret_that_is_not_there_is_named(open_writing: Open, secrets: Any) -> None:
    with pytest.raises(ConfigError, match=r"no-such-secret.*ResourceNotFoundException"):
        open_writing(secret="no-such-secret").check(TABLE)


def test_secrets_manager_out_of_reach_is_tried_again_and_told(
    open_writing: Open, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", "http://127.0.0.1:1")
    writing = open_writing(secret="db")
    with pytest.raises(ConnectionFailed, match="VPC"):
        writing.check(TABLE)
    assert len(writing.told) == writing.policy.max_attempts - 1


def test_an_iam_token_is_boto3s_and_new_for_each_connection(
    open_writing: Open, credentials: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    passwords = []

    class Refusing:
        async def connect(self, parameters: Mapping[str, str], seconds: float) -> Any:
            passwords.append(parameters["password"])
            raise ConnectionFailed("the error is not tested")

    now = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_, **__: now.replace(tzinfo=None))
    writing = open_writing(iam=True, host="db.example.com", port=5433, user="app user")
    monkeypatch.setattr(writing.driver, "_driver", Refusing())
    with pytest.raises(ConnectionFailed):
        writing.check(TABLE)
    client = boto3.client("rds")
    expected = client.generate_db_auth_token("db.example.com", 5433, "app user")
    client.close()
    assert passwords == [expected] * writing.policy.max_attempts


def test_a_token_is_not_sent_where_it_could_be_read(
    schema: Schema, open_writing: Open, credentials: None
) -> None:
    for settings in ({"dsn": schema.server.dsn()}, {"host": "localhost", "user": "app"}):
        with pytest.raises(ConfigError, match="TLS"):
            open_writing(iam=True, **settings).check(TABLE)


def test_a_secret_without_a_host_asks_for_one_at_once(
    open_writing: Open, new_secret: Callable[..., str]
) -> None:
    writing = open_writing(secret=new_secret(username="app", password=PASSWORD))
    with pytest.raises(ConfigError, match="name a host"):
        writing.check(TABLE)
    assert writing.told == []


@pytest.mark.parametrize("dsn", ["host=a,b port=1,2", "host=a port=1,2"])
def test_a_token_is_for_one_host(open_writing: Open, credentials: None, dsn: str) -> None:
    with pytest.raises(ConfigError, match="one host and one port"):
        open_writing(iam=True, dsn=dsn, user="app").check(TABLE)


def test_a_token_needs_a_host_and_a_user(open_writing: Open, credentials: None) -> None:
    with pytest.raises(ConfigError, match="host and a user"):
        open_writing(iam=True, sslmode="verify-full").check(TABLE)

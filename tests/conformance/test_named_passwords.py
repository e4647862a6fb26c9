"""Why a password of Postgres cannot be read in AWS, or a token not signed, is named at once."""

from collections.abc import Callable

import pytest

from asyncstream.engines.driver import drive
from asyncstream.errors import AsyncstreamError, ConfigError, ConnectionFailed, ServiceBusy
from asyncstream.gathering.postgres.aws import AwsPasswords
from tests.servers.blocking_page import Silent, page
from tests.servers.listener import Scripted
from tests.servers.sts import serve_sts

from .aws_settings import MISSING, ROLE, SECRET, SSO, AwsSettings

Read = Callable[[], str]


async def _compute(call: Read) -> str:
    return call()


def read_secret(seconds: float = 10.0) -> str:
    return drive(AwsPasswords(_compute).secret("db", seconds))


def sign_token() -> str:
    return drive(AwsPasswords(_compute).token("db.example.com", 5432, "app"))


def failure(read: Read) -> AsyncstreamError:
    with pytest.raises(AsyncstreamError) as caught:
        read()
    assert SECRET not in str(caught.value)
    return caught.value


each_password = pytest.mark.parametrize("read", [read_secret, sign_token])


@each_password
@pytest.mark.parametrize(
    ("config", "words"),
    [
        (SSO, "Run `aws sso login`"),
        (f"[profile dev]\ncredential_process = {MISSING} --password={SECRET}", f"{MISSING!r} cannot be used"),
        (f"[profile dev]\nca_bundle = {MISSING}", "ca_bundle of the AWS profile"),
        ("[profile other]", "profile (dev) could not be found"),
    ],
    ids=["SSO", "program", "bundle", "profile"],
)
def test_a_wrong_setting_is_named(aws: AwsSettings, read: Read, config: str, words: str) -> None:
    aws.profile(f"{config}\n")
    aws.set("AWS_DEFAULT_REGION", "us-east-1")

    error = failure(read)

    assert type(error) is ConfigError
    assert words in str(error)


@each_password
def test_missing_credentials_are_named(aws: AwsSettings, read: Read) -> None:
    aws.without_keys()

    error = failure(read)

    assert type(error) is ConfigError
    assert "AWS_ACCESS_KEY_ID" in str(error)


@each_password
def test_a_role_that_sts_refuses_is_asked_for_once(aws: AwsSettings, read: Read) -> None:
    with serve_sts() as sts:
        sts.refuses = True
        aws.set("AWS_ENDPOINT_URL_STS", sts.url)
        keys = "aws_access_key_id = a\naws_secret_access_key = b"
        aws.profile(
            f"[profile dev]\nrole_arn = {ROLE}\nsource_profile = base\nregion = us-east-1\n"
            f"[profile base]\n{keys}\n"
        )
        error = failure(read)

    assert type(error) is ConfigError
    assert "AssumeRole was refused: AccessDenied not authorized. Check the role" in str(error)
    assert len(sts.asked) == 1


@pytest.mark.parametrize(
    ("status", "kind"), [("403 Forbidden", ConfigError), ("503 Service Unavailable", ServiceBusy)]
)
def test_a_page_in_place_of_a_secret_is_told(
    aws: AwsSettings, status: str, kind: type[AsyncstreamError]
) -> None:
    with Scripted(lambda _: page(status)) as proxy:
        aws.set("AWS_ENDPOINT_URL_SECRETS_MANAGER", proxy.url)
        error = failure(read_secret)

    assert type(error) is kind
    assert "something between answered" in str(error)
    assert "'Blocked by the office Ask IT" in str(error)
    assert "secretsmanager:GetSecretValue" not in str(error)
    assert len(proxy.asked) == 1


def test_a_silent_secrets_manager_may_be_tried_again(aws: AwsSettings) -> None:
    with Silent() as server:
        aws.set("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"https://{server.url}")
        error = failure(lambda: read_secret(1.0))

    assert type(error) is ConnectionFailed
    assert "VPC" in str(error)
    assert server.connections == 1

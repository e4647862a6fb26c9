"""A wrong setting, file or profile is named at the first try, with what to do, on every engine."""

import json
import os
from pathlib import Path

import pytest

from asyncstream import ConfigError, InputError
from tests.servers.listener import Scripted
from tests.servers.odd_s3 import reply
from tests.servers.sts import serve_sts

from .aws_settings import LEGACY_SSO, MISSING, MRAP, ROLE, SECRET, SSO, AwsSettings, Fail


@pytest.mark.parametrize("config", [SSO, LEGACY_SSO], ids=["session", "legacy"])
@pytest.mark.parametrize("expires", [None, "2020-01-01T00:00:00Z"], ids=["no token", "expired"])
def test_sso_without_a_valid_token_asks_to_log_in(
    fail: Fail, aws: AwsSettings, blocked: Scripted, config: str, expires: str | None
) -> None:
    aws.profile(config)
    aws.set("AWS_ENDPOINT_URL_SSO", blocked.url)
    aws.set("AWS_ENDPOINT_URL_SSO_OIDC", blocked.url)
    if expires is not None:
        aws.token(expires)
        aws.token(expires, of="https://office.awsapps.com/start")

    error = fail()

    assert type(error) is ConfigError
    assert "aws sso login" in str(error)
    assert blocked.asked == []


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        ("401 Unauthorized", "UnauthorizedException", "SSO session of this profile has expired"),
        ("403 Forbidden", "ForbiddenException", "Check sso_account_id and sso_role_name"),
    ],
)
def test_a_token_that_sso_refuses_is_tried_once(
    fail: Fail, aws: AwsSettings, blocked: Scripted, status: str, kind: str, words: str
) -> None:
    aws.profile(SSO)
    aws.token("2999-01-01T00:00:00Z")
    refusal = json.dumps({"__type": kind, "message": "no access"}).encode()
    with Scripted(
        lambda _: reply(status, refusal, Content_Type="application/json", x_amzn_ErrorType=kind)
    ) as sso:
        aws.set("AWS_ENDPOINT_URL_SSO", sso.url)
        error = fail()

    assert type(error) is ConfigError
    assert words in str(error)
    assert (len(sso.asked), blocked.asked) == (1, [])


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (MISSING, f"{MISSING!r} cannot be used: No such file"),
        ("/", "'/' cannot be used: Permission denied"),
        (f"echo {SECRET}", "the program of credential_process did not print JSON"),
        ("echo '{}'", "Unsupported version"),
        ("echo no vault >&2; exit 3", "no vault. Check the program"),
    ],
    ids=["absent", "not a program", "no JSON", "no keys", "fails"],
)
def test_a_program_that_gives_no_credentials_is_named(
    fail: Fail, aws: AwsSettings, blocked: Scripted, program: str, words: str
) -> None:
    path = program if program.startswith("/") else aws.program(program)
    aws.profile(f"[profile dev]\nregion = us-east-1\ncredential_process = {path} --password={SECRET}\n")

    error = fail()

    assert type(error) is ConfigError
    assert words in str(error)
    assert blocked.asked == []


@pytest.mark.parametrize("broken", ["missing", "empty", "a directory"])
@pytest.mark.parametrize("setting", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "S3Access", "profile"])
def test_a_bundle_without_certificates_is_named(
    fail: Fail, aws: AwsSettings, blocked: Scripted, tmp_path: Path, setting: str, broken: str
) -> None:
    path = {"missing": MISSING, "empty": os.devnull, "a directory": str(tmp_path)}[broken]
    if setting == "profile":
        aws.profile(f"[profile dev]\nregion = us-east-1\nca_bundle = {path}\n")
    elif setting != "S3Access":
        aws.set(setting, path)

    error = fail({"ca_bundle": path} if setting == "S3Access" else None)

    named = {"S3Access": "ca_bundle=", "profile": "ca_bundle of the AWS profile="}.get(setting, f"{setting}=")
    assert type(error) is ConfigError
    assert str(error).startswith(f"{named}{path!r} cannot be used")
    assert blocked.asked == []


@pytest.mark.parametrize("endpoint", [None, "https://s3.us-east-1.amazonaws.com"])
def test_a_multi_region_access_point_is_refused(fail: Fail, blocked: Scripted, endpoint: str | None) -> None:
    error = fail(bucket=MRAP, endpoint=endpoint)

    assert type(error) is InputError
    assert "Name the bucket, or an access point of one region" in str(error)
    assert blocked.asked == []


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({}, "Unable to locate credentials. Set AWS_ACCESS_KEY_ID"),
        ({"AWS_ACCESS_KEY_ID": "AKIA"}, "missing: AWS_SECRET_ACCESS_KEY. Set that as well"),
        ({"AWS_PROFILE": "absent"}, "profile (absent) could not be found. Check AWS_PROFILE"),
        (
            {"AWS_DEFAULT_REGION": "eu west", "AWS_ACCESS_KEY_ID": "AKIA", "AWS_SECRET_ACCESS_KEY": SECRET},
            "'eu west' doesn't match a supported format. Check the AWS variables",
        ),
        (
            {"AWS_ROLE_ARN": ROLE, "AWS_WEB_IDENTITY_TOKEN_FILE": MISSING},
            f"{MISSING!r} cannot be used: No such file",
        ),
    ],
    ids=["none", "half", "profile", "region", "token file"],
)
def test_credentials_that_are_missing_are_named(
    fail: Fail, aws: AwsSettings, blocked: Scripted, variables: dict[str, str], words: str
) -> None:
    aws.without_keys()
    for name, value in variables.items():
        aws.set(name, value)

    error = fail()

    assert type(error) is ConfigError
    assert words in str(error)
    assert blocked.asked == []


def test_a_role_that_sts_refuses_is_asked_for_once(fail: Fail, aws: AwsSettings, blocked: Scripted) -> None:
    with serve_sts() as sts:
        aws.set("AWS_ENDPOINT_URL_STS", sts.url)
        sts.refuses = True
        error = fail({"role_arn": ROLE})

    assert type(error) is ConfigError
    assert "AssumeRole was refused: AccessDenied not authorized. Check the role" in str(error)
    assert (len(sts.asked), blocked.asked) == (1, [])

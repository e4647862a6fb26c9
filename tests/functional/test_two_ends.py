"""Copies between two servers, each with keys of its own: moto lets one user in, and rclone one key."""

import json
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from asyncstream import (
    AccessDenied,
    ConfigError,
    InputError,
    S3Access,
    S3Error,
    S3Object,
    S3Prefix,
    TransferConfig,
    TransferSession,
    lambda_handler,
)
from asyncstream.engines import ENGINES, EngineName
from asyncstream.engines.keeping import close_all_kept
from asyncstream.lab.s3 import Fault
from tests.handlers.invocations import Context
from tests.servers import LabServer, content
from tests.servers.base import Bucket
from tests.servers.moto import MotoServer
from tests.servers.rclone import RcloneServer
from tests.servers.sts import Sts, serve_sts

from .command_line import Ended

ROLE = "arn:aws:iam::123456789012:role/writer"
# The keys that the role's sessions sign with, one after the other.
ROLE_KEYS = [("ASIAFIRST", "first-secret"), ("ASIASECOND", "second-secret")]
READ_ALL = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
pytestmark = [pytest.mark.parametrize("engine", ENGINES), pytest.mark.usefixtures("credentials")]
QUICK = TransferConfig(retry_base_delay=1e-3, max_attempts=4)


class ClosedRclone(RcloneServer):
    """rclone that accepts the role's keys only."""

    def _command(self, port: int, directory: Path) -> list[str]:
        keys = [f"--auth-key={key},{secret}" for key, secret in ROLE_KEYS]
        return [*super()._command(port, directory), *keys]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3Access, str]]:
    """Start a moto that lets one user read; return how to reach it, and a bucket with three objects."""
    server = MotoServer()
    server.start(tmp_path_factory.mktemp("moto"))
    try:
        options: dict[str, Any] = {
            "endpoint_url": server.endpoint_url,
            "region_name": "us-east-1",
            "aws_access_key_id": "AKIAADMIN",
            "aws_secret_access_key": "admin",
        }
        iam = boto3.client("iam", **options)
        iam.create_user(UserName="reader")
        iam.put_user_policy(UserName="reader", PolicyName="all", PolicyDocument=json.dumps(READ_ALL))
        made = iam.create_access_key(UserName="reader")["AccessKey"]
        bucket = Bucket(boto3.client("s3", **options), "raw")
        for number, size in enumerate((0, 70_000, 11 * 2**20)):
            bucket.put(f"in/{number}", content(size))
        # From now on moto checks signatures and policies.
        address = f"{server.endpoint_url}/moto-api/reset-auth"
        check_from_now = urllib.request.Request(address, b"0", {"Content-Type": "text/plain"})
        urllib.request.urlopen(check_from_now).close()
        yield (
            S3Access(
                endpoint_url=server.endpoint_url,
                access_key_id=made["AccessKeyId"],
                secret_access_key=made["SecretAccessKey"],
            ),
            bucket.name,
        )
    finally:
        server.stop()


@pytest.fixture
def sts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sts]:
    key, secret = ROLE_KEYS[0]
    with serve_sts(key, secret) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", server.url)
        yield server


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneServer]:
    server = ClosedRclone()
    server.start(tmp_path_factory.mktemp("rclone"))
    yield server
    server.stop()


@pytest.fixture
def files(rclone: RcloneServer, tmp_path_factory: pytest.TempPathFactory, engine: EngineName) -> str:
    """Create a bucket in rclone, and return its name."""
    client = reading_client(rclone)
    return Bucket(client, f"clean-{engine}-{len(client.list_buckets()['Buckets'])}").name


def reading_client(rclone: RcloneServer) -> Any:
    """Return boto3's client, with one of the role's keys."""
    key, secret = ROLE_KEYS[0]
    return boto3.client(
        "s3",
        endpoint_url=rclone.endpoint_url,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
    )


def as_role(endpoint_url: str) -> S3Access:
    return S3Access(
        endpoint_url=endpoint_url,
        access_key_id="AKIAOWN",
        secret_access_key="own",
        role_arn=ROLE,
        external_id="contract 7",
    )


def test_each_end_signs_with_its_own_keys(
    engine: EngineName, source: tuple[S3Access, str], rclone: RcloneServer, files: str, sts: Sts
) -> None:
    reader, bucket = source
    pair = (S3Prefix(bucket, "in/"), S3Prefix(files, "out/"))
    config = QUICK.override({"part_size": 5 * 2**20, "multipart": True})

    with TransferSession(engine, source=reader, destination=as_role(rclone.endpoint_url)) as session:
        report = session.transfer([pair], config)

    assert [(file.status, file.error) for file in report.files] == [("copied", None)] * 3
    client = reading_client(rclone)
    copies = [client.get_object(Bucket=files, Key=f"out/{number}")["Body"].read() for number in range(3)]
    assert copies == [content(0), content(70_000), content(11 * 2**20)]
    assert {(each["Action"], each["RoleArn"], each["ExternalId"], each["signer"]) for each in sts.asked} == {
        ("AssumeRole", ROLE, "contract 7", "AKIAOWN")
    }


def test_keys_of_a_role_are_renewed_before_they_expire(
    engine: EngineName, source: tuple[S3Access, str], rclone: RcloneServer, files: str, sts: Sts
) -> None:
    """The SDKs ask again when less than 15 minutes are left. Then the other key signs."""
    sts.lifetime = timedelta(minutes=5)
    reader, bucket = source
    with TransferSession(engine, source=reader, destination=as_role(rclone.endpoint_url)) as session:
        session.transfer([(S3Object(bucket, "in/1"), S3Object(files, "first"))], QUICK)
        sts.key, sts.secret = ROLE_KEYS[1]
        report = session.transfer([(S3Object(bucket, "in/1"), S3Object(files, "second"))], QUICK)

    assert report.count("copied") == 1
    assert len(sts.asked) > 1


def test_a_token_that_expires_midway_is_replaced(engine: EngineName, lab_server: LabServer, sts: Sts) -> None:
    bucket, copies = lab_server.new_bucket(), lab_server.new_bucket()
    bucket.put("a", content(3 * 2**20))
    refused = Fault("refuse", "PutObject", times=[1], status=400, code="ExpiredToken")
    lab_server.lab.set_faults([refused])
    try:
        with TransferSession(
            engine,
            source=S3Access(endpoint_url=lab_server.endpoint_url),
            destination=as_role(lab_server.endpoint_url),
        ) as session:
            report = session.transfer([(S3Object(bucket.name, "a"), S3Object(copies.name, "b"))], QUICK)
    finally:
        lab_server.lab.set_faults([])

    assert report.count("copied") == 1
    assert copies.get("b") == content(3 * 2**20)
    assert len(sts.asked) == 2


def test_a_refused_role_is_one_error_that_names_the_role(
    engine: EngineName, source: tuple[S3Access, str], rclone: RcloneServer, files: str, sts: Sts
) -> None:
    sts.refuses = True
    reader, bucket = source
    with TransferSession(engine, source=reader, destination=as_role(rclone.endpoint_url)) as session:
        report = session.transfer([(S3Object(bucket, "in/1"), S3Object(files, "a"))], QUICK)

    [file] = report.files
    assert isinstance(file.error, ConfigError)
    assert "AssumeRole was refused: AccessDenied" in str(file.error)
    assert len(sts.asked) == 1


def test_the_destinations_keys_do_not_open_the_source(
    engine: EngineName, source: tuple[S3Access, str], rclone: RcloneServer, files: str
) -> None:
    reader, bucket = source
    key, secret = ROLE_KEYS[0]
    writer = S3Access(endpoint_url=rclone.endpoint_url, access_key_id=key, secret_access_key=secret)
    wrong = reader.override({"access_key_id": key, "secret_access_key": secret})
    with TransferSession(engine, source=wrong, destination=writer) as session:
        report = session.transfer([(S3Object(bucket, "in/1"), S3Object(files, "a"))], QUICK)

    assert isinstance(report.files[0].error, AccessDenied | S3Error)


@pytest.fixture
def ends_in_environment(
    source: tuple[S3Access, str], rclone: RcloneServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, _ = source
    variables = {
        "SOURCE_ACCESS_KEY_ID": reader.access_key_id,
        "SOURCE_SECRET_ACCESS_KEY": reader.secret_access_key,
        "DESTINATION_ACCESS_KEY_ID": "AKIAOWN",
        "DESTINATION_SECRET_ACCESS_KEY": "own",
        "DESTINATION_ENDPOINT_URL": rclone.endpoint_url,
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"ASYNCSTREAM_{name}", str(value))


@pytest.mark.usefixtures("ends_in_environment")
def test_the_command_line_copies_between_two_ends(
    engine: EngineName, source: tuple[S3Access, str], files: str, sts: Sts, run: Callable[..., Ended]
) -> None:
    reader, bucket = source
    ended = run(
        *("copy", f"s3://{bucket}/in/", f"s3://{files}/cli/", "--engine", engine),
        *("--source-endpoint-url", str(reader.endpoint_url)),
        *("--destination-role", ROLE, "--destination-external-id", "contract 7"),
    )

    assert (ended.code, "3 files" in ended.err) == (0, True), ended.err
    assert {each["ExternalId"] for each in sts.asked} == {"contract 7"}


@pytest.mark.usefixtures("ends_in_environment")
def test_a_function_copies_between_two_ends(
    engine: EngineName, source: tuple[S3Access, str], files: str, sts: Sts, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, bucket = source
    monkeypatch.setenv("ASYNCSTREAM_SOURCE_ENDPOINT_URL", str(reader.endpoint_url))
    monkeypatch.setenv("ASYNCSTREAM_DESTINATION_ROLE_ARN", ROLE)
    handler = lambda_handler(engine=engine, multipart=False)
    event = {"source_prefix": f"s3://{bucket}/in/", "destination": f"s3://{files}/handler/"}

    reply = handler(event, Context(60_000))
    close_all_kept()

    assert (reply["status"], reply["totals"]["bytes"]) == ("copied", 11 * 2**20 + 70_000), reply
    assert {each["RoleArn"] for each in sts.asked} == {ROLE}


def test_a_role_is_assumed_with_the_keys_of_a_profile(
    engine: EngineName,
    source: tuple[S3Access, str],
    rclone: RcloneServer,
    files: str,
    sts: Sts,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The region of the end is that of STS, too."""
    config = tmp_path / "config"
    config.write_text("[profile writer]\naws_access_key_id = AKIAPROFILE\naws_secret_access_key = own\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    reader, bucket = source
    writer = S3Access(
        endpoint_url=rclone.endpoint_url, profile="writer", role_arn=ROLE, region="eu-central-1"
    )
    reader = reader.override({"region": "us-east-1"})
    with TransferSession(engine, source=reader, destination=writer) as session:
        report = session.transfer([(S3Object(bucket, "in/1"), S3Object(files, "a"))], QUICK)

    assert report.failed == []
    assert {(each["signer"], each["region"]) for each in sts.asked} == {("AKIAPROFILE", "eu-central-1")}


def test_an_object_is_copied_to_its_own_name_elsewhere(
    engine: EngineName, source: tuple[S3Access, str], rclone: RcloneServer
) -> None:
    reader, bucket = source
    key, secret = ROLE_KEYS[0]
    writer = S3Access(endpoint_url=rclone.endpoint_url, access_key_id=key, secret_access_key=secret)
    with suppress(ClientError):  # another engine has created it
        Bucket(reading_client(rclone), bucket)
    same = S3Object(bucket, "in/1")
    with TransferSession(engine, source=reader, destination=writer) as session:
        report = session.transfer([(same, same)], QUICK)
        assert report.failed == []
    with (
        TransferSession(engine, source=reader, destination=reader) as session,
        pytest.raises(InputError, match="are the same"),
    ):
        session.transfer([(same, same)], QUICK)

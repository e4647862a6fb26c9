"""Programs tested with moto's `mock_aws`, which answers boto3 within the process, without any server."""

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import boto3
import pytest
from moto import mock_aws

from asyncstream import (
    AsyncTransferSession,
    ConfigError,
    DestinationExists,
    MiB,
    S3Object,
    S3Prefix,
    SourceNotFound,
    TransferConfig,
    transfer,
)
from asyncstream.engines import ENGINES, EngineName
from asyncstream.engines.keeping import close_all_kept
from tests.servers import content

from .command_line import LabWith

BLOCKING: tuple[EngineName, ...] = ("sequential", "threads")
FILES = {"in/empty": b"", "in/small": content(70_000), "in/large": content(11 * MiB + 1)}
OUTSIDE = [(S3Object("sources", "x/000000"), S3Object("copies", "in/small"))]

pytestmark = pytest.mark.usefixtures("credentials")
on_blocking_engines = pytest.mark.parametrize("engine", BLOCKING)


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    close_all_kept()


def new_buckets() -> Any:
    """Fill a bucket of moto, and return a client that moto answers."""
    s3 = boto3.client("s3", region_name="us-east-1")
    assert s3.list_buckets()["Buckets"] == []
    s3.create_bucket(Bucket="sources")
    s3.create_bucket(Bucket="copies")
    for key, body in FILES.items():
        s3.put_object(Bucket="sources", Key=key, Body=body, ContentDisposition='filename="ü, 文"')
    return s3


def contents(s3: Any) -> dict[str, bytes]:
    listed = s3.list_objects_v2(Bucket="copies").get("Contents", [])
    return {each["Key"]: s3.get_object(Bucket="copies", Key=each["Key"])["Body"].read() for each in listed}


@on_blocking_engines
@pytest.mark.parametrize("multipart", [False, True])
@mock_aws
def test_a_prefix_is_copied(engine: EngineName, multipart: bool) -> None:
    s3 = new_buckets()
    config = TransferConfig(multipart=multipart, part_size=5 * MiB)

    report = transfer([(S3Prefix("sources", "in/"), S3Prefix("copies", "in/"))], engine=engine, config=config)

    report.raise_for_failures()
    assert contents(s3) == FILES
    assert [file.parts for file in report.files] == [1, 3 if multipart else 1, 1]
    assert s3.head_object(Bucket="copies", Key="in/small")["ContentDisposition"] == 'filename="ü, 文"'


@on_blocking_engines
@mock_aws
def test_settings_and_errors_are_those_of_a_server(engine: EngineName) -> None:
    s3 = new_buckets()
    pair = S3Object("sources", "in/small"), S3Object("copies", "reversed")
    only_new = TransferConfig(if_exists="fail")

    transfer([pair], engine=engine, config=only_new, transform=lambda chunk: chunk[::-1]).raise_for_failures()
    [again] = transfer([pair], engine=engine, config=only_new).files
    [absent] = transfer([(S3Object("sources", "none"), pair[1])], engine=engine).files

    assert contents(s3) == {"reversed": FILES["in/small"][::-1]}
    assert isinstance(again.error, DestinationExists)
    assert isinstance(absent.error, SourceNotFound)


@pytest.mark.parametrize("name", BLOCKING)
@mock_aws
def test_a_handler_is_called_without_a_context(name: str) -> None:
    s3 = new_buckets()
    files = [{"source": "s3://sources/in/small", "destination": "s3://copies/a"}]

    reply = import_module(f"handlers.{name}").handler({"files": files}, None)

    assert (reply["status"], reply["request_id"]) == ("copied", "")
    assert contents(s3) == {"a": FILES["in/small"]}


@on_blocking_engines
def test_each_mock_has_its_own_clients_and_objects(engine: EngineName, lab_with: LabWith) -> None:
    """The clients that `transfer` keeps reach the lab before, between and after."""
    lab = lab_with(1, 1000)
    for _ in range(2):
        transfer(OUTSIDE, engine=engine).raise_for_failures()
        with pytest.MonkeyPatch.context() as environ, mock_aws():
            environ.delenv("AWS_ENDPOINT_URL_S3")
            s3 = new_buckets()
            [absent] = transfer(OUTSIDE, engine=engine).files
            assert isinstance(absent.error, SourceNotFound)
            pair = S3Object("sources", "in/small"), S3Object("copies", "in/small")
            transfer([pair], engine=engine).raise_for_failures()
            assert contents(s3) == {"in/small": FILES["in/small"]}
    lab.reset_stats()
    transfer(OUTSIDE, engine=engine).raise_for_failures()
    assert lab.stats()["operations"] == {"GetObject": 1, "PutObject": 1}


def test_asyncio_names_the_engines_to_use(lab_with: LabWith) -> None:
    lab = lab_with(1, 1000)
    with pytest.MonkeyPatch.context() as environ, mock_aws():
        # moto leaves other servers than AWS's alone.
        transfer(OUTSIDE, engine="asyncio").raise_for_failures()
        assert lab.stats()["operations"] == {"GetObject": 1, "PutObject": 1}
        environ.delenv("AWS_ENDPOINT_URL_S3")
        new_buckets()
        with pytest.raises(ConfigError, match="use the engine 'sequential' or 'threads', or moto's server"):
            transfer(OUTSIDE, engine="asyncio")
    transfer(OUTSIDE, engine="asyncio").raise_for_failures()


@pytest.mark.asyncio
async def test_a_session_opened_before_the_mock_names_them_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    async with AsyncTransferSession() as session:
        await session.open()
        with mock_aws():
            new_buckets()
            [result] = (await session.transfer(OUTSIDE)).files
    assert isinstance(result.error, ConfigError)


@pytest.mark.parametrize("engine", ENGINES)
def test_kept_clients_follow_the_variables(engine: EngineName, lab_with: LabWith) -> None:
    """As when each test starts a server, and sets AWS_ENDPOINT_URL_S3 to its port."""
    for _ in range(2):
        lab = lab_with(1, 1000)
        transfer(OUTSIDE, engine=engine).raise_for_failures()
        assert len(lab.checksums("copies")) == 1

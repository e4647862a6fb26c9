"""The SDKs that the asyncio engine runs on: aioboto3 over today's aiobotocore, or aiobotocore alone."""

import sys
from importlib.metadata import version

import aioboto3
import pytest
from packaging.version import Version

from asyncstream import S3Object, TransferSession
from asyncstream.s3 import aio
from asyncstream.s3.access import S3Access
from tests.servers import LabServer


def test_aioboto3_makes_clients_on_todays_sdks() -> None:
    """This environment is also that of `make compare`; test_deploy_runtime.py tests the deployed one."""
    assert type(aio.new_session(S3Access())) is aioboto3.Session
    assert Version(version("aiobotocore")) >= Version("3.10")
    assert Version(version("boto3")) >= Version("1.43")


def test_aiobotocore_alone_copies_as_well(lab_server: LabServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aioboto3", None)
    bucket = lab_server.new_bucket()
    bucket.put("a", b"bytes")

    assert not isinstance(aio.new_session(S3Access()), aioboto3.Session)
    with TransferSession("asyncio", endpoint_url=lab_server.endpoint_url) as session:
        report = session.transfer([(S3Object(bucket.name, "a"), S3Object(bucket.name, "b"))])

    assert report.failed == []
    assert bucket.get("b") == b"bytes"

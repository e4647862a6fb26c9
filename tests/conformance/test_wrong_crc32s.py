"""A server that checks uploads refuses what does not have the CRC32 of the archive's directory.

asyncstream compares it, too, before the last bytes are sent. Here it does not, so the server is on its own.
"""

import zlib
from collections.abc import Callable, Iterator

import pytest

from asyncstream import S3Object, S3Prefix, TransferConfig, TransferSession, ZipEntries
from asyncstream.engines import EngineName
from asyncstream.errors import AsyncstreamError
from asyncstream.pipeline.body import ChunkBody
from tests.servers import Bucket, S3Server, content
from tests.zip_packing import Row, pack_rows

BODY = content(300_000)
ARCHIVE = pack_rows(
    [Row("right", BODY), Row("wrong", BODY, crc32=zlib.crc32(BODY) ^ 1), Row("stored", BODY, 0, crc32=1)]
)


@pytest.fixture(params=["lab", "MiniStack"])
def checking(
    request: pytest.FixtureRequest, running: Callable[[str], S3Server]
) -> Iterator[tuple[S3Server, Bucket]]:
    """A server that compares the bytes of a PUT with its checksum, and a bucket."""
    server = request.getfixturevalue("ministack") if request.param == "MiniStack" else running("lab")
    bucket = server.new_bucket()
    yield server, bucket
    bucket.empty()


def test_the_server_refuses_a_wrong_crc32(
    engine: EngineName, checking: tuple[S3Server, Bucket], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, bucket = checking
    monkeypatch.setattr(ChunkBody, "_check_whole", lambda _: None)
    bucket.put("a.zip", ARCHIVE)
    config = TransferConfig(retry_base_delay=0.001, retry_max_delay=0.001)
    pair = ZipEntries(S3Object(bucket.name, "a.zip")), S3Prefix(bucket.name, "out/")
    with TransferSession(engine, endpoint_url=server.endpoint_url) as session:
        report = session.transfer([pair], config)
    assert {str(file.source).rpartition("!/")[2] for file in report.failed} == {"wrong", "stored"}
    assert all(isinstance(file.error, AsyncstreamError) for file in report.failed)
    assert all("CRC32" in str(file.error) or "BadDigest" in str(file.error) for file in report.failed)
    assert bucket.keys("out/") == {"out/right"}
    assert bucket.uploads() == []

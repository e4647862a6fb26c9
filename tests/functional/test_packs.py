"""Packs between two servers, to standard output, and by processes that are killed."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstream import MiB, S3Access, S3Object, S3Prefix, Tar, TransferConfig, TransferSession
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault
from tests.servers import LabServer, content
from tests.servers.base import until

from .command_line import Ended

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def server(lab_of: Callable[..., LabServer]) -> LabServer:
    return lab_of("off")


@pytest.fixture
def other(credentials: None, tmp_path: Path) -> Iterator[LabServer]:
    other = LabServer()
    other.start(tmp_path)
    yield other
    other.stop()


def read_tar(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]


def test_a_pack_goes_to_another_server(server: LabServer, other: LabServer, engine: EngineName) -> None:
    """An object of the archive's name is one of the files there: it is on the other server."""
    other.lab.create_bucket("sources", keep=True)
    files = {"a": content(6 * MiB), "all.tar": b"not the archive", "b": b""}
    for name, body in files.items():
        server.client.put_object(Bucket="sources", Key=f"in/{name}", Body=body)
    ends = (S3Access(endpoint_url=each.endpoint_url) for each in (server, other))
    target = S3Object("sources", "in/all.tar")
    with TransferSession(engine, source=next(ends), destination=next(ends)) as session:
        config = TransferConfig(part_size=5 * MiB)
        session.transfer([(S3Prefix("sources", "in/"), Tar(target))], config).raise_for_failures()
        assert read_tar(stored(other, "sources", target.key)) == files
        session.transfer([(target, Tar(target))], config).raise_for_failures()
    assert read_tar(stored(other, "sources", target.key)) == {target.key: files["all.tar"]}


def stored(server: LabServer, bucket: str, key: str) -> bytes:
    return bytes(server.client.get_object(Bucket=bucket, Key=key)["Body"].read())


def command(server: LabServer, engine: EngineName, kind: str, target: str) -> list[str]:
    return [
        *(sys.executable, "-m", "asyncstream.cli.main", kind, "s3://sources/in/", target),
        *("--engine", engine, "--part-size", "5MiB", "--endpoint-url", server.endpoint_url),
    ]


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_standard_output_gets_the_bytes_in_order(server: LabServer, engine: EngineName, kind: str) -> None:
    files = {f"{number:03}": content(60_000 + number, number) for number in range(100)}
    files["large"] = content(6 * MiB)
    for name, body in files.items():
        server.client.put_object(Bucket="sources", Key=f"in/{name}", Body=body)
    done = subprocess.run(
        command(server, engine, kind, "-"),
        cwd=ROOT,
        env=os.environ | server.lab.environment(),
        capture_output=True,
        check=True,
    )
    if kind == "tar":
        assert read_tar(done.stdout) == files
    else:
        archive = zipfile.ZipFile(io.BytesIO(done.stdout))
        assert {name: archive.read(name) for name in archive.namelist()} == files


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_killed_pack_leaves_an_upload_that_clean_removes(
    server: LabServer, run: Callable[..., Ended], engine: EngineName, kind: str
) -> None:
    server.lab.declare("sources", [(f"in/{number}", 7 * MiB) for number in range(4)])
    packing = command(server, engine, kind, "s3://copies/out")
    # The stalled part keeps the pack running, so the kill always comes in the middle of it.
    server.lab.set_faults([Fault("stall", "UploadPart", part_number=3, seconds=3600)])
    with subprocess.Popen(
        packing,
        cwd=ROOT,
        env=os.environ | server.lab.environment(),
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: uploads(server) and server.lab.faults_struck() == [1])
        finally:
            process.kill()
    server.lab.set_faults([])
    assert len(uploads(server)) == 1
    assert not server.lab.checksums("copies")
    cleaned = run("clean", "s3://copies/", "--older-than", "0s", "--endpoint-url", server.endpoint_url)
    assert cleaned.err == "1 uploads older than 0s: removed\n"
    assert uploads(server) == []
    again = run(*packing[3:])
    assert again.code == 0, again.err
    assert server.lab.checksums("copies").keys() == {"out"}


def uploads(server: LabServer) -> list[dict[str, Any]]:
    return list(server.client.list_multipart_uploads(Bucket="copies").get("Uploads", ()))

"""`asyncstream clean`, and repeating a copy command whose process was killed."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncstream import MiB
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault
from tests.servers import LabServer
from tests.servers.base import until

from .command_line import Ended

ROOT = Path(__file__).parents[2]
SMALL = [f"in/a-small-{number}" for number in range(20)]
LARGE = [f"in/b-large-{number}" for number in range(2)]


@pytest.fixture
def server(lab_of: Callable[..., LabServer]) -> LabServer:
    return lab_of("off")


def uploads(server: LabServer) -> list[dict[str, Any]]:
    return list(server.client.list_multipart_uploads(Bucket="copies").get("Uploads", ()))


def written(server: LabServer) -> Counter[str]:
    """Return how often each object was written."""
    made = {"PutObject", "CompleteMultipartUpload"}
    return Counter(
        row["key"] for row in server.lab.request_log() if row["operation"] in made and row["status"] == 200
    )


def command(server: LabServer, engine: EngineName, *more: str) -> list[str]:
    return [
        *(sys.executable, "-m", "asyncstream.cli.main", "copy", "s3://sources/in/", "s3://copies/out/"),
        *("--engine", engine, "--multipart", "--part-size", "5MiB", "--max-concurrency", "4"),
        *("--endpoint-url", server.endpoint_url, *more),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_command_completes_a_killed_copy(
    server: LabServer, run: Callable[..., Ended], engine: EngineName
) -> None:
    """`asyncstream clean` then removes the uploads that the killed process left."""
    server.lab.declare("sources", [(key, 300_000) for key in SMALL])
    server.lab.declare("sources", [(key, 30 * MiB) for key in LARGE])
    # The stalled part keeps the copy running, so the kill always comes in the middle of it.
    server.lab.set_faults([Fault("stall", "UploadPart", part_number=3, seconds=3600)])
    # Files start in the order of their names: the large ones are running when the first small ones are done.
    with subprocess.Popen(
        command(server, engine, "--if-exists", "skip"),
        cwd=ROOT,
        env=os.environ | server.lab.environment(),
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            until(lambda: uploads(server) and server.lab.stats()["operations"].get("UploadPart", 0) > 1)
        finally:
            process.kill()
    server.lab.set_faults([])
    left = uploads(server)
    assert left
    done = written(server)

    again = run(*command(server, engine, "--if-exists", "skip")[3:])

    assert again.code == 0, again.err
    sources, copies = server.lab.checksums("sources", "in/"), server.lab.checksums("copies", "out/")
    assert {key.replace("in/", "out/"): of.crc64nvme for key, of in sources.items()} == {
        key: of.crc64nvme for key, of in copies.items()
    }
    assert set(written(server).values()) == {1}
    assert f"{len(done)} there already" in again.err
    assert len(done) >= 10
    recent = run("clean", "s3://copies/out/", "--endpoint-url", server.endpoint_url)
    assert recent.err == "0 uploads older than 1d: removed\n"
    assert len(uploads(server)) == len(left)
    listed = run(
        "clean", "s3://copies/", "--older-than", "0s", "--dry-run", "--endpoint-url", server.endpoint_url
    )
    assert len(uploads(server)) == len(listed.out.splitlines()) == len(left)
    cleaned = run("clean", "s3://copies/", "--older-than", "0s", "--endpoint-url", server.endpoint_url)
    assert cleaned.err == f"{len(left)} uploads older than 0s: removed\n"
    assert uploads(server) == []


def test_uploads_of_another_prefix_are_left_alone(server: LabServer, run: Callable[..., Ended]) -> None:
    for key in ("mine/a", "others/a"):
        server.client.create_multipart_upload(Bucket="copies", Key=key)
    run("clean", "s3://copies/mine/", "--older-than", "0s", "--endpoint-url", server.endpoint_url)
    assert [upload["Key"] for upload in uploads(server)] == ["others/a"]


@pytest.mark.parametrize("age", ["1", "d", "-1d", "1.5h", "1y"])
def test_what_is_no_age_is_told(run: Callable[..., Ended], age: str) -> None:
    told = run("clean", "s3://copies/", f"--older-than={age}")
    assert told.code == 2
    assert "is not an age: write 30m, 12h or 7d" in told.err

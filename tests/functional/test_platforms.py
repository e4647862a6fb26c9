"""asyncstream where Linux's features are missing. Nothing here runs on macOS or Windows itself."""

import asyncio
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from asyncstream import ConfigError
from asyncstream.gathering.postgres.aio import AsyncioDriver
from asyncstream.lab.s3 import LabS3
from asyncstream.lab.server_process import LabError
from tests.servers.base import GUARD_SECONDS

from .command_line import LabWith
from .other_platforms import LACKS

ROOT = Path(__file__).parents[2]
ENGINES = 3
SIZE = 12_000_000

PROGRAM = """
import sys
from tests.functional.other_platforms import simulate

platform = sys.argv[1]
simulate(platform)

from asyncstream import MiB, S3Object, TransferConfig, transfer
from asyncstream.cli.main import main
from asyncstream.engines import ENGINES

import asyncstream.gathering
import asyncstream.lab.compare.comparing
from asyncstream.pipeline.memory import resident

parts = TransferConfig(multipart=True, part_size=5 * MiB)
for number, engine in enumerate(ENGINES):
    pair = S3Object("sources", f"x/{number:06d}"), S3Object("copies", f"x/{number:06d}")
    transfer([pair], engine=engine, config=parts).raise_for_failures()
    transfer([pair], engine=engine, config=parts, transform=["gzip", "gunzip"]).raise_for_failures()
assert resident() == 0

assert main(["copy", "s3://sources/x/000000", "s3://copies/again", "--object"]) == 0
sys.platform = platform  # not before, as the standard library imports its modules by it
assert main(["compare"]) == 2
try:
    main(["--help"])
except SystemExit as end:
    sys.exit(end.code)
"""


@pytest.fixture
def lab(lab_with: LabWith) -> LabS3:
    return lab_with(ENGINES, SIZE)


@pytest.mark.parametrize("platform", LACKS)
def test_every_engine_copies_without_what_linux_has(lab: LabS3, platform: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, platform],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=GUARD_SECONDS,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: asyncstream" in done.stdout
    assert f"compare without --stack needs Linux, and this is {platform}: run it in" in done.stderr
    sources, copies = lab.checksums("sources"), lab.checksums("copies")
    sources["again"] = sources["x/000000"]
    assert {key: copy.crc64nvme for key, copy in copies.items()} == {
        key: source.crc64nvme for key, source in sources.items()
    }


def test_the_lab_names_the_platform_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(LabError, match=r"asyncstream\.lab\.s3 needs Linux, and this is darwin"):
        LabS3()


def test_windows_own_loop_is_named_if_psycopg_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def connect() -> None:
        monkeypatch.setattr(asyncio, "ProactorEventLoop", asyncio.SelectorEventLoop, raising=False)
        monkeypatch.setattr(sys, "platform", "win32")
        await AsyncioDriver().connect({"host": "127.0.0.1"}, 1.0)

    with pytest.raises(ConfigError, match="on Windows use the engine 'threads'") as caught:
        asyncio.run(connect())
    assert isinstance(caught.value.__cause__, psycopg.InterfaceError)

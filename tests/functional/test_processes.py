"""A program that transfers files, ending normally and by Ctrl-C."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from asyncstream.engines import ENGINES, EngineName
from tests.servers import LabServer
from tests.servers.base import GUARD_SECONDS

Start = Callable[..., subprocess.Popen[str]]

ROOT = Path(__file__).parents[2]

COPY = """
import sys
from asyncstream import BytesMoved, MiB, S3Object, TransferConfig, transfer

engine, endpoint_url, target, *keys = sys.argv[1:]
told = False

def tell(event):
    global told
    if isinstance(event, BytesMoved) and not told:
        told = True
        print("bytes move", flush=True)

report = transfer(
    [(S3Object("sources", key), S3Object(target, key)) for key in keys],
    engine=engine,
    config=TransferConfig(multipart=True, part_size=10 * MiB, max_concurrency=4),
    on_event=tell,
    endpoint_url=endpoint_url,
)
report.raise_for_failures()
"""

pytestmark = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture(scope="module")
def slow_server(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """Start a lab S3 with 5 MB/s for all connections together."""
    server = LabServer(model="0/5/0")
    server.start(tmp_path_factory.mktemp("slow-lab"))
    server.lab.create_bucket("sources", keep=False)
    server.lab.declare("sources", [("large", 3_000_000_000), ("small", 1000)])
    yield server
    server.close_client()
    server.stop()


@pytest.fixture
def start(slow_server: LabServer, engine: EngineName) -> Iterator[Start]:
    """Return a function that starts the program; kill at the end of the test what still runs."""
    started = []

    def start(target: str, *keys: str, options: Sequence[str] = ()) -> subprocess.Popen[str]:
        command = [sys.executable, *options, "-c", COPY, engine, slow_server.endpoint_url, target, *keys]
        started.append(
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        )
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_ctrl_c_ends_it_soon_with_nothing_left_behind(slow_server: LabServer, start: Start) -> None:
    """The program would otherwise run for ten minutes."""
    bucket = slow_server.new_bucket()
    process = start(bucket.name, "large")
    assert process.stdout is not None
    assert process.stdout.readline() == "bytes move\n"
    assert bucket.uploads() == ["large"]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=GUARD_SECONDS)
    assert errors.splitlines()[-1] == "KeyboardInterrupt"
    assert process.returncode == -signal.SIGINT
    assert bucket.uploads() == []
    assert bucket.keys() == set()


def test_it_ends_without_a_warning(slow_server: LabServer, start: Start) -> None:
    bucket = slow_server.new_bucket()
    process = start(bucket.name, "small", options=["-W", "error", "-X", "dev"])
    _, errors = process.communicate(timeout=GUARD_SECONDS)
    # asyncio's debug mode, part of `-X dev`, also logs slow steps. Making the client is one.
    assert [line for line in errors.splitlines() if not line.startswith("Executing <Task")] == []
    assert process.returncode == 0
    assert bucket.keys() == {"small"}

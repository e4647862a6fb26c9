"""Peak memory of a fresh process that unpacks and packs 500 MB: bounded by its limit, not by the file.

MB are 10**6 bytes. The figures include the interpreter, the SDK and the transform's libraries.
"""

import gzip
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import LabServer, content

ROOT = Path(__file__).parents[2]
MB = 1_000_000
MEMBERS = 25
LIMIT = 110

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

MAKE = """
import sys
from asyncstream import MiB, S3Object, TransferConfig, transfer
from asyncstream.pipeline.memory import peak_resident

engine, transform, source, target = sys.argv[1:]
report = transfer(
    [(S3Object(*source.split("/")), S3Object(*target.split("/")))],
    engine=engine,
    config=TransferConfig(memory_limit=24 * MiB),
    transform=transform,
)
report.raise_for_failures()
print(peak_resident())
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lab(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LabServer, int]]:
    """Start a lab S3 with a log of 500 MB in 25 gzip members, a quarter as large, and 500 MB declared."""
    server = LabServer()
    server.start(tmp_path_factory.mktemp("lab"))
    server.lab.create_bucket("packed", keep=True)
    server.lab.create_bucket("plain", keep=False)
    block = b"".join(
        b"%06d 10.0.0.1 GET /items/of/a/shop/%s HTTP/1.1 200\n" % (n, content(8, n % 9000).hex().encode())
        for n in range(20 * MB // 67)
    )
    server.client.put_object(Bucket="packed", Key="file", Body=gzip.compress(block, 1) * MEMBERS)
    server.lab.declare("plain", [("declared", MEMBERS * len(block))])
    yield server, MEMBERS * len(block)
    server.close_client()
    server.stop()


def peak(lab: LabServer, engine: str, transform: str, source: str, target: str) -> float:
    """Copy a file with a transform in a fresh process; return its peak memory in MB."""
    done = subprocess.run(
        [sys.executable, "-c", MAKE, engine, transform, source, target],
        cwd=ROOT,
        env=lab.lab.environment() | {"PATH": "", "HOME": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    megabytes = int(done.stdout) / MB
    logger.info("%s %s: %.1f MB", engine, transform, megabytes)
    return megabytes


@pytest.mark.parametrize("engine", ["sequential", "threads", "asyncio"])
def test_memory_of_unpacking_stays_under_its_limit(lab: tuple[LabServer, int], engine: str) -> None:
    server, length = lab
    measured = peak(server, engine, "gunzip", "packed/file", f"plain/{engine}")
    assert server.lab.checksums("plain", engine)[engine].size == length
    assert measured <= LIMIT


@pytest.mark.parametrize("engine", ["sequential", "threads", "asyncio"])
def test_memory_of_packing_stays_under_its_limit(lab: tuple[LabServer, int], engine: str) -> None:
    """The bytes cannot be compressed, so as much is written as is read."""
    server, _ = lab
    measured = peak(server, engine, "gzip", "plain/declared", f"plain/{engine}.gz")
    assert server.lab.checksums("plain", engine)[f"{engine}.gz"].size > MEMBERS * MB
    assert measured <= LIMIT

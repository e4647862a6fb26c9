"""Peak memory of a fresh process that copies large files: bounded, and the same for every file size.

The files are many times larger than the limits, and large enough to keep every slot busy.

MB are 10**6 bytes. The figures include the interpreter and the SDK.
"""

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.servers import LabServer

Peak = Callable[..., float]

ROOT = Path(__file__).parents[2]
MB = 1_000_000

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

COPY = """
import sys
from asyncstream import MiB, S3Object, TransferConfig, transfer
from asyncstream.pipeline.memory import peak_resident

engine, concurrency, prefix, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
keys = [f"{prefix}{number:06d}" for number in range(count)]
report = transfer(
    [(S3Object("sources", key), S3Object("copies", key)) for key in keys],
    engine=engine,
    config=TransferConfig(max_concurrency=concurrency, multipart=True, memory_limit=512 * MiB),
)
report.raise_for_failures()
assert report.slots == concurrency
print(peak_resident())
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def serve(
    credentials: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], LabServer]]:
    """Return a function that starts the lab S3 over a scheme; its declared objects take no disk space."""
    servers = {}

    def serve(scheme: str) -> LabServer:
        if scheme not in servers:
            servers[scheme] = server = LabServer(tls=scheme == "https")
            server.start(tmp_path_factory.mktemp(scheme))
            for bucket in ("sources", "copies"):
                server.lab.create_bucket(bucket, keep=False)
            server.lab.declare_many("sources", "large-", 16, 100 * MB)
            server.lab.declare_many("sources", "huge-", 1, 1000 * MB)
        return servers[scheme]

    yield serve
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="module")
def peak(serve: Callable[[str], LabServer]) -> Peak:
    """Return a function that copies files, compares their checksums and returns its peak memory in MB.

    It measures each case once for all tests.
    """

    @cache
    def peak(engine: str, scheme: str, concurrency: int, prefix: str, count: int) -> float:
        lab = serve(scheme).lab
        environment = lab.environment() | {"PATH": "", "HOME": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", COPY, engine, str(concurrency), prefix, str(count)],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        sources, copies = lab.checksums("sources", prefix), lab.checksums("copies", prefix)
        assert len(copies) >= count
        assert {key: copy.crc64nvme for key, copy in copies.items()} == {
            key: sources[key].crc64nvme for key in copies
        }
        megabytes = int(done.stdout) / MB
        logger.info(
            "%s %s, concurrency %d, %d of %s: %.1f MB", engine, scheme, concurrency, count, prefix, megabytes
        )
        return megabytes

    return peak


@pytest.mark.parametrize(
    ("engine", "scheme", "concurrency", "files", "limit"),
    [
        ("threads", "http", 10, 4, 65),
        ("threads", "http", 64, 16, 85),
        ("threads", "https", 10, 4, 65),
        ("asyncio", "http", 10, 4, 85),
        ("asyncio", "http", 64, 16, 110),
        ("asyncio", "https", 10, 4, 105),
    ],
)
def test_memory_stays_under_its_limit(
    peak: Peak, engine: str, scheme: str, concurrency: int, files: int, limit: int
) -> None:
    assert peak(engine, scheme, concurrency, "large-", files) <= limit


@pytest.mark.parametrize("engine", ["sequential", "threads", "asyncio"])
def test_memory_does_not_grow_with_the_files(peak: Peak, engine: str) -> None:
    small = peak(engine, "http", 1 if engine == "sequential" else 10, "large-", 4)
    large = peak(engine, "http", 1 if engine == "sequential" else 10, "huge-", 1)
    assert abs(large - small) <= 5

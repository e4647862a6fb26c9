"""Peak memory of a fresh process that packs files: within the limit, and the same for every size.

`PACK_MB=10000 pytest tests/functional/test_memory_of_packs.py` packs that many megabytes.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncstream.engines import ENGINES
from asyncstream.units import KiB
from tests.servers import LabServer

ROOT = Path(__file__).parents[2]
MB = 1_000_000
SIZE = int(os.environ.get("PACK_MB", "300")) * MB
SMALL = 2_000 * SIZE // (300 * MB)

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

PACK = """
import sys
from asyncstream import MiB, S3Object, S3Prefix, Tar, TransferConfig, Zip, transfer
from asyncstream.pipeline.memory import peak_resident

engine, kind, prefix = sys.argv[1:]
into = {"tar": Tar, "zip": Zip}[kind](S3Object("copies", f"{engine}-{prefix}.{kind}"))
config = TransferConfig(memory_limit=64 * MiB)
report = transfer([(S3Prefix("sources", f"{prefix}/"), into)], engine=engine, config=config)
report.raise_for_failures()
print(report.bytes, report.requests["UploadPart"], peak_resident())
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if SIZE > 1000 * MB else 120)]


@pytest.fixture(scope="module")
def server(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer()
    server.start(tmp_path_factory.mktemp("lab"))
    server.lab.create_bucket("sources", keep=False)
    server.lab.create_bucket("copies", keep=False)
    server.lab.declare_many("sources", "large/", SIZE // (100 * MB), 100 * MB)
    server.lab.declare_many("sources", "small/", SMALL, 16 * KiB)
    yield server
    server.stop()


# Python and the SDK take 45 MB, and asyncio's buffers up to 30 more. Two or three parts that are assembled of
# small files take 16 to 20 MB.
@pytest.mark.parametrize(
    ("files", "most"),
    [
        ("large", {"sequential": 66, "threads": 70, "asyncio": 86}),
        ("small", {"sequential": 66, "threads": 82, "asyncio": 95}),
    ],
)
@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("engine", ENGINES)
def test_memory_does_not_depend_on_the_size(
    engine: str, kind: str, files: str, most: dict[str, int], server: LabServer
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PACK, engine, kind, files],
        cwd=ROOT,
        env=server.lab.environment() | {"PATH": "", "HOME": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    packed, parts, resident = map(int, done.stdout.split())
    logger.info("%s %s of %s files: %d parts, %.1f MB", engine, kind, files, parts, resident / MB)
    assert packed > (SIZE if files == "large" else SMALL * 16 * KiB)
    assert (parts > 1) == (engine != "sequential")  # which streams all of it by one connection
    assert resident / MB <= most[engine]
    [made] = server.lab.checksums("copies", f"{engine}-{files}.{kind}").values()
    assert made.size == packed

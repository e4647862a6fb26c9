"""Peak memory of a fresh process that unpacks a tar archive: the same for every size.

`UNTAR_MB=5000 pytest tests/functional/test_memory_of_untar.py` does it with an archive of that size.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from asyncstream.archives.tar_headers import padding, tar_end, tar_header
from asyncstream.engines import ENGINES
from asyncstream.transforms import Gzip
from asyncstream.transforms.protocol import pieces
from tests.servers import LabServer, content

ROOT = Path(__file__).parents[2]
MB = 1_000_000
SIZE = int(os.environ.get("UNTAR_MB", "300")) * MB
# Half of it can be compressed.
_PIECE = content(500_000).hex().encode()

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

UNTAR = """
import sys
from asyncstream import LocalFile, MiB, S3Prefix, TarEntries, TransferConfig, transfer
from asyncstream.pipeline.memory import peak_resident

engine, archive, destination = sys.argv[1:]
config = TransferConfig(multipart=True, memory_limit=64 * MiB)
pair = TarEntries(LocalFile(archive)), S3Prefix.from_uri(destination)
report = transfer([pair], engine=engine, config=config)
report.raise_for_failures()
print(report.bytes, peak_resident(), file=sys.stderr)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if SIZE > 1000 * MB else 120)]


@pytest.fixture(scope="module")
def server(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer()
    server.start(tmp_path_factory.mktemp("lab"))
    server.lab.create_bucket("copies", keep=False)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `a.tar` of one large and many small files, and `a.tar.gz`."""
    folder = tmp_path_factory.mktemp("archives")
    gzip = Gzip()
    with (folder / "a.tar").open("wb") as plain, (folder / "a.tar.gz").open("wb") as packed:

        def write(data: bytes) -> None:
            plain.write(data)
            packed.writelines(pieces(gzip.feed(data)))

        write(tar_header("large", SIZE, 0))
        for _ in range(SIZE // MB):
            write(_PIECE)
        write(padding(SIZE))
        for number in range(500):
            write(tar_header(f"small/{number}", 5000, 0) + _PIECE[:5000] + padding(5000))
        write(tar_end(plain.tell()))
        packed.writelines(pieces(gzip.finish()))
    yield folder
    (folder / "a.tar").unlink()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_memory_does_not_depend_on_the_size(
    engine: str, name: str, server: LabServer, archives: Path
) -> None:
    """Bytes pass through, also those that a decoder makes."""
    prefix = f"{name}-{engine}/"
    done = subprocess.run(
        [sys.executable, "-c", UNTAR, engine, str(archives / name), f"s3://copies/{prefix}"],
        cwd=ROOT,
        env=server.lab.environment() | {"PATH": "", "HOME": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    moved, resident = map(int, done.stderr.split())
    logger.info("%s %s: %.1f MB", engine, name, resident / MB)
    assert moved == SIZE + 500 * 5000
    assert resident / MB <= (90 if engine == "asyncio" else 75)
    written = server.lab.checksums("copies", prefix)
    assert len(written) == 501
    assert written[f"{prefix}large"].size == SIZE

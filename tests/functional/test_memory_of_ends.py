"""Peak memory of a fresh process whose ends are URLs, files and pipes: the same for every size.

`ENDS_MB=5000 pytest tests/functional/test_memory_of_ends.py` does it with files of that size.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncstream.engines import ENGINES
from asyncstream.lab.web import Answer, Origin
from asyncstream.lab.web.server import Asked
from tests.servers import LabServer

ROOT = Path(__file__).parents[2]
MB = 1_000_000
SIZE = int(os.environ.get("ENDS_MB", "300")) * MB
# Bytes of one piece of a body; the file repeats it.
_PIECE = bytes(range(256)) * 3906 + bytes(64)

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

COPY = """
import sys
from asyncstream import FetchConfig, LocalFile, MiB, S3Object, TransferConfig, WebFile, transfer
from asyncstream.locations import StandardStream
from asyncstream.pipeline.memory import peak_resident

engine, source, destination = sys.argv[1:]
web = FetchConfig(allowed_networks=("127.0.0.0/8",))

def place(text):
    if text == "-":
        return StandardStream()
    if text.startswith("http"):
        return WebFile(text)
    return S3Object.from_uri(text) if text.startswith("s3:") else LocalFile(text)

config = TransferConfig(multipart=True, memory_limit=64 * MiB)
report = transfer([(place(source), place(destination))], engine=engine, config=config, web=web)
report.raise_for_failures()
print(report.bytes, peak_resident(), file=sys.stderr)
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if SIZE > 1000 * MB else 120)]


@pytest.fixture(scope="module")
def server(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer()
    server.start(tmp_path_factory.mktemp("lab"))
    server.lab.create_bucket("sources", keep=False)
    server.lab.create_bucket("copies", keep=False)
    server.lab.declare("sources", [("x", SIZE)])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A file behind a URL whose server has ranges."""

    def answer(asked: Asked) -> Answer:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        start, stop = 0, SIZE
        described = {"ETag": '"1"', "Accept-Ranges": "bytes"}
        if "range" in headers:
            first, _, last = headers["range"].removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1
            described["Content-Range"] = f"bytes {start}-{stop - 1}/{SIZE}"
        return Answer(206 if "range" in headers else 200, described, _pieces(start, stop), stop - start)

    with Origin(answer) as origin:
        yield f"{origin.urls[0]}/x"


def _pieces(start: int, stop: int) -> Iterator[bytes]:
    while start < stop:
        piece = _PIECE[start % len(_PIECE) :][: stop - start]
        yield piece
        start += len(piece)


@pytest.fixture
def peak(server: LabServer) -> Callable[..., float]:
    """Return a function that copies in a new process, and returns its peak memory in MB."""

    def peak(engine: str, source: str, destination: str, given: Path | None = None) -> float:
        with (given or Path(os.devnull)).open("rb") as stdin:
            done = subprocess.run(
                [sys.executable, "-c", COPY, engine, source, destination],
                cwd=ROOT,
                env=server.lab.environment() | {"PATH": "", "HOME": str(ROOT)},
                stdin=stdin,
                capture_output=True,
                text=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr
        moved, resident = map(int, done.stderr.split())
        assert moved == SIZE
        logger.info("%s %s -> %s: %.1f MB", engine, source, destination, resident / MB)
        return resident / MB

    return peak


@pytest.mark.parametrize("engine", ENGINES)
def test_memory_is_bounded_at_every_kind_of_end(
    engine: str, server: LabServer, url: str, peak: Callable[..., float], tmp_path: Path
) -> None:
    """Bytes pass through. Only what has no known size is held in parts, within `memory_limit`."""
    lab, file = server.lab, tmp_path / "x"
    usual = 90 if engine == "asyncio" else 75
    assert peak(engine, url, f"s3://copies/web-{engine}") <= usual
    assert peak(engine, "s3://sources/x", str(file)) <= usual
    assert peak(engine, str(file), f"s3://copies/file-{engine}") <= usual
    assert peak(engine, "-", f"s3://copies/pipe-{engine}", file) <= usual + 64 * 1.049
    copies = lab.checksums("copies", "")
    expected = lab.checksums("sources", "x")["x"].crc64nvme
    assert copies[f"file-{engine}"].crc64nvme == copies[f"pipe-{engine}"].crc64nvme == expected
    assert copies[f"web-{engine}"].size == SIZE
    file.unlink()

"""An archive of a million files: memory to plan it, and a process that is killed while it unpacks a slice.

`ARCHIVE_FILES=200000 pytest tests/functional/test_archives_of_many.py` plans a smaller archive.
"""

import io
import json
import logging
import os
import struct
import subprocess
import sys
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from asyncstream import S3Object, TransferSession, ZipEntries
from asyncstream.engines import ENGINES, EngineName
from asyncstream.lab.s3 import Fault
from tests.servers import LabServer, content
from tests.servers.base import CREDENTIALS, until

ROOT = Path(__file__).parents[2]
MB = 1_000_000
FILES = int(os.environ.get("ARCHIVE_FILES", "1000000"))
# Bytes between the headers of two files.
_APART = 140

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PLAN = """
import json, sys, time
from asyncstream import LocalFile, S3Prefix, TransferSession, ZipEntries
from asyncstream.pipeline.memory import peak_resident, resident
from asyncstream.pipeline.results import FileResult, FileResults

engine, path, what = sys.argv[1:]
entries = ZipEntries(LocalFile(path))
with TransferSession(engine) as session:
    session.open()
    before, started = resident(), time.process_time()
    if what == "slices":
        found = session.slice_archive(entries)
        counted = sum(each.slice.count for each in found)
    else:
        found = session.plan([(entries, S3Prefix("bucket", "out/"))])
        counted = len(found)
    cpu = time.process_time() - started
    peak = peak_resident()
    if what == "results":
        results = FileResults(found)
        for position, job in enumerate(found):
            done = FileResult(
                job.source, job.destination, "copied", job.size, '"%032x"' % position, 1, 1, position / 7,
                None, "CRC32", "CRC64NVME",
            )
            results.put(position, done)
print(json.dumps({"counted": counted, "cpu": cpu, "peak": peak, "kept": resident() - before}))
"""

UNPACK = """
import sys
from asyncstream import S3Object, S3Prefix, TransferConfig, ZipEntries, ZipSlice, transfer
import msgspec

engine, slice_ = sys.argv[1:]
entries = ZipEntries(S3Object("sources", "a.zip"), slice=msgspec.json.decode(slice_, type=ZipSlice))
config = TransferConfig(if_exists="skip", max_concurrency=4)
report = transfer([(entries, S3Prefix("copies", "out/"))], engine=engine, config=config)
report.raise_for_failures()
print(report.count("copied"), report.count("skipped"))
"""

_ROW = struct.Struct("<4s6H3I5H2I")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("many") / "many.zip"
    make(path, FILES)
    yield path
    path.unlink()


def make(path: Path, count: int) -> None:
    """Write an archive with a directory of `count` rows, and a hole of zeros in place of the files."""
    start, length = count * _APART, 0
    with path.open("wb") as file:
        file.truncate(start)
        file.seek(start)
        for first in range(0, count, 10_000):
            rows = b"".join(map(_row, range(first, min(first + 10_000, count))))
            length += file.write(rows)
        file.write(struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, start))
        file.write(struct.pack("<4sIQI", b"PK\6\7", 0, start + length, 1))
        file.write(struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0))


def _row(number: int) -> bytes:
    """Return a row with a field for the time, as Info-ZIP writes it; its CRC32 looks random."""
    name = b"%03d/part-%08d.csv" % (number // 1000, number)
    crc32 = number * 2_654_435_761 % (1 << 32)
    sizes = 40 + number % 50, 80 + number % 300
    time = struct.pack("<2HBI", 0x5455, 5, 1, 1_700_000_000 + number)
    lengths, place = (len(name), len(time), 0, 0, 0), (0o100644 << 16, number * _APART)
    head = _ROW.pack(b"PK\1\2", 0x31E, 20, 0, 8, 0x6000, 0x5A5A, crc32, *sizes, *lengths, *place)
    return head + name + time


def planned(engine: EngineName, archive: Path, what: str, **environment: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", PLAN, engine, str(archive), what],
        cwd=ROOT,
        env={"PATH": "", "HOME": str(ROOT), "AWS_DEFAULT_REGION": "eu-west-1", **CREDENTIALS, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    figures: dict[str, float] = json.loads(done.stdout)
    logger.info(
        "%s, %s of %d: %.1f CPU s, peak %.1f MB, %d bytes kept",
        *(engine, what, figures["counted"], figures["cpu"], figures["peak"] / MB, figures["kept"]),
    )
    return figures


@pytest.mark.parametrize("engine", ENGINES)
def test_slices_are_planned_in_a_function_of_128_mb(engine: EngineName, archive: Path) -> None:
    figures = planned(engine, archive, "slices", AWS_LAMBDA_FUNCTION_MEMORY_SIZE="128")
    assert figures["counted"] == FILES
    assert figures["peak"] <= 128 * 1.048_576 * MB


def test_an_entry_takes_0_2_kb_with_its_result(tmp_path: Path) -> None:
    """Beside the blocks of the directory that stay unpacked, which are 3 MB for any archive."""
    make(tmp_path / "a.zip", 200_000)
    figures = planned("threads", tmp_path / "a.zip", "results")
    assert figures["counted"] == 200_000
    assert figures["kept"] / 200_000 <= 200


@pytest.mark.parametrize("engine", ENGINES)
def test_another_engine_completes_the_slice_of_a_killed_process(
    lab_of: Callable[..., LabServer], engine: EngineName
) -> None:
    """Nothing is lost, and no object is written twice."""
    server = lab_of("off")
    files = {f"{number:03d}": content(10_000, number) for number in range(120)}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, body in files.items():
            archive.writestr(name, body)
    server.client.put_object(Bucket="sources", Key="a.zip", Body=packed.getvalue())
    with TransferSession(engine, endpoint_url=server.endpoint_url) as session:
        entries = session.slice_archive(ZipEntries(S3Object("sources", "a.zip")), 60)[1]
    slice_ = msgspec.json.encode(entries.slice).decode()
    server.lab.reset_stats()
    # All objects after the first 19 stall, so the kill always comes in the middle.
    server.lab.set_faults([Fault("stall", "PutObject", times=list(range(20, 60)), seconds=3600)])
    environment = os.environ | server.lab.environment()
    with subprocess.Popen(
        [sys.executable, "-c", UNPACK, engine, slice_], cwd=ROOT, env=environment
    ) as process:
        try:
            until(lambda: sum(written(server).values()) == 19)
        finally:
            process.kill()
    server.lab.set_faults([])
    other = ENGINES[(ENGINES.index(engine) + 1) % len(ENGINES)]
    again = subprocess.run(
        [sys.executable, "-c", UNPACK, other, slice_],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.stdout == "41 19\n", again.stderr
    assert set(written(server).values()) == {1}
    stored = {
        key: server.client.get_object(Bucket="copies", Key=key)["Body"].read() for key in written(server)
    }
    assert stored == {f"out/{name}": body for name, body in files.items() if name >= "060"}


def written(server: LabServer) -> Counter[str]:
    """Return how often each object was written."""
    return Counter(
        row["key"]
        for row in server.lab.request_log()
        if row["operation"] == "PutObject" and row["bucket"] == "copies" and row["status"] == 200
    )

"""Sources of plans: the memory that an inventory takes, and inventories that pyarrow reads."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from asyncstream import CorruptInput, S3Object, TransferConfig
from asyncstream.engines import open_engine
from asyncstream.pipeline.clients import Clients
from asyncstream.runs.pages import Found, Page
from asyncstream.s3.access import S3Access
from asyncstream.units import MiB
from tests.lacking import lacking
from tests.servers import Bucket, LabServer
from tests.source_builders import (
    found_in,
    inventory,
    inventory_csv,
    inventory_row,
    left_out_of,
    read_with_stops,
)

ROOT = Path(__file__).parents[2]
ROWS = int(os.environ.get("INVENTORY_ROWS", "300000"))
PER_FILE = 100_000

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

COUNT = """
import sys, time
from functools import partial
from asyncstream import S3Object, TransferConfig
from asyncstream.engines import open_engine
from asyncstream.pipeline.clients import Clients
from asyncstream.pipeline.memory import peak_resident
from asyncstream.runs.sources import read_pages
from asyncstream.s3.access import S3Access

endpoint, bucket = sys.argv[1:]
engine = open_engine("sequential")
access = S3Access(endpoint_url=endpoint)
clients = Clients(engine, access, access)

async def count(name):
    found = 0
    async with clients.open(TransferConfig()) as ends:
        async for page in read_pages(ends, engine, "inventory", S3Object(bucket, name)):
            found += len(page.found)
    return found

few = engine.run(partial(count, "few.json"))
before, started = peak_resident(), time.process_time()
many = engine.run(partial(count, "many.json"))
print(few, many, peak_resident() - before, time.process_time() - started)
"""

PLAN = """
import sys, time
from asyncstream import S3Prefix, TransferConfig, TransferSession
from asyncstream.pipeline.memory import peak_resident
from asyncstream.runs.places import Run
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.planning import plan_run
from asyncstream.runs.run_store import RunStore
from asyncstream.runs.moving import Worker

endpoint, bucket = sys.argv[1:]
config = TransferConfig()
with TransferSession("threads", endpoint_url=endpoint) as session:
    def plan(name):
        store = RunStore(Run(S3Prefix(bucket, f"{name}/")), session, lambda: config)
        source, destination = f"s3://{bucket}/{name}.json", "s3://copies/"
        asked = PlanRequest(source=source, destination=destination, kind="inventory", functions=1)
        return plan_run(store, asked, Worker(session, lambda: config)).totals.files

    few = plan("few")
    before, started = peak_resident(), time.process_time()
    many = plan("many")
    print(few, many, peak_resident() - before, time.process_time() - started)
"""


@pytest.fixture(scope="module")
def server(credentials: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    server = LabServer()
    server.start(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture
def bucket(server: LabServer) -> Bucket:
    return server.new_bucket()


@pytest.fixture
def arrow() -> ModuleType:
    try:
        return import_module("pyarrow")
    except ImportError:
        lacking("pyarrow is missing: pip install 'asyncstream[inventory]'")


@pytest.mark.slow
@pytest.mark.parametrize(("script", "most"), [(COUNT, 4 * MiB), (PLAN, 24 * MiB)], ids=["read", "planned"])
def test_memory_does_not_depend_on_the_number_of_rows(
    server: LabServer, bucket: Bucket, script: str, most: int
) -> None:
    """`INVENTORY_ROWS=10000000` does it with as many: each file of 100,000 rows is named again and again."""
    content = inventory_csv(inventory_row(f"logs/{number:09d}") for number in range(PER_FILE))
    bucket.put("1.csv.gz", content)
    for name, files in (("few.json", 1), ("many.json", ROWS // PER_FILE)):
        manifest = inventory({"1.csv.gz": content}, bucket.name, repeat=files)
        bucket.put(name, manifest)
    run = subprocess.run(
        [sys.executable, "-c", script, server.endpoint_url, bucket.name],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    few, many, growth, seconds = run.stdout.split()
    logger.info(
        "%s rows: %.1f MiB more, %.0f rows a CPU second", many, int(growth) / MiB, ROWS / float(seconds)
    )

    assert (int(few), int(many)) == (PER_FILE, ROWS)
    assert int(growth) < most


def read(server: LabServer, bucket: Bucket, most: int) -> list[Page]:
    engine, access = open_engine("asyncio"), S3Access(endpoint_url=server.endpoint_url)
    clients = Clients(engine, access, access)

    async def run() -> list[Page]:
        async with clients.open(TransferConfig()) as ends:
            place = S3Object(bucket.name, "manifest.json")
            return await read_with_stops(ends, engine, "inventory", place, [most])

    try:
        return engine.run(run)
    finally:
        engine.run(clients.close)
        engine.close()


def table_file(arrow: ModuleType, format_: str) -> bytes:
    """Return 10,000 rows, of which every third is an older version, with a column that is not read."""
    numbers = range(10_000)
    columns: dict[str, Any] = {
        "bucket": ["raw" for _ in numbers],
        "key": [f"in/{number} +%41ä" for number in numbers],
        "version_id": ["v1" for _ in numbers],
        "is_latest": [number % 3 > 0 for number in numbers],
        "is_delete_marker": [None if number == 1 else False for number in numbers],
        "size": [None if number == 1 else number for number in numbers],
        "e_tag": ["e" for _ in numbers],
    }
    table = arrow.table(columns)
    written = io.BytesIO()
    if format_ == "Parquet":
        import_module("pyarrow.parquet").write_table(table, written, row_group_size=3_000)
    else:
        import_module("pyarrow.orc").write_table(table, written, stripe_size=50_000)
    return written.getvalue()


@pytest.mark.parametrize("format_", ["Parquet", "ORC"])
@pytest.mark.parametrize("most", [1, 10**6])
def test_tables_are_read_as_csv_is(
    server: LabServer, bucket: Bucket, arrow: ModuleType, format_: str, most: int
) -> None:
    """Keys in tables are not encoded."""
    content = table_file(arrow, format_)
    bucket.put("1.table", content)
    manifest = inventory({"1.table": content}, bucket.name, {"fileFormat": format_, "fileSchema": "-"})
    bucket.put("manifest.json", manifest)
    pages = read(server, bucket, most)

    first = Found("raw", "in/1 +%41ä", None, '"e"')
    rest = [Found("raw", f"in/{n} +%41ä", n, '"e"') for n in range(2, 10_000) if n % 3]
    assert found_in(pages) == [first, *rest]
    assert left_out_of(pages) == {"older_version": 3_334}
    assert pages[-1].share == 1.0


@pytest.mark.parametrize("format_", ["Parquet", "ORC"])
def test_a_table_that_is_not_one_is_refused(
    server: LabServer, bucket: Bucket, arrow: ModuleType, format_: str
) -> None:
    content = table_file(arrow, format_)[:-200]
    bucket.put("1.table", content)
    manifest = inventory({"1.table": content}, bucket.name, {"fileFormat": format_, "fileSchema": "-"})
    bucket.put("manifest.json", manifest)
    with pytest.raises(CorruptInput, match=f"1.table is not a whole {format_} file"):
        read(server, bucket, 10**6)

"""A process of each engine gathers 2,000 pages from 100 hosts; one page in twenty fails or is slow."""

import json
import logging
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from asyncstream.engines import EngineName
from asyncstream.lab.web import LabWeb, WebModel
from asyncstream.lab.web.model import rows_of_page
from tests.servers.base import PATIENCE
from tests.servers.postgres import Schema, meanwhile

ROOT = Path(__file__).parents[2]
MB = 1_000_000
LIMIT = 110
PAGES, HOSTS, TO_A_HOST = 2000, 100, 2
MODEL = WebModel(latency=0.02, faults=0.05)

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

GATHER = """
import json, sys
from asyncstream.gathering import DatabaseConfig, FetchConfig, GatherConfig, GatherSession, Table
from asyncstream.pipeline.memory import peak_resident

engine, dsn, networks, to_a_host, stall_timeout = sys.argv[1:]
config = GatherConfig(
    fetch=FetchConfig(
        allowed_networks=(networks,),
        connections_per_host=int(to_a_host),
        stall_timeout=float(stall_timeout),
        max_attempts=2,
    ),
    database=DatabaseConfig(dsn=dsn),
)
urls, told = json.load(sys.stdin), []
with GatherSession(engine) as session:
    for _ in range(2):
        table = Table(name="t", key=("id",))
        report = session.gather(urls, lambda page: json.loads(page.body), table, config)
        told.append([[page.status, type(page.error).__name__] for page in report.pages])
print(json.dumps({"pages": told, "peak": peak_resident()}))
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def web() -> Iterator[LabWeb]:
    with LabWeb(MODEL, hosts=HOSTS) as web:
        yield web


def gathered(
    web: LabWeb, schema: Schema, engine: EngineName, stall_timeout: float
) -> tuple[dict[str, Any], Counter[int]]:
    """Return an engine's results, its peak memory, and how often Postgres had how many connections."""
    ended = threading.Event()
    at_postgres: Counter[int] = Counter()

    def watch() -> None:
        with schema.server.session() as session:
            while not ended.wait(0.05):
                at_postgres[schema.open_now(session)] += 1

    options = [engine, schema.server.dsn(), *LabWeb.ALLOWED_NETWORKS, str(TO_A_HOST), str(stall_timeout)]
    with meanwhile(watch):
        try:
            done = subprocess.run(
                [sys.executable, "-c", GATHER, *options],
                cwd=ROOT,
                input=json.dumps(web.urls(PAGES)),
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            ended.set()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), at_postgres


@pytest.mark.parametrize("engine", ["threads", "asyncio"])
def test_gathering_stays_within_memory_and_connection_limits(
    web: LabWeb, schema: Schema, engine: EngineName
) -> None:
    """Every page ends as its fault allows."""
    faults = [MODEL.fault(number) for number in range(PAGES)]
    failures = {"missing": "PageNotFound", "stalled": "ConnectionFailed"}
    expected = [
        [["failed", failures[fault]] if fault in failures else [stored, "NoneType"] for fault in faults]
        for stored in ("stored", "unchanged")
    ]
    schema.create("id bigint PRIMARY KEY, page int, name text, price int")
    for stall_timeout in (0.5, *PATIENCE[1:]):  # a slow page takes up to 0.4 s
        web.reset()
        schema.execute("TRUNCATE {schema}.t")
        told, at_postgres = gathered(web, schema, engine, stall_timeout)
        if told["pages"] == expected:
            break
    megabytes = told["peak"] / MB
    logger.info("%s: %.1f MB, connections %s", engine, megabytes, dict(at_postgres))

    assert told["pages"] == expected
    assert schema.rows() == [
        tuple(row.values())
        for number, fault in enumerate(faults)
        if fault not in failures
        for row in rows_of_page(number)
    ]
    assert max(at_postgres) == 1
    assert max(web.counts()["max_at_once"].values()) <= TO_A_HOST
    assert megabytes <= LIMIT

"""A giant file by many processes at once, some of which are killed.

`GIANT_MB=5000 pytest tests/functional/test_giants.py` does it with a file of that size and 20 processes.
"""

import logging
import os
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from asyncstream import MiB, S3Prefix, TransferConfig, TransferSession
from asyncstream.lab.s3 import LabS3
from asyncstream.runs.costs import Speeds
from asyncstream.runs.moving import Worker
from asyncstream.runs.places import Run
from asyncstream.runs.plan_requests import PlanRequest
from asyncstream.runs.planning import plan_run
from asyncstream.runs.run_store import RunStore
from tests.servers.base import until

from .command_line import Ended

ROOT = Path(__file__).parents[2]
MB = 1_000_000
SIZE = int(os.environ.get("GIANT_MB", "1000")) * MB
PROCESSES = 20 if SIZE >= 5_000 * MB else 8
KILLED = 3
# The card lets the whole file pass in ten seconds of each process: as many ranges as processes.
SPEEDS = Speeds(card_mb=SIZE / MB / 10 / PROCESSES, stream_mb=SIZE / MB / 40 / PROCESSES)

logger = logging.getLogger(__name__)  # --log-cli-level=info shows the measurements

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800 if SIZE > 1000 * MB else 240)]


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[LabS3]:
    """A lab S3 as fast as S3 is from Lambda, so that processes run for a while."""
    with LabS3(model="53/90/25") as lab:
        for name, value in lab.environment().items():
            monkeypatch.setenv(name, value)
        lab.create_bucket("sources", keep=False)
        lab.create_bucket("copies", keep=False)
        lab.create_bucket("runs", keep=True)
        lab.declare("sources", [("giant", SIZE)])
        yield lab


@pytest.fixture
def start() -> Iterator[Callable[[int], subprocess.Popen[str]]]:
    """Start a process that moves a batch; those that still run at the end are killed."""
    started: list[subprocess.Popen[str]] = []

    def start(number: int) -> subprocess.Popen[str]:
        started.append(_start(number))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def _start(number: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "asyncstream.cli.main", "run", "s3://runs/1/", "--engine", "threads"],
        cwd=ROOT,
        env={**os.environ, "AWS_BATCH_JOB_ARRAY_INDEX": str(number)},
        stderr=subprocess.PIPE,
        text=True,
    )


def sent(lab: LabS3) -> Counter[int]:
    """Return how often S3 has confirmed each part."""
    return Counter(
        int(request["part_number"])
        for request in lab.request_log()
        if request["operation"] == "UploadPart" and request["status"] == 200
    )


def test_killed_processes_are_repeated_and_send_no_part_twice(
    lab: LabS3, run: Callable[..., Ended], start: Callable[[int], subprocess.Popen[str]]
) -> None:
    with TransferSession("threads") as session:
        config = TransferConfig()
        store = RunStore(Run(S3Prefix("runs", "1/")), session, lambda: config)
        asked = PlanRequest(
            source="s3://sources/giant", destination="s3://copies/giant", functions=PROCESSES, speeds=SPEEDS
        )
        totals = plan_run(store, asked, Worker(session, lambda: config)).totals
    assert totals.giants == 1
    assert totals.batches >= PROCESSES
    running = {number: start(number) for number in range(totals.batches)}

    until(lambda: len(sent(lab)) >= totals.parts // 4, seconds=1_000)
    peaks = [_peak(process) for process in running.values() if process.poll() is None]
    alive = [number for number, process in running.items() if process.poll() is None]
    killed = random.Random(1).sample(alive, KILLED)
    for number in killed:
        running[number].kill()
    codes = {number: _wait(process) for number, process in running.items()}
    before = len(sent(lab))
    early = run("finish", "s3://runs/1/")
    repeated = {number: _wait(start(number)) for number in killed}
    late = run("finish", "s3://runs/1/")

    assert {number for number, code in codes.items() if code != 0} == set(killed)
    assert before < totals.parts
    assert early.code == 1
    assert "parts are missing" in early.err
    assert set(repeated.values()) == {0}
    assert late.code == 0, late.err
    assert sent(lab) == Counter(range(1, totals.parts + 1))
    copied, source = lab.checksums("copies")["giant"], lab.checksums("sources")["giant"]
    assert (copied.size, copied.crc64nvme) == (source.size, source.crc64nvme)
    logger.info("%d parts, %d before the repeats, peak %.0f MiB", totals.parts, before, max(peaks) / MiB)


def _peak(process: subprocess.Popen[str]) -> int:
    """Return the peak memory of a process so far, in bytes."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
    return int(found[1]) * 1024 if found else 0


def _wait(process: subprocess.Popen[str]) -> int:
    process.communicate(timeout=1_200)
    return process.returncode

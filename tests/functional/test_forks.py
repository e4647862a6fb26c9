"""Programs whose processes fork or start others: each process has connections, threads and loops of its own.

The programs run in processes of their own, because this one has threads, which are unsafe to fork.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from asyncstream.engines import ENGINES
from asyncstream.lab.s3 import LabS3
from tests.servers.base import GUARD_SECONDS

from .command_line import LabWith

Run = Callable[..., None]

ROOT = Path(__file__).parents[2]
FILES = 12
SIZE = 100_000  # one chunk, so that the PUT uses the connection of the GET, and a session has one

POOL = """
import multiprocessing, sys
from asyncstream import S3Object, SourceNotFound, TransferConfig, transfer
from asyncstream.engines import ENGINES

def copy(engine, *numbers):
    files = [(S3Object("sources", f"x/{n:06d}"), S3Object("copies", f"x/{n:06d}")) for n in numbers]
    return transfer(files, engine=engine, config=TransferConfig(max_concurrency=1))

def set_up(barrier):
    global together
    together = barrier

def copy_together(numbers):
    reports = []
    for engine, number in zip(ENGINES, numbers):
        together.wait()
        reports.append(copy(engine, number, 999))
    return reports

if __name__ == "__main__":
    for number, engine in enumerate(ENGINES):
        copy(engine, number).raise_for_failures()
    context = multiprocessing.get_context(sys.argv[1])
    barrier = context.Barrier(3, timeout=60)
    set_up(barrier)
    with context.Pool(2, set_up, [barrier]) as pool:
        children = pool.map_async(copy_together, [range(3, 6), range(6, 9)], chunksize=1)
        reports = copy_together(range(9, 12)), *children.get(60)
    for process in reports:
        for engine, report in zip(ENGINES, process, strict=True):
            assert report.engine == engine
            assert [file.status for file in report.files] == ["copied", "failed"]
            assert isinstance(report.files[1].error, SourceNotFound)
"""

FORK = """
import asyncio, os, signal, sys
from asyncstream import ConfigError, S3Object, TransferSession, transfer

engine, loop = sys.argv[1:]
if loop == "uvloop":
    import uvloop
    asyncio.new_event_loop = uvloop.new_event_loop
pair = S3Object("sources", "x/000000"), S3Object("copies", "x/000000")
unused = TransferSession(engine)
with TransferSession(engine) as session:
    for _ in range(2):
        session.transfer([pair]).raise_for_failures()
        transfer([pair], engine=engine).raise_for_failures()
        child = os.fork()
        if not child:
            signal.alarm(60)
            try:
                session.transfer([pair])
            except ConfigError as error:
                assert f"process {os.getppid()} has used this session" in str(error)
            else:
                sys.exit("the child used its parent's session")
            with unused:
                unused.transfer([pair]).raise_for_failures()
            sys.exit()
        assert os.waitpid(child, 0)[1] == 0
"""


@pytest.fixture
def lab(lab_with: LabWith) -> LabS3:
    return lab_with(FILES, SIZE)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a program that must succeed, and print no warning or error."""

    def run(program: str, *arguments: str) -> None:
        path = tmp_path / "program.py"  # multiprocessing may import it again
        path.write_text(program)
        # From 3.12 on, Python warns of every fork of a process that has threads.
        options = ["-W", "error", "-W", "ignore:.*fork:DeprecationWarning"]
        done = subprocess.run(
            [sys.executable, *options, str(path), *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            text=True,
            timeout=GUARD_SECONDS,
        )
        assert (done.returncode, done.stderr) == (0, "")

    return run


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_a_pool_copies_while_its_parent_copies(lab: LabS3, run: Run, method: str) -> None:
    """With every engine. The parent keeps sessions before it starts the pool. Reports come back by pickle."""
    run(POOL, method)
    sources, copies = lab.checksums("sources"), lab.checksums("copies")
    assert {key: copy.crc64nvme for key, copy in copies.items()} == {
        key: source.crc64nvme for key, source in sources.items()
    }
    assert lab.stats()["connections"] == 3 * len(ENGINES)  # one for each engine of each process


@pytest.mark.parametrize(("engine", "loop"), [*((name, "stock") for name in ENGINES), ("asyncio", "uvloop")])
def test_a_forked_child_leaves_its_parents_sessions_alone(
    lab: LabS3, run: Run, engine: str, loop: str
) -> None:
    """It may use sessions that the parent has not used. The parent's still work after the child's exit."""
    run(FORK, engine, loop)
    assert lab.stats()["connections"] == 2 + 2  # of the parent's two sessions, and one of each child

"""The lab's Postgres: committed rows survive a crash, and the server ends with the process that owns it."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest

from asyncstream.lab import postgres
from asyncstream.lab.postgres import PostgresServer
from asyncstream.lab.server_process import LabError
from tests.servers.base import until

STARTED_AND_LEFT = """
import os, signal, sys
from asyncstream.lab.postgres import PostgresServer
print(PostgresServer("geheim").pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def connect(server: PostgresServer, password: str = "geheim") -> closing[psycopg.Connection[Any]]:
    options: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": postgres.USER,
        "password": password,
    }
    return closing(psycopg.connect(**options, autocommit=True))


def runs(pid: int) -> bool:
    """Return whether the process runs. A zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(autouse=True)
def temporary_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Set a new temporary directory, which the unprivileged user that runs the server can reach."""
    with tempfile.TemporaryDirectory(prefix="asyncstream-lab-") as directory:
        Path(directory).chmod(0o755)
        monkeypatch.setattr(tempfile, "tempdir", directory)
        monkeypatch.setenv("TMPDIR", directory)
        yield Path(directory)


def test_committed_rows_survive_a_crash(
    temporary_directory: Path,
) -> None:
    """The server leaves no files when it ends."""
    with PostgresServer("geheim", settings=["work_mem=5MB"]) as server:
        with connect(server) as session:
            assert session.execute("SHOW work_mem").fetchall() == [("5MB",)]
            session.execute("CREATE TABLE t AS SELECT 1 AS n")
        crashed = server.pid
        server.crash()
        assert not runs(crashed)
        server.start()
        with connect(server) as session:
            assert session.execute("SELECT n FROM t").fetchall() == [(1,)]
        with pytest.raises(psycopg.OperationalError, match="password"):
            connect(server, "falsch")
        pid = server.pid
    assert not runs(pid)
    assert list(temporary_directory.iterdir()) == []


def test_a_server_ends_with_the_process_that_started_it() -> None:
    started = subprocess.run([sys.executable, "-c", STARTED_AND_LEFT], stdout=subprocess.PIPE, check=False)
    pid = int(started.stdout)
    until(lambda: not runs(pid))


def test_a_server_that_fails_to_start_says_why_and_cleans_up(temporary_directory: Path) -> None:
    with pytest.raises(LabError, match="no_such_setting"):
        PostgresServer("geheim", settings=["no_such_setting=1"])
    assert list(temporary_directory.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="the server runs as another user only if root starts it")
def test_unreachable_binaries_are_copied(temporary_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user that runs the server cannot read the binaries."""
    closed = temporary_directory / "closed"
    closed.mkdir(mode=0o700)
    binaries = postgres._find_installation()
    package = binaries.parents[1]
    for path in package.parent.glob(f"{package.name}*"):
        (closed / path.name).symlink_to(path)
    monkeypatch.setattr(postgres, "_find_installation", lambda: closed / binaries.relative_to(package.parent))
    with PostgresServer("geheim") as server, connect(server) as session:
        assert session.execute("SELECT 1").fetchall() == [(1,)]

"""Interrupt a comparison, and check what it prints and leaves."""

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from tests.servers.base import GUARD_SECONDS, until

ROOT = Path(__file__).parents[2]


def interrupt(arguments: list[str], first: str, ending: signal.Signals, directory: Path) -> None:
    """End `asyncstream compare` in its second run; check that it shows the first run and leaves nothing.

    Args:
        arguments: options for two runs, the second of which takes long.
        first: the name of the first run's way. The second run needs three processes.
        ending: the signal to send.
        directory: an empty directory for its temporary files.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "asyncstream.cli.main", "compare", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(directory)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stderr is not None
    told = process.stderr.readline()
    assert told.startswith("[1/2] ")
    assert first in told
    # The lab's server, the X-Ray receiver and the second run. The first run's environment has ended.
    children = until(lambda: _all_running(process))
    os.killpg(process.pid, ending)  # a terminal also signals the whole process group
    out, err = process.communicate(timeout=GUARD_SECONDS)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert re.search(rf"^{first} +\d", out, re.MULTILINE)
    assert "Ended early (Ctrl-C)" in out
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert not list(directory.iterdir())


def _all_running(process: subprocess.Popen[str]) -> list[int]:
    assert process.poll() is None
    children = _descendants(process.pid)
    return children if len(children) >= 3 else []


def _descendants(pid: int) -> list[int]:
    """Return the ids of the children that any thread of the process started, and of their descendants."""
    found: list[str] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # the process ended in the meantime
            found += children.read_text().split()
    return [child for text in found for child in (int(text), *_descendants(int(text)))]

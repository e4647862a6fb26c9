"""`ServerProcess`: a server of the lab as a process of its own.

The process prints one line of JSON when it can be used, and ends with its standard input: so nothing is left
of it when the process that started it is gone, however it went.
"""

import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec

from asyncstream.engines.closing import Closing

# Guards against a process that hangs: on a busy machine one that works takes long, too.
READY_SECONDS = 60.0
COMMAND_SECONDS = 60.0
CLOSE_SECONDS = 30.0
PACKAGE_ROOT = Path(__file__).parents[2]


class LabError(RuntimeError):
    """A server of the lab did not start, has ended, does not keep up, or refused a command."""


class ServerProcess(Closing):
    """A running server; a context manager.

    Args:
        module: what is run, as `python -m module`.
        arguments: its command line.
        stderr: as `subprocess` takes it; None: the caller's own.

    Attributes:
        ready: what the process said when it could be used.
        pid: its number.

    Raises:
        LabError: it was not ready in time, or ended before it was.
    """

    def __init__(self, module: str, *arguments: str, stderr: int | None = None) -> None:
        self._command = ["python", "-m", module, *arguments]
        search_path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, *self._command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env={**os.environ, "PYTHONPATH": search_path},
        )
        self.pid = self._process.pid
        try:
            self.ready: dict[str, Any] = msgspec.json.decode(self.next_line(READY_SECONDS))
        except BaseException:
            self.close()
            raise

    def write(self, line: bytes) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def next_line(self, seconds: float) -> bytes:
        """The next line that it prints.

        Raises:
            LabError: there was none within so many seconds, or the process has ended.
        """
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise LabError(f"{self._command[2]} said nothing within {seconds:.0f} s")
            received = os.read(descriptor, 4096)
            if not received:
                raise LabError(f"{self._command[2]} has ended: run {' '.join(self._command)} to see why")
            line += received
        return line

    def close(self) -> None:
        """End the process and wait until it is gone."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

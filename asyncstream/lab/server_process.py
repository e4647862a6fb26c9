"""`ServerProcess`: a server of the lab in its own process.

The process prints one line of JSON when it is ready. It exits when its standard input ends, so it does not
outlive the process that started it, even if that one is killed.
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

# Guards against a process that hangs. On a busy machine a working process is slow, too.
READY_SECONDS = 60.0
COMMAND_SECONDS = 60.0
CLOSE_SECONDS = 30.0
PACKAGE_ROOT = Path(__file__).parents[2]


class LabError(RuntimeError):
    """A server of the lab did not start, has ended, is too slow, or refused a command."""


def require_linux(name: str) -> None:
    """Check that this is Linux, on which the lab relies: its /proc, sendfile, control groups and more.

    Raises:
        LabError: it is another system.
    """
    if sys.platform != "linux":
        raise LabError(
            f"{name} needs Linux, and this is {sys.platform}: run it in a Linux container or virtual machine"
        )


class ServerProcess(Closing):
    """A running server process; a context manager.

    Args:
        module: the module to run with `python -m`.
        arguments: its command line.
        stderr: an argument for `subprocess`; None: the caller's own.

    Attributes:
        ready: the JSON that the process printed when it was ready.
        pid: its process ID.

    Raises:
        LabError: the process was not ready in time, or ended before it was; or this is not Linux.
    """

    def __init__(self, module: str, *arguments: str, stderr: int | None = None) -> None:
        require_linux(module)
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
        """Write a line to the process's standard input."""
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()

    def next_line(self, seconds: float) -> bytes:
        """Return the next line that the process prints.

        Raises:
            LabError: it printed no line within `seconds`, or it has ended.
        """
        assert self._process.stdout is not None  # noqa: S101 - for the type checker: it is a pipe
        descriptor = self._process.stdout.fileno()
        end = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([descriptor], [], [], max(0.0, end - time.monotonic()))[0]:
                raise LabError(f"{self._command[2]} printed nothing within {seconds:.0f} s")
            received = os.read(descriptor, 4096)
            if not received:
                raise LabError(f"{self._command[2]} has ended: run {' '.join(self._command)} to see why")
            line += received
        return line

    def close(self) -> None:
        """Stop the process and wait for its end."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe:
                pipe.close()
        try:
            process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

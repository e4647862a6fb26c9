"""Measure one peer in its own process: CPU time, peak memory (VmHWM) and wall time.

The process reads its task from standard input and answers on standard output, both as JSON. It imports only
the peer's own library (see peers.py), because imports count as memory.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tests.benchmarks.peers import Task
from tests.benchmarks.ways import PEERS, TOP, python_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.benchmarks.peers import Copy

RUN_SECONDS = 300
T = TypeVar("T")


class BenchmarkError(RuntimeError):
    """A peer failed, or its copy is wrong."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The cost of one copy of all objects.

    Attributes:
        user_seconds, system_seconds: CPU time of the client process and all its threads from its first
            request on, without imports and the creation of clients.
        wall_seconds: wall time of the same period.
        peak_bytes: VmHWM, which includes the interpreter and the imports.
        idle_bytes: VmRSS before the first request, the part of the peak that the copy did not cause.
        started: the time of its start, on the clock that all processes of a machine share.
        warm_cpu_seconds: CPU time of a second copy in the same process, if one was requested.
        requests: the number of requests to S3 by operation, as the server counted them.
    """

    user_seconds: float
    system_seconds: float
    wall_seconds: float
    peak_bytes: int
    idle_bytes: int
    started: float
    warm_cpu_seconds: float | None = None
    requests: dict[str, int] = field(default_factory=dict)

    @property
    def cpu_seconds(self) -> float:
        return self.user_seconds + self.system_seconds


def run(peer: str, task: Task, variables: Mapping[str, str], *, warm: bool) -> Measurement:
    """Measure a peer in a fresh process.

    Raises:
        BenchmarkError: the peer failed; the message has the end of its output.
    """
    environment = {**os.environ, **variables}
    # The lab needs awscrt, which changes how botocore works; a plain `pip install boto3` does not install it.
    environment["BOTO_DISABLE_CRT"] = "true"
    request = json.dumps({"peer": peer, "task": asdict(task), "warm": warm})
    try:
        ended = subprocess.run(
            [
                python_of(peer),
                "-m",
                "tests.benchmarks.measure",
            ],
            input=request,
            env=environment,
            cwd=TOP,
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise BenchmarkError(f"{peer} did not end within {RUN_SECONDS} s") from None
    except subprocess.CalledProcessError as error:
        raise BenchmarkError(f"{peer} ended with {error.returncode}:\n{error.stderr[-2000:]}") from None
    return Measurement(**json.loads(ended.stdout))


def rotated(ways: Sequence[T], number: int) -> Sequence[T]:
    """Return the ways with a different first one each round, so none always follows the same neighbour."""
    start = number % len(ways)
    return [*ways[start:], *ways[:start]]


def main() -> None:
    """Run in the measuring process: read the task, copy, and print the measurement."""
    request = json.load(sys.stdin)
    task = Task(**{**request["task"], "keys": tuple(request["task"]["keys"])})
    with PEERS[request["peer"]](task) as copy:
        measured = _measured(copy)
        if request["warm"]:
            measured["warm_cpu_seconds"] = _measured_again(copy)
    json.dump(measured, sys.stdout)
    sys.stdout.flush()
    # Not a return: obstore's threads sometimes abort an interpreter that is about to end.
    os._exit(0)


def _measured(copy: Copy) -> dict[str, float | int]:
    idle = _status("VmRSS")
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    copy()
    after, ended = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    return {
        "user_seconds": after.ru_utime - before.ru_utime,
        "system_seconds": after.ru_stime - before.ru_stime,
        "wall_seconds": ended - started,
        "peak_bytes": _status("VmHWM"),
        "idle_bytes": idle,
        "started": started,
    }


def _measured_again(copy: Copy) -> float:
    before = time.process_time()
    copy()
    return time.process_time() - before


def _status(field: str) -> int:
    """Return a field of /proc/self/status in bytes. ru_maxrss would be the parent's, across fork and exec."""
    match = re.search(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    if match is None:
        raise BenchmarkError(f"/proc/self/status has no {field}")
    return int(match[1]) * 1024


if __name__ == "__main__":
    main()

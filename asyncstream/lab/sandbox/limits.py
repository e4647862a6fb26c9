"""Limits memory and CPU as Lambda does, with control groups of version 1 or 2.

A function has memory/1,769 of a vCPU (Lambda developer guide, "Configure Lambda function memory"), in periods
of 20 ms. During init it has at least a whole vCPU, independently of its size. This is undocumented, but
measured on Lambda. A group is charged only for pages that it touches first. Other local processes already
share most pages of the interpreter and its libraries, which gives a function about 10 MB more than on Lambda.
"""

import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from asyncstream.lab.report.sizing import MB_PER_VCPU
from asyncstream.lab.sandbox.observation import Throttling

logger = logging.getLogger(__name__)

PERIOD_US = 20_000
SMALLEST_QUOTA_US = 1_000  # the kernel's minimum
GONE_SECONDS = 30.0  # a guard: killed processes end at once, unless the machine is busy
PREFIX = "asyncstream"

_numbers = itertools.count(1)


class Group(Protocol):
    """The control group of one environment's processes."""

    entries: list[Path]

    def set_cpu(self, vcpus: float) -> None:
        """Limit the group to this share of a vCPU."""

    def cpu_seconds(self, pid: int) -> float:
        """Return the CPU time of all its processes, including ended ones. `pid` is the started process."""

    def throttling(self) -> Throttling | None:
        """Return the throttling so far, or None without a limit."""

    def was_out_of_memory(self) -> bool:
        """Return whether the kernel killed a process of the group because memory ran out."""

    def close(self) -> None:
        """Kill the group's processes, and remove the group."""


class Limits(Protocol):
    """A way to limit functions to their size. `description` is its name in reports."""

    description: str

    def group(self, memory_mb: int) -> Group:
        """Create a group for a function of this size in MB."""


def vcpus(memory_mb: int) -> float:
    """Return the vCPUs of a function with this memory."""
    return memory_mb / MB_PER_VCPU


def quota_us(share: float) -> int:
    """Return the microseconds of CPU in each period."""
    return max(SMALLEST_QUOTA_US, round(share * PERIOD_US))


def open_limits() -> Limits:
    """Return the best limits that this machine allows for this user."""
    mounts = Path("/proc/self/mounts").read_text()
    own = Path("/proc/self/cgroup").read_text()
    refused = []
    for attempt in (lambda: LimitsV1(v1_parents(mounts, own)), lambda: LimitsV2(v2_parent(mounts, own))):
        try:
            limits = attempt()
            limits.group(128).close()
        except OSError as error:
            refused.append(f"{error.strerror or error}: {error.filename or 'cgroup'}")
        else:
            return limits
    return NoLimits(f"measured only ({'; '.join(refused)})")


def v1_parents(mounts: str, own: str) -> dict[str, Path]:
    """Return a process's groups by controller, from `/proc/self/mounts` and `/proc/self/cgroup`.

    Raises:
        OSError: a controller is missing.
    """
    points = {
        option: Path(point)
        for _, point, kind, options, *_ in map(str.split, mounts.splitlines())
        if kind == "cgroup"
        for option in options.split(",")
    }
    groups = {
        name: path.lstrip("/")
        for _, names, path in (line.split(":", 2) for line in own.splitlines())
        for name in names.split(",")
    }
    missing = [name for name in ("cpu", "cpuacct", "memory") if name not in points or name not in groups]
    if missing:
        raise OSError(f"no cgroup v1 controller {', '.join(missing)}")
    return {name: points[name] / groups[name] for name in ("cpu", "cpuacct", "memory")}


def v2_parent(mounts: str, own: str) -> Path:
    """Allow limits for the children of the nearest group to the process's own that can, and return it.

    Raises:
        OSError: no such group exists.
    """
    points = [Path(fields[1]) for fields in map(str.split, mounts.splitlines()) if fields[2] == "cgroup2"]
    paths = [line.removeprefix("0::/") for line in own.splitlines() if line.startswith("0::")]
    if not points or not paths:
        raise OSError("no cgroup v2")
    group = points[0] / paths[0]
    while True:
        control = group / "cgroup.subtree_control"
        with suppress(OSError):
            if {"cpu", "memory"} - set(control.read_text().split()):
                control.write_text("+cpu +memory")
            return group
        if group == points[0]:
            raise OSError(f"cgroup v2 without cpu and memory below {points[0] / paths[0]}")
        group = group.parent


class LimitsV1:
    """Limits with version 1, which has a tree for each controller."""

    description = "cgroup v1"

    def __init__(self, parents: Mapping[str, Path]) -> None:
        self._parents = dict(parents)
        for parent in self._parents.values():
            _remove_abandoned(parent)

    def group(self, memory_mb: int) -> "GroupV1":
        """See `Limits`."""
        name = _new_name()
        return GroupV1({controller: parent / name for controller, parent in self._parents.items()}, memory_mb)


class GroupV1:
    """A `Group` of version 1."""

    def __init__(self, folders: Mapping[str, Path], memory_mb: int) -> None:
        self._folders = folders
        self._places = list(dict.fromkeys(folders.values()))  # cpu and cpuacct are often the same
        for place in self._places:
            place.mkdir()
        self.entries = [place / "cgroup.procs" for place in self._places]
        limit = str(memory_mb << 20)
        (folders["memory"] / "memory.limit_in_bytes").write_text(limit)
        with suppress(OSError):  # kernels without swap accounting do not have this file
            (folders["memory"] / "memory.memsw.limit_in_bytes").write_text(limit)
        (folders["cpu"] / "cpu.cfs_period_us").write_text(str(PERIOD_US))

    def set_cpu(self, vcpus: float) -> None:
        """See `Group`."""
        (self._folders["cpu"] / "cpu.cfs_quota_us").write_text(str(quota_us(vcpus)))

    def cpu_seconds(self, pid: int) -> float:
        """See `Group`."""
        return int((self._folders["cpuacct"] / "cpuacct.usage").read_text()) / 1e9

    def throttling(self) -> Throttling:
        """See `Group`."""
        stat = _fields(self._folders["cpu"] / "cpu.stat")
        return Throttling(stat["nr_periods"], stat["nr_throttled"], stat["throttled_time"] / 1e9)

    def was_out_of_memory(self) -> bool:
        """See `Group`."""
        return _fields(self._folders["memory"] / "memory.oom_control").get("oom_kill", 0) > 0

    def close(self) -> None:
        """See `Group`."""
        _empty_and_remove(self._places)


class LimitsV2:
    """Limits with version 2, which has one tree for all controllers."""

    description = "cgroup v2"

    def __init__(self, parent: Path) -> None:
        self._parent = parent
        _remove_abandoned(parent)

    def group(self, memory_mb: int) -> "GroupV2":
        """See `Limits`."""
        return GroupV2(self._parent / _new_name(), memory_mb)


class GroupV2:
    """A `Group` of version 2."""

    def __init__(self, folder: Path, memory_mb: int) -> None:
        self._folder = folder
        folder.mkdir()
        self.entries = [folder / "cgroup.procs"]
        (folder / "memory.max").write_text(str(memory_mb << 20))
        with suppress(OSError):  # kernels without swap do not have this file
            (folder / "memory.swap.max").write_text("0")

    def set_cpu(self, vcpus: float) -> None:
        """See `Group`."""
        (self._folder / "cpu.max").write_text(f"{quota_us(vcpus)} {PERIOD_US}")

    def cpu_seconds(self, pid: int) -> float:
        """See `Group`."""
        return _fields(self._folder / "cpu.stat")["usage_usec"] / 1e6

    def throttling(self) -> Throttling:
        """See `Group`."""
        stat = _fields(self._folder / "cpu.stat")
        return Throttling(
            stat.get("nr_periods", 0), stat.get("nr_throttled", 0), stat.get("throttled_usec", 0) / 1e6
        )

    def was_out_of_memory(self) -> bool:
        """See `Group`."""
        return _fields(self._folder / "memory.events").get("oom_kill", 0) > 0

    def close(self) -> None:
        """See `Group`."""
        _empty_and_remove([self._folder])


class NoLimits:
    """No limits, for users who may not create control groups, and for functions without a size."""

    def __init__(self, description: str) -> None:
        self.description = description

    def group(self, memory_mb: int) -> "NoGroup":
        """See `Limits`."""
        return NoGroup()


class NoGroup:
    """A `Group` without limits for one process, which its starter kills."""

    def __init__(self) -> None:
        self.entries: list[Path] = []

    def set_cpu(self, vcpus: float) -> None:
        """See `Group`. Does nothing."""

    def cpu_seconds(self, pid: int) -> float:
        """See `Group`. Counts the process and the children that it has waited for."""
        # After the name, which may contain any character: utime, stime, cutime and cstime are fields 14 to
        # 17.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")

    def throttling(self) -> None:
        """See `Group`."""

    def was_out_of_memory(self) -> bool:
        """See `Group`. Always False."""
        return False

    def close(self) -> None:
        """See `Group`."""


def _new_name() -> str:
    """Return a name with the owner's process ID, which shows whether the group is still in use."""
    return f"{PREFIX}-{os.getpid()}-{next(_numbers)}"


def _remove_abandoned(parent: Path) -> None:
    """Remove the groups of sandboxes that were killed."""
    for group in parent.glob(f"{PREFIX}-*-*"):
        if not Path(f"/proc/{group.name.split('-')[1]}").exists():
            _empty_and_remove([group])


def _empty_and_remove(folders: list[Path]) -> None:
    """Kill the groups' processes and remove the groups. Log a warning if one remains."""
    _poll_until(lambda: not any(_kill_all(folder) for folder in folders))
    # The kernel needs a moment to notice that the last process has ended.
    if not _poll_until(lambda: all(_try_remove(folder) for folder in folders)):
        # Not an error: the measurements are right, and the next sandbox tries again.
        remaining = ", ".join(str(folder) for folder in folders if folder.exists())
        logger.warning("control groups not removed within %d s: rmdir %s", GONE_SECONDS, remaining)


def _kill_all(folder: Path) -> bool:
    """Kill the group's processes, and return whether there were any."""
    pids = (folder / "cgroup.procs").read_text().split() if folder.exists() else []
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    return bool(pids)


def _try_remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _poll_until(done: Callable[[], bool]) -> bool:
    """Poll `done` for `GONE_SECONDS` at most; return whether it became true.

    The kernel does not report that a group of version 1 is empty.
    """
    end = time.monotonic() + GONE_SECONDS
    while not done():
        if time.monotonic() >= end:
            return False
        time.sleep(0.005)
    return True


def _fields(file: Path) -> dict[str, int]:
    """Return the fields of a file whose lines have a name and a number."""
    return {name: int(value) for name, value in map(str.split, file.read_text().splitlines())}

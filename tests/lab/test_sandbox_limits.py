"""Control groups: where they are found, and what is written into them. Version 2 uses a made-up tree."""

from pathlib import Path

import pytest

from asyncstream.lab.sandbox.limits import LimitsV2, NoLimits, quota_us, v1_parents, v2_parent, vcpus
from asyncstream.lab.sandbox.observation import Throttling


@pytest.mark.parametrize(("memory_mb", "quota"), [(128, 1447), (884, 9994), (1769, 20_000), (3538, 40_000)])
def test_1769_mb_are_one_vcpu_in_periods_of_20_ms(memory_mb: int, quota: int) -> None:
    assert quota_us(vcpus(memory_mb)) == quota


def test_the_kernel_takes_no_quota_below_a_millisecond() -> None:
    assert quota_us(0.001) == 1000


def test_version_1_groups_are_found_in_a_shared_mount() -> None:
    """Several controllers share one mount."""
    mounts = (
        "proc /proc proc rw 0 0\n"
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
    )
    own = "4:memory:/user/one\n2:cpu,cpuacct:/\n0::/\n"
    assert v1_parents(mounts, own) == {
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "memory": Path("/sys/fs/cgroup/memory/user/one"),
    }


def test_a_machine_without_version_1_says_what_is_missing() -> None:
    with pytest.raises(OSError, match="no cgroup v1 controller cpu, cpuacct, memory"):
        v1_parents("cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n", "0::/\n")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Make a tree of version 2 in which the session's parent group delegates both controllers."""
    session = tmp_path / "user.slice" / "session"
    session.mkdir(parents=True)
    for folder, controllers in ((tmp_path, "cpu memory pids"), (session.parent, "cpu memory"), (session, "")):
        (folder / "cgroup.subtree_control").write_text(controllers)
    return tmp_path


def test_version_2_groups_go_below_the_nearest_that_delegates(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group delegates if it passes its controllers on."""
    written = Path.write_text

    def as_the_kernel_does(path: Path, text: str, *arguments: object) -> int:
        if path.parent.name == "session":
            raise OSError(16, "Device or resource busy", str(path))  # the group has processes of its own
        return written(path, text)

    monkeypatch.setattr(Path, "write_text", as_the_kernel_does)
    mounts = f"cgroup2 {tree} cgroup2 rw 0 0\n"
    assert v2_parent(mounts, "0::/user.slice/session\n") == tree / "user.slice"


def test_version_2_needs_a_group_that_passes_controllers_on(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(path: Path, text: str) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    for control in tree.rglob("cgroup.subtree_control"):
        control.write_text("pids")
    monkeypatch.setattr(Path, "write_text", refused)
    with pytest.raises(OSError, match="cgroup v2 without cpu and memory"):
        v2_parent(f"cgroup2 {tree} cgroup2 rw 0 0\n", "0::/user.slice/session\n")


def test_a_version_2_group_writes_and_reads_the_kernels_files(tree: Path) -> None:
    group = LimitsV2(tree).group(256)
    (folder,) = tree.glob("asyncstream-*")
    group.set_cpu(vcpus(256))
    assert (folder / "memory.max").read_text() == str(256 << 20)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert (folder / "cpu.max").read_text() == "2894 20000"
    counted = "nr_periods 75\nnr_throttled 70\nthrottled_usec 250000\n"
    (folder / "cpu.stat").write_text(f"usage_usec 1500000\nuser_usec 1\n{counted}")
    (folder / "memory.events").write_text("low 0\noom 1\noom_kill 1\n")
    assert (group.cpu_seconds(1), group.throttling()) == (1.5, Throttling(75, 70, 0.25))
    assert group.was_out_of_memory()
    assert group.entries == [folder / "cgroup.procs"]


def test_without_control_groups_nothing_is_limited() -> None:
    """The description says that nothing is limited."""
    limits = NoLimits("measured only (no cgroup v1)")
    group = limits.group(128)
    assert limits.description == "measured only (no cgroup v1)"
    assert (group.entries, group.throttling(), group.was_out_of_memory()) == ([], None, False)


def test_a_group_that_cannot_be_removed_is_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its files keep the folder from being removed, as a process keeps a group."""
    monkeypatch.setattr("asyncstream.lab.sandbox.limits.GONE_SECONDS", 0.0)
    left = tmp_path / f"asyncstream-{2**30}-1"
    left.mkdir()
    (left / "cgroup.procs").touch()
    LimitsV2(tmp_path)
    assert caplog.messages == [f"control groups not removed within 0 s: rmdir {left}"]

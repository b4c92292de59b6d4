"""What files of control groups mean, as tables; the kernel's own are read in tests/systemd."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaosd import cgroups
from kaosd.model import Usage


@pytest.mark.parametrize(
    ("text", "cores", "held"),
    [
        ("150000 100000\n", 1.5, True),
        ("150000 100000\n", 2.0, False),
        ("150000 100000\n", None, False),
        ("max 100000\n", None, True),
        ("max 100000\n", 1.0, False),
        ("", None, False),
        ("", 1.0, False),
    ],
)
def test_cores(text: str, cores: float | None, held: bool) -> None:
    assert cgroups._is_cpu(text, cores) is held


@pytest.mark.parametrize(
    ("text", "size", "held"),
    [
        ("1048576\n", 1048576, True),
        ("1048576\n", 1048577, True),  # whole pages
        ("1048576\n", 2097152, False),
        ("max\n", None, True),
        ("max\n", 1048576, False),
        ("", None, False),
    ],
)
def test_memory(text: str, size: int | None, held: bool) -> None:
    assert cgroups._is_memory(text, size) is held


def test_mounts_of_whole_hierarchies_only() -> None:
    lines = [
        "1 2 0:3 / /sys/fs/cgroup\\040x rw - cgroup2 cgroup2 rw,nsdelegate",
        "1 2 0:3 /docker/1 /other rw - cgroup2 cgroup2 rw",
        "1 2 0:3 / /v1/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd",
        "1 2 0:3 / /v1/memory rw - cgroup cgroup rw,memory",
        "1 2 0:3 / /tmp rw - tmpfs tmpfs rw",
    ]
    assert list(cgroups._mounts(lines)) == ["/sys/fs/cgroup x", "/v1/systemd"]


def test_nothing_holds_what_is_in_no_group_of_its_own() -> None:
    for cgroup in ("", "/", "/no/such/group"):
        assert not cgroups.held(cgroup, None, None)
        assert cgroups.pids(cgroup) == set()
        assert cgroups.killed_for_memory(cgroup) == 0
    assert cgroups.of(2**22 + 1) == ""
    assert isinstance(cgroups.of(os.getpid()), str)


def test_a_process_without_groups_of_its_own_is_held_to_nothing() -> None:
    """Whatever limits this test itself runs under: they are not those of a container."""
    here = cgroups.Contained(os.getpid(), "no-such-container")
    assert here.held(None, None)
    assert not here.held(1.0, None)
    assert not here.held(None, 2**30)
    assert here.killed_for_memory() == 0


@pytest.mark.parametrize(
    ("current", "stat", "used"),
    [
        ("4096\n", "anon 1\ninactive_file 1024\n", 3072),
        ("4096\n", "cache 9\ntotal_inactive_file 96\n", 4000),
        ("4096\n", "", 4096),
        ("10\n", "inactive_file 20\n", 0),
        ("", "inactive_file 20\n", None),
    ],
)
def test_memory_in_use_is_without_what_can_be_dropped_at_once(current: str, stat: str, used: int | None) -> None:
    assert cgroups._used_memory(current, stat) == used


def test_what_a_group_uses_is_read_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_directories", lambda cgroup: iter([str(tmp_path / cgroup)]))
    assert cgroups.used("n") is None
    group = tmp_path / "n"
    group.mkdir()
    (group / "memory.current").write_text("4096\n")
    (group / "memory.stat").write_text("inactive_file 96\n")
    assert cgroups.used("n") is None
    (group / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    assert cgroups.used("n") == Usage(4000, 1.5)


@pytest.mark.parametrize("version", [1, 2])
def test_what_a_container_uses_is_read_in_either_version(
    version: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    groups = {"memory": "/docker/abc", "cpu": "/docker/abc", "cpuacct": "/docker/abc"} if version == 1 else {"": "/abc"}
    lines = "".join(f"{number}:{names}:{path}\n" for number, (names, path) in enumerate(groups.items()))
    files = {
        1: {"memory/docker/abc": {"memory.usage_in_bytes": "4096", "cgroup.procs": "7\n8\n"},
            "cpuacct/docker/abc": {"cpuacct.usage": "1500000000"}},
        2: {"abc": {"memory.current": "4096", "cpu.stat": "usage_usec 1500000\n", "cgroup.procs": "7\n8\n"}},
    }[version]  # fmt: skip
    for directory, texts in files.items():
        (tmp_path / directory).mkdir(parents=True)
        for name, text in texts.items():
            (tmp_path / directory / name).write_text(text)
    real = cgroups._read
    monkeypatch.setattr(cgroups, "_read", lambda path: lines if path == "/proc/7/cgroup" else real(path))
    monkeypatch.setattr(cgroups, "_GROUPS", tmp_path)
    container = cgroups.Contained(7, "abc")
    assert container.used() == Usage(4096, 1.5)
    assert container.pids() == {7, 8}

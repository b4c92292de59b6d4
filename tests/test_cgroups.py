"""What files of control groups mean, as tables; the kernel's own are read in tests/systemd."""

from __future__ import annotations

import os

import pytest

from kaosd import cgroups


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

"""Who has a directory in hand, as far as the kernel lets it be seen."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from kaosd.bundle import users

DIRECTORY = b"/state/notebooks/mine/data-versions/3"
OURS = b"22 1 8:1 / / rw - ext4 /dev/vda rw\n"
MOUNTS = b"90 80 8:1 /state/notebooks/mine /state/notebooks/mine ro - ext4 /dev/vda rw\n"
OTHER = b"90 80 8:1 /state/notebooks/mine-too /state/notebooks/mine-too ro - ext4 /dev/vda rw\n"


@pytest.mark.parametrize(
    ("mountinfo", "used"), [(OURS, False), (b"", False), (OURS + OTHER, False), (OURS + MOUNTS, True), (MOUNTS, True)]
)
def test_a_process_that_may_not_be_seen_counts_if_its_container_mounts_the_directory(monkeypatch, mountinfo, used):
    def refuse(pid):
        raise PermissionError

    monkeypatch.setattr(users, "_links", refuse)
    monkeypatch.setattr(users, "_read", lambda pid, name: OURS if pid == "self" else mountinfo)
    assert users.in_use([DIRECTORY]) == ({DIRECTORY} if used else set())


@pytest.mark.parametrize(
    ("link", "used"),
    [
        (DIRECTORY, True),
        (DIRECTORY + b"/a/b", True),
        (DIRECTORY + b" (deleted)", True),
        (b"/elsewhere/mine/data-versions/3/x", True),  # as a container sees it
        (DIRECTORY + b"1", False),
        (DIRECTORY + b"1/a", False),
        (b"/state/notebooks/other/data-versions/3", False),
    ],
)
def test_a_link_of_a_process_leads_into_a_directory_or_not(monkeypatch, link, used):
    monkeypatch.setattr(users, "_links", lambda pid: iter([link]))
    monkeypatch.setattr(users, "_read", lambda pid, name: b"")
    assert users.in_use([DIRECTORY]) == ({DIRECTORY} if used else set())


def test_a_process_is_seen_and_its_end_too(tmp_path):
    held, free = tmp_path / "a\nb" / "1", tmp_path / "a\nb" / "2"
    for path in (held, free):
        path.mkdir(parents=True)
    program = "print('ready', flush=True); import sys; sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    both = [os.fsencode(held), os.fsencode(free)]
    with subprocess.Popen([sys.executable, "-c", program], cwd=held, **pipes) as user:
        user.stdout.readline()
        assert users.in_use(both) == {os.fsencode(held)}
        user.stdin.close()
    assert users.in_use(both) == frozenset()

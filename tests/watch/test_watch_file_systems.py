"""Where a root is, what it lies on, what polling sees and what it may cost, and what is advised."""

from __future__ import annotations

import os
from collections import deque
from pathlib import Path

import pytest

from kaosd.watch import advice, file_systems, polling
from kaosd.watch.root import comparison_interval, cover_interval

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/root rw
41 22 0:38 / /home rw,relatime shared:5 master:2 - nfs4 server:/home rw,vers=4.2
53 22 0:51 / /mnt/with\\040space rw - fuse.sshfs someone@there: rw
"""


@pytest.mark.parametrize(
    ("mount", "kind"), [("22", "ext4"), ("41", "nfs4"), ("53", "fuse.sshfs"), ("2", ""), ("", "")], ids=str
)
def test_type_of_a_mount_is_read_by_its_number(mount, kind):
    assert file_systems.mount_type(mount, MOUNTS) == kind


@pytest.mark.parametrize(
    ("kind", "remote"),
    [
        ("ext4", False), ("xfs", False), ("btrfs", False), ("tmpfs", False), ("zfs", False), ("overlay", False),
        ("fuseblk", False), ("", False),
        ("nfs", True), ("nfs4", True), ("cifs", True), ("smb3", True), ("9p", True), ("virtiofs", True),
        ("vboxsf", True), ("fuse", True), ("fuse.sshfs", True), ("fuse.s3fs", True), ("lustre", True), ("ceph", True),
    ],
)  # fmt: skip
def test_file_systems_that_change_unseen_are_polled(kind, remote):
    assert file_systems.is_remote(kind) is remote


def test_the_file_system_of_a_real_directory_has_a_name(tmp_path):
    assert file_systems.file_system(os.fsencode(tmp_path))
    assert file_systems.file_system(b"/proc") == "proc"
    assert file_systems.file_system(os.fsencode(tmp_path / "absent")) == ""


def test_identity_follows_links_and_is_none_for_what_is_no_directory(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "file").write_text("")
    real, link = file_systems.identify(os.fsencode(tmp_path / "real")), os.fsencode(tmp_path / "link")
    assert real is not None
    assert file_systems.identify(link) == real
    assert file_systems.same(link, real)
    for name in ("file", "absent"):
        path = os.fsencode(tmp_path / name)
        assert file_systems.identify(path) is None
        assert file_systems.same(path, None)
        assert not file_systems.same(path, real)


@pytest.mark.parametrize(
    ("cpu", "wall", "interval"),
    [
        pytest.param(0.0, 0.0, 1.0, id="an empty tree: every second"),
        pytest.param(0.015, 0.02, 1.0, id="still affordable every second"),
        pytest.param(0.6, 0.7, 40.0, id="a large tree: 1.5 % of a core"),
        pytest.param(0.01, 5.0, 50.0, id="a slow server is left alone nine tenths of the time"),
    ],
)
def test_polling_costs_no_more_than_its_share(cpu, wall, interval, monkeypatch):
    monkeypatch.setattr(polling, "SHORTEST", 1.0)
    assert polling.poll_interval(cpu, wall) == pytest.approx(interval)


@pytest.mark.parametrize(("cpu", "interval"), [(0.0, 60.0), (0.018, 60.0), (0.3, 1000.0)])
def test_safety_looks_at_large_trees_are_rarer(cpu, interval):
    assert cover_interval(60.0, cpu) == pytest.approx(interval)


@pytest.mark.parametrize(
    ("cpu", "most", "interval"),
    [
        pytest.param(0.0, 60.0, 1.0, id="an empty tree: every second"),
        pytest.param(0.002, 60.0, 1.0, id="still affordable every second"),
        pytest.param(0.004, 60.0, 2.0, id="1 000 files on a slow machine"),
        pytest.param(0.12, 60.0, 60.0, id="the longest"),
        pytest.param(0.4, 60.0, 400.0, id="100 000 files: no more than their share"),
        pytest.param(0.09, 600.0, 45.0, id="a longer wish makes it no rarer"),
        pytest.param(0.4, 600.0, 400.0, id="nor more frequent"),
        pytest.param(0.012, 4.0, 4.0, id="a shorter wish counts"),
        pytest.param(0.4, 4.0, 4.0, id="whatever it costs"),
        pytest.param(0.001, 4.0, 1.0, id="but makes it no rarer"),
    ],
)
def test_comparisons_cost_no_more_than_their_share_unless_asked_for(cpu, most, interval):
    assert comparison_interval(cpu, most) == pytest.approx(interval)


CHANGES = {
    "nothing": (lambda root: None, set()),
    "reading": (lambda root: (root / "file").read_bytes(), set()),
    "content": (lambda root: (root / "file").write_text("longer than before"), {b"file"}),
    "permission": (lambda root: (root / "file").chmod(0o755), {b"file"}),
    "same size and time": (lambda root: _rewrite_unseen(root / "file"), {b"file"}),
    "new file": (lambda root: (root / "sub/new").touch(), {b"sub/new"}),
    "new empty directory": (lambda root: (root / "empty").mkdir(), {b"empty"}),
    "deleted": (lambda root: (root / "sub/inner").unlink(), {b"sub/inner"}),
    "moved directory": (
        lambda root: (root / "sub").rename(root / "bus"),
        {b"sub", b"sub/inner", b"bus", b"bus/inner"},
    ),
    "ignored": (lambda root: (root / "skipped/file").write_text("changed"), set()),
}


def _rewrite_unseen(file: Path) -> None:
    before = file.stat()
    file.write_text(file.read_text().upper())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("name", CHANGES)
def test_two_walks_differ_by_what_changed(tmp_path, name):
    for path in ("file", "sub/inner", "skipped/file"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text("text")

    def walk() -> polling.Snapshot:
        return polling.snapshot(os.fsencode(tmp_path), lambda path, _: path == b"skipped", lambda: False)

    before = walk()
    change, expected = CHANGES[name]
    change(tmp_path)
    assert polling.differences(before, walk()) == expected
    assert before.directories == 2


@pytest.mark.parametrize(
    ("ago", "storm"),
    [
        pytest.param([], False, id="no overflow"),
        pytest.param([0.5] * 9, False, id="a few at once"),
        pytest.param([20.0] * 10, False, id="many, but long ago"),
        pytest.param([i * 0.9 for i in range(10)], True, id="one a second"),
    ],
)
def test_overflows_that_do_not_end_are_a_storm(ago, storm):
    assert advice.storming(deque(100.0 - seconds for seconds in ago), 100.0) is storm


@pytest.mark.parametrize(
    ("problem", "words"),
    [
        (advice.no_watches(Path("/data"), 8192, 1.0, 0.0), ["8192", "/data", "fs.inotify.max_user_watches=524288"]),
        (advice.no_watches(Path("/data"), 600000, 1.0, 0.0), ["fs.inotify.max_user_watches=1200000"]),
        (advice.no_instance(128, 0.0), ["128", "fs.inotify.max_user_instances=1024"]),
        (advice.storm(16384, 0.0), ["16384", "fs.inotify.max_queued_events=131072", ".kaosignore"]),
        (advice.remote(Path("/home/ada"), "nfs4", 12.0, 0.0), ["/home/ada", "nfs4", "every 12 s"]),
        (advice.failed(0.0), ["kaosctl logs"]),
    ],
)
def test_each_problem_names_what_is_wrong_and_the_mend(problem, words):
    assert all(word in f"{problem.text} {problem.mend}" for word in words)


def test_limits_are_those_of_this_machine():
    for what in ("watches", "instances", "events"):
        assert advice.limit(what) > 0

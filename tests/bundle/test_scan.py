"""Looking at a root: dirty and full looks agree, only what changed is read, odd things are named and nothing hangs."""

from __future__ import annotations

import errno
import json
import mmap
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pytest
from drawn import contents, paths, trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import full, in_store, on_disk, parents, remove, write, write_all

from kaosd.bundle import Scanner, Store, mass_change, read_file
from kaosd.bundle import scan as scan_module
from kaosd.bundle.read_file import leaves, unreadable
from kaosd.bundle.store import LARGE_FROM
from kaosd.errors import BundleError, StoreError

PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The names that scanners open to read."""
    names: list[bytes] = []
    real = read_file._take_file

    def take_file(store: Store, writers: object, parent: int, path: bytes, previous: object) -> object:
        names.append(path.rpartition(b"/")[2])
        return real(store, writers, parent, path, previous)

    monkeypatch.setattr(read_file, "_take_file", take_file)
    return names


def old(root: Path) -> None:
    """Let the clock's grain pass, so that the stat cache may trust what is there."""
    until = time.time_ns() + read_file.GRAIN + 10_000_000
    while time.time_ns() < until:
        os.sched_yield()


def test_a_version_holds_files_links_and_empty_directories(data, store, root):
    files = full({b"a.csv": b"1,2\n", b"d/run.sh": ("x", b"#!"), b"d/l": ("l", b"../a.csv"), b"empty/deep": None})
    write_all(root, files)
    scan = data.scan()
    assert in_store(store, scan.tree) == files
    assert str(scan.version) == f"root:{scan.tree[:7]}"
    assert (scan.files, scan.bytes, scan.problem, scan.refused, scan.saving) == (3, 14, None, (), ())
    assert scan.identity == (root.stat().st_dev, root.stat().st_ino)
    assert scan.base == root


def test_after_a_look_at_much_the_next_one_goes_on_from_what_the_store_holds(data, store, root, reads, monkeypatch):
    monkeypatch.setattr(scan_module, "_MANY", 1)
    write_all(root, {b"a": b"1", b"d/b": b"22"})
    old(root)
    whole = data.scan()
    reads.clear()
    assert (data.scan().version, reads) == (whole.version, [])
    write(root, b"d/b", b"333")
    changed = data.scan([b"d/b"])
    assert (reads, changed.files, changed.bytes) == ([b"b"], 2, 4)
    assert in_store(store, changed.tree) == full({b"a": b"1", b"d/b": b"333"})


def test_a_store_that_fails_after_a_look_at_much_costs_one_more_look(data, store, root, monkeypatch):
    monkeypatch.setattr(scan_module, "_MANY", 1)
    write_all(root, {b"a": b"1", b"d/b": b"22"})
    with monkeypatch.context() as failing:
        failing.setattr(store, "cache", Mock(side_effect=StoreError("cannot be read", hint="wait")))
        with pytest.raises(StoreError, match="cannot be read"):
            data.scan()
    again = data.scan([])
    assert (again.files, again.bytes) == (2, 3)
    assert in_store(store, again.tree) == full({b"a": b"1", b"d/b": b"22"})


def test_times_owners_and_rewriting_the_same_are_no_change(data, root):
    write_all(root, {b"d/a": b"1"})
    before = data.scan()
    os.utime(root / "d" / "a", (1, 1))
    assert data.scan().version == before.version
    write(root, b"d/a", b"1")
    assert data.scan([b"d/a"]).version == before.version


def test_names_that_are_not_utf8_are_bundled(data, store, root):
    write(root, b"caf\xe9/\xff\xfe\n", b"1")
    assert in_store(store, data.scan().tree)[b"caf\xe9/\xff\xfe\n"] == ("f", b"1")


def test_what_the_rules_leave_out_is_not_in_it_and_new_rules_count_at_once(data, store, root):
    write_all(root, {b"a.log": b"1", b"b": b"2", b".git/HEAD": b"x", b"d/.ipynb_checkpoints/c.csv": b""})
    assert set(in_store(store, data.scan().tree)) == {b"a.log", b"b", b"d"}
    write(root, b".kaosignore", b"*.log\n")
    assert set(in_store(store, data.scan([b".kaosignore"]).tree)) == {b".kaosignore", b"b", b"d"}
    remove(root, b".kaosignore")
    assert set(in_store(store, data.scan([]).tree)) == {b"a.log", b"b", b"d"}


def test_a_broken_rule_is_a_problem_and_goes_away(data, root):
    write_all(root, {b"a": b"1", b".kaosignore": b"!\n"})
    scan = data.scan()
    assert scan.version is None
    assert ".kaosignore, line 1" in scan.problem
    write(root, b".kaosignore", b"")
    assert data.scan([]).problem is None


def test_only_changed_files_are_read_again(data, store, root, reads):
    write_all(root, {b"%d/%d" % (each // 10, each): b"%d" % each for each in range(100)})
    old(root)
    data.scan()
    assert len(reads) == 100
    data.scan()
    assert len(reads) == 100
    write(root, b"3/33", b"new")
    old(root)
    data.scan()
    assert reads[100:] == [b"33"]


def test_a_restart_reads_nothing_that_is_unchanged(root, tmp_path, reads):
    write_all(root, {b"%d/%d" % (each // 10, each): b"%d" % each for each in range(100)})
    old(root)
    store = Store(tmp_path / "store")
    before = Scanner(root, store, kind="data").scan()
    store.close()
    reads.clear()
    store = Store(tmp_path / "store")
    write(root, b"3/33", b"new")
    after = Scanner(root, store, kind="data").scan()
    assert reads == [b"33"]
    assert after.version != before.version
    assert in_store(store, after.tree)[b"3/33"] == ("f", b"new")
    assert after.files == 100
    store.close()


def test_a_dirty_path_touches_only_its_own_directory(data, root, monkeypatch, reads):
    write_all(root, {b"%d/%d" % (each // 10, each): b"%d" % each for each in range(100)})
    data.scan()
    reads.clear()
    listed = []
    monkeypatch.setattr(scan_module.Survey, "_walk", lambda *_: listed.append(_))
    write(root, b"3/33", b"new")
    assert data.scan([b"3/33"]).files == 100
    assert reads == [b"33"]
    assert listed == []


class Edit:
    """Random edits of a directory, with the paths that a watcher would name."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.dirty: set[bytes] = set()

    def apply(self, action: str, path: bytes, content: object, other: bytes) -> None:
        where, target = (os.path.join(os.fsencode(self.top), each) for each in (path, other))
        through_link = any(os.path.realpath(os.path.dirname(each)) != os.path.dirname(each) for each in (where, target))
        if through_link or (action == "chmod" and os.path.islink(where)):
            return  # a watcher would name another path
        try:
            if action == "write":
                write(self.top, path, content)
            elif action == "remove":
                remove(self.top, path)
            elif action == "move":
                os.rename(where, target)
            else:
                os.chmod(where, 0o755)
        except OSError:
            return  # does not apply to what is there
        named = {path, other} if action == "move" else {path}
        self.dirty |= named.union(*map(parents, named))  # directories on the way may be new


edits = st.lists(
    st.tuples(st.sampled_from(["write", "write", "remove", "move", "chmod"]), paths, contents, paths), max_size=6
)


@given(start=trees(), rounds=st.lists(edits, max_size=4))
@PROPERTY
def test_a_dirty_look_finds_the_same_as_a_full_one(tmp_path_factory, start, rounds):
    top = tmp_path_factory.mktemp("p")
    store = Store(top / "store")
    root = top / "root"
    root.mkdir()
    write_all(root, start)
    scanner = Scanner(root, store, kind="data")
    scanner.scan()
    for number, edit in enumerate(rounds):
        editor = Edit(root)
        for each in edit:
            editor.apply(*each)
        dirty = scanner.scan(editor.dirty)
        fresh = Store(top / f"fresh-{number}")
        complete = Scanner(root, fresh, kind="data").scan()
        fresh.close()
        refused = {path for path, _ in dirty.refused}
        assert in_store(store, dirty.tree) == {p: c for p, c in on_disk(root).items() if p not in refused}
        assert (dirty.version, dirty.files, dirty.bytes, dirty.refused) == (
            complete.version, complete.files, complete.bytes, complete.refused,
        )  # fmt: skip
        again = scanner.scan()
        assert (again.version, again.files, again.bytes, again.refused) == (
            dirty.version, dirty.files, dirty.bytes, dirty.refused,
        )  # fmt: skip
    store.close()


@pytest.mark.parametrize(
    ("change", "dirty"),
    [
        (lambda root: write(root, b"new/deep/er/a", b"1"), [b"new"]),
        (lambda root: write(root, b"new/deep/er/a", b"1"), [b"new/deep/er/a"]),
        (lambda root: write(root, b"new/deep/er/a", b"1"), [b""]),
        (lambda root: remove(root, b"d"), [b"d"]),
        (lambda root: remove(root, b"d"), [b"d/e/a"]),
        (lambda root: remove(root, b"d"), [b""]),
        (lambda root: (remove(root, b"d"), write(root, b"d/e/other", b"1")), [b"d/e/other", b"d/e", b"d"]),
        (lambda root: write(root, b"d", b"now a file"), [b"d"]),
        (lambda root: write(root, b"d", ("l", b"a")), [b"d/e"]),
        (lambda root: os.rename(root / "d", root / "moved"), [b"d", b"moved"]),
        (lambda root: os.rename(root / "d", root / "moved"), [b""]),
        (lambda root: (os.rename(root / "d", root / "z"), os.rename(root / "d2", root / "d")), [b""]),
        (lambda root: os.chmod(root / "a", 0o755), [b"a"]),
        (lambda root: None, [b"", b"nothing/here", b"a", b"d/", b"/d/e"]),
    ],
)
def test_directories_that_come_go_and_change_places(data, store, root, change, dirty):
    write_all(root, full({b"a": b"1", b"d/e/a": b"2", b"d/b": b"3", b"d2/e/a": b"4", b"d2/c": b"5"}))
    data.scan()
    change(root)
    assert in_store(store, data.scan(dirty).tree) == on_disk(root)


def test_a_change_within_the_grain_of_the_clock_is_seen(data, store, root):
    for turn in range(20):  # same size, and as often as not the same times
        write(root, b"a", b"%02d" % turn)
        assert in_store(store, data.scan().tree)[b"a"] == ("f", b"%02d" % turn)
        with (root / "a").open("r+b") as file:
            file.write(b"%02d" % (turn + 50))
        assert in_store(store, data.scan().tree)[b"a"] == ("f", b"%02d" % (turn + 50))


def test_a_change_whose_mtime_was_set_back_is_seen(data, store, root):
    write(root, b"a", b"1")
    status = (root / "a").stat()
    old(root)
    data.scan()
    write(root, b"a", b"2")
    os.utime(root / "a", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert in_store(store, data.scan().tree)[b"a"] == ("f", b"2")


def test_a_file_renamed_over_another_with_its_size_and_mtime_is_seen(data, store, root):
    write_all(root, {b"a": b"1", b"b": b"2"})
    for name in ("a", "b"):
        os.utime(root / name, (5, 5))
    old(root)
    data.scan()
    os.rename(root / "b", root / "a")
    assert in_store(store, data.scan().tree) == {b"a": ("f", b"2")}


def test_a_change_through_mmap_is_seen_by_a_full_look(data, store, root):
    write(root, b"a", b"1" * 5000)
    old(root)
    data.scan()
    with (root / "a").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"2"
        mapped.flush()
        assert data.scan().saving == (b"a",)
    assert in_store(store, data.scan().tree)[b"a"][1].startswith(b"21")


@pytest.mark.parametrize(
    ("inside", "target", "reason"),
    [
        (b"", b"a", None),
        (b"", b"a/b", None),
        (b"d", b"../a", None),
        (b"d/e", b"../../a", None),
        (b"d", b".././a//b", None),
        (b"", b".", None),
        (b"", b"dangling", None),
        (b"", b"..", "leaves the bundle"),
        (b"", b"../a", "leaves the bundle"),
        (b"d", b"../../a", "leaves the bundle"),
        (b"d", b"./../.././a", "leaves the bundle"),
        (b"d", b"b/../../a", '".." after a name'),
        (b"d/e", b"b/..", '".." after a name'),
        (b"", b"/etc/shadow", "absolute path"),
        (b"", b"\xff/../..", '".." after a name'),
    ],
)
def test_a_link_that_could_lead_out_is_refused(inside, target, reason):
    answer = leaves(inside, target)
    assert answer is None if reason is None else reason in answer


def test_links_that_lead_out_are_named_and_the_rest_goes_on(data, store, root):
    write_all(root, {b"a": b"1", b"out": ("l", b"/etc/passwd"), b"up": ("l", b".."), b"d/via": ("l", b"../up")})
    scan = data.scan()
    assert [(path, reason.split(":")[0]) for path, reason in scan.refused] == [
        (b"out", "is a link to the absolute path /etc/passwd"),
        (b"up", "is a link that leaves the bundle"),
    ]
    assert set(in_store(store, scan.tree)) == {b"a", b"d", b"d/via"}
    remove(root, b"up")
    assert [path for path, _ in data.scan([b"up"]).refused] == [b"out"]


@pytest.mark.not_quick
def test_a_socket_a_fifo_and_a_device_are_named_and_nothing_hangs(data, root):
    os.mkfifo(root / "fifo")
    os.mknod(root / "device", 0o20600, os.makedev(1, 5))  # /dev/zero: reading it would never end
    here = os.getcwd()
    os.chdir(root)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
    os.chdir(here)
    expected = ((b"device", "is a device"), (b"fifo", "is a named pipe"), (b"socket", "is a socket"))
    assert data.scan().refused == expected
    assert data.scan([b"fifo", b"device"]).refused == expected
    write(root, b"fifo", b"a file now")
    assert data.scan([b"fifo"]).refused == expected[:1] + expected[2:]


def test_a_file_swapped_for_a_fifo_or_a_link_during_the_walk_is_not_followed(data, store, root, monkeypatch):
    write_all(root, {b"a": b"1", b"b": b"2", b"d/c": b"3"})
    real = scan_module.TreeWriter.run

    def swapped(build: object, survey: object) -> None:
        remove(root, b"a")
        os.mkfifo(root / "a")
        write(root, b"b", ("l", b"/etc/passwd"))
        write(root, b"d", ("l", b"/etc"))
        real(build, survey)

    monkeypatch.setattr(scan_module.TreeWriter, "run", swapped)
    scan = data.scan()
    assert scan.saving == (b"a", b"b", b"d/c")
    assert {c for c in in_store(store, scan.tree).values() if c} == set()


def test_a_file_that_vanishes_is_still_being_saved(data, store, root, monkeypatch):
    write_all(root, {b"a": b"1", b"b": b"2"})
    data.scan()
    real = scan_module.TreeWriter.run

    def vanishing(build: object, survey: object) -> None:
        remove(root, b"b")
        real(build, survey)

    monkeypatch.setattr(scan_module.TreeWriter, "run", vanishing)
    scan = data.scan([b"b"])
    assert scan.saving == (b"b",)
    assert in_store(store, scan.tree) == {b"a": ("f", b"1"), b"b": ("f", b"2")}  # what it was before
    monkeypatch.undo()
    write(root, b"b", b"3")
    scan = data.scan([])  # looks at it again unasked
    assert scan.saving == ()
    assert in_store(store, scan.tree)[b"b"] == ("f", b"3")


def test_a_file_that_never_stands_still_is_named_and_the_rest_goes_on(data, store, root, monkeypatch):
    write_all(root, {b"a": b"1", b"log": b""})
    real = Store.put_file

    def growing(self: Store, descriptor: int, before: os.stat_result, *, grows: bool) -> str:
        if b"log" in os.readlink(f"/proc/self/fd/{descriptor}").encode():
            with (root / "log").open("ab") as file:
                file.write(b"more")
        return real(self, descriptor, before, grows=grows)

    monkeypatch.setattr(Store, "put_file", growing)
    scan = data.scan()
    assert scan.saving == (b"log",)
    assert set(in_store(store, scan.tree)) == {b"a"}
    assert (root / "log").stat().st_size == 4 * read_file.ATTEMPTS


NOTEBOOK = json.dumps({"cells": [], "nbformat": 4}).encode()


@pytest.mark.parametrize("broken", [b"", NOTEBOOK[:10], b"\xff"])
def test_a_half_written_notebook_waits_and_is_then_taken_as_it_is(data, store, root, broken):
    write_all(root, {b"a.ipynb": NOTEBOOK, b"b.py": b"1"})
    assert data.scan().saving == ()
    write_all(root, {b"a.ipynb": broken, b"b.py": b"2"})
    scan = data.scan([b"a.ipynb", b"b.py"])
    assert scan.saving == (b"a.ipynb",)
    assert in_store(store, scan.tree) == {b"a.ipynb": ("f", NOTEBOOK), b"b.py": ("f", b"2")}
    long_ago = time.time() - 3
    os.utime(root / "a.ipynb", (long_ago, long_ago))
    scan = data.scan([])
    assert scan.saving == ()
    assert in_store(store, scan.tree)[b"a.ipynb"] == ("f", broken)


def test_requirements_truncated_a_moment_ago_wait(data, store, root):
    write(root, b"requirements.txt", b"numpy\n")
    data.scan()
    write(root, b"requirements.txt", b"")
    scan = data.scan([b"requirements.txt"])
    assert scan.saving == (b"requirements.txt",)
    assert in_store(store, scan.tree)[b"requirements.txt"] == ("f", b"numpy\n")


def test_new_empty_requirements_are_taken_at_once(data, root):
    write(root, b"requirements.txt", b"")
    assert data.scan().saving == ()


def as_nobody(script: str, *arguments: object) -> str:
    """Run *script* as a user without rights, in a process of its own; what it printed."""
    lines = "import os, sys; os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
    setup = "from pathlib import Path\nfrom kaosd.bundle import *\n"
    command = [sys.executable, "-c", setup + lines + script, *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.not_quick
def test_what_cannot_be_read_is_named_and_the_rest_goes_on(short):
    root, state = short / "root", short / "state"
    write_all(root, {b"a": b"1", b"secret": b"2", b"closed/x": b"3", b"listed/x": b"4"})
    os.chmod(root / "secret", 0o000)
    os.chmod(root / "closed", 0o000)
    os.chmod(root / "listed", 0o444)
    state.mkdir()
    os.chmod(short, 0o755)
    os.chown(state, 65534, 65534)
    script = """
from kaosd.bundle import writers
writers.QUIET = 0  # whether somebody writes a file of another user is not told
store = Store(Path(sys.argv[2]) / "store")
scan = Scanner(Path(sys.argv[1]), store, kind="data").scan()
print(scan.problem, scan.files, sorted(path for path, _ in scan.refused), {reason for _, reason in scan.refused})
"""
    assert as_nobody(script, root, state).splitlines() == [
        "None 1 [b'closed', b'listed', b'secret'] {'cannot be read: Permission denied'}"
    ]


@pytest.mark.not_quick
def test_a_root_that_cannot_be_read_is_a_problem(short):
    root, state = short / "root", short / "state"
    write(root, b"a", b"1")
    state.mkdir()
    os.chown(state, 65534, 65534)
    os.chmod(short, 0o755)
    os.chmod(root, 0o000)
    script = """
scan = Scanner(Path(sys.argv[1]), Store(Path(sys.argv[2]) / "store"), kind="data").scan()
print(scan.version, scan.problem)
"""
    assert as_nobody(script, root, state).startswith(f"None data directory {root} cannot be read: Permission denied")


def test_a_data_directory_need_not_exist_until_it_had_something_in_it(store, root, data):
    root.rmdir()
    missing = data.scan()
    assert in_store(store, missing.tree) == {}
    assert missing.identity == (0, 0)
    root.mkdir()
    assert data.scan().tree == missing.tree
    write(root, b"a", b"1")
    there = data.scan()
    remove(root.parent, b"root")
    gone = data.scan([])
    assert (gone.version, gone.files) == (None, 1)
    assert "does not exist" in gone.problem
    write(root, b"a", b"1")
    assert data.scan([]).version == there.version


@pytest.mark.parametrize("kind", ["source", "link"])
def test_other_directories_must_exist(store, root, kind):
    scan = Scanner(root / "no", store, kind=kind).scan()
    assert scan.version is None
    assert "no does not exist" in scan.problem


def test_a_root_that_is_a_file_is_a_problem(store, root):
    write(root, b"file", b"")
    assert "cannot be read: Not a directory" in Scanner(root / "file", store, kind="data").scan().problem


def test_a_root_replaced_by_another_directory_is_looked_at_whole(data, store, root):
    write(root, b"a", b"1")
    first = data.scan()
    os.rename(root, root.with_name("away"))
    write(root, b"b", b"2")
    second = data.scan([])
    assert second.identity != first.identity
    assert set(in_store(store, second.tree)) == {b"b"}


def test_a_root_that_is_a_link_is_followed(store, root):
    write(root, b"a", b"1")
    os.symlink(root, root.with_name("link"))
    assert set(in_store(store, Scanner(root.with_name("link"), store, kind="data").scan().tree)) == {b"a"}


def test_a_deep_tree_is_bundled_and_a_bottomless_one_named(data, store, root):
    deep = b"/".join([b"d"] * 200)
    write_all(root, {deep + b"/a": b"1", deep + b"/d/d/a": b"1"})
    scan = data.scan()
    assert (scan.files, scan.refused) == (1, ((deep + b"/d", "lies more than 200 directories deep"),))
    write(root, deep + b"/a", b"2")
    scan = data.scan([deep + b"/a"])
    assert in_store(store, scan.tree)[deep + b"/a"] == ("f", b"2")
    assert len(scan.refused) == 1
    remove(root, b"d/d")
    assert data.scan([b"d/d"]).refused == ()


def test_a_link_mode_version_follows_names_sizes_and_times_and_reads_nothing(store, root, reads):
    write_all(root, {b"d/a": b"1", b"out": ("l", b"/etc")})
    scanner = Scanner(root, store, kind="link")
    first = scanner.scan()
    assert (first.tree, first.files, reads) == (None, 2, [])
    assert first.version.digest not in store
    assert scanner.scan().version == first.version
    write(root, b"d/a", b"22")
    second = scanner.scan([b"d/a"])
    assert second.version != first.version
    assert Scanner(root, store, kind="link").scan().version == second.version


def test_large_files_are_bundled(data, store, root):
    write(root, b"big", b"x" * LARGE_FROM)
    assert in_store(store, data.scan().tree) == {b"big": ("f", b"x" * LARGE_FROM)}


def test_damage_of_the_store_is_mended_by_the_next_look(data, store, root, tmp_path):
    write(root, b"a", b"precious")
    tree = data.scan().tree
    (pack,) = (tmp_path / "store" / "packs").iterdir()
    pack.write_bytes(b"\0" * pack.stat().st_size)
    store.forget_nodes()
    with pytest.raises(Exception, match="is damaged"):
        in_store(store, tree)
    assert data.scan([]).tree == tree
    assert in_store(store, tree) == {b"a": ("f", b"precious")}


def test_what_a_scanner_stands_on_survives_a_sweep(data, store, root):
    write_all(root, {b"d/a": b"1", b"e/a": b"2"})
    data.scan()
    store.sweep([])
    write(root, b"d/a", b"3")
    assert in_store(store, data.scan([b"d/a"]).tree)[b"e/a"] == ("f", b"2")
    data.forget()
    assert store.cached() == frozenset()


def test_two_scanners_of_one_root_never_mix_their_caches(root, tmp_path):
    store = Store(tmp_path / "store")
    write_all(root, {b"d/a": b"1", b"e/a": b"1"})
    one, two = (Scanner(root, store, kind="data") for _ in range(2))
    one.scan()
    two.scan()
    write(root, b"d/a", b"2")
    old(root)
    one.scan()
    write(root, b"e/a", b"2")
    old(root)
    two.scan([b"e/a"])  # has not heard of d/a
    store.close()
    store = Store(tmp_path / "store")
    assert in_store(store, Scanner(root, store, kind="data").scan().tree) == on_disk(root)
    store.close()


@pytest.mark.parametrize(
    ("before", "after", "lost"),
    [
        (0, 0, None),
        (0, 5, None),
        (5, 5, None),
        (9, 1, None),
        (10, 5, None),
        (10, 4, "6 of 10 files"),
        (1, 0, "the only file"),
        (100, 0, "all 100 files"),
        (100, 1000, None),
    ],
)
def test_the_mass_change_guard(before, after, lost):
    assert mass_change(before, after) == lost


def test_progress_can_be_watched(data, root):
    write_all(root, {b"a": b"123", b"b": b"4"})
    data.scan()
    assert list(data.progress) == [2, 4]


@pytest.mark.parametrize(
    ("number", "mend"),
    [
        (errno.EMFILE, "raise the limit of open files"),
        (errno.ENFILE, "raise the system's limit"),
        (errno.ENOMEM, "free some memory"),
        (errno.EIO, "repair its disk"),
    ],
)
def test_what_only_we_or_the_disk_keep_from_being_read_is_not_left_out(number, mend):
    with pytest.raises(BundleError) as failure:
        unreadable(b"model/caf\xe9.py", OSError(number, os.strerror(number)))
    failure.value.text.encode()  # every name can be told
    assert failure.value.text.endswith(f" cannot be read: {os.strerror(number)}")
    assert failure.value.hint.startswith(mend)


@pytest.fixture
def failing_disk():
    """Put a file whose reads fail with EIO in the place of another one."""
    mounted = []

    def fail(path):
        subprocess.run(["mount", "--bind", f"/proc/{os.getpid()}/mem", path], check=True)
        mounted.append(path)

    def mend():
        while mounted:
            subprocess.run(["umount", mounted.pop()], check=True)

    fail.mend = mend
    yield fail
    mend()


@pytest.mark.not_quick
@pytest.mark.parametrize("name", ["a", "d/e/a b", "d/\x1b[2J"])
def test_a_file_whose_disk_fails_holds_all_and_is_not_taken_for_removed(store, root, failing_disk, name):
    path = root / name
    write_all(root, {name.encode(): b"1", b"other": b"2"})
    scanner = Scanner(root, store, kind="data")
    before = scanner.scan()
    failing_disk(path)
    write(root, b"other", b"3")
    for dirty in (None, [name.encode()], [b"other"]):
        found = scanner.scan(dirty)
        shown = name.replace("\x1b", "\\x1b")
        assert (found.version, found.files) == (None, before.files)
        assert found.problem.startswith(f"{shown} cannot be read: Input/output error (repair its disk, or remove it")
    failing_disk.mend()
    after = scanner.scan([])
    assert in_store(store, after.tree) == on_disk(root)


@pytest.mark.parametrize("call", ["lstat", "scandir"])
def test_a_directory_whose_disk_fails_holds_all(store, root, monkeypatch, call):
    write_all(root, {b"d/a": b"1", b"other": b"2"})
    scanner = Scanner(root, store, kind="data")
    scanner.scan()
    real = getattr(os, call)

    def failing(path=b".", *arguments, **named):
        if os.fsencode(path).endswith(b"/d/a" if call == "lstat" else b"/d"):
            raise OSError(errno.EIO, os.strerror(errno.EIO), path)
        return real(path, *arguments, **named)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        found = scanner.scan([b"d/a"] if call == "lstat" else None)
        assert "cannot be read: Input/output error" in found.problem
    assert scanner.scan([]).files == 2

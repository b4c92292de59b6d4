"""Attached data: the link moves in one step from one complete tree to the next, and the store stays out of reach."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from drawn import trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import Tree, full, on_disk, put_tree, remove, write, write_all

from kaosd.bundle import Store, attach, attach_link, attached
from kaosd.bundle.attach import RETIRED, TOGETHER
from kaosd.errors import StoreError

attach_module = sys.modules["kaosd.bundle.attach"]  # the package has a function of this name
PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


class Data:
    """The attached data of one notebook."""

    def __init__(self, top: Path, store: Store) -> None:
        self.store, self.home, self.link = store, top / "sides", top / "data"

    def attach(self, files: Tree) -> None:
        attach(self.store, self.home, self.link, put_tree(self.store, files))

    def versions(self) -> set[str]:
        """The names of the directories that a path may lead to."""
        return {name for name in os.listdir(self.home) if name.isdecimal()}

    def inode(self, path: str) -> int:
        return (self.link / path).stat().st_ino


@pytest.fixture
def data(tmp_path: Path, store: Store) -> Data:
    return Data(tmp_path, store)


def test_the_link_shows_the_tree(data):
    files = full({b"a.csv": b"1", b"d/run": ("x", b"2"), b"d/l": ("l", b"../a.csv"), b"empty": None, b"\xff": b"3"})
    data.attach(files)
    assert data.link.is_symlink()
    assert on_disk(data.link) == files


def test_what_the_link_shows_is_known_as_long_as_it_is_whole(data):
    assert attached(data.home, data.link) is None
    data.attach({b"a": b"1"})
    data.attach({b"a": b"2"})
    second = put_tree(data.store, {b"a": b"2"})
    assert attached(data.home, data.link) == second
    Path(f"{data.link.readlink()}.tree").write_text("garbage")
    assert attached(data.home, data.link) is None
    data.attach({b"a": b"2"})
    assert attached(data.home, data.link) == second
    attach_link(data.link, data.home)
    assert attached(data.home, data.link) is None


def test_files_are_read_only_and_directories_are_not(data):
    data.attach({b"d/a": b"1", b"run": ("x", b"2")})
    modes = {name: oct((data.link / name).stat().st_mode & 0o777) for name in ("d", "d/a", "run")}
    assert modes == {"d": "0o755", "d/a": "0o444", "run": "0o555"}


def test_what_is_attached_is_never_written_to_again(data):
    seen = []
    for turn in range(4):
        data.attach({b"a": b"%d" % turn, b"d/b": b"%d" % turn, b"same": b"1"})
        seen.append(data.link.resolve())
    assert len(set(seen)) == 4
    for turn, place in enumerate(seen):
        assert on_disk(place) == full({b"a": b"%d" % turn, b"d/b": b"%d" % turn, b"same": b"1"})


def test_unchanged_files_are_shared_between_versions_and_never_with_the_store(data, tmp_path):
    large = b"x" * (1 << 20)
    data.attach({b"big": large, b"d/e/a": b"1"})
    inode = data.inode("big")
    for turn in range(RETIRED + 4):
        data.attach({b"big": large, b"d/e/a": b"%d" % turn})
        assert data.inode("big") == inode
    data.store.flush()
    stored = {file.stat().st_ino for file in (tmp_path / "store" / "large").iterdir()}
    assert inode not in stored


@pytest.mark.parametrize("kept_mode", [False, True])
def test_a_file_that_a_notebook_wrote_to_is_not_shared_on(data, kept_mode):
    data.attach({b"a": b"1", b"b": b"1"})
    until = time.time_ns() + 20_000_000
    while time.time_ns() < until:  # the clock that stamps files is a coarse one
        os.sched_yield()
    os.chmod(data.link / "a", 0o644)
    (data.link / "a").write_bytes(b"X")
    if kept_mode:
        os.chmod(data.link / "a", 0o444)
    data.attach({b"a": b"1", b"b": b"2"})
    assert on_disk(data.link) == full({b"a": b"1", b"b": b"2"})


def test_the_same_tree_again_does_nothing(data):
    data.attach({b"a": b"1"})
    before = os.readlink(data.link), os.lstat(data.link).st_ino
    data.attach({b"a": b"1"})
    assert (os.readlink(data.link), os.lstat(data.link).st_ino) == before


def test_a_tree_that_was_attached_before_is_attached_again_as_it_is(data):
    data.attach({b"a": b"1"})
    first = data.link.resolve()
    data.attach({b"a": b"2"})
    data.attach({b"a": b"1"})
    assert data.link.resolve() == first
    assert len(data.versions()) == 2


def test_versions_that_were_replaced_are_bounded_in_number(data):
    for turn in range(4 * RETIRED):
        data.attach({b"a": b"%d" % turn})
        assert len(data.versions()) <= RETIRED + TOGETHER
    assert {name for name in os.listdir(data.home) if "tree" not in name} <= {*data.versions(), "spare"}


def test_what_was_resolved_long_ago_leads_to_nothing_rather_than_to_another_version(data):
    data.attach({b"a": b"old"})
    resolved = data.link.resolve()
    for turn in range(3 * RETIRED):
        data.attach({b"a": b"%d" % turn})
        assert not resolved.exists() or on_disk(resolved) == full({b"a": b"old"})
    assert not resolved.exists()


def test_a_version_that_cannot_be_removed_now_goes_with_the_next(data, monkeypatch):
    monkeypatch.setattr(attach_module, "RETIRED", 1)
    monkeypatch.setattr(attach_module, "TOGETHER", 1)
    monkeypatch.setattr(attach_module, "OWN_BYTES", -1)  # no spare
    real = shutil.rmtree
    monkeypatch.setattr(shutil, "rmtree", lambda path, **_: refuse(path))
    for turn in range(4):
        data.attach({b"d/a": b"%d" % turn})
        assert on_disk(data.link) == full({b"d/a": b"%d" % turn})
    assert any(name.startswith("leaving-") for name in os.listdir(data.home))
    monkeypatch.setattr(shutil, "rmtree", real)
    data.attach({b"d/a": b"9"})
    assert {name for name in os.listdir(data.home) if not name.endswith(".tree")} == data.versions()


def refuse(path: Path) -> None:
    raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), path)


def test_a_large_version_that_was_replaced_does_not_stay_but_for_the_latest(data, monkeypatch):
    monkeypatch.setattr(attach_module, "OWN_BYTES", 10)
    monkeypatch.setattr(attach_module, "TOGETHER", 1)
    for turn in range(5):
        data.attach({b"big": b"%d" % turn * 20, b"small": b"1"})
    assert len(data.versions()) == 2
    assert not (data.home / "spare").exists()


def test_versions_of_many_files_are_bounded_by_their_files(data, monkeypatch):
    monkeypatch.setattr(attach_module, "RETIRED_FILES", 25)
    same = {b"d%d/x" % number: b"1" for number in range(9)}
    for turn in range(8):
        data.attach(same | {b"a": b"%d" % turn})
    assert len(data.versions()) == 3


@pytest.mark.parametrize("hold", ["cwd", "deep cwd", "fd", "directory fd", "map"])
def test_a_version_that_a_process_has_in_hand_stays_whole(data, hold):
    files = {b"a": b"old", b"d/e/b": b"old", b"l": ("l", b"d/e/b")}
    data.attach(files)
    held = data.link.resolve()
    code = {
        "cwd": "os.chdir(sys.argv[1])",
        "deep cwd": "os.chdir(sys.argv[1] + '/d/e')",
        "fd": "f = open(sys.argv[1] + '/a')",
        "directory fd": "f = os.open(sys.argv[1] + '/d', os.O_RDONLY)",
        "map": "f = os.open(sys.argv[1] + '/a', os.O_RDONLY); MAP(f); os.close(f)",
    }[hold]
    program = (
        "import ctypes, os, sys\n"
        "def MAP(f):\n"
        "    libc = ctypes.CDLL(None); libc.mmap.restype = ctypes.c_void_p\n"
        "    assert libc.mmap(None, ctypes.c_size_t(3), 1, 2, f, ctypes.c_long(0)) not in (None, 2**64 - 1)\n"
        f"{code}\nprint('ready', flush=True)\nsys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, held], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout.readline() == b"ready\n"
        for turn in range(2 * RETIRED + TOGETHER):
            data.attach({b"a": b"%d" % turn, b"d/e/b": b"%d" % turn})
            assert on_disk(held) == full(files)
        user.stdin.close()
    for turn in range(TOGETHER):
        data.attach({b"a": b"last %d" % turn})
    assert not held.exists()


def test_dot_dot_and_links_stay_within_a_version(data):
    for turn in (1, 2, 3):
        data.attach({b"x": b"%d" % turn, b"d/e/y": b"1", b"d/up": ("l", b"../x")})
        place = os.open(data.link / "d/e", os.O_RDONLY)
        try:
            assert os.readlink(f"/proc/self/fd/{place}") == f"{data.link.resolve()}/d/e"
            with open(os.open("../../x", os.O_RDONLY, dir_fd=place)) as file:
                assert file.read() == str(turn)
            with open(os.open("../up", os.O_RDONLY, dir_fd=place)) as file:
                assert file.read() == str(turn)
        finally:
            os.close(place)


def test_what_a_notebook_put_among_the_data_is_in_nobodys_way(data, tmp_path, monkeypatch):
    monkeypatch.setattr(attach_module, "RETIRED", 1)
    monkeypatch.setattr(attach_module, "TOGETHER", 1)
    write(tmp_path / "outside", b"a", b"precious")
    for turn in range(1, 6):
        data.attach({b"d/a": b"%d" % turn, b"e/a": b"%d" % turn})
        place = data.link.resolve()
        remove(place, b"e/a")
        shutil.rmtree(place / "d")
        write_all(place, {b"d": ("l", os.fsencode(tmp_path / "outside")), b"e/a/own": b"mine"})
    data.attach({b"d/a": b"6", b"e/a": b"6"})
    assert on_disk(data.link) == full({b"d/a": b"6", b"e/a": b"6"})
    assert on_disk(tmp_path / "outside") == {b"a": ("f", b"precious")}


@pytest.mark.parametrize(
    "marker", [None, b"", b"nonsense", b"0" * 64, b"%s another-boot 1 2\n", b"%s\n", b"\xff %s", b"abc %s 1 2"]
)
def test_a_version_without_a_valid_marker_is_made_again(data, marker):
    files = {b"a": b"1", b"same": b"1"}
    data.attach(files)
    place = data.link.resolve()
    write_all(place, {b"a": b"half", b"left/over": b"1"})
    remove(data.home, f"{place.name}.tree".encode())
    if marker is not None:
        content = marker % put_tree(data.store, files).encode() if b"%" in marker else marker
        write(data.home, f"{place.name}.tree".encode(), content)
    data.attach(files)
    assert on_disk(data.link) == full(files)
    assert data.link.resolve() != place
    assert not place.exists()


def test_the_two_sides_of_earlier_versions_of_kaosd_are_replaced(data):
    old, new = {b"a": b"1"}, {b"a": b"2"}
    data.attach(old)
    place = data.link.resolve()
    tree, boot, *_ = (data.home / f"{place.name}.tree").read_text().split()
    (data.home / f"{place.name}.tree").unlink()
    place.rename(data.home / "a")
    (data.home / "a.tree").write_text(f"{tree} {boot}\n")
    attach_link(data.link, data.home / "a")
    data.attach(old)
    assert data.link.resolve().name == "a"
    data.attach(new)
    assert on_disk(data.link) == full(new)
    assert on_disk(data.home / "a") == full(old)


def test_a_spare_whose_content_the_store_has_lost_is_made_from_nothing(data, monkeypatch):
    monkeypatch.setattr(attach_module, "RETIRED", 1)
    monkeypatch.setattr(attach_module, "TOGETHER", 1)
    for turn in range(3):
        data.attach({b"a": b"%d" % turn})
    assert (data.home / "spare").exists()
    data.store.sweep([put_tree(data.store, {b"a": b"9"})])
    data.attach({b"a": b"9"})
    assert on_disk(data.link) == full({b"a": b"9"})


def test_a_version_that_is_a_link_is_replaced_and_not_followed(data, tmp_path):
    write(tmp_path / "outside", b"a", b"precious")
    data.attach({b"a": b"1"})
    write(data.home, b"7", ("l", os.fsencode(tmp_path / "outside")))
    data.attach({b"a": b"2"})
    assert on_disk(data.link) == full({b"a": b"2"})
    assert on_disk(tmp_path / "outside") == {b"a": ("f", b"precious")}


def test_data_that_is_used_where_it_is(data, tmp_path):
    data.attach({b"a": b"1"})
    write(tmp_path / "huge", b"a", b"in place")
    attach_link(data.link, tmp_path / "huge")
    assert (data.link / "a").read_bytes() == b"in place"
    data.attach({b"a": b"2"})
    assert (data.link / "a").read_bytes() == b"2"
    assert (tmp_path / "huge" / "a").read_bytes() == b"in place"


def test_a_home_that_cannot_be_made_is_a_sentence(store, tmp_path):
    write(tmp_path, b"file", b"")
    with pytest.raises(StoreError, match=r"cannot write to .*file/sides"):
        attach(store, tmp_path / "file" / "sides", tmp_path / "data", put_tree(store, {}))


@given(steps=st.lists(trees(), min_size=1, max_size=4))
@PROPERTY
def test_the_link_shows_each_tree_in_turn(tmp_path_factory, steps):
    top = tmp_path_factory.mktemp("p")
    store = Store(top / "store")
    data = Data(top, store)
    for files in steps:
        data.attach(files)
        assert on_disk(data.link) == files
    store.close()

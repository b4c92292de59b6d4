"""Attached data: the link moves in one step from one complete tree to the next, and the store stays out of reach."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from drawn import trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import Tree, full, on_disk, put_tree, remove, write, write_all

from kaosd.bundle import Store, attach, attach_link
from kaosd.errors import StoreError

PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)


class Data:
    """The attached data of one notebook."""

    def __init__(self, top: Path, store: Store) -> None:
        self.store, self.home, self.link = store, top / "sides", top / "data"

    def attach(self, files: Tree) -> None:
        attach(self.store, self.home, self.link, put_tree(self.store, files))

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


def test_files_are_read_only_and_directories_are_not(data):
    data.attach({b"d/a": b"1", b"run": ("x", b"2")})
    modes = {name: oct((data.link / name).stat().st_mode & 0o777) for name in ("d", "d/a", "run")}
    assert modes == {"d": "0o755", "d/a": "0o444", "run": "0o555"}


def test_an_open_file_and_the_old_directory_stay_as_they_were(data):
    data.attach({b"a": b"1", b"b": b"1"})
    before = data.link.resolve()
    with (data.link / "a").open("rb") as reader:
        data.attach({b"a": b"2", b"b": b"1"})
        assert reader.read() == b"1"
    assert (before / "a").read_bytes() == b"1"
    assert (data.link / "a").read_bytes() == b"2"


def test_unchanged_files_are_shared_between_the_sides_and_never_with_the_store(data, tmp_path):
    large = b"x" * (1 << 20)
    data.attach({b"big": large, b"a": b"1"})
    inode = data.inode("big")
    data.attach({b"big": large, b"a": b"2"})
    assert data.inode("big") == inode
    data.attach({b"big": large, b"a": b"3"})
    assert data.inode("big") == inode
    data.store.flush()
    stored = {file.stat().st_ino for file in (tmp_path / "store" / "large").iterdir()}
    assert inode not in stored


def test_a_file_that_a_notebook_made_writable_is_not_shared_on(data):
    data.attach({b"a": b"1", b"b": b"1"})
    os.chmod(data.link / "a", 0o644)
    (data.link / "a").write_bytes(b"X")
    data.attach({b"a": b"1", b"b": b"2"})
    assert on_disk(data.link) == full({b"a": b"1", b"b": b"2"})


def test_the_same_tree_again_does_nothing(data):
    data.attach({b"a": b"1"})
    before = os.readlink(data.link), os.lstat(data.link).st_ino
    data.attach({b"a": b"1"})
    assert (os.readlink(data.link), os.lstat(data.link).st_ino) == before


def test_what_a_notebook_put_among_the_data_is_in_nobodys_way(data, tmp_path):
    write(tmp_path / "outside", b"a", b"precious")
    data.attach({b"d/a": b"1", b"e/a": b"1"})
    data.attach({b"d/a": b"2", b"e/a": b"2"})
    data.attach({b"d/a": b"3", b"e/a": b"3"})
    back = next(side for side in ("a", "b") if data.home / side != data.link.resolve())
    remove(data.home / back, b"e/a")
    write_all(data.home / back, {b"d": ("l", os.fsencode(tmp_path / "outside")), b"e/a/own": b"mine"})
    data.attach({b"d/a": b"4", b"e/a": b"4"})
    assert on_disk(data.link) == full({b"d/a": b"4", b"e/a": b"4"})
    assert on_disk(tmp_path / "outside") == {b"a": ("f", b"precious")}


@pytest.mark.parametrize("marker", [None, b"", b"nonsense", b"0" * 64, b"%s another-boot\n"])
def test_a_side_without_a_valid_marker_is_made_anew(data, marker):
    trees = [{b"a": b"%d" % turn, b"same": b"1"} for turn in range(3)]
    for files in trees[:2]:
        data.attach(files)
    back = next(side for side in ("a", "b") if data.home / side != data.link.resolve())
    write_all(data.home / back, {b"a": b"half", b"left/over": b"1"})
    remove(data.home, back.encode() + b".tree")
    if marker is not None:
        content = marker % put_tree(data.store, trees[0]).encode() if b"%" in marker else marker
        write(data.home, back.encode() + b".tree", content)
    data.attach(trees[2])
    assert on_disk(data.link) == full(trees[2])


def test_a_side_that_is_a_link_is_replaced_and_not_followed(data, tmp_path):
    write(tmp_path / "outside", b"a", b"precious")
    data.attach({b"a": b"1"})
    write(data.home, b"b", ("l", os.fsencode(tmp_path / "outside")))
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

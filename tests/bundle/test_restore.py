"""A recovered copy back in the work directory: what stood there is saved, links lead nowhere, races are survived."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from trees import on_disk, put_tree, write

from kaosd.bundle import Store, restore, sync
from kaosd.errors import BundleError


class Place:
    """A work directory, a copy to bring back, and where saved things go."""

    def __init__(self, top: Path, store: Store) -> None:
        self.store, self.work, self.recovered = store, top / "work", top / "recovered"
        self.copy = top / "copy"
        self.copy.write_bytes(b"mine")
        self.work.mkdir()

    def restore(self, path: bytes) -> dict[bytes, Path]:
        return {one.path: one.file for one in restore(self.store, self.work, path, self.copy, self.recovered)}


@pytest.fixture
def place(tmp_path: Path, store: Store) -> Place:
    return Place(tmp_path, store)


def test_what_stood_there_is_saved(place):
    write(place.work, b"d/a", b"theirs")
    saved = place.restore(b"d/a")
    assert on_disk(place.work) == {b"d": None, b"d/a": ("f", b"mine")}
    assert saved[b"d/a"].read_bytes() == b"theirs"
    assert place.copy.read_bytes() == b"mine"


def test_a_path_that_is_absent_is_made(place):
    assert place.restore(b"new/deep/a") == {}
    assert on_disk(place.work)[b"new/deep/a"] == ("f", b"mine")


def test_the_same_content_is_left_alone(place):
    write(place.work, b"a", b"mine")
    before = (place.work / "a").stat()
    assert place.restore(b"a") == {}
    assert (place.work / "a").stat() == before


def test_an_executable_copy_stays_one(place):
    place.copy.chmod(0o755)
    place.restore(b"a")
    assert on_disk(place.work) == {b"a": ("x", b"mine")}


def test_a_directory_in_its_place_is_saved_whole(place):
    write(place.work, b"a/inside", b"theirs")
    saved = place.restore(b"a")
    assert on_disk(place.work) == {b"a": ("f", b"mine")}
    assert (saved[b"a"] / "inside").read_bytes() == b"theirs"


def test_links_on_the_way_lead_nowhere(place, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (place.work / "d").symlink_to(outside)
    (place.work / "l").symlink_to(outside / "file")
    saved = place.restore(b"d/a") | place.restore(b"l")
    assert os.listdir(outside) == []
    assert on_disk(place.work) == {b"d": None, b"d/a": ("f", b"mine"), b"l": ("f", b"mine")}
    assert {path: file.is_symlink() for path, file in saved.items()} == {b"d": True, b"l": True}


@pytest.mark.parametrize("kind", ["directory", "link"])
def test_a_link_or_an_empty_directory_comes_back_as_such(place, kind):
    place.copy.unlink()
    if kind == "directory":
        place.copy.mkdir()
    else:
        place.copy.symlink_to("b\udcff")
    write(place.work, b"a", b"theirs")
    saved = place.restore(b"a")
    assert on_disk(place.work) == {b"a": None if kind == "directory" else ("l", b"b\xff")}
    assert {path: file.read_bytes() for path, file in saved.items()} == {b"a": b"theirs"}
    assert place.restore(b"a") == {}


@pytest.mark.parametrize("kind", ["absent", "pipe"])
def test_a_copy_that_is_nothing_of_that_changes_nothing(place, kind):
    place.copy.unlink()
    if kind == "pipe":
        os.mkfifo(place.copy)
    write(place.work, b"a", b"theirs")
    with pytest.raises(BundleError, match=r"the copy .*copy "):
        place.restore(b"a")
    assert on_disk(place.work) == {b"a": ("f", b"theirs")}


def test_a_restored_copy_is_an_edit_of_the_person_for_the_next_sync(place):
    first, second = (put_tree(place.store, {b"a": b"1", b"b": text}) for text in (b"1", b"2"))
    sync(place.store, place.work, [None], first, place.recovered)
    place.restore(b"a")
    report = sync(place.store, place.work, [first], second, place.recovered)
    assert on_disk(place.work) == {b"a": ("f", b"mine"), b"b": ("f", b"2")}
    assert (report.written, report.recovered) == ((b"b",), ())

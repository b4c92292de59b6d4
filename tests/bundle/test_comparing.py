"""Comparing a root with what is known of it: finds what no event tells, and nothing else."""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trees import in_store, remove, write, write_all

from kaosd.bundle import Scanner, Store, comparing, read_file, writers


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


FILES = {b"a": b"1" * 5000, b"log": b"line 0\n", b"d/b": b"2", b"d/e/c": b"3", b"link": ("l", b"a"), b"empty/x": b""}


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing counts as read in the moment in which it was written."""
    monkeypatch.setattr(read_file, "GRAIN", 0)
    monkeypatch.setattr(comparing, "GRAIN", 0)


@pytest.fixture(params=["data", "link"])
def scanner(request: pytest.FixtureRequest, root: Path, store: Store, old: None) -> Scanner:
    write_all(root, FILES)
    made = Scanner(root, store, kind=request.param)
    made.scan()
    assert made.compare() == (frozenset(), True)
    return made


def _hard_link(root: Path) -> None:
    """Written through a name outside of the root."""
    os.link(root / "d/b", root.parent / "outside")
    (root.parent / "outside").write_bytes(b"through the other name")


def _map(root: Path) -> None:
    with (root / "a").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"2"


def _set_back(root: Path) -> None:
    before = (root / "d/b").stat()
    (root / "d/b").write_bytes(b"x")
    os.utime(root / "d/b", ns=(before.st_atime_ns, before.st_mtime_ns))


def _replaced(root: Path) -> None:
    (root / "d/e").rename(root.parent / "aside")
    (root / "d/e").mkdir()
    (root / "d/e/c").write_bytes(b"3")


CHANGES: dict[str, Callable[[Path], object]] = {
    "through a hard link": _hard_link,
    "through a map": _map,
    "size and mtime as before": _set_back,
    "a new file": lambda root: write(root, b"d/new", b"4"),
    "a new tree": lambda root: write(root, b"n/e/w", b"4"),
    "a file removed": lambda root: remove(root, b"d/b"),
    "a directory removed": lambda root: remove(root, b"d"),
    "an empty directory removed": lambda root: remove(root, b"empty"),
    "a directory replaced by one like it": _replaced,
    "a file replaced by a directory": lambda root: write(root, b"a/b", b"5"),
    "a link changed": lambda root: write(root, b"link", ("l", b"log")),
    "a permission": lambda root: (root / "a").chmod(0o755),
    "a rule": lambda root: write(root, b".kaosignore", b"d\n"),
}

SAME = {("a directory replaced by one like it", False), ("size and mtime as before", True)}  # and whether it is linked


@pytest.mark.parametrize("name", CHANGES)
def test_what_no_event_told_is_found_and_a_look_at_it_finds_the_same_as_one_at_everything(
    scanner, store, root, name, tmp_path
):
    before = scanner.scan([]).version
    if name == "a file replaced by a directory":
        remove(root, b"a")
    CHANGES[name](root)
    found, complete = scanner.compare()
    assert complete
    assert found
    scan = scanner.scan(found)
    assert (scan.version == before) is ((name, scan.tree is None) in SAME)
    other = Store(tmp_path / "other")
    fresh = Scanner(root, other, kind="link" if scan.tree is None else "data").scan()
    other.close()
    assert (scan.version, scan.files, scan.refused) == (fresh.version, fresh.files, fresh.refused)
    assert scanner.compare() == (frozenset(), True)


@pytest.mark.usefixtures("old")
def test_what_changes_nothing_makes_no_version_and_no_more_looks(root, store):
    write_all(root, FILES | {b".kaosignore": b"skipped\n"})
    scanner = Scanner(root, store, kind="data")
    before = scanner.scan().version
    assert scanner.compare() == (frozenset(), True)
    (root / "a").read_bytes()
    write(root, b"skipped", b"ignored")
    write(root, b".nfs000000000012d68700000001", b"ignored too")
    assert scanner.compare() == (frozenset(), True)
    os.utime(root / "a")
    found, _ = scanner.compare()
    assert found == {b"a"}
    assert scanner.scan(found).version == before
    assert scanner.compare() == (frozenset(), True)


def test_a_quick_comparison_lists_only_directories_in_which_something_changed(scanner, root, monkeypatch):
    listed: list[bytes] = []
    real = comparing.list_directory
    monkeypatch.setattr(comparing, "list_directory", lambda *args: (listed.append(args[1]), real(*args))[1])
    assert scanner.compare() == (frozenset(), True)
    assert listed == []
    write(root, b"d/e/c", b"other")
    assert scanner.compare() == (frozenset({b"d/e/c"}), True)
    assert b"d/e" in listed
    assert b"" not in listed
    assert b"empty" not in listed


def test_a_file_that_was_read_in_the_moment_it_was_written_is_read_once_more_and_not_reported(root, store, monkeypatch):
    """Its content might have changed within the same tick of the clock; as long as it has not, nobody need know."""
    monkeypatch.setattr(read_file, "GRAIN", 10**18)
    monkeypatch.setattr(comparing, "GRAIN", 0)
    write_all(root, FILES)
    scanner = Scanner(root, store, kind="data")
    scanner.scan()
    hashed: list[int] = []
    real = comparing.hash_file
    monkeypatch.setattr(comparing, "hash_file", lambda descriptor: (hashed.append(descriptor), real(descriptor))[1])
    assert scanner.compare() == (frozenset(), True)
    assert len(hashed) == 5
    assert scanner.compare() == (frozenset(), True)
    assert len(hashed) == 5
    write(root, b"d/b", b"9")
    scanner.scan([b"d/b"])
    assert scanner.compare() == (frozenset(), True)
    assert len(hashed) == 6


def test_such_a_file_that_did_change_is_reported(root, store, monkeypatch):
    monkeypatch.setattr(read_file, "GRAIN", 10**18)
    monkeypatch.setattr(comparing, "GRAIN", 0)
    write_all(root, {b"a": b"1"})
    scanner = Scanner(root, store, kind="data")
    scanner.scan()
    before = (root / "a").stat()
    (root / "a").write_bytes(b"2")
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))
    found, _ = scanner.compare()
    assert found == {b"a"}
    assert in_store(store, scanner.scan(found).tree)[b"a"] == ("f", b"2")


@pytest.mark.usefixtures("old")
def test_a_file_that_waits_or_is_refused_is_not_reported_again_and_again(root, store, monkeypatch):
    monkeypatch.setattr(writers, "QUIET", 3600.0)
    write_all(root, FILES)
    os.mkfifo(root / "fifo")
    (root / "out").symlink_to("/etc")
    scanner = Scanner(root, store, kind="data")
    with (root / "new").open("wb", buffering=0) as file:
        assert scanner.scan().saving == (b"new",)
        file.write(b"more")
        assert scanner.compare() == (frozenset(), True)
        assert scanner.compare() == (frozenset(), True)
    assert scanner.scan([]).saving == ()
    assert scanner.compare() == (frozenset(), True)


@pytest.mark.usefixtures("old")
def test_stores_into_a_map_that_change_no_time_are_found_while_it_is_kept(root, store, monkeypatch):
    """A page that was written to and has not reached the disk yet takes more stores without a word."""
    monkeypatch.setattr(writers, "QUIET", 0.0)
    monkeypatch.setattr(writers, "AGAIN_SHARE", 0)
    write_all(root, FILES)
    scanner = Scanner(root, store, kind="data")
    with (root / "a").open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
        mapped[0:1] = b"2"
        scanner.scan()
        times = (root / "a").stat()
        assert scanner.compare() == (frozenset(), True)
        mapped[0:1] = b"3"
        found, _ = scanner.compare()
        assert found == {b"a"}
        assert in_store(store, scanner.scan(found).tree)[b"a"][1].startswith(b"31")
        assert (root / "a").stat().st_size == times.st_size
    scanner.compare()
    assert scanner._writers.kept_open() == []


@pytest.mark.usefixtures("old")
def test_a_root_that_comes_goes_or_is_replaced_is_looked_at(root, store):
    scanner = Scanner(root, store, kind="data")
    root.rmdir()
    assert scanner.scan().files == 0
    assert scanner.compare() == (frozenset(), True)
    write(root, b"a", b"1")
    found, _ = scanner.compare()
    assert scanner.scan(found).files == 1
    root.rename(root.parent / "aside")
    write(root, b"a", b"2")
    found, _ = scanner.compare()
    assert in_store(store, scanner.scan(found).tree) == {b"a": ("f", b"2")}


def test_there_is_nothing_to_compare_with_before_the_first_look_and_after_one_that_failed(root, store):
    write_all(root, {b"a": b"1"})
    scanner = Scanner(root, store, kind="data")
    assert scanner.compare() == (frozenset(), False)
    scanner.scan()
    write(root, b"a", b"2")
    remove(root, b"")
    assert scanner.scan([b"a"]).problem is not None
    assert scanner.compare() == (frozenset(), False)


def test_a_comparison_gives_way_to_a_look_and_is_continued(scanner, root, monkeypatch):
    for directory in (b"d", b"d/e", b"empty", b""):
        write(root, directory + b"/added" if directory else b"added", b"x")
    real, begun, gate = comparing.mark, threading.Event(), threading.Event()

    def slow(directory: bytes) -> int | None:
        begun.set()
        assert gate.wait(30)
        return real(directory)

    monkeypatch.setattr(comparing, "mark", slow)
    answers: list[tuple[frozenset[bytes], bool]] = []
    comparison = threading.Thread(target=lambda: answers.append(scanner.compare()))
    comparison.start()
    assert begun.wait(30)
    assert scanner.compare() == (frozenset(), False)  # one at a time
    look = threading.Thread(target=scanner.look, args=([],))
    look.start()
    while not scanner._wanted:
        os.sched_yield()
    gate.set()
    comparison.join()
    look.join()
    found, complete = answers[0]
    assert len(found) == 1
    assert not complete
    rest, complete = scanner.compare()
    assert complete
    assert found | rest == {b"added", b"d/added", b"d/e/added", b"empty/added"}
    assert scanner.compare(lambda: True) == (frozenset(), False)

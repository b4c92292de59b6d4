"""SQLite databases that a program keeps open: each version holds the database as of one commit."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import in_store

from kaosd.bundle import Scanner, Store, export_tree, writers
from kaosd.bundle.databases import at_rest, together

MODES = pytest.mark.parametrize("mode", ["delete", "truncate", "persist", "wal"])


@pytest.mark.parametrize(
    ("names", "there", "groups"),
    [
        ([b"a.db"], [b"a.db"], []),
        ([b"a.db"], [b"a.db", b"a.db-wal"], [[b"a.db", b"a.db-wal"]]),
        ([b"a.db-wal"], [b"a.db", b"a.db-wal", b"a.db-shm"], [[b"a.db", b"a.db-wal"]]),
        ([b"a", b"a-journal"], [b"a", b"a-journal", b"b"], [[b"a", b"a-journal"]]),
        ([b"notes-journal"], [b"notes-journal"], []),
        ([b"a", b"b-wal"], [b"a", b"a-wal", b"b", b"b-wal"], [[b"a", b"a-wal"], [b"b", b"b-wal"]]),
    ],
)
def test_a_database_belongs_to_its_journal_and_log(names, there, groups):
    assert together(names, there) == {frozenset(group) for group in groups}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path / "store")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is ever quiet for long enough, and none was taken too short a time ago."""
    monkeypatch.setattr(writers, "QUIET", 3600.0)
    monkeypatch.setattr(writers, "GROWN", 0.0)
    monkeypatch.setattr(writers, "SHARE", 0)


@contextlib.contextmanager
def opened(path: Path, mode: str) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"pragma journal_mode={mode}")
        connection.execute("create table if not exists pairs (a integer, b integer, filling text)")
        yield connection


def rows(store: Store, tree: str, target: Path) -> list[tuple[int, int]]:
    """The pairs that a program finds in the database of a version; it must be whole."""
    export_tree(store, tree, target)
    with contextlib.closing(sqlite3.connect(target / "shop.db")) as connection:
        assert connection.execute("pragma integrity_check").fetchall() == [("ok",)]
        return connection.execute("select a, b from pairs order by a").fetchall()


@MODES
def test_a_commit_is_taken_although_the_database_stays_open(root, store, tmp_path, mode):
    scanner = Scanner(root, store, kind="data")
    with opened(root / "shop.db", mode) as connection:
        for number in range(3):
            connection.execute("insert into pairs values (?, ?, '')", (number, number))
            found = scanner.scan()
            assert not set(found.saving) - {b"shop.db-shm"}
            assert rows(store, found.tree, tmp_path / str(number)) == [(one, one) for one in range(number + 1)]


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("spilt", [False, True], ids=["in memory", "written to the file"])
def test_a_transaction_under_way_changes_nothing(root, store, tmp_path, mode, spilt):
    scanner = Scanner(root, store, kind="data")
    with opened(root / "shop.db", mode) as connection:
        connection.execute("insert into pairs values (1, 1, '')")
        scanner.scan()
        connection.execute("pragma cache_size=1")
        connection.execute("begin")
        connection.executemany("insert into pairs values (2, 3, ?)", [("x" * 1000,)] * (500 if spilt else 1))
        assert rows(store, scanner.scan().tree, tmp_path / "during") == [(1, 1)]
        connection.execute("rollback")
        assert rows(store, scanner.scan().tree, tmp_path / "after") == [(1, 1)]
    found = scanner.scan()
    assert found.saving == ()
    assert set(in_store(store, found.tree)) == {b"shop.db"}
    assert rows(store, found.tree, tmp_path / "closed") == [(1, 1)]


@MODES
def test_each_version_of_a_database_that_is_written_all_the_time_is_of_one_commit(root, store, tmp_path, mode):
    done = threading.Event()

    def writing() -> None:
        with opened(root / "shop.db", mode) as connection:
            connection.execute("pragma wal_autocheckpoint=5")
            connection.execute("pragma synchronous=off")
            for number in range(150):
                connection.execute("begin immediate")
                connection.execute("insert into pairs values (?, 0, ?)", (number, "x" * 3000))
                connection.execute("update pairs set b = ?", (number,))
                connection.execute("commit")
        done.set()

    scanner, number = Scanner(root, store, kind="data"), 0
    with opened(root / "shop.db", mode):
        pass
    before = scanner.scan().version
    thread = threading.Thread(target=writing)
    thread.start()
    while not done.is_set():
        found = scanner.scan()
        if found.version != before:
            number, before = number + 1, found.version
            pairs = rows(store, found.tree, tmp_path / str(number))
            assert len({b for _, b in pairs}) <= 1, "a part of a transaction"
            assert [b for _, b in pairs] == [len(pairs) - 1] * len(pairs)
    thread.join()
    assert len(rows(store, scanner.scan().tree, tmp_path / "last")) == 150


def test_a_transaction_of_another_process_is_seen_by_its_lock_without_a_lock_of_ours(root):
    with opened(root / "shop.db", "memory"):
        pass
    script = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("begin immediate")
print("begun", flush=True)
sys.stdin.readline()
connection.execute("insert into pairs values (1, 1, '')")
connection.execute("commit")
print("done", flush=True)
sys.stdin.readline()
"""
    descriptor = os.open(root / "shop.db", os.O_RDONLY)
    assert at_rest(descriptor)
    with subprocess.Popen(
        [sys.executable, "-c", script, root / "shop.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdin is not None
        assert other.stdout is not None
        assert other.stdout.readline() == b"begun\n"
        assert not at_rest(descriptor)
        other.stdin.write(b"\n")
        other.stdin.flush()
        assert other.stdout.readline() == b"done\n"
        assert at_rest(descriptor)
        other.stdin.close()
    os.close(descriptor)


@pytest.mark.parametrize("content", [b"", b"SQLite format", b"SQLite format 2\0", b"a,b\n1,2\n"])
def test_a_file_of_another_kind_is_no_database(root, content):
    (root / "f").write_bytes(content)
    descriptor = os.open(root / "f", os.O_RDONLY)
    assert not at_rest(descriptor)
    os.close(descriptor)

"""What must hold when the machine fails us: a kill at any instant, and a full disk."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from trees import Tree, full, in_store, on_disk, put_tree, remove, write, write_all

from kaosd.bundle import Scanner, Store, attach, sync
from kaosd.bundle.tree import digest_of
from kaosd.errors import StoreError

KILLS = 8
SCRIPTS = {
    "store": """
for turn in range(1000):
    tree = put_tree(store, {b"%d/%d" % (turn, each): b"%d %d" % (turn, each) * 50 for each in range(20)} |
                    {b"same": b"same", b"big": os.urandom(1 << 20)})
    store.flush()
    print(tree, flush=True)
    if turn % 3 == 2:
        store.sweep([tree])
""",
    "scan": """
scanner = Scanner(top / "root", store, kind="data")
for turn in range(1000):
    for each in range(20):
        write(top / "root", b"%d/%d" % (each, turn % 3), b"%d" % turn)
    dirty = [b"", *(b"%d/%d" % (each, turn % 3) for each in range(20))]
    print(scanner.scan(None if turn % 2 else dirty).tree, flush=True)
""",
    "sync": """
trees = [put_tree(store, each) for each in TREES]
store.flush()
turn = int(sys.argv[2])
while True:
    (top / "target.new").write_text(f"{turn + 1}")
    (top / "target.new").replace(top / "target")
    sync(store, top / "work", [trees[turn % 3], trees[(turn + 1) % 3]], trees[(turn + 1) % 3], top / "recovered")
    turn += 1
    print(turn, flush=True)
""",
    "attach": """
trees = [put_tree(store, each) for each in TREES]
store.flush()
turn = int(sys.argv[2])
while True:
    turn += 1
    attach(store, top / "sides", top / "data", trees[turn % 3])
    print(turn, flush=True)
""",
}  # fmt: skip
TREES: list[Tree] = [
    full({b"%d/%d" % (each % 7, each): b"%d %d" % (version, each) for each in range(40)} | extra)
    for version, extra in enumerate(
        [{b"t": b"file"}, {b"t/a": b"directory", b"t/b": b"1", b"only": b"here"}, {b"t": ("l", b"link"), b"0/x/y": b""}]
    )
]


def killed(name: str, top: Path, argument: object, moment: float) -> list[str]:
    """Run a script in a child, kill it after its first word and *moment* seconds; the lines that it had printed."""
    head = (
        "import os, sys; from pathlib import Path; from kaosd.bundle import *\n"
        f"sys.path.insert(0, {os.path.dirname(__file__)!r})\n"
        "from trees import put_tree, write\nfrom test_limits import TREES\n"
        "top = Path(sys.argv[1]); store = Store(top / 'store')\n"
    )
    command = [sys.executable, "-c", head + SCRIPTS[name], str(top), str(argument)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        first = child.stdout.readline()
        time.sleep(moment)  # the random instant itself, not a wait for something
        child.send_signal(signal.SIGKILL)
        lines = [first, *child.stdout]
    assert child.returncode == -signal.SIGKILL
    return [line.strip() for line in lines if line.endswith("\n")]


def moments() -> Iterator[float]:
    return (random.Random(number).random() * 0.1 for number in range(KILLS))


@pytest.mark.not_quick
def test_a_store_killed_at_any_instant_keeps_all_that_it_acknowledged(tmp_path):
    for moment in moments():
        trees = killed("store", tmp_path, 0, moment)
        store = Store(tmp_path / "store")
        assert len(in_store(store, trees[-1])) == 23
        store.flush()  # what was written and not told of is taken in
        rows = store._index.spots_after(b"", 10**6)
        assert all(digest_of(store.get(digest)) == digest for digest in rows)
        assert {file.name for file in (tmp_path / "store" / "large").iterdir()} <= set(rows)
        store.sweep([trees[-1]])
        assert len(in_store(store, trees[-1])) == 23
        store.close()


@pytest.mark.not_quick
def test_a_scanner_killed_at_any_instant_is_right_afterwards(tmp_path):
    write(tmp_path / "root", b"a", b"1")
    for moment in moments():
        last = killed("scan", tmp_path, 0, moment)[-1]
        store = Store(tmp_path / "store")
        assert b"a" in in_store(store, last)
        assert in_store(store, Scanner(tmp_path / "root", store, kind="data").scan().tree) == on_disk(tmp_path / "root")
        store.close()


@pytest.mark.not_quick
def test_a_sync_killed_at_any_instant_is_finished_by_the_next_and_loses_no_edit(tmp_path):
    store = Store(tmp_path / "store")
    trees = [put_tree(store, each) for each in TREES]
    store.flush()
    sync(store, tmp_path / "work", [None], trees[0], tmp_path / "recovered")
    store.close()
    turn = 0
    for number, moment in enumerate(moments()):
        write(tmp_path / "work", b"1/1", b"hosted %d" % number)  # every tree changes it, so it must be recovered
        write(tmp_path / "work", b"own", b"mine")
        killed("sync", tmp_path, turn, moment)
        turn = int((tmp_path / "target").read_text())
        bases, incoming = [trees[(turn - 1) % 3], trees[turn % 3]], trees[turn % 3]
        store = Store(tmp_path / "store")
        sync(store, tmp_path / "work", bases, incoming, tmp_path / "recovered")
        store.close()
        assert on_disk(tmp_path / "work") == {**TREES[turn % 3], b"own": ("f", b"mine")}
        saved = on_disk(tmp_path / "recovered")
        assert ("f", b"hosted %d" % number) in saved.values()
    edits = [content for content in saved.values() if content is not None]
    assert sorted(edits) == sorted(("f", b"hosted %d" % number) for number in range(KILLS))  # and nothing else


@pytest.mark.not_quick
def test_an_attach_killed_at_any_instant_shows_one_tree_or_the_other(tmp_path):
    store = Store(tmp_path / "store")
    trees = [put_tree(store, each) for each in TREES]
    attach(store, tmp_path / "sides", tmp_path / "data", trees[0])
    store.flush()
    store.close()
    turn = 0
    for moment in moments():
        turn = int(killed("attach", tmp_path, turn, moment)[-1])
        shown = on_disk(tmp_path / "data")
        assert shown in (TREES[turn % 3], TREES[(turn + 1) % 3])
        turn += 2
        store = Store(tmp_path / "store")
        attach(store, tmp_path / "sides", tmp_path / "data", trees[turn % 3])
        store.close()
        assert on_disk(tmp_path / "data") == TREES[turn % 3]


@pytest.fixture
def small() -> Iterator[Path]:
    """A file system of 3 MiB."""
    with tempfile.TemporaryDirectory() as place:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", place], check=True)
        try:
            yield Path(place)
        finally:
            subprocess.run(["umount", place], check=True)


def fill(place: Path) -> None:
    """Use up the whole file system."""
    with (place / "filler").open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue


@pytest.mark.not_quick
@pytest.mark.parametrize("size", [200_000, 1 << 20], ids=["small", "large"])
def test_a_full_disk_is_a_sentence_and_all_goes_on_when_there_is_space(small, tmp_path, size):
    root = tmp_path / "root"
    write(root, b"a", b"1")
    store = Store(small / "store")
    scanner = Scanner(root, store, kind="data")
    before = scanner.scan()
    fill(small)
    write_all(root, {b"%d" % each: os.urandom(size) for each in range(1 if size >= 1 << 20 else 3)})
    for _ in range(3):
        with pytest.raises(StoreError, match=f"the disk that holds {small}/store is full"):
            scanner.scan([b"0", b"1", b"2"])
    assert in_store(store, before.tree) == {b"a": ("f", b"1")}
    remove(small, b"filler")
    after = scanner.scan([])
    assert in_store(store, after.tree) == on_disk(root)
    store.close()
    store = Store(small / "store")
    assert in_store(store, after.tree) == on_disk(root)
    store.close()


@pytest.mark.not_quick
def test_a_sweep_works_on_a_full_disk(small):
    store = Store(small / "store")
    old = put_tree(store, {b"big": os.urandom(1 << 20)})
    new = put_tree(store, {b"a": b"1"})
    store.flush()
    fill(small)
    assert store.sweep([new]).bytes > 1 << 20
    assert old not in store
    assert in_store(store, new) == {b"a": ("f", b"1")}
    store.close()


@pytest.mark.not_quick
def test_a_full_disk_leaves_the_work_directory_whole(small, store, tmp_path):
    old, new = {b"a": b"1" * 9000, b"b": b"1"}, {b"a": b"2" * 9000, b"b": b"2", b"c": os.urandom(1 << 21)}
    trees = [put_tree(store, each) for each in (old, new)]
    sync(store, small / "work", [None], trees[0], small / "recovered")
    fill(small)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"the disk that holds {small}/work is full"):
            sync(store, small / "work", trees, trees[1], small / "recovered")
    shown = {path: content for path, content in on_disk(small / "work").items() if not path.startswith(b".kaosd-")}
    assert set(shown) == {b"a", b"b"}
    assert all(content in (full(old)[path], full(new)[path]) for path, content in shown.items())
    remove(small, b"filler")
    sync(store, small / "work", trees, trees[1], small / "recovered")
    assert on_disk(small / "work") == full(new)
    assert not (small / "recovered").exists()


@pytest.mark.not_quick
def test_a_full_disk_leaves_the_old_data_attached(small, store):
    old, new = put_tree(store, {b"a": b"1"}), put_tree(store, {b"a": os.urandom(1 << 20)})
    attach(store, small / "sides", small / "data", old)
    fill(small)
    for _ in range(2):
        with pytest.raises(StoreError, match=f"the disk that holds {small}/sides is full"):
            attach(store, small / "sides", small / "data", new)
    assert on_disk(small / "data") == full({b"a": b"1"})
    remove(small, b"filler")
    attach(store, small / "sides", small / "data", new)
    assert on_disk(small / "data") == in_store(store, new)

"""The store: contents, nodes, durability across opening, damage, sweeping, several threads."""

from __future__ import annotations

import os
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from trees import in_store, on_disk, put_tree, write

from kaosd.bundle import Scanner, Store
from kaosd.bundle import packs as packs_module
from kaosd.bundle.copying import ChangingError
from kaosd.bundle.index import Index
from kaosd.bundle.packs import HEADER, Packs
from kaosd.bundle.store import LARGE_FROM
from kaosd.bundle.tree import digest_of
from kaosd.errors import StoreError

LARGE = random.Random(1).randbytes(LARGE_FROM + 5)


def reopened(store: Store, tmp_path: Path) -> Store:
    store.close()
    return Store(tmp_path / "store")


def files_of(tmp_path: Path, name: str) -> list[Path]:
    return sorted((tmp_path / "store" / name).iterdir())


@pytest.mark.parametrize("content", [b"", b"small", b"\0" * (LARGE_FROM - 1), LARGE], ids=len)
def test_what_is_put_is_read_back_before_and_after_flush_and_opening(tmp_path, content):
    store = Store(tmp_path / "store")
    digest = store.put(content)
    assert digest == digest_of(content)
    assert store.get(digest) == content
    store.flush()
    assert store.get(digest) == content
    store = reopened(store, tmp_path)
    assert store.get(digest) == content
    with (tmp_path / "out").open("wb") as out:
        store.write_to(digest, out.fileno())
    assert (tmp_path / "out").read_bytes() == content
    store.close()


def test_what_was_put_and_not_flushed_is_whole_or_absent_after_the_next_opening(tmp_path):
    store = Store(tmp_path / "store")
    kept = store.put(b"kept")
    store.flush()
    written = [store.put(b"written out"), store.put(LARGE)]
    store._packs.write_out()
    buffered = store.put(b"still in the buffer")
    store = reopened(store, tmp_path)
    assert store.get(kept) == b"kept"
    assert [store.get(digest) for digest in written] == [b"written out", LARGE]
    assert buffered not in store
    assert store.sweep([kept]).contents == 2
    assert files_of(tmp_path, "large") == []
    assert store.repaired is None
    store.close()


def test_the_same_content_is_kept_once(store, tmp_path):
    for _ in range(3):
        store.put(b"same")
        store.put(LARGE)
    store.flush()
    assert sum(file.stat().st_size for file in files_of(tmp_path, "packs")) == HEADER + len(b"same")
    assert len(files_of(tmp_path, "large")) == 1


def test_a_file_is_taken_whole(store, tmp_path):
    for content in (b"", b"abc", LARGE):
        (tmp_path / "file").write_bytes(content)
        with (tmp_path / "file").open("rb") as file:
            assert store.get(store.put_file(file.fileno(), os.fstat(file.fileno()))) == content


@pytest.mark.parametrize("size", [3, LARGE_FROM])
def test_a_file_that_changes_while_it_is_read_is_noticed(store, tmp_path, size):
    with (tmp_path / "file").open("wb+") as file:
        file.write(b"a" * size)
        file.flush()
        before = os.fstat(file.fileno())
        file.write(b"b")
        file.flush()
        with pytest.raises(ChangingError):
            store.put_file(file.fileno(), before)
    assert files_of(tmp_path, "large") == []


def test_packs_are_begun_anew_and_all_stay_readable(tmp_path, monkeypatch):
    monkeypatch.setattr(packs_module, "PACK", 1000)
    store = Store(tmp_path / "store")
    digests = {store.put(b"%d" % number * 100): b"%d" % number * 100 for number in range(50)}
    store.flush()
    assert len(files_of(tmp_path, "packs")) > 5
    store = reopened(store, tmp_path)
    assert all(store.get(digest) == content for digest, content in digests.items())
    store.close()


def test_an_absent_content_is_a_sentence(store):
    with pytest.raises(StoreError, match="content 000000000000 is not in"):
        store.get("0" * 64)


@pytest.mark.parametrize("content", [b"small", LARGE], ids=len)
def test_damage_is_named_and_counts_as_absent_so_that_it_can_be_put_again(tmp_path, content):
    store = Store(tmp_path / "store")
    digest = store.put(content)
    store.flush()
    (file,) = files_of(tmp_path, "packs" if content == b"small" else "large")
    with file.open("r+b") as stream:
        stream.seek(HEADER)
        stream.write(b"#")
    with pytest.raises(StoreError, match=f"content {digest[:12]} in .* is damaged"):
        store.get(digest)
    assert digest not in store
    assert store.damages == 1
    assert store.put(content) == digest
    assert store.get(digest) == content
    store.close()


@pytest.mark.parametrize("content", [b"small", LARGE], ids=len)
def test_a_lost_file_of_the_store_is_damage(tmp_path, content, monkeypatch):
    monkeypatch.setattr(packs_module, "PACK", 1)
    store = Store(tmp_path / "store")
    digest = store.put(content)
    store.put(b"the next pack")
    store.flush()
    files_of(tmp_path, "packs" if content == b"small" else "large")[0].unlink()
    with pytest.raises(StoreError, match="is damaged"):
        store.get(digest)
    assert digest not in store
    store.close()


def test_a_second_daemon_is_told_that_the_store_is_in_use(store, tmp_path):
    with pytest.raises(StoreError, match="is in use by another daemon"):
        Store(tmp_path / "store")


def test_a_store_that_cannot_be_made_is_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot open the store .*file/store"):
        Store(tmp_path / "file" / "store")


def test_the_store_is_private(store, tmp_path):
    places = [tmp_path / "store", *(tmp_path / "store").iterdir()]
    store.put(b"x")
    store.flush()
    assert {oct(place.stat().st_mode & 0o077) for place in places if place.is_dir()} == {"0o0"}


def test_a_sweep_drops_what_no_tree_reaches(store, tmp_path):
    old = put_tree(store, {b"a": b"shared", b"d/b": b"old", b"big": LARGE})
    new = put_tree(store, {b"a": b"shared", b"d/b": b"new"})
    store.flush()
    swept = store.sweep([new])
    assert in_store(store, new) == {b"a": ("f", b"shared"), b"d": None, b"d/b": ("f", b"new")}
    assert swept.contents == 4  # two nodes, two contents
    assert swept.bytes > len(LARGE)
    assert digest_of(b"old") not in store
    assert old not in store
    assert files_of(tmp_path, "large") == []


def test_a_sweep_survives_trees_that_are_not_there(store):
    tree = put_tree(store, {b"a": b"1"})
    store.sweep(["0" * 64, tree])
    assert in_store(store, tree) == {b"a": ("f", b"1")}
    assert store.damages == 0


def test_a_sweep_rewrites_packs_that_are_mostly_dead(tmp_path, monkeypatch):
    monkeypatch.setattr(packs_module, "PACK", 10_000)
    store = Store(tmp_path / "store")
    contents = {b"%03d" % number: b"%03d" % number * 100 for number in range(200)}
    put_tree(store, contents)
    kept = {name: content for name, content in contents.items() if name.endswith(b"7")}
    tree = put_tree(store, kept)
    store.flush()
    before = sum(file.stat().st_size for file in files_of(tmp_path, "packs"))
    store.sweep([tree])
    assert sum(file.stat().st_size for file in files_of(tmp_path, "packs")) < before / 3
    store = reopened(store, tmp_path)
    assert in_store(store, tree) == {name: ("f", content) for name, content in kept.items()}
    store.close()


def test_a_sweep_keeps_what_a_running_scan_has_put_or_met(store):
    met = store.put(b"was there already")
    store.flush()
    with store.holding():
        store.put(b"was there already")
        new = store.put(b"new")
        store.flush()
        store.sweep([])
        assert store.get(met) == b"was there already"
        assert store.get(new) == b"new"
    store.sweep([])
    assert met not in store
    assert new not in store


def test_a_save_goes_on_while_a_sweep_reads_the_trees_and_stays(tmp_path, monkeypatch):
    root, store = tmp_path / "root", Store(tmp_path / "store")
    for name in ("a", "b", "c/d"):
        write(root, name.encode(), b"old " + name.encode())
    scanner = Scanner(root, store, kind="data")
    first = scanner.scan()
    unused = store.put(b"comes back")
    store.flush()
    read, scans = store.node, []

    def save() -> None:
        write(root, b"a", b"new")
        write(root, b"b", b"comes back")
        scans.append(scanner.scan({b"a", b"b"}))

    def node(digest: str) -> object:
        if not scans:
            monkeypatch.undo()
            saving = threading.Thread(target=save)
            saving.start()
            saving.join(30)
            assert not saving.is_alive()
        return read(digest)

    monkeypatch.setattr(store, "node", node)
    store.sweep([first.tree])
    assert unused in store
    assert in_store(store, scans[0].tree) == on_disk(root)
    store.sweep([])
    assert in_store(store, scans[0].tree) == on_disk(root)
    store.close()


def test_a_save_goes_on_while_a_sweep_rewrites_a_pack(tmp_path, monkeypatch):
    monkeypatch.setattr(packs_module, "PACK", 10_000)
    store = Store(tmp_path / "store")
    put_tree(store, {b"%03d" % number: b"%03d" % number * 100 for number in range(200)})
    tree = put_tree(store, {b"%03d" % number: b"%03d" % number * 100 for number in range(7, 200, 10)})
    store.flush()
    sync, saved = Packs.sync, []

    def save() -> None:
        with store.holding():
            saved.append(put_tree(store, {b"a": b"saved meanwhile"}))
            store.flush()

    def synced(packs: Packs, pack: int) -> bool:
        if threading.current_thread() is threading.main_thread() and not saved:
            saving = threading.Thread(target=save)
            saving.start()
            saving.join(30)
            assert not saving.is_alive()
        return sync(packs, pack)

    monkeypatch.setattr(Packs, "sync", synced)
    store.sweep([tree])
    assert len(saved) == 1
    store = reopened(store, tmp_path)
    assert len(in_store(store, tree)) == 20
    assert in_store(store, saved[0]) == {b"a": ("f", b"saved meanwhile")}
    store.close()


def test_a_large_content_that_is_put_while_a_sweep_drops_it_stays(store, monkeypatch):
    digest = store.put(LARGE)
    store.flush()
    drop, putting = Index.drop, []

    def dropped(index: Index, *arguments: object, **named: object) -> None:
        drop(index, *arguments, **named)
        if not putting:
            putting.append(threading.Thread(target=store.put, args=(LARGE,)))
            putting[0].start()

    monkeypatch.setattr(Index, "drop", dropped)
    assert store.sweep([]).contents == 1
    putting[0].join(30)
    assert store.get(digest) == LARGE


def test_many_threads_put_flush_and_sweep_at_once(store):
    trees: dict[int, str] = {}

    def work(number: int) -> None:
        for turn in range(15):
            with store.holding():
                files = {b"%d/%d/%d" % (number, turn, each): b"%d" % each * turn for each in range(9)}
                trees[number] = put_tree(store, files)
                store.flush()
                assert len(in_store(store, trees[number])) == 11

    with ThreadPoolExecutor(4) as pool:
        running = [pool.submit(work, number) for number in range(4)]
        while not all(each.done() for each in running):
            with store.holding():  # from the moment that the trees to keep are listed
                store.sweep(list(trees.values()))
    for each in running:
        each.result()
    store.sweep(trees.values())
    assert all(len(in_store(store, tree)) == 11 for tree in trees.values())

"""Damage of any file of the store, while it is open and while it is not: never served, told, and healed by a scan."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
from trees import in_store, on_disk, put_tree, write

from kaosd.bundle import Scanner, Store
from kaosd.bundle import packs as packs_module
from kaosd.bundle.packs import HEADER
from kaosd.bundle.tree import digest_of
from kaosd.errors import ContentLost, StoreError

LARGE = random.Random(1).randbytes(6_000)
CONTENTS = [b"", *(b"content %d\n" % number * 20 for number in range(42)), LARGE, LARGE[::-1]]


def flip(path: Path) -> None:
    with path.open("r+b") as file:
        middle = path.stat().st_size // 2
        file.seek(middle)
        byte = file.read(1)
        file.seek(middle)
        file.write(bytes([(byte or b"\0")[0] ^ 4]))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


def zero(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(size // 3)
        file.write(b"\0" * (size // 3))


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(3).randbytes(path.stat().st_size or 100))


def lengthen(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def gone(path: Path) -> None:
    path.unlink()


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside").write_bytes(b"x")


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def another(path: Path) -> None:
    """What stands beside it stands there as well."""
    other = next((each for each in sorted(path.parent.iterdir()) if each != path and each.is_file()), path)
    content = other.read_bytes()
    path.unlink()
    path.write_bytes(content)


DAMAGES = [flip, cut, empty, zero, garbage, lengthen, gone, directory, fifo, dangling, another]
VICTIMS = {
    "first pack": lambda top: sorted((top / "packs").iterdir())[0],
    "last pack": lambda top: max((top / "packs").iterdir(), key=lambda path: int(path.stem)),
    "large": lambda top: sorted((top / "large").iterdir())[0],
    "index": lambda top: top / "index.db",
}


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with several packs and large files."""
    monkeypatch.setattr(packs_module, "PACK", 4_000)
    monkeypatch.setattr("kaosd.bundle.store.LARGE_FROM", 5_000)
    store = Store(tmp_path / "store")
    for content in CONTENTS:
        store.put(content)
    store.flush()
    return store


def served(store: Store, tmp_path: Path, content: bytes) -> bytes | None:
    """What the store gives in the place of *content*, both ways; None when it says that it has lost it."""
    digest = digest_of(content)
    out = tmp_path / "out"
    try:
        with out.open("wb") as file:
            store.write_to(digest, file.fileno())
        assert out.read_bytes() == store.get(digest)
    except StoreError:
        return None
    return out.read_bytes()


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("victim", VICTIMS)
@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
def test_damage_is_never_served_and_what_is_put_again_is_there(filled, tmp_path, damage, victim, running):
    store = filled
    if not running:
        store.close()
    damage(VICTIMS[victim](tmp_path / "store"))
    if not running:
        store = Store(tmp_path / "store")
    for _ in range(2):
        for content in CONTENTS:
            assert served(store, tmp_path, content) in (content, None)
    for _ in range(3):  # as scans do, after each loss
        with suppress(ContentLost):
            for content in [*CONTENTS, b"new", LARGE + b"new"]:
                store.put(content)
            store.flush()
    for content in [*CONTENTS, b"new", LARGE + b"new"]:
        assert served(store, tmp_path, content) == content
    with suppress(ContentLost):  # an index whose damage shows only now is made again
        store.sweep([])
    store.sweep([])
    for content in CONTENTS:
        store.put(content)
    store.flush()
    store.close()
    store = Store(tmp_path / "store")
    assert all(served(store, tmp_path, content) == content for content in CONTENTS)
    store.close()


@pytest.mark.parametrize("name", ["lock", "reserve"])
@pytest.mark.parametrize("damage", [garbage, gone, directory, fifo, dangling])
def test_files_without_content_are_made_again(filled, tmp_path, name, damage):
    damage(tmp_path / "store" / name)
    filled.sweep([])
    filled.close()
    damage(tmp_path / "store" / name) if os.path.isfile(tmp_path / "store" / name) else None
    store = Store(tmp_path / "store")
    store.put(b"new")
    store.flush()
    store.close()


@pytest.mark.parametrize("damage", [cut, empty, garbage, gone, directory, fifo, dangling])
def test_an_index_is_made_again_from_what_is_left_and_that_is_told(filled, tmp_path, damage):
    filled.close()
    damage(tmp_path / "store" / "index.db")
    store = Store(tmp_path / "store")
    assert [store.get(digest_of(content)) for content in CONTENTS] == CONTENTS
    assert "was damaged: its index was set aside (" in store.repaired[0]
    assert store.cached() == frozenset()
    store.flush()
    store.close()
    store = Store(tmp_path / "store")
    assert [store.get(digest_of(content)) for content in CONTENTS] == CONTENTS
    assert store.repaired is None  # told once
    store.close()


def test_each_page_of_an_index_can_be_lost(filled, tmp_path):
    filled.close()
    index = tmp_path / "store" / "index.db"
    whole = index.read_bytes()
    for page in range(len(whole) // 4096):
        index.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        store = Store(tmp_path / "store")
        for content in CONTENTS:
            store.put(content)
        store.flush()
        assert [store.get(digest_of(content)) for content in CONTENTS] == CONTENTS
        store.close()


def test_a_database_that_is_not_an_index_is_set_aside(filled, tmp_path):
    filled.close()
    index = tmp_path / "store" / "index.db"
    index.unlink()
    with closing(sqlite3.connect(index)) as db:
        db.execute("create table contents (what text)")
    store = Store(tmp_path / "store")
    assert [store.get(digest_of(content)) for content in CONTENTS] == CONTENTS
    assert len(list(index.parent.glob("index.db.damaged-*"))) == 1
    store.close()


@pytest.mark.parametrize("beside", ["index.db-wal", "index.db-shm", "index.db-journal"])
@pytest.mark.parametrize("what", [garbage, directory, fifo])
def test_what_stands_beside_the_index_does_not_matter(filled, tmp_path, beside, what):
    filled.close()
    path = tmp_path / "store" / beside
    path.touch()
    what(path)
    store = Store(tmp_path / "store")
    store.put(b"more")
    store.flush()
    assert [store.get(digest_of(content)) for content in CONTENTS] == CONTENTS
    store.close()


@pytest.mark.parametrize("sql", [
    "update contents set offset = offset + 1", "update contents set pack = pack + 1 where pack > 0",
    "update contents set size = 0", "update contents set size = 2 << 60", "update contents set offset = 'x'",
    "update contents set pack = null", "delete from contents", "delete from packs", "update packs set length = 7",
    "update packs set length = 1 << 40", "update contents set pack = 0", "update contents set pack = 99",
    "update contents set size = -1", "insert or replace into contents values (5, 1, 1, 1)",
])  # fmt: skip
def test_rows_that_sqlite_does_not_vouch_for_are_held_against_the_contents(filled, tmp_path, sql):
    filled.close()
    with (
        closing(sqlite3.connect(tmp_path / "store" / "index.db", isolation_level=None)) as db,
        suppress(sqlite3.IntegrityError),
    ):
        db.execute(sql)
    store = Store(tmp_path / "store")
    for content in CONTENTS:
        assert served(store, tmp_path, content) in (content, None)
    for _ in range(2):
        for content in CONTENTS:
            store.put(content)
        store.flush()
    assert all(served(store, tmp_path, content) == content for content in CONTENTS)
    store.sweep([])
    store.close()


def test_contents_of_two_places_are_not_taken_for_each_other(filled, tmp_path):
    filled.close()
    one, two = (digest_of(CONTENTS[number]) for number in (1, 2))
    with closing(sqlite3.connect(tmp_path / "store" / "index.db")) as db:
        spots = [db.execute("select pack, offset, size from contents where digest = ?", (bytes.fromhex(digest),))
                 .fetchone() for digest in (two, one)]  # fmt: skip
        for digest, spot in zip((one, two), spots, strict=True):
            db.execute("update contents set pack = ?, offset = ?, size = ? where digest = ?",
                       (*spot, bytes.fromhex(digest)))  # fmt: skip
        db.commit()
    store = Store(tmp_path / "store")
    assert [served(store, tmp_path, CONTENTS[number]) for number in (1, 2)] == [None, None]
    store.close()


def test_a_pack_whose_headers_are_damaged_gives_back_the_others(filled, tmp_path):
    filled.close()
    pack = VICTIMS["first pack"](tmp_path / "store")
    data = bytearray(pack.read_bytes())
    data[HEADER // 2] ^= 1  # of the first content
    pack.write_bytes(data)
    (tmp_path / "store" / "index.db").unlink()
    store = Store(tmp_path / "store")
    assert [content for content in CONTENTS if digest_of(content) not in store] == CONTENTS[:1]
    store.close()


def test_a_content_that_looks_like_a_pack_makes_nothing_up(tmp_path):
    store = Store(tmp_path / "store")
    store.put(b"inner")
    store.flush()
    forged = VICTIMS["first pack"](tmp_path / "store").read_bytes().replace(b"inner", b"INNER")
    outer = store.put(forged * 3)
    store.flush()
    store.close()
    (tmp_path / "store" / "index.db").unlink()
    store = Store(tmp_path / "store")
    assert store.get(digest_of(b"inner")) == b"inner"
    assert store.get(outer) == forged * 3
    assert digest_of(b"INNER") not in store
    store.close()


def test_a_large_content_is_compared_once_for_as_long_as_its_file_is_the_same(filled, tmp_path, monkeypatch):
    compared: list[int] = []
    real = "kaosd.bundle.store.hash_file"
    from kaosd.bundle.copying import hash_file  # noqa: PLC0415

    monkeypatch.setattr(real, lambda descriptor: compared.append(1) or hash_file(descriptor))
    monkeypatch.setattr("kaosd.bundle.store._GRAIN", -(10**12))  # the clock has gone on
    for _ in range(5):
        assert served(filled, tmp_path, LARGE) == LARGE
    assert len(compared) == 1
    flip(tmp_path / "store" / "large" / digest_of(LARGE))
    assert served(filled, tmp_path, LARGE) is None
    filled.close()


def test_a_store_without_headers_is_read_and_goes_on(tmp_path):
    """As versions before this one wrote it."""
    store = Store(tmp_path / "store")
    old = [store.put(content) for content in CONTENTS[:9]]
    store.flush()
    store.close()
    index, pack = tmp_path / "store" / "index.db", tmp_path / "store" / "packs" / "1.pack"
    with closing(sqlite3.connect(index)) as db:
        rows = db.execute("select digest, offset, size from contents").fetchall()
        data, bare = pack.read_bytes(), b""
        for digest, offset, size in rows:
            db.execute("update contents set offset = ? where digest = ?", (len(bare), digest))
            bare += data[offset : offset + size]
        pack.write_bytes(bare)
        db.execute("update packs set length = ?", (len(bare),))
        db.execute("drop table caches")
        db.execute("create table directories (root blob, path blob, node blob, listing blob, files int, bytes int)")
        db.execute("drop table lost")
        db.commit()
    store = Store(tmp_path / "store")
    assert [store.get(digest) for digest in old] == CONTENTS[:9]
    new = store.put(b"new")
    store.flush()
    store.close()
    index.unlink()
    store = Store(tmp_path / "store")
    assert store.get(new) == b"new"
    assert old[1] not in store
    store.close()


SWAPS = {
    "node": "update caches set node = (select node from caches where path = x'62') where path = x'61'",
    "listing": "update caches set listing = (select listing from caches where path = x'62') where path = x'61'",
    "counts": "update caches set files = 99",
    "node of another type": "update caches set node = 7",
    "tree": "update trees set tree = x'00'",
    "tree of another type": "update trees set tree = 7",
    "path": "update caches set path = x'63' where path = x'61'",
    "root": "update caches set root = x'00' where path = x'61'",
    "gone": "delete from caches where path = x'61'",
}


@pytest.mark.parametrize("sql", SWAPS.values(), ids=SWAPS)
def test_a_stat_cache_that_was_changed_is_not_believed(tmp_path, root, sql):
    write(root, b"a/f", b"one")
    write(root, b"b/f", b"two")
    write(root, b"a/g/h", b"three")
    os.utime(root / "a" / "f", (1, 1))
    os.utime(root / "b" / "f", (1, 1))
    store = Store(tmp_path / "store")
    Scanner(root, store, kind="data").scan()
    store.close()
    with closing(sqlite3.connect(tmp_path / "store" / "index.db")) as db:
        db.execute(sql)
        db.commit()
    store = Store(tmp_path / "store")
    scanner = Scanner(root, store, kind="data")
    assert in_store(store, scanner.scan().tree) == on_disk(root)
    write(root, b"a/new", b"four")
    found = scanner.scan([b"a/new"])
    assert (in_store(store, found.tree), found.files) == (on_disk(root), 4)
    store.close()


@pytest.mark.parametrize("running", [True, False], ids=["running", "stopped"])
@pytest.mark.parametrize("what", ["packs", "large", "index.db", "everything"])
def test_parts_of_the_store_can_be_removed(tmp_path, root, running, what):
    for number in range(20):
        write(root, b"d%d/f" % (number % 4), b"%d" % number)
    write(root, b"large", LARGE * 200)
    store = Store(tmp_path / "store")
    scanner = Scanner(root, store, kind="data")
    scanner.scan()
    if not running:
        store.close()
    for path in (tmp_path / "store").iterdir():
        if what in (path.name, "everything"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    if not running:
        store = Store(tmp_path / "store")
        scanner = Scanner(root, store, kind="data")
    write(root, b"d1/new", b"new")
    for _ in range(4):  # as the daemon does
        try:
            tree = scanner.scan([b"d1/new"]).tree
            assert in_store(store, tree) == on_disk(root)
        except StoreError:
            scanner.distrust()
            continue
        break
    assert in_store(store, scanner.scan().tree) == on_disk(root)
    store.close()


def test_what_a_sweep_cannot_read_is_lost_and_the_sweep_goes_on(filled, tmp_path):
    keep = put_tree(filled, {b"a": CONTENTS[1], b"b": CONTENTS[40]})
    filled.flush()
    flip(VICTIMS["first pack"](tmp_path / "store"))
    filled.sweep([keep])
    filled.sweep([keep])
    assert [served(filled, tmp_path, CONTENTS[number]) in (CONTENTS[number], None) for number in (1, 40)] == [True] * 2
    filled.close()


def test_what_was_lost_or_swept_beside_a_loss_is_still_known_to_be_ours(filled, tmp_path):
    tree = put_tree(filled, {b"d/a": CONTENTS[1]})
    filled.flush()
    assert filled.had(digest_of(CONTENTS[1]))
    assert not filled.had("0" * 64)
    node = next(entry.digest for entry in filled.node(tree))
    spot = filled._index.find(node)
    with (tmp_path / "store" / "packs" / f"{spot.pack}.pack").open("r+b") as pack:
        pack.seek(spot.offset)
        pack.write(b"#")
    filled.forget_nodes()
    filled.sweep([tree])  # cannot tell what the lost directory held
    assert digest_of(CONTENTS[1]) not in filled
    assert filled.had(digest_of(CONTENTS[1]))
    assert filled.had(node)
    filled.sweep([])  # nothing that is kept has lost anything
    assert not filled.had(digest_of(CONTENTS[1]))
    filled.close()

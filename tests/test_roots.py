"""A watched directory of a notebook: what `fresh` promises, also while scans fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest

from kaosd.bundle import Scan, Scanner, Store
from kaosd.errors import StoreError
from kaosd.notebook import Notebook, roots
from kaosd.notebook.roots import Root
from kaosd.watch import Watcher
from tests.deployed import deployed_actor, write  # noqa: F401 - a fixture


class Troubled(Scanner):
    """A real scanner whose next scans or flushes fail as on a full disk, or wait at a gate."""

    full = full_at_flush = False
    scans = 0

    def __init__(self, root: Path, store: Store) -> None:
        super().__init__(root, store, kind="data")
        self.gate, self.begun, self.flushing = threading.Event(), threading.Event(), threading.Event()
        self.gate.set()
        self.flushing.set()

    def look(self, dirty: Collection[bytes] | None = None, closed: Collection[bytes] = ()) -> Scan:
        self.scans += 1
        full = self.full
        self.begun.set()
        self.gate.wait()
        if full:
            raise StoreError("the disk is full", retryable=True)
        return super().look(dirty, closed)

    def flush(self) -> None:
        if self._unsaved is not None:
            self.flushing.wait()
            if self.full_at_flush:
                raise StoreError("the disk is full", retryable=True)
        super().flush()


@pytest.fixture
def scanner(tmp_path: Path) -> Iterator[Troubled]:
    (tmp_path / "root").mkdir()
    store = Store(tmp_path / "store")
    yield Troubled(tmp_path / "root", store)
    store.close()


@pytest.fixture
def root(scanner: Troubled, tmp_path: Path) -> Root:
    return Root("data:n", tmp_path / "root", scanner, None, lambda: None)


async def test_fresh_after_a_failed_scan_looks_again_and_forgets_the_trouble(root: Root, scanner: Troubled) -> None:
    scanner.full = True
    await root.fresh()
    assert root.trouble == "the disk is full"
    scanner.full = False
    (root.path / "a").write_text("new")
    await root.fresh()
    assert root.trouble is None
    assert root.scan is not None
    assert root.scan.files == 1
    await root.close()


async def test_fresh_during_a_scan_that_fails_means_the_next_one(root: Root, scanner: Troubled) -> None:
    scanner.full = True
    scanner.gate.clear()
    root.poke()
    await asyncio.to_thread(scanner.begun.wait)
    scanner.full = False
    waiting = asyncio.ensure_future(root.fresh())
    await asyncio.sleep(0)
    scanner.gate.set()
    await waiting
    assert (scanner.scans, root.trouble) == (2, None)
    await root.close()


async def test_fresh_ends_also_when_every_scan_fails(root: Root, scanner: Troubled) -> None:
    scanner.full = True
    for wanted in (1, 2):
        await root.fresh()
        assert (scanner.scans, root.trouble) == (wanted, "the disk is full")
    await root.close()


async def test_what_was_found_is_told_at_once_and_durable_later(root: Root, scanner: Troubled) -> None:
    told = asyncio.Event()
    root.changed = told.set
    scanner.flushing.clear()
    (root.path / "a").write_text("new")
    root.poke()
    await told.wait()
    assert root.scan is not None
    assert (root.scan.files, root.looking) == (1, False)
    waiting = asyncio.ensure_future(root.durable())
    fresh = asyncio.ensure_future(root.fresh())
    await asyncio.wait([waiting, fresh], timeout=0.1)
    assert not waiting.done()
    assert not fresh.done()
    assert scanner._store.cache(scanner.key)[0] is None
    scanner.flushing.set()
    await waiting
    assert scanner._store.cache(scanner.key)[0] == root.scan.tree
    await fresh
    await root.close()


async def test_what_cannot_be_written_is_no_secret_and_written_when_there_is_room(
    root: Root, scanner: Troubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(roots, "RETRY_FIRST", 0.01)
    scanner.full_at_flush = True
    (root.path / "a").write_text("new")
    await root.fresh()
    assert root.trouble == "the disk is full"
    with pytest.raises(StoreError, match="the disk is full"):
        await root.durable()
    scanner.full_at_flush = False
    await root.fresh()
    assert root.trouble is None
    await root.durable()
    assert root.scan is not None
    await root.close()
    assert scanner._store.cache(scanner.key)[0] == root.scan.tree


async def test_a_directory_that_cannot_be_read_for_a_while_is_looked_at_again_without_an_event(
    root: Root, scanner: Troubled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too many open files for example: that they are closed is no event."""
    monkeypatch.setattr(roots, "RETRY_FIRST", 0.01)
    looked = asyncio.Event()
    root.changed = looked.set
    away = root.path.with_name("away")
    (root.path / "a").write_text("new")
    await root.fresh()
    root.path.rename(away)
    await root.fresh()
    assert root.scan is not None
    assert root.scan.problem is not None
    away.rename(root.path)
    async with asyncio.timeout(60):
        while root.scan.problem is not None:
            looked.clear()
            await looked.wait()
    assert root.scan.files == 1
    await root.close()


async def test_a_save_that_turns_out_to_be_the_first_of_several_is_told_with_them(
    scanner: Troubled, tmp_path: Path
) -> None:
    path, told, again = tmp_path / "root", list[Scan | None](), asyncio.Event()
    for name in "ab":
        (path / name).write_text("old")
    watcher = Watcher()

    def changed() -> None:
        told.append(root.scan)
        again.set()

    root = Root("data:n", path, scanner, watcher, changed)
    await watcher.start()
    root.open()
    await root.fresh()
    while root.looking or root.pending:
        await asyncio.sleep(0)
    told.clear()
    scanner.begun.clear()
    scanner.gate.clear()
    (path / "a").write_text("new")
    await asyncio.to_thread(scanner.begun.wait)
    (path / "b").write_text("new")
    while not root.pending:
        await asyncio.sleep(0)
    again.clear()
    scanner.gate.set()
    await asyncio.wait_for(again.wait(), 30)
    assert root.scan is not None
    assert told == [scanner.scan()]
    await root.close()
    await watcher.close()


async def test_a_resume_continues_from_the_disk_and_not_from_half_of_a_change(actor: Notebook) -> None:
    """A scan in the pause may have come between two of the person's steps."""
    actor.pause()
    write(actor.spec.source / "model", "train.py", "ANSWER = 2\n")
    half = actor.source.scan = actor.source.scanner.scan(None)
    (actor.spec.source / "model" / "train.py").rename(actor.spec.source / "model" / "moved.py")
    await actor.resume()
    assert not actor.intent.paused
    assert actor.source.scan != half
    assert actor.source.scan == actor.source.scanner.scan(None)


async def test_a_pause_during_a_resume_counts(actor: Notebook) -> None:
    actor.pause()
    resuming = asyncio.ensure_future(actor.resume())
    await asyncio.sleep(0)
    actor.pause()
    await resuming
    assert actor.intent.paused

"""What the faults found, one by one: each of these went wrong once."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kaosd import bundle
from kaosd.bundle import Store
from kaosd.bundle.tree import lookup
from kaosd.errors import ContentLost, KaosError, StoreError
from kaosd.notebook.record import LogFile, saved_copies
from kaosd.notebook.roots import Root
from kaosd.planner import Attempt, Look, Start, Sync, Target
from tests.faults.editor import read_tree
from tests.faults.still import Killed
from tests.faults.test_actor_model import Life


@pytest.fixture
async def life(short: Path) -> AsyncIterator[Life]:
    """A notebook that serves its first state."""
    found = Life(short, 0)
    await found.rest()
    yield found
    await found.end()


async def target(life: Life) -> Target:
    """What is on disk."""
    await life.actor.fresh()
    found = (await life.actor.looking.look()).disk.target
    assert found is not None
    return found


def spoil(store: Store, digest: str) -> None:
    """Take a content out of the store, as a damaged file does."""
    store._index.drop([digest])
    store._nodes.drop(digest)


async def kill(life: Life, at: int, state: int) -> None:
    """The daemon ends at a write of the journal, and the files have changed before the next one starts."""
    life.fate.threaten(at, kill=True, after=False)
    life.change(1)
    life.actor.change(life.spec)
    settling = asyncio.create_task(life.actor.settled())
    await asyncio.wait([life.task])
    settling.cancel()
    with pytest.raises(Killed):
        life.task.result()
    life.fate.spare()
    life.change(state)
    life.begin()


@pytest.mark.parametrize("at", range(1, 9))
async def test_files_that_are_taken_back_while_a_step_is_cut_short_are_served(life: Life, at: int) -> None:
    """Attach, apply and sync write down first what they begin; else nothing would tell that the host is not whole."""
    await kill(life, at, 0)
    await life.rest()


@pytest.mark.parametrize("at", [7, 8])
async def test_two_syncs_cut_short_one_after_another(life: Life, at: int) -> None:
    """What the first of them had written is nobody's edit."""
    await kill(life, at, 3)
    await life.actor.fresh()
    await kill(life, at - 5, 0)
    await life.rest()


async def test_a_new_host_whose_content_cannot_be_synced_is_ended(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    (life.source / "model" / "requirements.txt").write_text("# other\n")
    real = bundle.sync
    hosts: list[int] = []

    def full(*arguments: object, **named: object) -> object:
        hosts.append(len(life.engine.hosts))
        if len(hosts) < 4:
            raise StoreError("the disk is full")
        return real(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(bundle, "sync", full)
    await life.rest()
    assert hosts.count(2) >= 3
    assert max(hosts) == 2  # the old and the new one, never more


async def test_a_switch_that_was_not_written_down_is_seen(life: Life) -> None:
    """Kernels start from the new environment; taken back, they must start from the old one again."""
    (life.source / "model" / "requirements.txt").write_text("# plain\n")
    wanted = await target(life)
    await life.rest()
    (number,) = life.engine.hosts
    life.actor.draining = True
    life.actor.poke()
    await asyncio.wait([life.task])
    (old,) = [digest for digest in life.engine.made if digest != wanted.environment]
    life.engine.hosts[number][0] = old
    life.begin()
    await life.rest()
    assert life.engine.hosts[number][0] == wanted.environment


async def test_a_wait_does_not_take_something_half_done_for_live(life: Life) -> None:
    life.actor.hosting.save(syncing="f" * 64)
    assert not life.actor.fully_live()
    assert life.actor.state()[0] != "live"
    await life.rest()


async def test_a_wait_ends_when_what_it_waited_for_is_written_down(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not between the last step and the look that finds it done: the history would show that it is still on its way."""
    looks, reached, gate = life.actor.looking.look, asyncio.Event(), asyncio.Event()

    async def look() -> Look:
        if isinstance(life.actor.plan.step, Sync):
            reached.set()
            await gate.wait()
        return await looks()

    monkeypatch.setattr(life.actor.looking, "look", look)
    (life.data / "one.csv").write_text("attached first\n")
    (life.source / "model" / "0.py").write_text("and this is synced\n")
    settling = asyncio.create_task(life.actor.settled())
    await reached.wait()
    life.actor.shop.news.tell()
    early, _ = await asyncio.wait([settling], timeout=0.1)  # enough rounds of the loop for a wait that ends too early
    gate.set()
    assert not early
    assert await settling == "live"
    assert life.actor.record.deployment is not None
    assert life.actor.record.deployment.outcome == "live"


@pytest.mark.parametrize("what", ["file", "directory", "model", "version"])
async def test_what_was_deployed_before_may_be_lost(life: Life, what: str) -> None:
    """Only what comes in is needed; what was there counts as never deployed then."""
    live, store = life.actor.hosting.live, life.store
    assert live.source is not None
    assert live.model_tree is not None
    file = lookup(store, live.model_tree, b"0.py")
    assert file is not None
    lost = {"file": file.digest, "directory": live.model_tree, "model": live.model_tree, "version": live.source.digest}
    life.actor.draining = True
    life.actor.poke()
    await asyncio.wait([life.task])
    life.change(2)
    spoil(store, lost[what])
    life.begin()
    await life.actor.redeploy(force=True, now=False)
    async with asyncio.timeout(60):
        while await life.actor.settled() != "live":
            await asyncio.sleep(0)
    assert read_tree(life.actor.home.work) == read_tree(life.source / "model")


async def test_what_is_on_disk_and_lost_from_the_store_is_put_back(life: Life) -> None:
    """No event and no rescan is needed for that: the failed step asks for it."""
    entry = lookup(life.store, (await target(life)).source.digest, b"model/0.py")
    assert entry is not None
    life.engine.hosts.clear()
    (life.actor.home.work / "0.py").write_text("edited\n")
    live = life.actor.hosting.live
    life.actor.hosting.save(model_tree=None, syncing=live.model_tree)
    life.actor.steps.work._told = ()  # as in the middle of the first sync
    spoil(life.store, entry.digest)
    life.actor.hosting.probe_due = 0.0
    life.actor.poke()
    async with asyncio.timeout(60):
        while not (life.engine.hosts and life.actor.fully_live()):
            await life.actor.shop.news.after(life.actor.shop.news.number)
    assert (life.actor.home.work / "0.py").read_text() == "0\n"


def test_data_is_attached_though_what_was_attached_is_lost(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    trees = []
    for number in range(3):
        content = store.put(b"%d" % number)
        trees.append(
            store.put_node([bundle.Entry(b"a", "f", content, 1), bundle.Entry(b"%d" % number, "f", content, 1)])
        )
    store.flush()
    for tree in trees[:2]:
        bundle.attach(store, tmp_path / "sides", tmp_path / "data", tree)
    for tree in trees[:2]:
        spoil(store, tree)
    bundle.attach(store, tmp_path / "sides", tmp_path / "data", trees[2])
    assert sorted(os.listdir(tmp_path / "data")) == ["2", "a"]
    with pytest.raises(ContentLost):
        bundle.attach(store, tmp_path / "elsewhere", tmp_path / "data", trees[0])
    assert sorted(os.listdir(tmp_path / "data")) == ["2", "a"]
    bundle.attach(store, tmp_path / "sides", tmp_path / "data", trees[0])  # stands there whole
    assert sorted(os.listdir(tmp_path / "data")) == ["0", "a"]
    store.close()


def test_a_log_on_a_full_disk_is_trouble_of_the_state_and_no_bug(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogFile(tmp_path / "log")

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        with pytest.raises(StoreError, match="is full"):
            log.line("x")
    log.close()
    with pytest.raises(StoreError, match="cannot write to"):
        LogFile(tmp_path / "no" / "log")


async def test_the_daemon_outlives_a_journal_that_cannot_be_written(life: Life) -> None:
    """The notebook says so, and goes on by itself."""
    life.journal._db.execute("PRAGMA query_only = 1")
    life.change(1)
    life.actor.change(life.spec)
    settling = asyncio.create_task(life.actor.settled())
    async with asyncio.timeout(60):
        while life.actor.state()[0] != "failed":
            await life.actor.shop.news.after(life.actor.shop.news.number)
    assert "journal.sqlite cannot be used" in (life.actor.state()[1] or "")
    assert not life.task.done()
    life.journal._db.execute("PRAGMA query_only = 0")
    async with asyncio.timeout(60):
        assert await settling == "live"
    await life.rest()


async def test_a_wait_that_counts_attempts_ends_although_nothing_can_even_be_planned(life: Life) -> None:
    life.journal._db.execute("PRAGMA query_only = 1")
    life.change(1)
    life.actor.change(life.spec)
    async with asyncio.timeout(60):
        assert await life.actor.settled(tries=2) == "failed"
    assert "journal.sqlite cannot be used" in (life.actor.state()[1] or "")
    life.journal._db.execute("PRAGMA query_only = 0")
    async with asyncio.timeout(60):
        assert await life.actor.settled(tries=2) == "live"
    await life.rest()


def test_copies_that_nobody_wrote_down_are_listed_at_the_next_start(tmp_path: Path) -> None:
    top = tmp_path / "recovered"
    synced = ("t1", "t2/a/b.txt"), ("t3", "t4/odd \x01")
    for path in (*(Path(at, "work", name) for at, name in synced), "t1/tabs/c.py", "work-t5/whole.py"):
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text("x")
    (top / "t1" / "work" / "t2" / "link").symlink_to("nowhere")
    (top / "t1" / "work" / "t2" / "empty").mkdir()
    (top / "t6" / "work" / "t7").mkdir(parents=True)
    found = saved_copies(top)
    assert {path for path, _ in found} == {"a/b.txt", "c.py", "odd \\x01", "link", "empty", "whole.py"}
    assert all(os.path.lexists(file) for _, file in found)
    assert saved_copies(tmp_path / "none") == []


async def test_a_copy_is_listed_though_the_daemon_was_killed_before_it_wrote_it_down(life: Life) -> None:
    file = life.actor.home.root / "recovered" / "t1" / "work" / "t2" / "a.py"
    file.parent.mkdir(parents=True)
    file.write_text("mine\n")
    life.actor.draining = True
    life.actor.poke()
    await asyncio.wait([life.task])
    life.begin()
    assert await life.actor.settled() == "live"
    assert [(one.path, one.file) for one in life.journal.recovered("n")] == [("a.py", str(file))]
    assert life.actor.facts().recovered == 1


@pytest.mark.parametrize("call", ["begin_deployment", "note_recovered", "finish_deployment"])
async def test_a_copy_is_listed_when_the_journal_takes_it(
    life: Life, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Though nothing could be written from that call on, and no daemon has started since."""
    real = getattr(life.journal, call)

    def full(*arguments: object) -> object:
        life.journal._db.execute("PRAGMA query_only = 1")
        return real(*arguments)

    (life.actor.home.work / "0.py").write_text("mine\n")
    (life.actor.home.work / "2.py").write_text("mine too\n")
    monkeypatch.setattr(life.journal, call, full)
    (life.source / "model" / "0.py").write_text("newer\n")
    (life.source / "model" / "2.py").write_text("newer\n")
    settling = asyncio.create_task(life.actor.redeploy(force=True, now=True))
    async with asyncio.timeout(60):
        while life.actor.state()[0] != "failed":
            await life.actor.shop.news.after(life.actor.shop.news.number)
        life.journal._db.execute("PRAGMA query_only = 0")
        monkeypatch.undo()
        await settling
        while await life.actor.settled() != "live":
            await asyncio.sleep(0)
    copies = saved_copies(life.actor.home.root / "recovered")
    assert {Path(file).read_text() for _, file in copies} == {"mine\n", "mine too\n"}
    listed = [(one.path, one.file) for one in life.journal.recovered("n")]
    assert sorted(listed) == sorted(copies)
    assert life.actor.facts().recovered == 2


async def test_what_was_written_is_brought_to_the_disk_when_no_save_waits(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, real = list[set[bytes]](), bundle.sync_files

    def noted(top: Path, paths: set[bytes]) -> None:
        assert life.actor.hosting.live.syncing is not None  # nothing says yet that it is served
        synced.append(set(paths))
        real(top, paths)

    monkeypatch.setattr(bundle, "sync_files", noted)
    model = life.source / "model"
    monkeypatch.setattr(Root, "pending", True)
    (model / "0.py").write_text("new\n")
    await life.rest()
    assert synced == []
    monkeypatch.setattr(Root, "pending", False)
    (model / "2.py").write_text("new\n")
    await life.rest()
    assert synced == [{b"0.py", b"2.py"}]


async def test_a_failed_step_is_filed_under_what_it_aimed_at(life: Life) -> None:
    """The host that is to serve meanwhile must not be tried again and again because the wanted one has failed."""
    known = life.actor.hosting.live
    assert known.source is not None
    assert known.environment is not None
    assert known.resources is not None
    old = Target(known.source, known.environment.digest, known.data, known.resources)
    new = Target(known.source, "e" * 64, known.data, known.resources)
    life.actor.failed(Start(old, known.environment), new, KaosError("no", retryable=True))
    assert [(one.attempt, one.key) for one in life.actor.failures.known] == [(Attempt.HOST, old)]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("at", range(1, 10))
async def test_the_history_of_a_deployment_that_went_live_and_was_cut_short_says_so(
    life: Life, at: int, after: bool
) -> None:
    """What is served is what the newest deployment that went live has brought; else nobody could roll back to it."""
    life.fate.threaten(at, kill=True, after=after)
    life.change(1)
    life.actor.change(life.spec)
    settling = asyncio.create_task(life.actor.settled())
    await asyncio.wait({settling, life.task}, return_when=asyncio.FIRST_COMPLETED)
    settling.cancel()
    if life.task.done():
        with pytest.raises(Killed):
            life.task.result()
        life.fate.spare()
        life.journal.interrupted(2.0)
        life.begin()
    life.fate.spare()
    await life.rest()
    deployments = life.journal.deployments("n", 10)
    live = next(one for one in deployments if one.outcome == "live")
    served = life.actor.hosting.live
    assert (live.source, live.data, live.error) == (served.source, served.data, None)
    assert {one.outcome for one in deployments} <= {"live", "superseded", "failed"}
    assert all(one.finished_at is not None for one in deployments)


async def test_a_deployment_that_was_taken_back_while_it_was_built_never_went_live(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, forever = asyncio.Event(), asyncio.Event()

    async def build(*_: object) -> object:
        begun.set()
        return await forever.wait()

    monkeypatch.setattr(life.engine, "build", build)
    requirements = life.source / "model" / "requirements.txt"
    before = requirements.read_text()
    requirements.write_text("# other\n")
    life.actor.source.poke()
    fresh = asyncio.create_task(life.actor.fresh())
    await begun.wait()
    await fresh
    unwanted = life.actor.looking.versions()[0]
    requirements.write_text(before)
    await life.rest()
    outcomes = {one.source: one.outcome for one in life.journal.deployments("n", 10)}
    assert outcomes[unwanted] == "superseded"

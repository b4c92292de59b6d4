"""What the registry drops and what it never drops, on a real store, journal and watcher."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kaosd import registry as registry_module
from kaosd.bundle import Store, model_tree
from kaosd.engines.docker import DockerEngine
from kaosd.engines.process import ProcessEngine
from kaosd.errors import ConflictError, EngineUnavailable, NotFoundError
from kaosd.front import OneTime
from kaosd.journal import Journal, Registration
from kaosd.model import Host, NotebookSpec, Resources, Version
from kaosd.notebook import News, Notebook, Workshop, retention
from kaosd.planner import Build, Hold, Plan, Sync, Target, Why
from kaosd.registry import Registry
from kaosd.requests import DaemonWide, Requests, lifecycle
from kaosd.settings import load
from kaosd.watch import Watcher


@pytest.fixture
async def registry(short: Path) -> AsyncIterator[Registry]:
    """A registry whose actors do not run, so that a test says what they have seen and served."""
    state = short / "state"
    state.mkdir(mode=0o700)
    watcher = Watcher()
    engine, docker = ProcessEngine(state / "environments"), DockerEngine(state, socket=str(short / "nobody.sock"))
    with Journal(state / "journal.sqlite", 1.0) as journal, contextlib.closing(Store(state / "store")) as store:
        shop = Workshop(
            state_dir=state, store=store, journal=journal, watcher=watcher,
            engines={"process": engine, "docker": docker},
            empty=short / "empty", origins=(), front_url="http://127.0.0.1:1", news=News(), keep_versions=1,
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            yield Registry(shop, group)
        await engine.close()
        await docker.close()
        await watcher.close()


def requests(registry: Registry) -> Requests:
    """What may be asked of the daemon of that registry."""
    settings = load(environ={"HOME": "/nowhere"})
    return Requests(registry, DaemonWide(settings, None, registry, lambda: None, OneTime()))


def notebook(registry: Registry, source: Path) -> Notebook:
    """An actor that does not run."""
    (source / "model").mkdir(parents=True)
    (source / "model" / "requirements.txt").write_text("")
    actor = Notebook(NotebookSpec("n", "w", "u", source=source, registered=True), registry.shop)
    registry.actors["n"] = actor
    return actor


def save(actor: Notebook, text: str) -> Version:
    """Save a file and scan."""
    (actor.source.path / "model" / "train.py").write_text(text)
    actor.source.scan = actor.source.scanner.scan(None)
    assert actor.source.scan.version is not None
    return actor.source.scan.version


async def test_collecting_keeps_what_is_live_pinned_scanned_or_recent(registry: Registry, short: Path) -> None:
    actor, journal, store = notebook(registry, short / "example"), registry.shop.journal, registry.shop.store
    versions = [save(actor, f"N = {number}\n") for number in range(6)]
    for at, version in enumerate(versions[:5]):
        journal.note_version("n", "source", version, 2, 10, float(at))
    actor.hosting.save(source=versions[1], resources=Resources())
    actor.pin(versions[2], None)
    await registry.collect()
    kept = [model_tree_is_there(store, version) for version in versions]
    assert kept == [False, True, True, False, True, True]  # live, pinned, recent, scanned


async def test_the_environment_of_what_is_saved_while_old_contents_are_dropped_is_kept(
    registry: Registry, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    actor, sweep, kept = notebook(registry, short / "example"), retention._sweep, set[str]()
    before = save(actor, "N = 1\n")

    def meanwhile(*given: Any) -> Any:
        (actor.source.path / "model" / "requirements.txt").write_text("six\n")
        save(actor, "N = 1\n")
        return sweep(*given)

    async def collect(keep: frozenset[str]) -> None:
        kept.update(keep)

    monkeypatch.setattr(retention, "_sweep", meanwhile)
    monkeypatch.setattr(registry.shop.engines["process"], "collect", collect)
    await registry.collect()
    (after,) = actor.looking.versions()[:1]
    assert after is not None
    assert {await actor.looking.environment_of(before), await actor.looking.environment_of(after)} == kept


def model_tree_is_there(store: Store, version: Version) -> bool:
    """Whether a version can still be deployed."""
    return version.digest in store and model_tree(store, version.digest) is not None


async def test_the_trees_of_a_removed_notebook_are_dropped(registry: Registry, short: Path) -> None:
    actor, store = notebook(registry, short / "example"), registry.shop.store
    version = save(actor, "N = 1\n")
    await registry.collect()
    assert version.digest in store
    del registry.actors["n"], actor
    gc.collect()  # the actor and its parts refer to each other
    await registry.collect()
    assert version.digest not in store


async def test_rolling_back_to_what_is_not_there_is_refused(registry: Registry, short: Path) -> None:
    actor = notebook(registry, short / "example")
    with pytest.raises(NotFoundError, match="no earlier version"):
        await requests(registry).lifecycle.rollback("n", None)
    with pytest.raises(NotFoundError, match="no deployment or version '7'"):
        await requests(registry).lifecycle.rollback("n", "7")
    gone = Version("example", "ab" * 32)
    deployment = registry.shop.journal.begin_deployment("n", (), gone, None, "sync", 1.0)
    registry.shop.journal.finish_deployment("n", deployment.number, "live", None, 2.0)
    with pytest.raises(NotFoundError, match="no earlier version that is kept"):
        await requests(registry).lifecycle.rollback("n", None)
    with pytest.raises(NotFoundError, match="content of deployment 1 is not kept any more"):
        await requests(registry).lifecycle.rollback("n", "1")
    registry.shop.journal.note_version("n", "source", gone, 1, 1, 2.0)  # it should be there
    with pytest.raises(NotFoundError, match="is damaged"):
        await requests(registry).lifecycle.rollback("n", None)
    assert actor.intent.pinned_source is None


async def test_the_answer_to_a_wish_shows_what_came_of_it(
    registry: Registry, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifecycle, "TAKEN_UP", 3600.0)
    actor = notebook(registry, short / "example")
    target = Target(save(actor, "N = 1\n"), "e", None, Resources())
    answer = asyncio.create_task(requests(registry).lifecycle._taken_up("n"))
    for step in (Sync(target), Build(target)):
        actor.plan, actor.planned = Plan(step, None, target), 1
        registry.shop.news.tell()
        await asyncio.sleep(0.01)  # enough rounds of the loop for an answer that does not wait
        assert not answer.done()
    actor.plan = Plan(None, None, target)
    registry.shop.news.tell()
    assert (await answer)["name"] == "n"


async def test_cancelling_without_a_build_is_a_conflict(registry: Registry, short: Path) -> None:
    notebook(registry, short / "example")
    with pytest.raises(ConflictError):
        await requests(registry).lifecycle.cancel("n")


async def test_a_host_that_cannot_be_ended_now_is_not_forgotten(registry: Registry, short: Path) -> None:
    """The container engine is away: neither kill nor a configuration without it waits, or loses the host."""
    spec = NotebookSpec("n", "w", "u", engine="docker", registered=True)
    actor = registry.actors["n"] = Notebook(spec, registry.shop)
    registry.shop.journal.register(Registration("n", {"engine": "docker"}))
    actor.hosting.save(host=Host("unix:/nowhere", "e", "s", 1.0, {}))
    with pytest.raises(EngineUnavailable, match=r"there is no container engine at .*/nobody\.sock"):
        await registry.kill("n")
    assert [one.name for one in registry.shop.journal.registered()] == ["n"]
    registry.shop.journal.unregister("n")
    assert await registry.apply(load(environ={"HOME": "/nowhere"})) == []
    assert registry.actors["n"].hosting.host is not None


async def test_a_notebook_that_is_killed_twice_at_once_is_not_there_for_the_second(
    registry: Registry, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def run(_: Notebook) -> None:
        """It ends at once."""

    monkeypatch.setattr(Notebook, "run", run)
    async with registry._changing:
        await registry._add(NotebookSpec("n", "w", "u", registered=True))
        both = [asyncio.create_task(registry.kill("n")) for _ in range(2)]
        await asyncio.sleep(0)  # both have found it
    first, second = await asyncio.gather(*both, return_exceptions=True)
    assert first is None
    assert isinstance(second, NotFoundError)


async def test_who_waits_for_a_notebook_that_is_removed_is_told(registry: Registry, short: Path) -> None:
    """Its actor has ended: it plans nothing any more, and takes no poke up."""
    actor = notebook(registry, short / "example")
    actor.removed, actor.plan = True, Plan(None, Hold(Why.REMOVED, "the notebook was removed"))
    assert await actor.settled() == "failed"


async def test_events_of_another_journal_are_a_gap_at_once(registry: Registry) -> None:
    registry.shop.journal.append("state", None, {}, 1.0)
    found = await requests(registry).daemon.events(10**9, 30.0)
    assert found["gap"] is True
    assert [event["kind"] for event in found["events"]] == ["state"]


async def test_events_wait_for_the_next_one(registry: Registry) -> None:
    last = registry.shop.journal.last_seq
    waiting = asyncio.create_task(requests(registry).daemon.events(last, 30.0))
    await asyncio.sleep(0)
    registry.shop.journal.append("state", "n", {"state": "live"}, 1.0)
    registry.shop.news.tell()
    found = await waiting
    assert [event["data"] for event in found["events"]] == [{"state": "live"}]
    assert found["gap"] is False


# -- who asks while a notebook is replaced


@pytest.mark.parametrize("fails", [False, True])
async def test_nobody_is_told_that_a_notebook_is_not_there_while_another_source_takes_its_place(
    registry: Registry, short: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    async def run(_: Notebook) -> None:
        """It ends at once."""

    monkeypatch.setattr(Notebook, "run", run)
    monkeypatch.setattr(registry_module, "LISTED_WITHIN", 60.0)
    before, registry._started = notebook(registry, short / "one"), True
    registry.actors["m"] = other = Notebook(NotebookSpec("m", "w", "u", registered=True), registry.shop)
    registry._tasks["n"], registry._group = asyncio.create_task(before.run()), asyncio.TaskGroup()
    asked: list[asyncio.Task[None]] = []

    async def forget(_: object) -> None:
        assert list(registry.actors) == ["m"]
        asked.extend(asyncio.create_task(registry.certain(name)) for name in ("", "n"))
        await asyncio.wait_for(
            asyncio.gather(registry.certain("m"), registry.certain("none")), 5
        )  # no business of theirs
        assert not any(task.done() for task in asked)
        monkeypatch.setattr(registry_module, "LISTED_WITHIN", 0.0)
        await asyncio.wait_for(registry.certain(), 5)  # a list waits so long, and then does without
        assert not any(task.done() for task in asked)
        if fails:
            raise EngineUnavailable("the engine has just gone")

    monkeypatch.setattr(before.engine, "forget", forget)
    (short / "two").mkdir()
    async with registry._group:
        with pytest.raises(EngineUnavailable) if fails else contextlib.nullcontext():
            await registry._put(NotebookSpec("n", "w", "u", source=short / "two", registered=True))
    await asyncio.wait_for(asyncio.gather(*asked), 5)
    assert ("n" in registry.actors) is not fails
    await other.edits.close()

"""Attempts that fail and are taken back, and a notebook that gets another engine; on engines without processes."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kaosd import bundle
from kaosd.bundle import Store
from kaosd.engines.base import Carrier, Log, Order
from kaosd.errors import EngineError, StoreError
from kaosd.journal import Journal
from kaosd.model import Host, NotebookSpec, Version
from kaosd.notebook import News, Workshop
from kaosd.registry import Registry
from kaosd.requests.file_changes import FileChanges
from kaosd.watch import Watcher
from tests.faults.still import Fate, Still


class Starting(Still):
    """Hosts of another server than the first one do not start. tried: how often one was asked for."""

    tried = 0

    async def start(self, order: Order, log: Log) -> Host:
        if order.environment.server != "server-1":
            self.tried += 1
            raise EngineError("the host does not start", retryable=True)
        return await super().start(order, log)


class Far(Still):
    """An engine whose hosts see no directory of this machine."""

    name = "pachyderm"

    async def reach(self) -> None: ...

    async def examine(self) -> list[Any]:
        return []

    def files(self, host: Host) -> None: ...

    async def record(self, *_: object) -> None: ...

    async def carry(self, *_: object) -> None: ...

    async def renew(self, order: Order, log: Log) -> Host:
        return await self.start(order, log)

    def repos(self, notebook: str) -> tuple[str, str]:
        return "source", "data"

    async def clear(self, *_: object) -> Any: ...


@pytest.fixture
async def registry(short: Path) -> AsyncIterator[Registry]:
    """A registry with a notebook that can run on three engines."""
    state = short / "state"
    state.mkdir(mode=0o700)
    for name, text in {"example/model/requirements.txt": "# plain\n", "example/model/a.py": "1\n"}.items():
        (short / name).parent.mkdir(parents=True, exist_ok=True)
        (short / name).write_text(text)
    (short / "data").mkdir()
    (short / "data/one.csv").write_text("1\n")
    engines = {"process": Starting(Fate()), "docker": Still(Fate()), "pachyderm": Far(Fate())}
    assert isinstance(engines["pachyderm"], Carrier)
    with Journal(state / "journal.sqlite", 1.0) as journal, contextlib.closing(Store(state / "store")) as store:
        shop = Workshop(
            state_dir=state, store=store, journal=journal, watcher=Watcher(), engines=engines,  # type: ignore[arg-type]
            empty=short, origins=(), front_url="", news=News(), backoff_cap=0.01,
        )  # fmt: skip
        async with asyncio.TaskGroup() as group:
            made = Registry(shop, group)
            yield made
            await made.drain(5.0)


@pytest.fixture
async def spec(registry: Registry, short: Path) -> NotebookSpec:
    """The notebook, live on the process engine."""
    spec = NotebookSpec("n", "w", "u", source=short / "example", data=short / "data", registered=True)
    await registry._put(spec)
    assert await settled(registry) == "live"
    return spec


async def settled(registry: Registry) -> str:
    """What comes of what is on disk now."""
    async with asyncio.timeout(60):
        return await registry.actors["n"].settled(1)


def assert_true_now(registry: Registry, action: str, *files: str) -> None:
    """What is told speaks of what is served, and of the failure only as the deployment before."""
    shown, (newest, before, *_) = registry.notebook("n"), registry.shop.journal.deployments("n", 5)
    assert (shown["state"], shown["host"]["state"]) == ("live", "PIPELINE_RUNNING")
    assert (newest.outcome, newest.error, newest.cause, newest.action) == ("live", None, ("[reverted]", *files), action)
    assert shown["deployment"]["number"] == newest.number
    assert (newest.source, newest.data) == registry.actors["n"].looking.versions()
    assert before.outcome == "failed"
    assert "failed" not in str([shown["reason"], shown["deployment"]])


async def test_an_attach_of_data_that_failed_is_taken_back(
    registry: Registry, spec: NotebookSpec, short: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, attach, first = registry.shop.journal, bundle.attach, registry.actors["n"].looking.versions()[1]
    assert first is not None

    def failing(store: Store, place: Path, link: Path, digest: str) -> None:
        if digest != first.digest:
            raise StoreError("the disk is full")
        attach(store, place, link, digest)

    monkeypatch.setattr(bundle, "attach", failing)
    (short / "data/one.csv").write_text("22\n")
    assert await settled(registry) == "failed"
    assert registry.notebook("n")["state"] == "failed"
    assert journal.deployments("n", 1)[0].error == "the disk is full"
    (short / "data/one.csv").write_text("1\n")
    assert await settled(registry) == "live"
    assert_true_now(registry, "attach", "data: one.csv")
    assert (registry.shop.home("n").data / "one.csv").read_text() == "1\n"
    monkeypatch.undo()
    (short / "data/one.csv").write_text("333\n")  # and it was no more than that
    assert await settled(registry) == "live"
    assert journal.deployments("n", 1)[0].action == "attach"


@pytest.mark.parametrize("is_written", [False, True], ids=["before it wrote", "after it wrote"])
async def test_a_sync_that_failed_is_taken_back(
    registry: Registry, spec: NotebookSpec, short: Path, monkeypatch: pytest.MonkeyPatch, is_written: bool
) -> None:
    actor = registry.actors["n"]
    work, sync, first = actor.steps.work, actor.steps.work.sync, actor.looking.versions()[0]

    async def failing(source: Version, *given: Any) -> None:
        if source == first or is_written:
            await sync(source, *given)
        if source != first:
            raise StoreError("the disk is full")

    monkeypatch.setattr(work, "sync", failing)
    (short / "example/model/a.py").write_text("22\n")
    assert await settled(registry) == "failed"
    assert registry.shop.journal.deployments("n", 1)[0].error == "the disk is full"
    (short / "example/model/a.py").write_text("1\n")
    assert await settled(registry) == "live"
    assert_true_now(registry, "sync" if is_written else "none", "model/a.py")
    assert (registry.shop.home("n").work / "a.py").read_text() == "1\n"
    assert (await FileChanges(registry).recovered("n"))["recovered"] == []


async def test_a_host_that_does_not_start_is_taken_back(registry: Registry, spec: NotebookSpec, short: Path) -> None:
    engine, requirements = registry.shop.engines["process"], short / "example/model/requirements.txt"
    assert isinstance(engine, Starting)
    requirements.write_text("# other\n")
    assert await settled(registry) == "failed"
    assert engine.tried
    error = registry.shop.journal.deployments("n", 1)[0].error
    assert error is not None
    assert error.startswith("the host does not start")
    requirements.write_text("# plain\n")
    assert await settled(registry) == "live"
    assert_true_now(registry, "none", "model/requirements.txt")
    assert len(engine.hosts) == 1
    tried = engine.tried
    assert await settled(registry) == "live"
    assert engine.tried == tried  # it is not tried any more


EDITS = {"mine.txt": "mine", "a.py": "edited", "deep/er/too.txt": "2"}


def edit(registry: Registry) -> Path:
    """A person edits in the notebook."""
    work = registry.shop.home("n").work
    for name, text in EDITS.items():
        (work / name).parent.mkdir(parents=True, exist_ok=True)
        (work / name).write_text(text)
    return work


@pytest.mark.parametrize("is_running", [True, False], ids=["while it runs", "while no daemon runs"])
async def test_edits_are_set_aside_for_an_engine_that_cannot_see_them(
    registry: Registry, spec: NotebookSpec, is_running: bool
) -> None:
    work = edit(registry)
    if not is_running:  # as a daemon finds it that starts with other settings
        await registry.drain(5.0)
        registry.actors.clear()
    await registry._put(replace(spec, engine="pachyderm"))
    copies = (await FileChanges(registry).recovered("n"))["recovered"]
    assert {one["path"]: Path(one["file"]).read_text() for one in copies} == EDITS
    assert {one["reason"] for one in copies} == {"another engine"}
    assert not (work / "mine.txt").exists()
    assert not registry.shop.engines["process"].hosts  # type: ignore[attr-defined]


async def test_without_edits_nothing_is_set_aside(registry: Registry, spec: NotebookSpec) -> None:
    await registry._put(replace(spec, engine="pachyderm"))
    assert (await FileChanges(registry).recovered("n"))["recovered"] == []


async def test_edits_stay_for_an_engine_that_sees_them(registry: Registry, spec: NotebookSpec) -> None:
    work = edit(registry)
    await registry._put(replace(spec, engine="docker"))
    assert await settled(registry) == "live"
    assert (work / "mine.txt").read_text() == "mine"
    assert (work / "deep/er/too.txt").read_text() == "2"
    await registry._put(spec)  # and back
    assert await settled(registry) == "live"
    assert (work / "mine.txt").read_text() == "mine"
    assert (work / "a.py").read_text() == "edited"
    assert (await FileChanges(registry).recovered("n"))["recovered"] == []

"""One notebook whose actor does not run, deployed as a sync does it, for tests of what is done about edits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from kaosd import bundle
from kaosd.bundle import Store
from kaosd.engines.process import ProcessEngine
from kaosd.journal import Journal
from kaosd.model import NotebookSpec, Version
from kaosd.notebook import News, Notebook, Workshop
from kaosd.watch import Watcher


@pytest.fixture(name="actor")
async def deployed_actor(short: Path) -> AsyncIterator[Notebook]:
    """An actor that does not run, of a source with `model/` as the notebook's root, deployed once."""
    state, source = short / "state", short / "example"
    state.mkdir(mode=0o700)
    write(source / "model", "requirements.txt", "")
    write(source / "model", "train.py", "ANSWER = 1\n")
    write(source, ".kaosignore", "*.log\n")
    watcher = Watcher()
    engine = ProcessEngine(state / "environments")
    with Journal(state / "journal.sqlite", 1.0) as journal, contextlib.closing(Store(state / "store")) as store:
        shop = Workshop(
            state_dir=state, store=store, journal=journal, watcher=watcher, engines={"process": engine},
            empty=short / "empty", origins=(), front_url="http://127.0.0.1:1", news=News(),
        )  # fmt: skip
        made = Notebook(NotebookSpec("n", "w", "u", source=source, registered=True), shop)
        deploy(made)
        yield made
        await made.edits.close()
        await engine.close()
        await watcher.close()


def write(top: Path, path: str, text: str) -> None:
    (top / path).parent.mkdir(parents=True, exist_ok=True)
    (top / path).write_text(text)


def deploy(actor: Notebook) -> Version:
    """Bring what is on disk into the work directory, as a sync does, and write it down as a deployment."""
    scan = actor.source.scan = actor.source.scanner.scan(None)
    assert scan.version is not None
    store, work, live = actor.shop.store, actor.home.work, actor.hosting.live
    incoming = bundle.model_tree(store, scan.version.digest)
    bundle.sync(store, work, [live.model_tree], incoming, actor.home.root / "recovered")
    actor.hosting.save(model_tree=incoming, source=scan.version)
    actor.journal.note_version("n", "source", scan.version, scan.files, scan.bytes, 1.0)
    number = actor.journal.begin_deployment("n", ("train.py",), scan.version, None, "sync", 1.0).number
    actor.journal.finish_deployment("n", number, "live", None, 2.0)
    return scan.version


async def sync(actor: Notebook) -> None:
    """Bring what is on disk into the work directory as a save does."""
    scan = actor.source.scan = actor.source.scanner.scan(None)
    assert scan.version is not None
    await actor.steps.work.sync(scan.version, None)
    actor.hosting.save(source=scan.version, syncing=None)

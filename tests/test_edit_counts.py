"""Counting the edits made in a notebook: what is counted, when it is looked for, and that it gives way to a save."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kaosd.engines.base import Contents, Home
from kaosd.errors import ConflictError, NotFoundError
from kaosd.model import Environment, Host, Resources, Version
from kaosd.notebook import Notebook, differing, edit_counts
from kaosd.notebook.between import between
from kaosd.planner import Sync, Target
from tests.deployed import deploy, deployed_actor, write  # noqa: F401 - a fixture


async def test_edits_are_counted_listed_and_shown(actor: Notebook) -> None:
    work = actor.home.work
    assert actor.edits.counts is None
    assert (await differing.edits(actor))["counts"] == {"edited": 0, "new": 0, "deleted": 0}
    write(work, "train.py", "ANSWER = 2\n")
    write(work, "deep/analysis.ipynb", "{}")
    (work / "requirements.txt").unlink()
    (work / "data").symlink_to("../data")  # kaosd's own
    write(work, "noise.log", "left out by .kaosignore")
    write(work, "__pycache__/train.cpython-311.pyc", "x")
    found = await differing.edits(actor)
    assert [(one["kind"], one["path"]) for one in found["files"]] == [
        ("new", "deep/analysis.ipynb"),
        ("deleted", "requirements.txt"),
        ("edited", "train.py"),
    ]
    assert (found["root"], found["counts"]) == ("model", {"edited": 1, "new": 1, "deleted": 1})
    assert actor.facts().edits == found["counts"]
    shown = (await differing.diff(actor, "model/train.py"))["files"]
    assert [one["hunks"][0]["lines"] for one in shown] == [["-ANSWER = 1", "+ANSWER = 2"]]
    assert len((await differing.diff(actor, None))["files"]) == 3
    assert len((await differing.diff(actor, f"{actor.spec.source}/model/deep"))["files"]) == 1
    with pytest.raises(NotFoundError, match="'n'"):
        await differing.diff(actor, "nothing.py")


async def test_a_change_of_the_rules_counts(actor: Notebook) -> None:
    write(actor.home.work, "noise.log", "x")
    assert (await differing.edits(actor))["files"] == []
    write(actor.spec.source or Path(), ".kaosignore", "")
    deploy(actor)
    assert [one["path"] for one in (await differing.edits(actor))["files"]] == ["noise.log"]


async def test_what_is_in_the_middle_of_a_deployment_is_refused_after_a_while(
    actor: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit_counts, "PATIENCE", 0.05)
    actor.hosting.save(syncing=actor.hosting.live.model_tree)
    with pytest.raises(ConflictError, match="brought up to date"):
        await actor.edits.look()
    actor.hosting.save(syncing=None)
    assert (await actor.edits.look())[1] == ()


async def test_a_status_never_waits_for_a_look_that_gives_way_to_a_save(actor: Notebook) -> None:
    target = Target(Version("example", "a" * 64), "e", None, Resources())
    actor.stepping = Sync(target)
    await actor.edits.freshen()
    assert (actor.edits.looks, actor.edits.counts) == (0, None)
    actor.stepping = None
    await actor.edits.freshen()
    assert (actor.edits.looks, actor.edits.counts) == (1, {"edited": 0, "new": 0, "deleted": 0})
    await actor.edits.freshen()  # at once: what is known is good enough
    assert actor.edits.looks == 1


async def test_they_are_looked_for_after_a_deployment_and_then_now_and_then(
    actor: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edit_counts, "SOON", 0.0)
    monkeypatch.setattr(edit_counts, "EVERY", 0.0)
    monkeypatch.setattr(edit_counts, "SHARE", 0.0)
    write(actor.home.work, "train.py", "mine")
    actor.hosting.save(host=Host("unix:/nowhere", "e", "s", 1.0, {}))
    actor.edits.rest()
    assert actor.edits.counts is None  # not now: a person may wait for something
    news = actor.shop.news
    while actor.edits.counts != {"edited": 1, "new": 0, "deleted": 0}:
        await asyncio.wait_for(news.after(news.number), 60)
    write(actor.home.work, "other.py", "mine")
    while actor.edits.counts != {"edited": 1, "new": 1, "deleted": 0}:
        await asyncio.wait_for(news.after(news.number), 60)
    events = [one.data for one in actor.journal.events(0, 100)[0] if one.kind == "edits"]
    assert events == [{"edited": 1, "new": 0, "deleted": 0}, {"edited": 1, "new": 1, "deleted": 0}]


async def test_two_deployments_are_compared(actor: Notebook) -> None:
    source = actor.spec.source or Path()
    write(source / "model", "train.py", "ANSWER = 2\n")
    write(source / "model", "new.py", "")
    deploy(actor)
    found = await between(actor, 1, 2)
    assert [(one["kind"], one["path"]) for one in found["files"]] == [
        ("new", "model/new.py"),
        ("edited", "model/train.py"),
    ]
    assert found["files"][1]["hunks"][0]["lines"] == ["-ANSWER = 1", "+ANSWER = 2"]
    assert found["packages"] is None  # nothing was built here
    assert found["missing"] == [f"the environment of deployment {one} is not kept any more" for one in (1, 2)]
    assert found["data"] == {"files": [], "total": 0}
    with pytest.raises(NotFoundError, match="no deployment 3"):
        await between(actor, 1, 3)
    actor.journal.prune("n", "source", set())
    gone = await between(actor, 1, 2)
    assert gone["files"] is None
    assert gone["missing"][0] == "the source of deployment 1 is not kept any more"


async def test_packages_are_compared_after_their_environments_are_gone(
    actor: Notebook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each environment is noted once, when it is served."""
    asked = []

    async def contents(environment: Environment, _home: Home) -> Contents:
        asked.append(environment.digest)
        return Contents("3.11", {"numpy": "1.26" if len(asked) == 1 else "2.0"}, (), {})

    monkeypatch.setattr(actor.engine, "contents", contents)
    versions = [actor.hosting.live.source]
    write(actor.spec.source or Path(), "model/requirements.txt", "numpy==2.0\n")
    versions.append(deploy(actor))
    for version in versions:
        assert version is not None
        environment = Environment(await actor.looking.environment_of(version), "handle", "server")
        for _ in range(2):
            actor.packages.note(environment)
            await actor.packages.close()
    assert len(asked) == 2
    found = await between(actor, 1, 2)
    assert found["packages"]["changed"] == [{"name": "numpy", "before": "1.26", "after": "2.0"}]
    assert found["missing"] == []

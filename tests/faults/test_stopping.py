"""A notebook that is stopped: the actor with its real steps, store and journal, on an engine without processes."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from kaosd.model import Environment, Host, HostStatus, NotebookState
from tests.faults.editor import read_tree
from tests.faults.still import Still
from tests.faults.test_actor_model import Life


@pytest.fixture
async def life() -> AsyncIterator[Life]:
    """A notebook that is live."""
    place = Path(tempfile.mkdtemp(prefix="ks"))
    one = Life(place, 1)
    assert await one.actor.settled() == "live"
    yield one
    await one.end()
    shutil.rmtree(place)


async def until(life: Life, condition: Callable[[], bool]) -> None:
    """Return when *condition* holds, which news of the notebook may bring about."""
    async with asyncio.timeout(60):
        while not condition():
            life.actor.poke()
            await life.actor.shop.news.after(life.actor.shop.news.number)


def state(life: Life) -> tuple[NotebookState, str | None]:
    return life.actor.state()


async def again(life: Life) -> None:
    """The daemon stops in order, and another one starts."""
    life.actor.draining = True
    life.actor.poke()
    await asyncio.wait([life.task])
    life.begin()


async def test_a_stop_lasts_over_saves_and_daemons_and_a_start_brings_what_is_on_disk(life: Life) -> None:
    life.actor.stop()
    await until(life, lambda: state(life) == (NotebookState.STOPPED, "stopped by you"))
    assert life.engine.hosts == {}
    number = life.actor.record.deployment.number  # type: ignore[union-attr]
    made = len(life.engine.made)
    life.change(1)
    (life.source / "model" / "requirements.txt").write_text("# other\n")
    assert await life.actor.settled() == "held"
    await again(life)
    assert await life.actor.settled() == "held"
    assert state(life) == (NotebookState.STOPPED, "stopped by you")
    assert (life.engine.hosts, len(life.engine.made)) == ({}, made), "nothing was built or started"
    life.actor.start("started by you")
    assert await life.actor.settled() == "live"
    assert read_tree(life.place / "state/notebooks/n/work") == read_tree(life.source / "model")
    causes = [one.cause[0] for one in life.journal.deployments("n", 10) if one.number > number]
    assert "[started by you]" in causes, "first what was served before, then what was saved meanwhile"


async def test_a_stop_ends_the_build_and_cancels_the_deployment(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    async def build(*_: object) -> Environment:
        await asyncio.get_running_loop().create_future()
        raise AssertionError("it does not end by itself")

    monkeypatch.setattr(life.engine, "build", build)
    (life.source / "model" / "requirements.txt").write_text("# other\n")
    waiting = asyncio.ensure_future(life.actor.settled())
    await until(life, lambda: life.actor.making is not None)
    life.actor.stop()
    assert await waiting == "held"
    await until(life, lambda: state(life)[0] is NotebookState.STOPPED)
    assert (life.engine.hosts, life.actor.making) == ({}, None)
    last = life.actor.record.deployment
    assert last is not None
    assert (last.outcome, last.error) == ("cancelled", "stopped by you")


async def test_a_restart_replaces_the_host(life: Life) -> None:
    before = set(life.engine.hosts)
    life.actor.restart()
    await until(life, lambda: bool(life.engine.hosts.keys() - before) and state(life)[0] is NotebookState.LIVE)
    assert len(life.engine.hosts) == 1
    last = life.actor.record.deployment
    assert last is not None
    assert (last.cause, last.action) == (("[restarted by you]",), "start")


async def test_an_idle_notebook_is_stopped_and_one_in_use_is_not(life: Life) -> None:
    life.spec = replace(life.spec, idle_stop=0.05)
    with life.actor.idleness.used():
        life.actor.change(life.spec)
        assert await life.actor.settled() == "live"
    await until(life, lambda: state(life)[0] is NotebookState.STOPPED)
    assert state(life)[1] == "stopped: no busy kernel and no open tab for 0.05 s"
    life.spec = replace(life.spec, idle_stop=0.0)
    life.actor.change(life.spec)
    life.actor.start("opened in the browser")
    assert await life.actor.settled() == "live"


async def test_a_host_that_does_not_answer_is_not_taken_for_idle(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its kernels may be busy."""
    asked = asyncio.Event()

    async def silent(_: Host) -> HostStatus:
        asked.set()
        return HostStatus(alive=True, answering=False)

    monkeypatch.setattr(life.engine, "probe", silent)
    monkeypatch.setattr(life.actor.idleness, "touch", lambda: None)
    life.spec = replace(life.spec, idle_stop=1e-6)
    life.actor.change(life.spec)
    life.actor.hosting.probe_due = 0.0
    life.actor.poke()
    await asked.wait()
    turn = life.actor.turns
    while life.actor.turns < turn + 3:
        life.actor.poke()
        await asyncio.sleep(0)
    assert (life.actor.intent.stopped, len(life.engine.hosts)) == ("", 1)


async def test_an_environment_that_another_daemon_makes_differently_is_no_end_of_the_host(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Still, "builds_bundle", True)  # other files count: the digest is another
    number = life.actor.record.deployment.number  # type: ignore[union-attr]
    await again(life)
    assert await life.actor.settled() == "live"
    (last,) = [one for one in life.journal.deployments("n", 10) if one.number > number]
    assert last.cause == ("[environment is made differently]",)

"""The actor with its real steps, store and journal on an engine without processes: killed or failing at any call.

What is saved, then taken back, then saved again while steps are cut short must all the same come to what is on disk.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from kaosd.bundle import Store
from kaosd.errors import EngineUnavailable
from kaosd.model import NotebookSpec, Resources
from kaosd.notebook import News, Notebook, Workshop
from kaosd.watch import Watcher
from tests.faults.editor import read_tree
from tests.faults.still import SERVERS, Fate, Killed, Mortal, Still

STATES = 4  # of the person's files; going back and forth between few of them is what finds mistakes
LIFES = 10


class Life:
    """One notebook over many daemons."""

    def __init__(self, place: Path, seed: int) -> None:
        self.place, self.chance = place, random.Random(seed)
        self.source, self.data = place / "example", place / "data"
        (self.source / "model").mkdir(parents=True)
        self.data.mkdir()
        (place / "state").mkdir(mode=0o700)
        self.fate = Fate()
        self.journal = Mortal(place / "state" / "journal.sqlite", 1.0)
        self.journal.fate = self.fate
        self.store = Store(place / "state" / "store")
        self.engine = Still(self.fate)
        self.spec = NotebookSpec("n", "w", "u", source=self.source, data=self.data, resources=Resources(1.0))
        self.change(0)
        self.begin()

    def begin(self) -> None:
        """A daemon starts."""
        shop = Workshop(
            state_dir=self.place / "state", store=self.store, journal=self.journal, watcher=Watcher(),
            engines={"process": self.engine}, empty=self.place, origins=(), front_url="", news=News(), backoff_cap=0.01,
        )  # fmt: skip
        self.actor = Notebook(self.spec, shop)
        self.task = asyncio.create_task(self.actor.run())

    def change(self, state: int) -> None:
        """The files are in one of a few states."""
        model = self.source / "model"
        for number in range(3):
            (model / f"{number}.py").write_text(f"{state if number != 1 else state % 2}\n")
        shutil.rmtree(model / "sub", ignore_errors=True)
        if state % 2:
            (model / "sub").mkdir()
            (model / "sub" / "x").write_text(f"{state}\n")
        word = sorted(SERVERS)[state if self.chance.random() < 0.3 and state < 3 else 0]
        (model / "requirements.txt").write_text(f"# {word}\n")
        (self.data / "one.csv").write_text(f"{state % 3}\n")
        self.spec = replace(self.spec, resources=Resources(float(1 + state % 2)))

    async def strike(self) -> None:
        """Change something while a call is going to fail, or to be the last one."""
        self.fate.threaten(self.chance.randint(1, 8), kill=self.chance.random() < 0.6, after=self.chance.random() < 0.5)
        if self.chance.random() < 0.2:  # by the person; `rest` starts it again
            self.actor.stop()
        for _ in range(self.chance.randint(1, 2)):
            self.change(self.chance.randrange(STATES))
            self.actor.change(self.spec)
            settling = asyncio.create_task(self.actor.settled())
            await asyncio.wait({settling, self.task}, timeout=5, return_when=asyncio.FIRST_COMPLETED)
            settling.cancel()
            await asyncio.gather(settling, return_exceptions=True)
            if self.task.done():
                break
        if self.chance.random() < 0.3:
            self.engine.hosts.clear()  # and the host ended as well
        if self.task.done():
            with pytest.raises(Killed):
                self.task.result()
            self.fate.spare()
            self.begin()
        self.fate.spare()
        if self.chance.random() < 0.5:  # taken back before anybody has looked
            self.change(self.chance.randrange(STATES))
            self.actor.change(self.spec)

    async def rest(self) -> None:
        """No more faults: what is on disk must be served, all of it, by one host."""
        self.actor.hosting.probe_due = 0.0
        await self.actor.redeploy(force=True, now=True)
        async with asyncio.timeout(60):
            while await self.actor.settled() != "live":
                await asyncio.sleep(0)
        state = self.place / "state"
        assert read_tree(state / "notebooks" / "n" / "work") == read_tree(self.source / "model")
        assert read_tree(state / "notebooks" / "n" / "data") == read_tree(self.data)
        assert not os.path.exists(state / "notebooks" / "n" / "recovered"), "nobody has edited anything in the host"
        digest = await self.actor.looking.environment_of(self.actor.looking.versions()[0])  # type: ignore[arg-type]
        assert list(self.engine.hosts.values()) == [[digest, self.spec.resources]]

    async def end(self) -> None:
        """The last daemon stops in order."""
        self.actor.draining = True
        self.actor.poke()
        await asyncio.wait([self.task])
        self.store.close()
        self.journal.close()


@pytest.fixture
def place() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="kl"))
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("seed", range(LIFES))
async def test_whatever_is_cut_short_what_is_on_disk_is_served_in_the_end(place: Path, seed: int) -> None:
    life = Life(place, seed)
    try:
        await life.rest()
        for _ in range(6):
            await life.strike()
            await life.strike()
            await life.rest()
        assert life.engine.most <= 2
    finally:
        with contextlib.suppress(Killed):
            await life.end()


def _remembered(life: Life) -> Counter[str]:
    """How many objects of kaosd's classes there are, by class; what the store keeps decoded is bounded by itself."""
    life.store.forget_nodes()
    gc.collect()
    names = (f"{type(found).__module__}.{type(found).__qualname__}" for found in gc.get_objects())
    return Counter(name for name in names if name.startswith("kaosd."))


async def test_what_is_remembered_does_not_grow_with_the_number_of_saves(place: Path) -> None:
    life = Life(place, 0)
    try:
        counts = []
        for number in range(80):
            (life.source / "model" / "0.py").write_text(f"{number}\n")
            await life.rest()
            if number in (39, 79):  # what is known of the last 32 versions is complete by then
                counts.append(_remembered(life))
        grown = {name: count for name, count in (counts[1] - counts[0]).items() if count > 5}
        assert grown == {}
    finally:
        await life.end()


async def test_a_host_that_cannot_be_stopped_now_does_not_run_on_beside_the_one_that_serves(place: Path) -> None:
    life, stop = Life(place, 0), Still.stop

    async def away(*_: object) -> None:
        life.engine.stop = stop.__get__(life.engine)  # type: ignore[method-assign]
        raise EngineUnavailable("the engine has just gone")

    try:
        await life.rest()
        life.engine.stop = away  # type: ignore[method-assign]
        (life.source / "model" / "requirements.txt").write_text("# other\n")
        async with asyncio.timeout(60):
            assert await life.actor.settled() == "live"
        assert [environment for environment, _ in life.engine.hosts.values()] == [
            life.actor.hosting.live.environment and life.actor.hosting.live.environment.digest
        ]
        assert life.engine.stop is not away
        assert [one.outcome for one in life.journal.deployments("n", 9)] == ["live", "live"]
    finally:
        await life.end()

"""All notebooks of a daemon by name: adds, removes and changes their actors. What may be asked is in requests."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from kaosd import bundle
from kaosd import settings as settings_
from kaosd.engines.base import Carrier, Engine, Home, Remote
from kaosd.errors import ConfigError, ConflictError, KaosError, NotFoundError
from kaosd.journal import Registration
from kaosd.model import NotebookSpec, NotebookState
from kaosd.notebook import Notebook, Workshop, kept
from kaosd.notebook.clearing import Unwanted, clear, shown
from kaosd.notebook.retention import collect, kept_environments
from kaosd.settings import Settings, naming
from kaosd.watch import file_system, is_made_up

log = structlog.get_logger(__name__)
LISTED_WITHIN = 2.0  # seconds that a list of notebooks waits for one that gets another source


class Registry:
    """The notebooks of one daemon. Owned by the event loop."""

    def __init__(self, shop: Workshop, group: asyncio.TaskGroup) -> None:
        self.shop = shop
        self.actors: dict[str, Notebook] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = group
        self._changing = asyncio.Lock()
        self._started = False  # all notebooks that there were at the start are among the actors
        self._replaced = ""  # the notebook of which another actor takes the place
        self._whole = asyncio.Event()  # set while both say that none is missing
        self.draining = False
        self.refused: dict[str, str] = {}  # notebooks that cannot be as they are wanted, each with a sentence

    # -- the set of notebooks ------------------------------------------------------------------------------

    async def apply(self, settings: Settings) -> list[str]:
        """Bring the actors to the configured and the registered notebooks; the names that changed."""
        async with self._changing:
            wanted = self._wanted(settings)
            changed = []
            for name in sorted(
                set(self.shop.journal.hosted()) - wanted.keys() - self.refused.keys() - self.actors.keys()
            ):
                await self._end_left_over(name)
                changed.append(name)
            for name in sorted(self.actors.keys() - wanted.keys() - self.refused.keys()):
                if await self._reached(name):
                    await self._remove(name)
                    changed.append(name)
            for name, spec in sorted(wanted.items()):
                if name not in self.actors or self.actors[name].spec != spec:
                    replaces = name in self.actors and another(self.actors[name].spec.source, spec.source)
                    if replaces and not await self._reached(name):
                        continue
                    await self._put(spec)
                    changed.append(name)
            self._started = True
            self._whole.set()
            return changed

    async def certain(self, name: str = "") -> None:
        """Return when it is certain whether the notebook *name* is there; "": when all that there are can be listed.

        A daemon that starts, and a notebook that gets another source, stop hosts and keep edits first. Until that is
        done, no answer says that there is no such notebook; a list waits for one notebook at most LISTED_WITHIN.
        """
        if self._may_be_missing(name):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LISTED_WITHIN if self._started and not name else None):
                    await self._whole.wait()

    def _may_be_missing(self, name: str) -> bool:
        """Whether the actor of *name* ("": of some notebook) may not be there yet, or be the one before."""
        if not self._started:
            return name not in self.actors
        if name:
            return name == self._replaced
        return self._replaced != "" and self._replaced not in self.actors

    def _wanted(self, settings: Settings) -> dict[str, NotebookSpec]:
        """The registered and the configured notebooks; `refused` then says which cannot be, and why."""
        self.refused = {}
        wanted: dict[str, NotebookSpec] = {}
        for one in self.shop.journal.registered():
            try:
                wanted[one.name] = self._spec(self._current(one, settings), settings)
            except ConfigError as error:
                self.refused[one.name] = (
                    f"notebook {one.name!r} cannot be as it was registered; deploy it again: {error}"
                )
        taken = self._taken(wanted)
        for spec in sorted(settings.notebooks, key=lambda one: not one.named):
            name = spec.name if spec.named else self._name(spec, taken)
            other = wanted.get(name)
            if other is not None and another(other.source, spec.source):
                self.refused[name] = (
                    f"notebook {name!r} of the configuration file was registered before, with the source {other.source}"
                    f" and not {spec.source}; give one of them another name, or `kaosctl notebook kill {name}`"
                )
                continue
            wanted[name] = replace(spec, name=name)
            taken[name] = str(spec.directory)
        return wanted

    def _current(self, one: Registration, settings: Settings) -> Registration:
        """A registration in today's form; one of an earlier version is written down again."""
        if one.complete:
            one = Registration(one.name, settings_.inherited(one.given, settings))
            self.shop.journal.register(one)
        return one

    def _spec(self, one: Registration, settings: Settings) -> NotebookSpec:
        """What a registration means with these settings. ConfigError."""
        spec = settings_.spec_from_request(one.given | {"name": one.name}, settings)
        self.shop.engines[spec.engine]  # ConfigError when it is not set up
        return spec

    def _taken(self, wanted: Mapping[str, NotebookSpec]) -> dict[str, str | None]:
        """The names that notebooks have, or had when they were last served, each with its directory."""
        taken = {name: live.directory for name, live in self.shop.journal.lives().items()}
        known = {name: actor.spec for name, actor in self.actors.items()} | dict(wanted)
        return taken | {name: str(spec.directory) if spec.directory else None for name, spec in known.items()}

    def _name(self, spec: NotebookSpec, taken: Mapping[str, str | None]) -> str:
        """The name of a notebook that has none but for its directory."""
        directory, earlier = str(spec.directory), naming.EARLIER.format(user=spec.user)
        if earlier in taken and taken[earlier] is None:  # of an earlier version, which wrote no directory down
            live = self.shop.journal.live(earlier)
            if live.source is not None and live.source.root == os.path.basename(directory):
                taken = {**taken, earlier: directory}
        homes = self.shop.state_dir / "notebooks"
        return naming.choose(directory, earlier, taken, lambda name: (homes / name).exists())

    async def _put(self, spec: NotebookSpec) -> None:
        """Add a notebook, or change one: in place where its directories and engine stay.

        What a person has edited is set aside first where the source becomes another one, or the next host does not
        see the work directory.
        """
        actor = self.actors.get(spec.name)
        if actor is None:
            await self._clear_way(spec)
            await self._add(spec)
        elif _places(actor.spec) == _places(spec):
            actor.change(spec)
        else:
            self._replaced = spec.name
            self._whole.clear()
            try:
                await self._retire(actor, spec)
                await self._add(spec)
            finally:
                self._replaced = ""
                self._whole.set()

    async def _add(self, spec: NotebookSpec) -> None:
        """Let a notebook live, when nothing of another one is in its way."""
        journal = self.shop.journal
        if isinstance(self.shop.engines[spec.engine], Carrier):
            await self._set_aside(self.shop.home(spec.name), kept.ENGINE)
        live = journal.live(spec.name)
        if (directory := str(spec.source) if spec.source else None) != live.directory:
            journal.save_live(spec.name, replace(live, directory=directory))
        actor = Notebook(spec, self.shop)
        self.actors[spec.name] = actor
        self._tasks[spec.name] = self._group.create_task(actor.run(), name=f"notebook {spec.name}")
        log.info("notebook_added", notebook=spec.name, engine=spec.engine)

    async def _retire(self, actor: Notebook, spec: NotebookSpec) -> None:
        """Let an actor end because *spec* needs another one; its host stays where that one can adopt it."""
        if another(actor.spec.source, spec.source):
            await self._remove(spec.name)
            await self._forget(actor.engine, actor.home, kept.SOURCE)
            return
        actor.draining = True
        actor.poke()
        await asyncio.wait([self._tasks[spec.name]])
        if actor.spec.engine != spec.engine:  # the next one would not find its host
            await actor.hosting.end(self.shop.grace)

    async def _clear_way(self, spec: NotebookSpec) -> None:
        """The same for a notebook whose engine or source may have been changed while no daemon ran."""
        before = self.shop.journal.live(spec.name).directory
        moved = another(Path(before) if before is not None else None, spec.source)
        await self._end_host_of(spec.name, (one for one in self.shop.engines if one != spec.engine or moved))
        if moved:
            await self._set_aside(self.shop.home(spec.name), kept.SOURCE)
            self.shop.journal.forget(spec.name)

    async def _forget(self, engine: Engine, home: Home, why: str) -> list[str]:
        """Forget a notebook that was removed, but for its edits, which are set aside; their paths."""
        try:
            await engine.forget(home)
        finally:
            edits = await self._set_aside(home, why)
            self.shop.journal.forget(home.root.name)
        return edits

    async def _set_aside(self, home: Home, why: str) -> list[str]:
        """Empty the work directory of a notebook without a host, and keep the edits in it; their paths."""
        journal, name = self.shop.journal, home.root.name
        live = journal.live(name)  # before it is written down that nothing is deployed there any more
        if live.model_tree is not None or live.syncing is not None:
            journal.save_live(name, replace(live, model_tree=None, syncing=None, left=()))
        return await asyncio.to_thread(kept.set_aside, self.shop.store, journal, name, home, live, why)

    async def _remove(self, name: str) -> None:
        """Stop the host of a notebook and let its actor end; its files stay."""
        actor = self.actors[name]
        actor.removed = True
        actor.poke()
        await asyncio.wait([self._tasks[name]])
        del self.actors[name], self._tasks[name]
        self.shop.journal.append("removed", name, {}, time.time())
        self.shop.news.tell()
        log.info("notebook_removed", notebook=name)

    async def _end_left_over(self, name: str) -> None:
        """Stop the host of a notebook that was removed while no daemon ran; also later, if it cannot be asked now."""
        if not await self._end_host_of(name, tuple(self.shop.engines)):
            return
        for engine in self.shop.engines:
            try:
                if not isinstance(found := self.shop.engines[engine], Carrier):  # elsewhere nothing is left to sweep
                    await found.sweep(self.shop.home(name), None)
            except KaosError as error:
                log.warning("not_swept", notebook=name, engine=engine, error=str(error))
        log.info("left_over_host_ended", notebook=name)

    async def _end_host_of(self, name: str, engines: Iterable[str]) -> bool:
        """End the recorded host of a notebook if it is of one of these engines; False when it could not be asked."""
        live = self.shop.journal.live(name)
        for engine in engines if live.host is not None else ():
            try:
                found = self.shop.engines[engine]
                host = await found.adopt(live.host.handle) if live.host is not None else None
                if host is not None:
                    await found.stop(host, self.shop.grace)
                    self.shop.journal.save_live(name, replace(live, host=None))
            except KaosError as error:
                log.warning("host_stays", notebook=name, engine=engine, error=str(error))
                return False
        return True

    async def drain(self, grace: float) -> list[str]:
        """Let every actor end after the step it is in; the names of those that had to be interrupted."""
        self.draining = True
        for actor in self.actors.values():
            actor.draining = True
            actor.poke()
        tasks = {task: name for name, task in self._tasks.items()}
        if not tasks:
            return []
        _, late = await asyncio.wait(tasks, timeout=grace)
        for task in late:
            task.cancel()
        if late:
            await asyncio.wait(late)
        return sorted(tasks[task] for task in late)

    async def stop_hosts(self) -> None:
        """Stop all hosts, after draining."""
        for actor in self.actors.values():
            try:
                if actor.hosting.host is not None:
                    await actor.engine.stop(actor.hosting.host, self.shop.grace)
                    actor.hosting.gone()
            except KaosError as error:  # it is found again by the next daemon
                log.warning("host_stays", notebook=actor.spec.name, error=str(error))

    def actor(self, name: str) -> Notebook:
        """The actor of *name*; NotFoundError names the ones there are."""
        if name in self.actors:
            return self.actors[name]
        known = ", ".join(sorted(self.actors)) or "none"
        raise NotFoundError(f"there is no notebook {name!r}", hint=f"there are: {known}")

    # -- what a person adds and removes -----------------------------------------------------------------------

    async def deploy(self, request: Mapping[str, Any], settings: Settings, *, replacing: bool) -> str:
        """Register a notebook (kept over restarts), or change a registered one; its name.

        request: keys of [[notebook]]; one that is absent stays as it is, one that is None is inherited again.
        replacing: the notebook may get another source than the one that it has.
        """
        async with self._changing:
            asked = settings_.spec_from_request(request, settings)
            name = asked.name if asked.named else self._name(asked, self._taken(self._wanted(settings)))
            known = self.actors.get(name)
            if known is not None and not known.spec.registered:
                raise ConflictError(f"notebook {name!r} is in the configuration file", hint="change it there")
            before = next((one for one in self.shop.journal.registered() if one.name == name), Registration(name, {}))
            given = self._current(before, settings).given | dict(request)
            now = Registration(name, {key: one for key, one in given.items() if one is not None and key != "name"})
            spec = self._spec(now, settings)
            if known is not None and another(known.spec.source, spec.source):
                if not replacing:
                    raise taken_by(name, known.spec.source, spec.source)
                await self._reach(known)
            self.shop.engines[spec.engine].check(spec.resources)
            await asyncio.to_thread(check_directories, spec, request)
            self.shop.journal.register(now)
            self.refused.pop(name, None)
            if known is None or known.spec != spec:
                await self._put(spec)
                self.actors[name].start("redeployed by you")
            else:
                await known.redeploy(force=False, now=False)
        return name

    async def kill(self, name: str, unwanted: Unwanted = "none") -> dict[str, Any] | None:
        """Stop and forget a registered notebook; bundles, history, edits and repos not *unwanted* are kept.

        What became of the repos; see clearing.clear.
        """
        actor = self.actor(name)
        if not actor.spec.registered:
            raise ConflictError(
                f"notebook {name!r} is in the configuration file", hint="take it out there, then `kaosctl reload`"
            )
        await self._reach(actor)
        async with self._changing:
            actor = self.actor(name)  # it may be gone, or another one, since it was asked
            self.shop.journal.unregister(name)
            await self._remove(name)
            await self._forget(actor.engine, actor.home, kept.REMOVED)
            await actor.engine.collect(await kept_environments(self.shop, self.actors.values()))
            return await clear(actor, unwanted)

    async def _reach(self, actor: Notebook) -> None:
        """EngineError when the host cannot be ended now: it would be forgotten, and would run on."""
        engine = actor.engine
        if isinstance(engine, Carrier) or (isinstance(engine, Remote) and actor.hosting.host is not None):
            await engine.reach()

    async def _reached(self, name: str) -> bool:
        """Whether a notebook can be removed now; if not, the next reading of the configuration tries it again."""
        try:
            await self._reach(self.actors[name])
        except KaosError as error:
            log.warning("notebook_stays", notebook=name, error=str(error))
            return False
        return True

    # -- answers -------------------------------------------------------------------------------------------

    def notebook(self, name: str) -> dict[str, Any]:
        """One notebook's object of the status."""
        return shown(self.actor(name))

    def notebooks(self) -> list[dict[str, Any]]:
        """All notebooks' objects, by name."""
        return [shown(self.actors[name]) for name in sorted(self.actors)]

    def summary(self) -> str:
        """One line for systemd's STATUS."""
        states = [actor.state()[0] for actor in self.actors.values()]
        counts = [f"{states.count(state)} {state.value}" for state in NotebookState if state in states]
        return ", ".join(counts) or "no notebooks yet"

    async def collect(self) -> None:
        """Drop versions, contents and environments that cannot be returned to."""
        await collect(self.shop, self.actors)


def _places(spec: NotebookSpec) -> tuple[object, ...]:
    """What cannot be changed under a running actor."""
    return spec.engine, spec.source, spec.data, spec.data_mode


def another(old: Path | None, new: Path | None) -> bool:
    """Whether a notebook of the source *old* would be one of something else with *new*; an empty one only gains."""
    return old is not None and (new is None or not naming.same(str(old), str(new)))


def taken_by(name: str, old: Path | None, new: Path | None) -> ConflictError:
    """The refusal of another source."""
    return ConflictError(
        f"notebook {name!r} has the source {old}, not {new if new is not None else 'none at all'}",
        hint=f"give the new one another --name, or run `kaosctl notebook deploy --name {name} --replace` with it: that "
        f"keeps your edits for `kaosctl recovered {name}`",
    )


def check_directories(spec: NotebookSpec, given: Container[str]) -> None:
    """ConfigError when a directory that a person has just named, so that it is *given*, cannot be used; blocking."""
    for field, path in (("source", spec.source), ("data", spec.data)):
        if path is None or field not in given:
            continue
        if not path.exists():
            raise ConfigError(f"{field}: {path} does not exist", hint="make it, or correct its path")
        if not path.is_dir():
            raise ConfigError(f"{field}: {path} is not a directory", hint="name the directory that it is in")
        if not os.access(path, os.R_OK | os.X_OK):
            raise ConfigError(f"{field}: {path} cannot be read", hint=f"chmod u+rx {path}")
        if is_made_up(kind := file_system(os.fsencode(path))):
            text = f"{field}: {path} lies on {kind}, whose files the kernel makes up when they are read"
            raise ConfigError(text, hint="name a directory with files of yours")
    if spec.source is not None and "source" in given:
        bundle.find_base(os.fsencode(spec.source), bundle.Matcher.load(spec.source))

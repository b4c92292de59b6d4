"""All notebooks of a daemon by name: adds, removes and changes their actors, and answers for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import structlog

from kaosd import bundle
from kaosd.engines.base import Carrier, Finding, Remote
from kaosd.errors import ConfigError, ConflictError, KaosError, NotFoundError
from kaosd.model import NotebookSpec, NotebookState, Version
from kaosd.notebook import Notebook, Workshop, explain, restore, view
from kaosd.notebook.clearing import Unwanted, clear, shown
from kaosd.notebook.retention import collect, is_kept, keep_work, kept_environments

log = structlog.get_logger(__name__)
TAKEN_UP = 2.0  # seconds that an answer waits for the actor to take a wish up


class Registry:
    """The notebooks of one daemon. Owned by the event loop."""

    def __init__(self, shop: Workshop, group: asyncio.TaskGroup) -> None:
        self.shop = shop
        self.actors: dict[str, Notebook] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = group
        self._changing = asyncio.Lock()
        self.draining = False

    # -- the set of notebooks ------------------------------------------------------------------------------

    async def apply(self, configured: Iterable[NotebookSpec]) -> list[str]:
        """Bring the actors to the configured and the registered notebooks; the names that changed."""
        async with self._changing:
            wanted = {spec.name: spec for spec in self.shop.journal.registered()}
            wanted |= {spec.name: spec for spec in configured}
            changed = []
            for name in sorted(set(self.shop.journal.hosted()) - wanted.keys() - self.actors.keys()):
                await self._end_left_over(name)
                changed.append(name)
            for name in sorted(self.actors.keys() - wanted.keys()):
                if await self._reached(name):
                    await self._remove(name)
                    changed.append(name)
            for name, spec in sorted(wanted.items()):
                if name not in self.actors or self.actors[name].spec != spec:
                    await self._put(spec)
                    changed.append(name)
            return changed

    async def _put(self, spec: NotebookSpec) -> None:
        """Add a notebook, or change one: in place where its directories and engine stay."""
        actor = self.actors.get(spec.name)
        if actor is not None:
            old = actor.spec
            same = (old.engine, old.source, old.data, old.data_mode) == (
                spec.engine, spec.source, spec.data, spec.data_mode,
            )  # fmt: skip
            if same:
                actor.change(spec)
                return
            actor.draining = True
            actor.poke()
            await asyncio.wait([self._tasks[spec.name]])
            if old.engine != spec.engine:  # the next one would not find its host
                await actor.hosting.end(self.shop.grace)
        else:  # its engine may have been changed while no daemon ran
            await self._end_host_of(spec.name, (one for one in self.shop.engines if one != spec.engine))
        actor = Notebook(spec, self.shop)
        self.actors[spec.name] = actor
        self._tasks[spec.name] = self._group.create_task(actor.run(), name=f"notebook {spec.name}")
        log.info("notebook_added", notebook=spec.name, engine=spec.engine)

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
        """End the host of a notebook that was removed while no daemon ran; also later, if it cannot be asked now."""
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
        """Let every actor end after the step it is in; the names of those that had to be cut short."""
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
        """End all hosts, after draining."""
        for actor in self.actors.values():
            try:
                if actor.hosting.host is not None:
                    await actor.engine.stop(actor.hosting.host, self.shop.grace)
                    actor.hosting.gone()
            except KaosError as error:  # it is found again by the next daemon
                log.warning("host_stays", notebook=actor.spec.name, error=str(error))

    def poke(self, key: str) -> None:
        """The watcher's poke: "source:<name>" or "data:<name>"."""
        kind, _, name = key.partition(":")
        if name in self.actors:
            self.actors[name].root_poked(kind)

    def actor(self, name: str) -> Notebook:
        """The actor of *name*; NotFoundError names the ones there are."""
        if name in self.actors:
            return self.actors[name]
        known = ", ".join(sorted(self.actors)) or "none"
        raise NotFoundError(f"there is no notebook {name!r}", hint=f"there are: {known}")

    # -- requests ------------------------------------------------------------------------------------------

    async def deploy(self, spec: NotebookSpec) -> dict[str, Any]:
        """Register a notebook (kept over restarts), or change a registered one."""
        known = self.actors.get(spec.name)
        if known is not None and not known.spec.registered:
            raise ConflictError(f"notebook {spec.name!r} is in the configuration file", hint="change it there")
        self.shop.engines[spec.engine].check(spec.resources)
        await asyncio.to_thread(check_directories, spec)
        after = self.shop.journal.last_seq
        async with self._changing:
            self.shop.journal.register(spec)
            if known is None or known.spec != spec:
                await self._put(spec)
            else:
                await known.redeploy(force=False, now=False)
        return self.notebook(spec.name) | {"after": after}

    async def kill(self, name: str, unwanted: Unwanted = "none") -> dict[str, Any]:
        """Stop and forget a registered notebook; bundles, history, own work and repos not *unwanted* are kept."""
        actor = self.actor(name)
        if not actor.spec.registered:
            raise ConflictError(
                f"notebook {name!r} is in the configuration file", hint="take it out there, then `kaosctl reload`"
            )
        await self._reach(actor)
        async with self._changing:
            self.shop.journal.unregister(name)
            await self._remove(name)
            kept = await asyncio.to_thread(keep_work, actor.home.root, actor.home.work)
            await actor.engine.forget(actor.home)
            self.shop.journal.forget(name)
            await actor.engine.collect(await kept_environments(self.shop, self.actors.values()))
            repos = await clear(actor, unwanted)
        return {"killed": name, "engine": actor.spec.engine, "kept": [str(path) for path in kept], "repos": repos}

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

    async def examine(self, default: str) -> list[Finding]:
        """What the engines in use, and the *default* one, find out about where their hosts run."""
        used = {actor.spec.engine: actor.engine for actor in self.actors.values()}
        used |= {name: self.shop.engines[name] for name in self.shop.engines if name == default}
        return [one for engine in used.values() if isinstance(engine, Remote) for one in await engine.examine()]

    async def redeploy(self, name: str, *, force: bool, now: bool) -> dict[str, Any]:
        """Look at everything again, and try again what failed."""
        await self.actor(name).redeploy(force=force, now=now)
        return await self._taken_up(name)

    async def pause(self, name: str, paused: bool) -> dict[str, Any]:
        """Stop or resume following the directories."""
        self.actor(name).pause(paused)
        return await self._taken_up(name)

    async def cancel(self, name: str) -> dict[str, Any]:
        """End the build in flight."""
        if not self.actor(name).cancel():
            raise ConflictError(f"notebook {name!r} has no build in flight")
        return await self._taken_up(name)

    async def rollback(self, name: str, to: str | None) -> dict[str, Any]:
        """Serve an older version until the files change again."""
        actor = self.actor(name)
        source, data = self._older(actor, to)
        for version in (source, data):
            if version is not None and not await asyncio.to_thread(is_kept, self.shop.store, version):
                raise NotFoundError(
                    f"the content of {version} is not kept any more", hint=f"keep_versions is {self.shop.keep_versions}"
                )
        actor.pin(source, data)
        return await self._taken_up(name)

    async def restore(self, name: str, wanted: str) -> dict[str, Any]:
        """Bring a copy of a person's work back into the host."""
        return await restore(self.actor(name), wanted)

    async def _taken_up(self, name: str) -> dict[str, Any]:
        """The notebook once its actor has taken a wish up, and done what is quickly done for it.

        What takes longer, or an actor in the middle of a long step, is not waited for.
        """
        actor = self.actor(name)
        wanted = actor.turns + 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_UP):
                while actor.planned < wanted or actor.plan.step is not None:
                    await self.shop.news.after(self.shop.news.number)
        return self.notebook(name)

    def _older(self, actor: Notebook, to: str | None) -> tuple[Version, Version | None]:
        """The versions that a rollback means: a deployment's number, a version's prefix, or the one before."""
        name, live = actor.spec.name, actor.hosting.live
        for deployment in self.shop.journal.deployments(name, 1000):
            source = deployment.source
            if source is None or deployment.outcome not in ("live", "superseded"):
                continue
            if to is None:
                found = deployment.outcome == "live" and source != live.source
            elif to.isdigit() and int(to) == deployment.number:
                found = True
            else:
                found = len(to) >= 4 and source.digest.startswith(to.rpartition(":")[2])
            if found:
                return source, deployment.data or live.data
        what = "no earlier version" if to is None else f"no deployment or version {to!r}"
        raise NotFoundError(f"notebook {name!r} has {what}", hint=f"kaosctl history {name}")

    async def wait(self, name: str, timeout: float | None) -> dict[str, Any]:  # noqa: ASYNC109 - part of the API
        """Return when what is on disk now is live and has answered a request; see Notebook.settled."""
        actor = self.actor(name)
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                outcome = await actor.settled()
        except TimeoutError:
            outcome = "timeout"
        state, reason = actor.state()
        shown = self.notebook(name)
        return {
            "outcome": outcome,
            "state": state.value,
            "reason": reason,
            "progress": shown["progress"],
            "source": shown["source"]["live"],
            "data": shown["data"]["live"],
            "seconds": round(time.monotonic() - began, 3),
        }

    async def freshen(self, within: float) -> None:
        """Ask all hosts how they are, at most *within* seconds; who does not answer is as it was."""
        asking = [asyncio.ensure_future(actor.hosting.freshen()) for actor in self.actors.values()]
        if asking:
            _, late = await asyncio.wait(asking, timeout=within)
            for task in late:
                task.cancel()

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

    def history(self, name: str) -> dict[str, Any]:
        """A notebook's deployments, newest first, with their jobs."""
        pinned = self.actors[name].intent.pinned_source if name in self.actors else None
        journal = self.shop.journal
        deployments = [
            view.deployment(one) | {"jobs": [view.job(job) for job in journal.jobs(name, one.number)]}
            for one in journal.deployments(name, 100)
        ]
        if not deployments:
            self.actor(name)
        return {"pinned": str(pinned) if pinned else None, "deployments": deployments}

    def recovered(self, name: str) -> dict[str, Any]:
        """Copies of work in the host that a newer version replaced."""
        found = self.shop.journal.recovered(name)
        if not found:
            self.actor(name)
        return {
            "recovered": [
                {
                    "path": one.path,
                    "saved_at": view.rfc3339(one.at),
                    "deployment": one.deployment,
                    "file": one.file,
                    "size": one.size,
                }
                for one in found
            ]
        }

    async def why(self, path: str) -> dict[str, Any]:
        """What a change of *path* means, and by which rule."""
        return await asyncio.to_thread(explain, dict(sorted(self.actors.items())), path)

    # -- events --------------------------------------------------------------------------------------------

    async def events(self, after: int, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - part of the API
        """Events after number *after*; waits for one up to *timeout* seconds."""
        await self.changed(after, timeout)
        events, gap = self.shop.journal.events(after, 500)
        shown = [
            {"seq": e.seq, "time": view.rfc3339(e.time), "notebook": e.notebook, "kind": e.kind, "data": e.data}
            for e in events
        ]
        return {"events": shown, "last": events[-1].seq if events else max(after, 0), "gap": gap}

    async def changed(self, after: int, timeout: float) -> int:  # noqa: ASYNC109 - part of the front's protocol
        """The number of the newest event, once it is another than *after* or *timeout* seconds have passed.

        A higher *after* is of another journal: that reader has missed everything and is told at once.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.shop.journal.last_seq == after:
                    await self.shop.news.after(self.shop.news.number)
        return self.shop.journal.last_seq

    # -- upkeep --------------------------------------------------------------------------------------------

    async def collect(self) -> None:
        """Drop versions, contents and environments that nobody can come back to."""
        await collect(self.shop, self.actors)


def check_directories(spec: NotebookSpec) -> None:
    """ConfigError when a directory that a person has just named cannot be used; blocking."""
    for field, path in (("source", spec.source), ("data", spec.data)):
        if path is None:
            continue
        if not path.exists():
            raise ConfigError(f"{field}: {path} does not exist", hint="make it, or correct its path")
        if not path.is_dir():
            raise ConfigError(f"{field}: {path} is not a directory", hint="name the directory that it is in")
        if not os.access(path, os.R_OK | os.X_OK):
            raise ConfigError(f"{field}: {path} cannot be read", hint=f"chmod u+rx {path}")
    if spec.source is not None:
        bundle.find_base(os.fsencode(spec.source), bundle.Matcher.load(spec.source))

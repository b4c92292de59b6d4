"""All notebooks of a daemon by name: adds, removes and changes their actors, and answers for them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncGenerator, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog

from kaosd import bundle
from kaosd import settings as settings_
from kaosd.declared import image, made_from
from kaosd.engines.base import Carrier, Engine, Finding, Home, Listing, Remote
from kaosd.errors import ConfigError, ConflictError, KaosError, NotFoundError
from kaosd.journal import Live, Registration
from kaosd.model import Environment, NotebookSpec, NotebookState, Version
from kaosd.notebook import Notebook, Workshop, differing, explain, kept, restore, restore_all, view
from kaosd.notebook.backup_writing import write_backup
from kaosd.notebook.between import between
from kaosd.notebook.clearing import Unwanted, clear, shown
from kaosd.notebook.environment_file import add_requirements
from kaosd.notebook.kernel_restarts import restart_kernels
from kaosd.notebook.past import Past
from kaosd.notebook.pulling import Wish, pull
from kaosd.notebook.resetting import reset
from kaosd.notebook.retention import collect, is_kept, kept_environments
from kaosd.notebook.runs import path_in_root, run_in_host
from kaosd.planner import HostFact, Why
from kaosd.settings import Settings, naming
from kaosd.watch import file_system, is_made_up

log = structlog.get_logger(__name__)
COUNTED = 0.05  # seconds that a status waits for edits to be counted, which then goes on
RUN_TRIES = 3  # failed attempts in a row after which a run no longer waits for the host
TAKEN_UP = 2.0  # seconds that an answer waits for the actor to take a wish up
STOPPED_WITHIN = 30.0  # seconds that the answer to a stop waits for the host to end


class Registry:
    """The notebooks of one daemon. Owned by the event loop."""

    def __init__(self, shop: Workshop, group: asyncio.TaskGroup) -> None:
        self.shop = shop
        self.actors: dict[str, Notebook] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group = group
        self._changing = asyncio.Lock()
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
            return changed

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
        actor, journal = self.actors.get(spec.name), self.shop.journal
        if actor is None:
            await self._clear_way(spec)
        elif _places(actor.spec) == _places(spec):
            actor.change(spec)
            return
        else:
            await self._retire(actor, spec)
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

    # -- requests ------------------------------------------------------------------------------------------

    async def deploy(self, request: Mapping[str, Any], settings: Settings, *, replacing: bool) -> dict[str, Any]:
        """Register a notebook (kept over restarts), or change a registered one.

        request: keys of [[notebook]]; one that is absent stays as it is, one that is None is inherited again.
        replacing: the notebook may get another source than the one that it has.
        """
        after = self.shop.journal.last_seq
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
        return self.notebook(name) | {"after": after}

    async def kill(self, name: str, unwanted: Unwanted = "none") -> dict[str, Any]:
        """Stop and forget a registered notebook; bundles, history, edits and repos not *unwanted* are kept."""
        actor = self.actor(name)
        if not actor.spec.registered:
            raise ConflictError(
                f"notebook {name!r} is in the configuration file", hint="take it out there, then `kaosctl reload`"
            )
        await self._reach(actor)
        async with self._changing:
            self.shop.journal.unregister(name)
            await self._remove(name)
            await self._forget(actor.engine, actor.home, kept.REMOVED)
            await actor.engine.collect(await kept_environments(self.shop, self.actors.values()))
            repos = await clear(actor, unwanted)
        recovered = len(self.shop.journal.recovered(name))
        place = [str(actor.home.root / "recovered")] if recovered else []
        return {"killed": name, "engine": actor.spec.engine, "kept": place, "recovered": recovered, "repos": repos}

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

    async def redeploy(self, name: str, *, force: bool, now: bool, when_idle: bool) -> dict[str, Any]:
        """Look at everything again, and try again what failed.

        Of a step that waits for busy kernels, now and when_idle only say how long. Without one, when_idle is a
        ConflictError.
        """
        actor = self.actor(name)
        hold = actor.plan.hold
        waits = hold is not None and hold.why is Why.BUSY
        if when_idle and not waits:
            raise ConflictError(f"nothing waits for busy kernels of notebook {name!r}", hint=f"kaosctl status {name}")
        if waits and not force and (now or when_idle):
            actor.end_wait(when_idle=when_idle)
        else:
            await actor.redeploy(force=force, now=now)
        return await self._taken_up(name)

    async def pause(self, name: str, paused: bool) -> dict[str, Any]:
        """Stop or resume following the directories."""
        self.actor(name).pause(paused)
        return await self._taken_up(name)

    async def add(self, name: str, packages: Sequence[str]) -> dict[str, Any]:
        """Write requirements into the environment file in use; the save is noticed and built like any other."""
        return await add_requirements(self.actor(name), packages)

    async def stop(self, name: str) -> dict[str, Any]:
        """Stop the host of a notebook, which stays registered and followed; busy kernels are not waited for."""
        actor = self.actor(name)
        actor.stop()
        return await self._taken_up(name, STOPPED_WITHIN)

    async def start(self, name: str, cause: str = "started by you") -> dict[str, Any]:
        """Start the host of a stopped notebook; nothing happens to one that is not stopped."""
        self.actor(name).start(cause)
        return await self._taken_up(name)

    async def wake(self, name: str) -> None:
        """Start a stopped notebook whose address was opened; returns once its actor has planned that."""
        actor, wanted = self.actors[name], self.actors[name].turns + 1
        actor.start("opened in the browser")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TAKEN_UP):
                while actor.intent.stopped == "" and actor.planned < wanted:
                    await self.shop.news.after(self.shop.news.number)

    async def restart(self, name: str, *, kernels: bool) -> dict[str, Any]:
        """Replace the host by a new one; with *kernels* have each of its kernels restarted instead.

        The answer has the number of these as "restarted". ConflictError where no host runs whose kernels could be.
        """
        actor = self.actor(name)
        if not kernels:
            actor.restart()
            return await self._taken_up(name) | {"restarted": 0}
        if actor.hosting.host is None:
            raise ConflictError(f"{name} has no running kernels: {actor.state()[1]}", hint=f"kaosctl start {name}")
        restarted = await restart_kernels(actor.hosting.host.upstream, f"/{name}/", actor.token)
        await actor.hosting.freshen()
        return self.notebook(name) | {"restarted": restarted}

    async def run(self, name: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Run a notebook file in the host, once what is on disk is live; what comes of it, see hosted/execution.py.

        asked: see api.requests.Run. A stopped notebook is started for it. ConflictError where no host runs; else
        raises as run_in_host.
        """
        actor = self.actor(name)
        actor.start("started for a run")
        if not actor.fully_live():
            yield {"event": "waiting", "text": actor.state()[1] or "what is on disk is being read"}
        outcome = await actor.settled(RUN_TRIES)
        host, reason = actor.hosting.host, actor.state()[1]
        if host is None or actor.hosting.fact() is not HostFact.RUNNING:
            raise ConflictError(f"{name} has no running JupyterLab: {reason}", hint=f"kaosctl status {name}")
        if outcome != "live":
            yield {"event": "warning", "text": f"what is on disk is not live: {reason}; what is served is run"}
        root = await asyncio.to_thread(actor.looking.root)
        path = path_in_root(asked["notebook"], asked["file"], actor.spec.source, root)
        wanted = {"path": path, **{key: asked[key] for key in ("parameters", "timeout", "keep")}}
        with actor.idleness.used():
            async with contextlib.aclosing(run_in_host(host.upstream, name, actor.token, wanted)) as events:
                async for event in events:
                    yield event

    async def cancel(self, name: str) -> dict[str, Any]:
        """Stop the build in flight."""
        if not self.actor(name).cancel():
            raise ConflictError(f"notebook {name!r} has no build in flight")
        return await self._taken_up(name)

    async def rollback(self, name: str, to: str | None) -> dict[str, Any]:
        """Serve an older version until the files change again."""
        actor = self.actor(name)
        source, data = self._older(actor, to)
        live = actor.hosting.live
        for version, served in ((source, live.source), (data, live.data)):
            if version is not None and not await asyncio.to_thread(is_kept, self.shop.store, version, served):
                raise NotFoundError(f"the content of {version} is damaged", hint=f"kaosctl history {name}")
        actor.pin(source, data)
        return await self._taken_up(name)

    async def pull(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Write edits made in a notebook into its source directory. fields: paths, force, dry_run, strip_outputs."""
        strip = fields["strip_outputs"]
        wish = Wish(tuple(fields["paths"]), force=fields["force"], dry_run=fields["dry_run"], strip=strip)
        return await pull(self.actor(name), wish)

    async def reset(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Bring the deployed version of files back into a notebook. fields: paths, dry_run."""
        return await reset(self.actor(name), fields["paths"], dry_run=fields["dry_run"])

    async def restore(self, name: str, wanted: str | None) -> dict[str, Any]:
        """Bring a copy of a person's edits back into the host; None: the newest copy of each path."""
        actor = self.actor(name)
        return await restore(actor, wanted) if wanted is not None else await restore_all(actor)

    async def _taken_up(self, name: str, within: float = TAKEN_UP) -> dict[str, Any]:
        """The notebook once its actor has taken a wish up, and done what is done for it *within* so many seconds.

        What takes longer, or an actor in the middle of a long step, is not waited for.
        """
        actor = self.actor(name)
        wanted = actor.turns + 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while actor.planned < wanted or actor.plan.step is not None:
                    await self.shop.news.after(self.shop.news.number)
        return self.notebook(name)

    def _older(self, actor: Notebook, to: str | None) -> tuple[Version, Version | None]:
        """The versions that a rollback means: a deployment's number, a version's prefix, or the one before."""
        name, live = actor.spec.name, actor.hosting.live
        past = Past(self.shop.journal, name, live)
        if to is None:
            found = past.before()
            what = "no earlier version that is kept"
        else:
            short = to.rpartition(":")[2] if len(to) >= 4 else None
            meant = [
                one
                for one in self.shop.journal.deployments(name, 1000)
                if to == str(one.number) or (short and one.source is not None and one.source.digest.startswith(short))
            ]
            found = next((one for one in meant if past.can_return_to(one)), None)
            gone = f"the content of deployment {to} is not kept any more" if meant else ""
            what = gone or f"no deployment or version {to!r}"
        if found is not None and found.source is not None:
            return found.source, found.data or live.data
        numbers = ", ".join(str(one.number) for one in past.deployments()[:5] if one.source != live.source)
        hint = f"you can go back to {numbers}; " if numbers else ""
        text = what if what.startswith("the content") else f"notebook {name!r} has {what}"
        raise NotFoundError(text, hint=f"{hint}kaosctl history {name}")

    async def wait(
        self,
        name: str,
        timeout: float | None,  # noqa: ASYNC109 - part of the API
        tries: int | None = None,
    ) -> dict[str, Any]:
        """Return when what is on disk now is live and has answered a request; see Notebook.settled."""
        actor = self.actor(name)
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                outcome = await actor.settled(tries)
        except TimeoutError:
            outcome = "timeout"
        state, reason = actor.state()
        shown = self.notebook(name)
        return {
            "outcome": outcome,
            "state": state.value,
            "reason": reason,
            "hold": shown["hold"],
            "progress": shown["progress"],
            "source": shown["source"]["live"],
            "data": shown["data"]["live"],
            "seconds": round(time.monotonic() - began, 3),
        }

    async def freshen(self, within: float) -> None:
        """Ask all hosts how they are, at most *within* seconds; who does not answer is as it was.

        The edits made in notebooks are looked for as well, and waited for only a moment.
        """
        counting = [asyncio.ensure_future(actor.edits.freshen()) for actor in self.actors.values()]
        asking = [asyncio.ensure_future(actor.hosting.freshen()) for actor in self.actors.values()]
        if any(actor.spec.resources.gpu for actor in self.actors.values()):
            asking.append(asyncio.ensure_future(self.shop.gpus.refresh()))
        if asking:
            _, late = await asyncio.wait(asking, timeout=within)
            for task in late:
                task.cancel()
        if counting:
            await asyncio.wait(counting, timeout=COUNTED)

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
        live = self.actors[name].hosting.live if name in self.actors else Live()
        past = Past(journal, name, live)
        current = past.current()
        deployments = [
            view.deployment(one)
            | {"current": one.number == current}
            | {"jobs": [view.job(job) for job in journal.jobs(name, one.number)]}
            | {"can_roll_back": name in self.actors and one.source != live.source and past.can_return_to(one)}
            for one in journal.deployments(name, 100)
        ]
        if not deployments:
            self.actor(name)
        return {"pinned": str(pinned) if pinned else None, "deployments": deployments}

    async def environment(self, name: str) -> dict[str, Any]:
        """What a notebook's environment holds, and what was installed by hand."""
        actor, environment, engine = self._listed(name)
        found = await engine.contents(environment, actor.home)
        return view.contents(name, actor.looking.environment_file(), found)

    def _listed(self, name: str) -> tuple[Notebook, Environment, Listing]:
        """A notebook whose environment can be listed. NotFoundError for any other."""
        actor = self.actor(name)
        environment = actor.hosting.live.environment
        if environment is None:
            raise NotFoundError(f"{name} has no environment yet", hint=f"kaosctl status {name}")
        if not isinstance(actor.engine, Listing):
            hint = "run `pip list` in a terminal of the notebook"
            raise NotFoundError(f"{name} is hosted by {actor.spec.engine}, and its image says what it holds", hint=hint)
        return actor, environment, actor.engine

    async def outdated(self, name: str) -> dict[str, Any]:
        """The packages of a notebook's environment of which the package index has a newer version."""
        actor, environment, engine = self._listed(name)
        latest = await engine.outdated(environment)
        packages = (await engine.contents(environment, actor.home)).packages
        return {
            "name": name,
            "file": actor.looking.environment_file(),
            "outdated": [
                {"name": one, "version": packages[one], "latest": version}
                for one, version in sorted(latest.items())
                if one in packages
            ],
        }

    async def dockerfile(self, name: str) -> dict[str, Any]:
        """The Dockerfile that is made of a notebook whose source has none, and from which files."""
        actor = self.actor(name)
        source = actor.looking.versions()[0] or actor.hosting.live.source
        if source is None:
            raise NotFoundError(f"the source of {name} is not read yet", hint=f"kaosctl status {name}")
        declared = (await asyncio.to_thread(actor.looking.inputs, source)).declared
        if declared.dockerfile is not None:
            raise ConflictError(f"the source of {name} has a Dockerfile of its own: {declared.dockerfile}")
        made = image(declared)
        if made.problem is not None:
            raise ConflictError(made.problem.text, hint=made.problem.hint)
        return {"name": name, "made_from": list(made_from(declared)), "dockerfile": made.text}

    async def edits(self, name: str) -> dict[str, Any]:
        """The edits made in a notebook, against what is deployed."""
        return await differing.edits(self.actor(name))

    async def diff(self, name: str, path: str | None) -> dict[str, Any]:
        """The same with what differs in each file, or in those at *path*."""
        return await differing.diff(self.actor(name), path)

    async def between(self, name: str, first: int, last: int) -> dict[str, Any]:
        """What differs between two deployments of a notebook: files, packages, data."""
        return await between(self.actor(name), first, last)

    async def since_copy(self, name: str, copy: str) -> dict[str, Any]:
        """What differs between a copy that was kept and the notebook's file."""
        actor = self.actor(name)
        copies = await asyncio.to_thread(kept.all_copies, self.shop.journal, name, self._recovered(name))
        return await differing.since_copy(actor, copies, copy)

    async def recovered(self, name: str) -> dict[str, Any]:
        """Copies of edits that were ever kept, also of a notebook that is not there any more."""
        found = await asyncio.to_thread(kept.all_copies, self.shop.journal, name, self._recovered(name))
        if not found:
            self.actor(name)
        return {"recovered": kept.listed(found, self._recovered(name))}

    async def clear(self, name: str) -> dict[str, Any]:
        """Delete all copies of edits of a notebook, which need not be there any more."""
        async with contextlib.AsyncExitStack() as stack:
            if name in self.actors:  # nobody keeps another one meanwhile
                await stack.enter_async_context(self.actors[name].steps.writing)
            elif not await asyncio.to_thread(kept.all_copies, self.shop.journal, name, self._recovered(name)):
                self.actor(name)
            cleared = await asyncio.to_thread(kept.clear, self.shop.journal, name, self._recovered(name))
            if name in self.actors:
                self.actors[name].record.recovered = 0
                self.actors[name].record.kept = ()
        self.shop.journal.append("cleared", name, {"copies": cleared}, time.time())
        self.shop.news.tell()
        return {"cleared": cleared}

    def _recovered(self, name: str) -> Path:
        """Where copies of edits of a notebook lie."""
        return self.shop.state_dir / "notebooks" / name / "recovered"

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

        A higher *after* is of another journal: that reader has missed everything and gets an answer at once.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self.shop.journal.last_seq == after:
                    await self.shop.news.after(self.shop.news.number)
        return self.shop.journal.last_seq

    # -- upkeep --------------------------------------------------------------------------------------------

    async def backup(self, target: Path) -> dict[str, Any]:
        """Write all that cannot be made again to the file *target*. ConfigError when it cannot be written."""
        shop = self.shop
        return await asyncio.to_thread(write_backup, shop.journal, shop.store, shop.state_dir, target, time.time())

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

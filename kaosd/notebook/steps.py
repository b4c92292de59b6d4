"""How each step is carried out. Every step writes down what it is about to do before it cannot be undone.

A step that is cut short by kill -9 is found again by the next look: a sync that was begun is in `Live.syncing`,
a host that was not written down is swept, an environment without its mark is built anew.
"""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from kaosd import bundle, planner
from kaosd.engines.base import Carrier, Order
from kaosd.errors import ConfigError, EngineError
from kaosd.model import DataMode, Environment, Host, JobState, Resources, Stage, Version
from kaosd.notebook.content import StoredContent
from kaosd.notebook.documents import Documents, Splice, Spliced
from kaosd.notebook.making import Making
from kaosd.notebook.record import bare
from kaosd.planner import Attempt, Target

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

CAUSES = 50  # paths that a deployment names as its cause, at most
ASKED_EACH = 20  # changed files up to which the host is asked for each, so that rooms without a tab are found too
DOCUMENT_MAX = 32 * 2**20  # bytes; nobody has a larger file open as a shared document


class Steps:
    """The steps of one notebook."""

    def __init__(self, actor: Notebook) -> None:
        self.actor = actor
        self.store = actor.shop.store

    async def take(self, step: planner.Step, target: Target | None) -> None:
        """Carry out one step of a plan for *target*."""
        match step:
            case planner.Build():
                await self._build(step.target)
            case planner.CancelBuild():
                await self._cancel_build()
            case planner.Start():
                await self._start(step.target, step.environment)
            case planner.Swap():
                await self._swap(step)
            case planner.Sync():
                await self._sync_step(step.target)
            case planner.Attach() if target is not None:
                await self._attach_step(target)
            case planner.Apply() if target is not None:
                await self._apply(target)
            case planner.Stop():
                await self._stop()

    @staticmethod
    def attempt(step: planner.Step) -> Attempt:
        """What a failure of *step* is filed under."""
        match step:
            case planner.Build() | planner.CancelBuild():
                return Attempt.BUILD
            case planner.Sync():
                return Attempt.SYNC
            case planner.Attach():
                return Attempt.ATTACH
            case planner.Apply():
                return Attempt.APPLY
            case _:
                return Attempt.HOST

    # -- build ---------------------------------------------------------------------------------------------

    async def _build(self, target: Target) -> None:
        actor = self.actor
        await self._begin(target, "build")
        inputs = await asyncio.to_thread(actor.looking.inputs, target.source)
        job, log = actor.record.job(Stage.BUILD)
        job = actor.record.job_state(job, JobState.RUNNING)
        build = actor.engine.build(actor.spec, inputs, log)
        task = asyncio.get_running_loop().create_task(build, name=f"build {actor.spec.name}")
        task.add_done_callback(lambda _: actor.poke())
        actor.making = Making(target.environment, target, job, log, task)

    async def _cancel_build(self) -> None:
        making = self.actor.making
        if making is not None:
            making.task.cancel()
            await asyncio.wait([making.task])

    # -- host ----------------------------------------------------------------------------------------------

    async def _start(self, target: Target, environment: Environment) -> None:
        await self._begin(target, "start")
        await self._attach(target.data, None)
        await self._sync(target.source, None)
        host = await self._host(target, environment)
        self._serve(host, target, environment)

    async def _host(self, target: Target, environment: Environment) -> Host:
        """A new host for *target*, with a job of its own."""
        actor = self.actor
        job, log = actor.record.job(Stage.HOST)
        try:
            host = await actor.engine.start(self._order(target, environment, log.path), log)
        except asyncio.CancelledError:
            actor.record.job_ended(job, JobState.KILLED, "the daemon stopped")
            raise
        except Exception as error:
            actor.record.job_ended(job, JobState.FAILURE, str(error))
            raise
        finally:
            log.close()
        actor.record.job_state(job, JobState.RUNNING)
        return host

    def _order(self, target: Target, environment: Environment, log: Path) -> Order:
        actor = self.actor
        spec = replace(actor.spec, resources=target.resources)
        return Order(spec, actor.home, environment, f"/{spec.name}/", log, actor.shop.origins)

    def _serve(self, host: Host, target: Target, environment: Environment) -> None:
        """Write down that *host* serves *target* from now on."""
        self.actor.hosting.serve(
            host, source=target.source, data=target.data, environment=environment, resources=target.resources
        )
        self._note(target)
        self.actor.succeeded(Attempt.HOST)

    async def _swap(self, step: planner.Swap) -> None:
        """Another environment: under the running server where it is the same one, else a new server beside it."""
        actor, target = self.actor, step.target
        old = actor.hosting.host
        if old is None:
            return
        await self._begin(target, "swap")
        serving = replace(target, data=actor.hosting.live.data)
        if step.keeps_kernels:
            order = self._order(target, step.environment, actor.home.logs / "switch.log")
            switched = await actor.engine.switch(old, order)
            if switched is None:
                raise EngineError("the running server cannot take the new environment", retryable=True)
            await self._sync(target.source, switched)
            self._serve(switched, serving, step.environment)
            return
        leaving = actor.record.jobs.get(Stage.HOST)
        host = await self._host(target, step.environment)
        await self._sync(target.source, old)
        self._serve(host, serving, step.environment)
        await actor.engine.stop(old, actor.shop.grace)
        if leaving is not None:
            actor.record.job_ended(leaving, JobState.KILLED, "replaced by the next host")

    async def _apply(self, target: Target) -> None:
        actor = self.actor
        host = actor.hosting.host
        if host is None:
            return
        await self._begin(target, "apply")
        actor.engine.check(target.resources)
        if await actor.engine.apply(host, target.resources):
            actor.hosting.save(resources=target.resources)
        elif not actor.engine.live_sync:
            await self._renew(host, target.resources)
        else:
            raise EngineError("these resources cannot be changed in place", hint="kaosctl redeploy --now")
        actor.succeeded(Attempt.APPLY)

    async def _renew(self, old: Host, resources: Resources) -> None:
        """Another host that serves the same with other resources."""
        actor, live = self.actor, self.actor.hosting.live
        if live.source is None or live.environment is None:
            return
        serving = Target(live.source, live.environment.digest, live.data, resources)
        host = await self._host(serving, live.environment)
        self._serve(host, serving, live.environment)
        await actor.engine.stop(old, actor.shop.grace)

    async def _stop(self) -> None:
        actor = self.actor
        host = actor.hosting.host
        if host is not None:
            await actor.engine.stop(host, actor.shop.grace)
            if Stage.HOST in actor.record.jobs:
                actor.record.job_ended(actor.record.jobs[Stage.HOST], JobState.KILLED, None)
        actor.hosting.gone()
        actor.now_please = False

    # -- content -------------------------------------------------------------------------------------------

    async def _sync_step(self, target: Target) -> None:
        await self._begin(target, "sync")
        await self._sync(target.source, self.actor.hosting.host)
        self.actor.hosting.save(source=target.source)
        self._note(target)
        self.actor.succeeded(Attempt.SYNC)

    async def _sync(self, source: Version, host: Host | None) -> None:
        """Bring the work directory to the model/ content of *source*, three-way; open documents in their tabs."""
        actor, live = self.actor, self.actor.hosting.live
        if not actor.engine.live_sync:  # the code is in the image
            return
        incoming = await asyncio.to_thread(bundle.model_tree, self.store, source.digest)
        if incoming == live.model_tree and live.syncing is None:
            return
        # What an interrupted sync may have written is ours as well as what was deployed last.
        bases = tuple(dict.fromkeys((live.model_tree, live.syncing or live.model_tree)))
        actor.hosting.save(syncing=incoming)
        place = actor.home.root / "recovered" / f"{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}"
        spliced = await self._splice(host, live.model_tree, incoming)
        kept = await asyncio.to_thread(_keep_texts, place, spliced)
        skip = frozenset(document.path for document in spliced)
        report = await asyncio.to_thread(
            bundle.sync, self.store, actor.home.work, bases, incoming, place / "work", skip=skip
        )
        kept += [(found.path, os.fsdecode(found.file)) for found in report.recovered]
        for path, file in kept:
            actor.record.keep(bare([path])[0], file)
        actor.hosting.save(model_tree=incoming, syncing=None)
        words = f"{len(report.written)} written, {len(report.deleted)} deleted, {len(report.kept)} kept as in the host"
        actor.record.note(f"synced {source}: {words}, {len(spliced)} changed in open tabs")

    async def _splice(self, host: Host | None, base: str | None, incoming: str | None) -> tuple[Spliced, ...]:
        """Change the documents that are open in a tab there; the rest is left to the disk."""
        if host is None:
            return ()
        changed = await asyncio.to_thread(self._changed_files, base, incoming)
        documents = Documents(host.upstream, f"/{self.actor.spec.name}/", self.actor.token)
        if len(changed) > ASKED_EACH:
            open_now = await documents.open()
            changed = [change for change in changed if change.path in open_now]
        splices = await asyncio.to_thread(self._splices, changed)
        return await documents.splice(splices) if splices else ()

    def _changed_files(self, base: str | None, incoming: str | None) -> list[bundle.Change]:
        """The files that differ, and will be files; blocking."""
        changes = bundle.diff(self.store, base, incoming)
        return [change for change in changes if change.new is not None and change.new.kind in "fx"]

    def _splices(self, changed: list[bundle.Change]) -> list[Splice]:
        """Those changes that a text document can take; blocking."""
        found = []
        for change in changed:
            if change.new is None or max(change.new.size, change.old.size if change.old else 0) > DOCUMENT_MAX:
                continue
            new = self.store.get(change.new.digest)
            is_file = change.old is not None and change.old.kind in "fx"
            old = self.store.get(change.old.digest) if change.old is not None and is_file else None
            if _is_text(new) and (old is None or _is_text(old)):
                found.append(Splice(change.path, old, new))
        return found

    async def _attach_step(self, target: Target) -> None:
        actor = self.actor
        await self._begin(target, "attach")
        await self._attach(target.data, actor.hosting.host)
        actor.hosting.save(data=target.data)
        self._note(target)
        actor.succeeded(Attempt.ATTACH)

    async def _attach(self, data: Version | None, host: Host | None) -> None:
        """Make the link to the data show *data*, or send it to where the host is."""
        actor = self.actor
        if isinstance(actor.engine, Carrier):
            await self._carry(actor.engine, data, host)
        elif data is None:
            actor.home.data.unlink(missing_ok=True)
        elif actor.spec.data_mode is DataMode.LINK and actor.spec.data is not None:
            await asyncio.to_thread(bundle.attach_link, actor.home.data, actor.spec.data)
        else:
            place = actor.home.root / "data-versions"
            await asyncio.to_thread(bundle.attach, self.store, place, actor.home.data, data.digest)

    async def _carry(self, engine: Carrier, data: Version | None, host: Host | None) -> None:
        """Send the data to an engine whose hosts see no directory of this machine."""
        actor = self.actor
        if data is not None and actor.spec.data_mode is DataMode.LINK:
            raise ConfigError(
                f"data_mode of {actor.spec.name} is link, and hosts of {actor.spec.engine} see no directory of yours",
                hint='write data_mode = "snapshot"',
            )
        content = StoredContent(self.store, data.digest, actor.home.root) if data is not None else None
        await engine.carry(actor.spec, content, host, actor.record.note)

    # -- writing down --------------------------------------------------------------------------------------

    async def _begin(self, target: Target, action: str) -> None:
        """The deployment that this step belongs to: the one in progress where it brings the same target."""
        if not self.actor.record.going_on(target, action):
            causes = await asyncio.to_thread(self._causes, target)
            self.actor.record.begin(target, causes, action)

    def _causes(self, target: Target) -> tuple[str, ...]:
        """What differs between what is served and *target*, for people."""
        live = self.actor.hosting.live
        if live.source is None:
            return ("[first start]",)
        if target.source == self.actor.intent.pinned_source:
            return ("[rollback]",)
        causes = bare(change.path for change in bundle.diff(self.store, live.source.digest, target.source.digest))
        causes += self._data_causes(live.data, target.data)
        if target.resources != live.resources:
            causes += ("[resources]",)
        return causes[:CAUSES] or ("[host ended]",)

    def _data_causes(self, old: Version | None, new: Version | None) -> tuple[str, ...]:
        if old == new:
            return ()
        if self.actor.spec.data_mode is DataMode.LINK or old is None or new is None:
            return ("[data]",)
        return tuple(f"data: {path}" for path in bare(c.path for c in bundle.diff(self.store, old.digest, new.digest)))

    def _note(self, target: Target) -> None:
        """Remember the versions that were deployed, for rollback and retention."""
        actor, now = self.actor, time.time()
        for kind, root, version in (("source", actor.source, target.source), ("data", actor.data, target.data)):
            if root is not None and root.scan is not None and version is not None:
                same = root.scan.version == version
                files, size = (root.scan.files, root.scan.bytes) if same else (0, 0)
                actor.journal.note_version(actor.spec.name, kind, version, files, size, now)


def _keep_texts(place: Path, spliced: tuple[Spliced, ...]) -> list[tuple[bytes, str]]:
    """Write what persons had in their tabs before those were changed below *place*; paths and files; blocking."""
    kept = []
    for document in spliced:
        if document.before is not None:
            file = os.path.join(os.fsencode(place), b"tabs", document.path)
            os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as copy:
                copy.write(document.before.encode("utf-8", "surrogateescape"))
                copy.flush()
                os.fsync(copy.fileno())
            kept.append((document.path, os.fsdecode(file)))
    return kept


def _is_text(content: bytes) -> bool:
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True

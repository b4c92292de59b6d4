"""Gathers one look: what is on disk, what is served, what is wanted. Decides nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from kaosd import bundle, planner
from kaosd.bundle import Scan
from kaosd.bundle.expected import Reading
from kaosd.declared import Choice, warnings
from kaosd.engines.base import Carrier
from kaosd.errors import KaosError
from kaosd.model import Environment, JobState, Progress, Stage, Version
from kaosd.notebook import data_link
from kaosd.notebook.record import bare
from kaosd.notebook.roots import Asked, Key, Prepared, Root
from kaosd.notebook.state import ActorState
from kaosd.notebook.work import WorkDirectory
from kaosd.planner import Attempt, HostFact, Target

CACHED = 32  # source versions whose environment digest is remembered


class Looking:
    """Looks for one notebook. Owned by its actor."""

    def __init__(self, actor: ActorState, work: WorkDirectory) -> None:
        self.actor = actor
        self._work = work
        self._environments: dict[Key, Asked] = {}
        self._reading = Reading(actor.shop.store)

    async def look(self) -> planner.Look:
        """All that a decision depends on."""
        actor = self.actor
        disk = await self._disk()
        look = planner.Look(
            now=asyncio.get_running_loop().time(),
            disk=disk,
            served=self.served(),
            host=actor.hosting.fact(),
            silent=actor.hosting.status.reason if actor.hosting.status else "",
            busy=actor.hosting.status.busy if actor.hosting.status else 0,
            building=actor.making.digest if actor.making else None,
            failures=actor.failures.known,
            pinned=await self._pinned(),
            paused=actor.intent.paused,
            now_please=actor.now_please,
            when_idle=actor.intent.when_idle,
            waiting_since=actor.waiting_since,
            cut_short=self.cut_short(),
            refused=actor.hosting.refused,
            damage=actor.hosting.damage,
            data_restarts=isinstance(actor.engine, Carrier),
            swap_when_idle=actor.spec.swap_when_idle,
            settle=actor.shop.settle,
            stopped=actor.intent.stopped,
            restart=actor.restarting,
            removed=actor.removed,
            draining=actor.draining,
        )
        return replace(look, built=await self._built(look))

    def served(self) -> planner.Served | None:
        """What is served now, or was when the host last ran."""
        live = self.actor.hosting.live
        if live.source is None or live.environment is None or live.resources is None:
            return None
        server = live.host.server if live.host is not None else live.environment.server
        return planner.Served(live.source, live.environment.digest, server, live.data, live.resources)

    def cut_short(self) -> frozenset[Attempt]:
        """Steps that were started and did not end, by this daemon or one before it."""
        live = self.actor.hosting.live
        begun = {
            Attempt.SYNC: live.syncing is not None,
            Attempt.ATTACH: live.attaching,
            Attempt.APPLY: live.applying,
        }
        return frozenset(attempt for attempt, is_begun in begun.items() if is_begun)

    def versions(self) -> tuple[Version | None, Version | None]:
        """Source and data as the last scans found them."""
        source, data = self.actor.source.scan, self.actor.data.scan if self.actor.data else None
        return source.version if source else None, data.version if data else None

    def saving(self) -> tuple[str, ...]:
        """Names of the files that were still being written when the last scans looked at them."""
        return bare(path for scan in self.actor.scans() for path in scan.saving)

    def inputs(self, source: Version) -> bundle.StoredInputs:
        """The environment inputs of a source version; blocking."""
        engine, spec = self.actor.engine, self.actor.spec
        return bundle.StoredInputs(
            self.actor.shop.store,
            source.digest,
            spec.environment_inputs,
            whole=engine.builds_bundle,
            owner=spec.name if isinstance(engine, Carrier) else None,
            choice=self._choice(),
            work=self.actor.home.work,
        )

    def root(self) -> str:
        """The directory of the source that is the notebook's root, "" for its top; blocking."""
        source = self.versions()[0] or self.actor.hosting.live.source
        return self.inputs(source).declared.root if source is not None else ""

    def progress(self) -> Progress | None:
        """How far the work in hand is; None while there is none."""
        actor = self.actor
        for root in actor.roots():
            if root.scan is None:
                files, size = root.scanner.progress
                text = f"reading {root.path}: {files} files, {size / 1e6:.1f} MB"
                return Progress(Stage.WATCH, text, actor.since)
        if actor.record.sending is not None:
            return actor.record.sending
        host = actor.record.jobs.get(Stage.HOST)
        if host is not None and host.state is JobState.STARTING and actor.stepping is not None:
            return actor.record.progress.get(Stage.HOST)
        return actor.record.progress.get(Stage.BUILD) if actor.making is not None else None

    def disk_inputs(self) -> bundle.StoredInputs | None:
        """The environment inputs on disk; None while the source is not read. Blocking."""
        source = self.versions()[0]
        return self.inputs(source) if source is not None else None

    async def environment_of(self, source: Version) -> str:
        """Digest of the environment inputs of a source version."""
        if self.actor.source.prepared is not None:
            self._remember(*self.actor.source.prepared)
        key = self._key(source)
        if key not in self._environments:
            self._remember(key, await asyncio.to_thread(self._asked, source))
        return self._environments[key].digest

    def asks_for(self, source: Version, environment: str) -> bool:
        """Whether *source*, with the settings as they are now, is known to ask for this environment."""
        asked = self._environments.get(self._key(source))
        return asked is not None and asked.digest == environment

    def warnings(self) -> tuple[str, ...]:
        """What a person must know of the notebook that is served, or else of the one that is to be."""
        live = self.actor.hosting.live
        source = live.source or self.versions()[0]
        asked = self._environments.get(self._key(source)) if source is not None else None
        notes = live.environment.notes if live.environment is not None else ()
        warned = (*asked.warnings, *self._expected(asked)) if asked is not None else ()
        return (*warned, *notes, *self._unlimited())

    def environment_file(self) -> str | None:
        """The file in the bundle that says what the served environment holds; None without one."""
        source = self.actor.hosting.live.source
        asked = self._environments.get(self._key(source)) if source is not None else None
        return asked.file if asked is not None else None

    def _expected(self, asked: Asked) -> tuple[str, ...]:
        """That the code expects data where it is not."""
        actor = self.actor
        told = data_link.warning(asked.reads, actor.engine.data_link, attached=actor.spec.data is not None)
        return (told,) if told is not None else ()

    def _unlimited(self) -> tuple[str, ...]:
        """That limits are not held, if some are set."""
        host, resources = self.actor.hosting.host, self.actor.spec.resources
        if host is None or (resources.cpu is None and resources.memory is None) or self.actor.engine.enforced(host):
            return ()
        return ("its limits are kept as well as possible, and nothing enforces them: kaosctl doctor says why",)

    def _asked(self, source: Version) -> Asked:
        inputs, engine = self.inputs(source), self.actor.spec.engine
        declared = inputs.declared
        reads = self._reading.expected(source.digest, declared.root)
        if engine != "process" and declared.dockerfile is not None:  # the image may have directories of its own
            reads = tuple(one for one in reads if not any(place.startswith(("/", "..")) for place in one.directories))
        return Asked(inputs.digest, warnings(declared, engine), declared.file, reads)

    def prepare(self, scan: Scan, few: bool) -> Prepared | None:
        """What is wanted next of what a scan of the source found, in its thread, since a change of threads costs.

        The environment digest, and what a sync will bring of *few* changes. None where that is not known: the step that
        needs it says why.
        """
        if scan.version is None:
            return None
        try:
            if few:
                self._work.prepare(scan.version)
            return self._key(scan.version), self._asked(scan.version)
        except KaosError:
            return None

    def _key(self, source: Version) -> Key:
        return source.digest, self.actor.spec.environment_inputs, self._choice()

    def _choice(self) -> Choice:
        spec = self.actor.spec
        return Choice(spec.environment, spec.extras, spec.groups)

    def _remember(self, key: Key, asked: Asked) -> None:
        if key not in self._environments:
            while len(self._environments) >= CACHED:
                del self._environments[next(iter(self._environments))]
            self._environments[key] = asked

    async def _disk(self) -> planner.Disk:
        """The two directories as the planner sees them."""
        actor, served = self.actor, self.served()
        live = actor.hosting.live
        source, data = self.versions()
        if source is None:
            target = replace(served.target, resources=actor.spec.resources) if served is not None else None
        else:
            target = await self._target(source, data)
        if target is not None and actor.data is not None:
            target = replace(target, data=data or live.data)
        elif target is not None:
            target = replace(target, data=None)
        return planner.Disk(
            target,
            self._directory("source", actor.source, live.source),
            planner.DirectoryState() if actor.data is None else self._directory("data", actor.data, live.data),
        )

    def _directory(self, kind: str, root: Root, served: Version | None) -> planner.DirectoryState:
        """One directory as the planner sees it. served: its version that was deployed last."""
        scan = root.scan
        if scan is None:
            return planner.DirectoryState(reading=True, problem=root.trouble)
        lost, force = self._lost(kind, scan, served), f"kaosctl redeploy {self.actor.spec.name} --force"
        return planner.DirectoryState(
            problem=scan.problem or root.trouble,
            guard=f"{lost}; bring back what is missing, or `{force}` when you mean it" if lost else None,
            brief=lost or "",
            accepted=scan.version in self.actor.accepted,
            saving=bare(scan.saving),
            git_busy=scan.git_busy,
            first=root.first,
            last=root.last,
            one=root.one,
        )

    async def _target(self, source: Version, data: Version | None) -> Target:
        return Target(source, await self.environment_of(source), data, self.actor.spec.resources)

    def _lost(self, kind: str, scan: Scan, served: Version | None) -> str | None:
        """What the mass-change guard says of one directory, against what was deployed last."""
        if scan.version is None or served is None or scan.version == served:
            return None
        lost = bundle.mass_change(self.actor.journal.files(self.actor.spec.name, kind, served), scan.files)
        if lost is None:
            return None
        is_gone = "is gone" if lost == "the only file" else "are gone"
        return f"{lost} of the {kind} directory {is_gone}"

    async def _pinned(self) -> Target | None:
        """What a rollback asked for; the pin goes when a directory differs from what it was then."""
        intent = self.actor.intent
        if intent.pinned_source is None:
            return None
        source, data = self.versions()
        unknown = data is None and self.actor.data is not None  # cannot be read now, or not yet
        if source not in (None, intent.pinned_over_source) or not (unknown or data == intent.pinned_over_data):
            self.actor.unpin()
            return None
        return await self._target(intent.pinned_source, intent.pinned_data)

    async def _built(self, look: planner.Look) -> tuple[Environment, ...]:
        """Those environments that exist, of the ones that this look can lead to."""
        wanted = {target.environment for target in (look.disk.target, look.pinned) if target is not None}
        if look.served is not None:
            if look.host is HostFact.RUNNING and not look.refused and not look.damage:
                wanted.discard(look.served.environment)
            else:
                wanted.add(look.served.environment)
        found = [await self.actor.engine.built(digest) for digest in sorted(wanted)]
        return tuple(environment for environment in found if environment is not None)

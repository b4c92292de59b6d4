"""Gathers one look: what is on disk, what is served, what is wanted. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from kaosd import bundle, planner
from kaosd.bundle import Scan
from kaosd.errors import KaosError
from kaosd.model import Environment, Version
from kaosd.notebook.record import bare
from kaosd.notebook.roots import Prepared
from kaosd.planner import Attempt, HostFact, Target

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

CACHED = 32  # source versions whose environment digest is remembered


class Looking:
    """Looks for one notebook. Owned by its actor."""

    def __init__(self, actor: Notebook) -> None:
        self.actor = actor
        self._environments: dict[tuple[str, tuple[str, ...]], str] = {}

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
            pinned=await self._pinned(disk),
            paused=actor.intent.paused,
            forced=actor.forced is not None and actor.forced == self.versions(),
            now_please=actor.now_please,
            waiting_since=actor.waiting_since,
            cut_short=self.cut_short(),
            refused=actor.hosting.refused,
            swap_when_idle=actor.spec.swap_when_idle,
            settle=actor.shop.settle,
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
        """Steps that were begun and did not end, by this daemon or one before it."""
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

    def inputs(self, source: Version) -> bundle.Inputs:
        """The environment inputs of a source version; blocking."""
        engine, spec = self.actor.engine, self.actor.spec
        whole, owner = engine.builds_bundle or not engine.live_sync, None if engine.live_sync else spec.name
        return bundle.Inputs(self.actor.shop.store, source.digest, spec.environment_inputs, whole=whole, owner=owner)

    async def durable(self) -> None:
        """Return when `versions` would outlive a power cut. StoreError when they cannot be written."""
        for root in self.actor.roots():
            await root.durable()

    def progress(self) -> str | None:
        """What the work in hand has come to, in words."""
        actor = self.actor
        for root in actor.roots():
            if root.scan is None:
                files, size = root.scanner.progress
                return f"reading {root.path}: {files} files, {size / 1e6:.1f} MB"
        return actor.record.sending or (actor.record.progress if actor.making is not None else None)

    def environment_paths(self) -> frozenset[bytes]:
        """Paths of the environment inputs on disk; blocking."""
        source = self.versions()[0]
        return frozenset(path for path, _ in self.inputs(source).files) if source is not None else frozenset()

    async def environment_of(self, source: Version) -> str:
        """Digest of the environment inputs of a source version."""
        if self.actor.source.prepared is not None:
            self._remember(*self.actor.source.prepared)
        key = self._key(source)
        if key not in self._environments:
            self._remember(key, (await asyncio.to_thread(self.inputs, source)).digest)
        return self._environments[key]

    def prepare(self, scan: Scan, few: bool) -> Prepared | None:
        """What is wanted next of what a scan of the source found, in its thread, since a change of threads costs.

        The environment digest, and what a sync will bring of *few* changes. None where it cannot be told: who wants it
        is told why.
        """
        if scan.version is None:
            return None
        try:
            if few:
                self.actor.steps.work.prepare(scan.version)
            return self._key(scan.version), self.inputs(scan.version).digest
        except KaosError:
            return None

    def _key(self, source: Version) -> tuple[str, tuple[str, ...]]:
        return source.digest, self.actor.spec.environment_inputs

    def _remember(self, key: tuple[str, tuple[str, ...]], digest: str) -> None:
        if key not in self._environments:
            while len(self._environments) >= CACHED:
                del self._environments[next(iter(self._environments))]
            self._environments[key] = digest

    async def _disk(self) -> planner.Disk:
        """The two directories as the planner sees them."""
        actor = self.actor
        roots = [root for root in (actor.source, actor.data) if root is not None]
        trouble = next((root.trouble for root in roots if root.trouble), None)
        scans = [root.scan for root in roots if root.scan is not None]
        if len(scans) < len(roots):
            return planner.Disk(None, problem=trouble)
        problem = next((scan.problem for scan in scans if scan.problem), trouble)
        source, data = self.versions()
        return planner.Disk(
            target=None if problem or source is None else await self._target(source, data),
            problem=problem,
            guard=self._guard(),
            saving=bare(path for scan in scans for path in scan.saving),
            git_busy=any(scan.git_busy for scan in scans),
            first=min((root.first for root in roots if root.first is not None), default=None),
            last=max((root.last for root in roots if root.last is not None), default=None),
            one=all(root.one for root in roots if root.last is not None),
        )

    async def _target(self, source: Version, data: Version | None) -> Target:
        return Target(source, await self.environment_of(source), data, self.actor.spec.resources)

    def _guard(self) -> str | None:
        """The mass-change guard's sentence, against what was deployed last."""
        actor, live = self.actor, self.actor.hosting.live
        served: Iterable[tuple[str, Scan | None, Version | None]] = (
            ("source", actor.source.scan, live.source),
            ("data", actor.data.scan if actor.data else None, live.data),
        )
        for kind, scan, version in served:
            if scan is None or scan.version is None or version is None or scan.version == version:
                continue
            before = actor.journal.files(actor.spec.name, kind, version)
            lost = bundle.mass_change(before, scan.files)
            if lost is not None:
                is_gone = "is gone" if lost == "the only file" else "are gone"
                return (
                    f"{lost} of the {kind} directory {is_gone}; bring back what is missing, or "
                    f"`kaosctl redeploy {actor.spec.name} --force` when you mean it"
                )
        return None

    async def _pinned(self, disk: planner.Disk) -> Target | None:
        """What a rollback asked for; the pin goes when the directories differ from what they were then."""
        intent = self.actor.intent
        if intent.pinned_source is None or disk.target is None:
            return None
        if (disk.target.source, disk.target.data) != (intent.pinned_over_source, intent.pinned_over_data):
            self.actor.unpin()
            return None
        return await self._target(intent.pinned_source, intent.pinned_data)

    async def _built(self, look: planner.Look) -> tuple[Environment, ...]:
        """Those environments that exist, of the ones that this look can lead to."""
        wanted = {target.environment for target in (look.disk.target, look.pinned) if target is not None}
        if look.served is not None:
            if look.host is HostFact.RUNNING and not look.refused:
                wanted.discard(look.served.environment)
            else:
                wanted.add(look.served.environment)
        found = [await self.actor.engine.built(digest) for digest in sorted(wanted)]
        return tuple(environment for environment in found if environment is not None)

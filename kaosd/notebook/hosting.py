"""The host of one notebook as the actor sees it: probed now and then, watched for its end, counted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace

import structlog

from kaosd.engines.base import Engine, Home
from kaosd.errors import KaosError
from kaosd.journal import Journal, Live
from kaosd.model import Host, HostStatus, LostKernels
from kaosd.notebook.resource_use import Sample, kept
from kaosd.planner import Attempt, HostFact, Target, about

PROBE_EVERY = 10.0  # seconds between probes of a host at rest
PROBE_SOON = 1.0  # seconds between probes while something waits for the answer
FRESH = 0.5  # seconds for which an answer is good enough for somebody who asks
STEADY = 60.0  # seconds that a host must have run for its earlier ends to be forgotten

log = structlog.get_logger("kaosd.notebook")


class Hosting:
    """What is served by which host. Owned by the actor; `live` is written to the journal whenever it changes.

    since: time of the last change of the host's state. poke: makes the actor look again.
    refused: what the present host cannot be given; see planner.Look.
    """

    def __init__(self, name: str, engine: Engine, journal: Journal, poke: Callable[[], None]) -> None:
        self.name = name
        self.engine = engine
        self.journal = journal
        self.poke = poke
        self.live: Live = journal.live(name)
        self.status: HostStatus | None = None
        self.since = time.time()
        self.probe_due: float | None = None
        self.refused: frozenset[tuple[Attempt, object]] = frozenset()
        self._ended: asyncio.Task[None] | None = None
        self.samples: list[Sample] = []  # of what the host has used, oldest first
        self._kernels: int | None = 0  # of the host when it last answered; None: it has not yet
        self._asked_at = 0.0
        self._unsaved = False

    @property
    def host(self) -> Host | None:
        """The host, as far as is known."""
        return self.live.host

    @property
    def damage(self) -> str:
        """What is wrong with the environment of a host that runs, as a sentence; "" when nothing is known to be."""
        return self.status.damage if self.status is not None and self.status.alive else ""

    def fact(self) -> HostFact:
        """What the planner needs to know."""
        if self.live.host is None:
            return HostFact.NONE
        if self.status is None:
            return HostFact.RUNNING
        if not self.status.alive:
            return HostFact.ENDED
        if self.status.lost:
            return HostFact.LOST
        return HostFact.RUNNING if self.status.answering else HostFact.SILENT

    def save(self, **changes: object) -> None:
        """Change what is served, and write it down."""
        self.live = replace(self.live, **changes)  # type: ignore[arg-type]
        self._unsaved = True
        self.journal.save_live(self.name, self.live)
        self._unsaved = False

    def save_again(self) -> None:
        """Write down what a full disk or a locked journal kept from being written."""
        if self._unsaved:
            self.save()

    def serve(self, host: Host, **changes: object) -> None:
        """Write down a host that has answered, and watch it."""
        before = self.live.host
        if before is None or before.started_at != host.started_at:
            self._kernels, self.samples = 0, []
        try:
            self.save(host=host, **changes)
        finally:
            self.refused, self.since = frozenset(), time.time()
            self.watch()

    def refuses(self, attempt: Attempt, target: Target) -> None:
        """The present host cannot be given what *attempt* would bring of *target*: only a new one can have it."""
        self.refused |= {(attempt, about(attempt, target))}

    def gone(self) -> None:
        """Write down that there is no host any more."""
        if self._ended is not None:
            self._ended.cancel()
        self.save(host=None)
        self.refused, self.status = frozenset(), None
        self._kernels, self.samples = 0, []
        self.since = time.time()
        self.probe_due = None

    async def adopt(self, home: Home) -> bool:
        """Find the host of an earlier daemon again, end its strays; False when a host was known and is gone."""
        known = self.live.host
        host = await self.engine.adopt(known.handle) if known is not None else None
        await self.engine.sweep(home, host)
        if known is None:
            return True
        if host is None:
            return False
        environment = self.live.environment
        if host.environment != known.environment:  # a switch that was not written down any more
            environment = await self.engine.built(host.environment) or environment
        digest = environment.digest if environment is not None else known.environment
        host = replace(host, environment=digest, server=known.server)
        self._kernels = None
        self.live = replace(self.live, host=host, environment=environment)
        self.since = host.started_at
        self.watch()
        log.info("host_adopted", notebook=self.name)
        return True

    def watch(self) -> None:
        """Poke when the host's process ends."""
        if self._ended is not None:
            self._ended.cancel()
        host = self.live.host
        if host is None:
            return

        async def ended() -> None:
            await self.engine.ended(host)
            self.probe_due = 0.0
            self.poke()

        self.status, self.probe_due = None, 0.0
        self._ended = asyncio.get_running_loop().create_task(ended(), name=f"host {self.name}")

    async def probe(self, *, soon: bool = False, now: bool = False) -> bool:
        """Ask the host how it is when that is due (or *now*); True when it has just been found ended."""
        host, loop = self.live.host, asyncio.get_running_loop()
        if host is None or (not now and self.probe_due is not None and loop.time() < self.probe_due):
            return False
        before = self.status
        status = await self.engine.probe(host)
        if status.moved is not None and self.live.host is host:  # what counts is how it is at its new address
            host = status.moved
            self.save(host=host)
            status = await self.engine.probe(host)
        if self.live.host is not host:  # another one has replaced it meanwhile
            return False
        self.status = status
        self._count(self.status)
        self.check_content(self.status)
        self._asked_at = loop.time()
        self.probe_due = loop.time() + (PROBE_SOON if soon or self.status.moved else PROBE_EVERY)
        return not self.status.alive and (before is None or before.alive)

    def _count(self, status: HostStatus) -> None:
        """Note what the host has used, and how many kernels it has."""
        now = asyncio.get_running_loop().time()
        if status.usage is not None:
            self.samples = kept([*self.samples, Sample(now, status.usage, status.kernel_usage)], now)
        if status.answering:
            self._kernels = status.kernels

    def losing(self, why: str) -> LostKernels | None:
        """The kernels that stop with the host now, and *why*; None when it has none."""
        return LostKernels(self._kernels, why, time.time()) if self._kernels != 0 else None

    def check_content(self, status: HostStatus) -> bool:
        """Whether the host holds the code that was brought there, by its own word; else that has to be brought again.

        It does not after an end that was not caused here: a node was drained, a pod was killed.
        """
        if not status.answering or status.holds is None or self.live.syncing is not None:
            return True
        if self.live.model_tree is None or status.holds == (self.live.model_tree,):
            return True
        log.info("host_holds_other_code", notebook=self.name, holds=status.holds)
        self.save(syncing=self.live.model_tree)
        return False

    async def freshen(self) -> None:
        """Bring the status up to date for a caller; anything but good news is left to the actor."""
        host, loop = self.live.host, asyncio.get_running_loop()
        if host is None or self.status is None or loop.time() - self._asked_at < FRESH:
            return
        status = await self.engine.probe(host)
        if self.live.host is not host:
            return
        before = self.damage
        if status.answering:
            self.status, self._asked_at = status, loop.time()
            self._count(status)
        if not status.answering or self.damage != before:
            self.probe_due = 0.0
            self.poke()

    def ended_unasked(self) -> tuple[KaosError, bool]:
        """Write down that the host is gone without our doing; why, and whether it had run for long."""
        reason = self.status.reason if self.status is not None and self.status.reason else "its process is gone"
        steady = time.time() - self.since > STEADY
        lost = self.losing(f"JupyterLab ended: {reason}") if self.live.host is not None else self.live.lost
        self.gone()
        self.save(restarts=self.live.restarts + 1, lost=lost)
        return KaosError(f"the host ended: {reason}", retryable=True), steady

    async def end(self, grace: float) -> None:
        """Stop the host because another engine is to host; one that cannot be asked now is left, and reported."""
        if self.live.host is not None:
            try:
                await self.engine.stop(self.live.host, grace)
            except KaosError as error:
                log.warning("host_left_behind", notebook=self.name, error=str(error))
        lost = self.losing("JupyterLab was replaced for another engine")
        self.gone()
        self.save(lost=lost)

    def close(self) -> None:
        """Stop watching; the host keeps running."""
        if self._ended is not None:
            self._ended.cancel()

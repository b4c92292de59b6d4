"""An engine without processes, which can fail or be the place of a kill at any of its calls; and a journal alike."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path
from typing import Any

from kaosd.engines.base import Home, Inputs, Log, Order
from kaosd.errors import EngineError, StoreError
from kaosd.journal import Journal, Live
from kaosd.model import Environment, Host, HostStatus, NotebookSpec, Resources

SERVERS = {"plain": "server-1", "more": "server-1", "other": "server-2"}  # by the word in requirements.txt


class Killed(BaseException):
    """kill -9, as far as the code of the daemon is concerned."""


class Fate:
    """Counts the calls of journal and engine, and lets one of them fail, or be the last one of this daemon.

    after: the call is made first. dead: nothing that the dying daemon still does has any effect.
    """

    def __init__(self) -> None:
        self.spare()

    def spare(self) -> None:
        """Nothing happens any more."""
        self.at, self.kill, self.after, self.dead, self.count = 0, False, False, False, 0

    def threaten(self, at: int, *, kill: bool, after: bool) -> None:
        """Strike at the *at*-th call from now."""
        self.at, self.kill, self.after, self.count = at, kill, after, 0

    def strikes(self, error: Exception, *, after: bool) -> None:
        """One call, before or after it is made."""
        if self.dead:
            raise Killed
        self.count += not after
        if self.count == self.at and self.after == after:
            self.at = 0
            if self.kill:
                self.dead = True
                raise Killed
            raise error


class Mortal(Journal):
    """A journal whose writes can be struck."""

    fate: Fate

    def save_live(self, notebook: str, live: Live) -> None:
        full = StoreError("the disk is full")
        self.fate.strikes(full, after=False)
        super().save_live(notebook, live)
        self.fate.strikes(full, after=True)


class Still:
    """See `Engine`. hosts: those that run, by number, each as environment, resources."""

    name = "process"
    builds_bundle = False
    data_link: str | None = None

    def __init__(self, fate: Fate) -> None:
        self.fate = fate
        self.made: dict[str, Environment] = {}
        self.hosts: dict[int, list[Any]] = {}
        self.most = 0
        self._numbers = itertools.count(1)

    def _before(self) -> None:
        self.fate.strikes(EngineError("struck", retryable=True), after=False)

    def _after(self) -> None:
        self.fate.strikes(EngineError("struck", retryable=True), after=True)

    async def built(self, digest: str) -> Environment | None:
        return self.made.get(digest)

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        self._before()
        await asyncio.sleep(0)
        with tempfile.TemporaryDirectory() as place:
            inputs.export(Path(place))
            word = (Path(place) / "model" / "requirements.txt").read_text().split()[1]
        self.made[inputs.digest] = Environment(inputs.digest, word, SERVERS[word])
        self._after()
        return self.made[inputs.digest]

    async def start(self, order: Order, log: Log) -> Host:
        self._before()
        number = next(self._numbers)
        self.hosts[number] = [order.environment.digest, order.spec.resources]
        self.most = max(self.most, len(self.hosts))
        try:
            self._after()
        except EngineError:
            del self.hosts[number]
            raise
        return Host("unix:/nowhere", order.environment.digest, order.environment.server, 1.0, {"number": number})

    async def switch(self, host: Host, order: Order) -> Host | None:
        self._before()
        self.hosts[host.handle["number"]][0] = order.environment.digest
        if self.fate.kill:
            self._after()
        return Host(host.upstream, order.environment.digest, host.server, 1.0, host.handle)

    async def apply(self, host: Host, resources: Resources) -> bool:
        self._before()
        self.hosts[host.handle["number"]][1] = resources
        self._after()
        return True

    async def reaches(self, host: Host, linked: Path | None) -> bool:
        return True

    async def probe(self, host: Host) -> HostStatus:
        alive = host.handle["number"] in self.hosts
        return HostStatus(alive, alive)

    async def stop(self, host: Host, grace: float) -> None:
        if not self.fate.dead:
            self.hosts.pop(host.handle["number"], None)

    async def adopt(self, handle: dict[str, Any]) -> Host | None:
        found = self.hosts.get(handle["number"])
        return Host("unix:/nowhere", found[0], "", 1.0, handle) if found is not None else None

    async def sweep(self, home: Home, host: Host | None) -> None:
        keep = host.handle["number"] if host is not None else None
        self.hosts = {number: one for number, one in self.hosts.items() if number == keep}

    async def ended(self, host: Host) -> None:
        await asyncio.Event().wait()

    async def forget(self, home: Home) -> None:
        self.hosts.clear()

    async def collect(self, keep: frozenset[str]) -> None:
        return None

    def enforced(self, host: Host) -> bool:
        return False

    def check(self, resources: Resources) -> None:
        return None

"""What is known of one notebook: the parts that its actor, its looks, its steps and its work directory share.

It knows none of these. Everything here belongs to the event loop.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Literal

import structlog

from kaosd import bundle, planner
from kaosd.bundle import Scan
from kaosd.logging_setup import secret
from kaosd.model import DataMode, NotebookSpec, Version
from kaosd.notebook.failures import Failures
from kaosd.notebook.hosting import Hosting
from kaosd.notebook.making import Making
from kaosd.notebook.record import Record
from kaosd.notebook.roots import Root
from kaosd.notebook.workshop import Workshop


class ActorState:
    """One notebook as it is wanted, found and written down."""

    def __init__(self, spec: NotebookSpec, shop: Workshop) -> None:
        self.spec = spec
        self.shop = shop
        self.home = shop.home(spec.name)
        self.token = secret(self.home.token_file.read_text())
        self.engine = shop.engines[spec.engine]
        self.journal = shop.journal
        self.log = structlog.get_logger("kaosd.notebook").bind(notebook=spec.name)
        self._poked = asyncio.Event()
        self.record = Record(spec.name, shop.journal, self.home.logs, shop.settle.quiet, shop.counters)
        self.hosting = Hosting(spec.name, self.engine, shop.journal, self.poke)
        self.intent = self.journal.intent(spec.name)
        self.source: Root = self._root("source")
        self.data: Root | None = self._root("data") if spec.data is not None else None
        self.making: Making | None = None
        self.failures = Failures(shop.backoff_cap)
        self.stepping: planner.Step | None = None
        self.removed = self.draining = self.now_please = self.restarting = False
        self.start_cause = ""  # why the next host is started, when a person asked for it
        self.accepted: frozenset[Version | None] = frozenset()  # content that the person wants although much is gone
        self.waiting_since: float | None = None
        self.since = time.time()  # when the state that is shown began

    def poke(self) -> None:
        """Look again soon."""
        self._poked.set()

    def roots(self) -> list[Root]:
        """The watched directories."""
        return [root for root in (self.source, self.data) if root is not None]

    def scans(self) -> list[Scan]:
        """The latest scans."""
        return [root.scan for root in self.roots() if root.scan is not None]

    async def durable(self) -> None:
        """Return when what the scans found would outlive a power cut. StoreError when it cannot be written."""
        for root in self.roots():
            await root.durable()

    def unpin(self) -> None:
        """Follow the directories again after a rollback."""
        self.intend(pinned_source=None, pinned_data=None, pinned_over_source=None, pinned_over_data=None)

    def intend(self, **wishes: Version | bool | str | None) -> None:
        """Write down what a person wants; see Intent."""
        self.intent = replace(self.intent, **wishes)  # type: ignore[arg-type]
        self.journal.save_intent(self.spec.name, self.intent)
        self.poke()

    def _root(self, kind: Literal["source", "data"]) -> Root:
        path = self.spec.data if kind == "data" else self.spec.source
        linked = kind == "data" and self.spec.data_mode is DataMode.LINK
        scanner = bundle.Scanner(path or self.shop.empty, self.shop.store, kind="link" if linked else kind)
        watcher = self.shop.watcher if path is not None else None
        return Root(f"{kind}:{self.spec.name}", path or self.shop.empty, scanner, watcher, self.poke)

"""What is kept of the past: versions, contents and environments that nobody can come back to are dropped."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import structlog

from kaosd import bundle
from kaosd.errors import StoreError
from kaosd.notebook.workshop import Workshop

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

log = structlog.get_logger(__name__)
KEEP_ENVIRONMENTS = 3  # newest environments of a notebook that are not collected


async def collect(shop: Workshop, actors: Mapping[str, Notebook]) -> None:
    """Drop what no notebook of *actors*, which are all, can come back to."""
    for name, actor in actors.items():
        protected = {v.digest for v in (actor.hosting.live.source, actor.hosting.live.data) if v is not None}
        protected |= {v.digest for v in (actor.intent.pinned_source, actor.intent.pinned_data) if v is not None}
        shop.journal.prune(name, shop.keep_versions, protected)
        await asyncio.to_thread(actor.record.trim)
    keep = await kept_environments(shop, actors.values())  # told from contents that the sweep may drop
    swept = await asyncio.to_thread(_sweep, shop, list(actors.values()))
    log.info("collected", contents=swept.contents, bytes=swept.bytes)
    for engine in shop.engines.values():
        await engine.collect(keep)


async def kept_environments(shop: Workshop, actors: Iterable[Notebook]) -> frozenset[str]:
    """Digests of the environments that some notebook uses, is pinned to, or was lately deployed with."""
    keep: set[str] = set()
    for actor in list(actors):
        keep |= await _environments(shop, actor)
    return frozenset(keep)


async def _environments(shop: Workshop, actor: Notebook) -> set[str]:
    live, pinned = actor.hosting.live, actor.intent.pinned_source
    keep = {live.environment.digest} if live.environment is not None else set()
    recent = [one.version for one in shop.journal.versions(actor.spec.name, "source")]
    for source in (*recent[:KEEP_ENVIRONMENTS], pinned, actor.looking.versions()[0]):
        if source is not None:
            with contextlib.suppress(StoreError):  # nobody can come back to a version that the store has lost
                keep.add(await actor.looking.environment_of(source))
    return keep | ({actor.making.digest} if actor.making is not None else set())


def _sweep(shop: Workshop, actors: list[Notebook]) -> bundle.Swept:
    """Drop the contents that no version, scan or host refers to; blocking."""
    store = shop.store
    store.forget(store.cached() - {root.scanner.key for actor in actors for root in actor.roots()})
    with store.holding():  # what scans put while the roots are listed stays
        scanned = {scan.tree for actor in actors for scan in actor.scans() if scan.tree is not None}
        return store.sweep(shop.journal.roots() | scanned)

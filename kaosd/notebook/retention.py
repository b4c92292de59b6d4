"""What is kept of the past: versions, contents and environments that cannot be returned to are dropped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import structlog

from kaosd import bundle
from kaosd.errors import EngineError, StoreError
from kaosd.journal import Intent, Live
from kaosd.model import Version
from kaosd.notebook.past import Past, kept_versions
from kaosd.notebook.workshop import Workshop

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

log = structlog.get_logger(__name__)
KEEP_ENVIRONMENTS = 3  # newest environments of a notebook that are not collected


async def collect(shop: Workshop, actors: Mapping[str, Notebook]) -> None:
    """Drop what no notebook of *actors*, which are all, can come back to."""
    for name, actor in list(actors.items()):
        prune(shop, name, actor.hosting.live, actor.intent)
        await asyncio.to_thread(actor.record.trim)
    keep = await kept_environments(shop, actors.values())  # told from contents that the sweep may drop
    swept = await asyncio.to_thread(_sweep, shop, actors)
    log.info("collected", contents=swept.contents, bytes=swept.bytes)
    keep |= await kept_environments(shop, actors.values())  # and of what was saved meanwhile, perhaps built already
    for engine in shop.engines.values():
        try:
            await engine.collect(keep)
        except (EngineError, OSError) as error:  # the others' turn comes all the same
            log.warning("environments_not_collected", engine=engine.name, error=str(error))


def prune(shop: Workshop, name: str, live: Live, intent: Intent) -> None:
    """Forget the versions of a notebook that are neither new, live, pinned or the one before, nor of an hour or day."""
    before = Past(shop.journal, name, live).before()
    used = [live.source, live.data, intent.pinned_source, intent.pinned_data]
    used += [before.source, before.data] if before is not None else []
    protected = {version.digest for version in used if version is not None}
    for kind in ("source", "data"):
        versions = shop.journal.versions(name, kind)
        shop.journal.prune(name, kind, kept_versions(versions, time.time(), shop.keep_versions, protected))


async def kept_environments(shop: Workshop, actors: Iterable[Notebook]) -> frozenset[str]:
    """Digests of the environments that some notebook uses, is pinned to, or was lately deployed with."""
    keep: set[str] = set()
    for actor in list(actors):
        keep |= await _environments(shop, actor)
    return frozenset(keep)


async def _environments(shop: Workshop, actor: Notebook) -> set[str]:
    live, pinned = actor.hosting.live, actor.intent.pinned_source
    keep = {live.environment.digest} if live.environment is not None else set()
    keep |= {actor.making.digest} if actor.making is not None else set()
    for source in (pinned, actor.looking.versions()[0]):
        keep |= await _environment(actor, source) if source is not None else set()
    recent: set[str] = set()
    for one in shop.journal.versions(actor.spec.name, "source"):
        if len(recent) < KEEP_ENVIRONMENTS:
            recent |= await _environment(actor, one.version)
    return keep | recent


async def _environment(actor: Notebook, source: Version) -> set[str]:
    """The digest of a version's environment; there is no return to a version that the store has lost."""
    try:
        return {await actor.looking.environment_of(source)}
    except StoreError:
        return set()


def _sweep(shop: Workshop, all_actors: Mapping[str, Notebook]) -> bundle.Swept:
    """Drop the contents that no version, scan or host refers to; blocking."""
    store, actors = shop.store, list(all_actors.values())
    store.forget(store.cached() - {root.scanner.key for actor in actors for root in actor.roots()})
    with store.holding():  # what scans put while the roots are listed stays
        scanned = {scan.tree for actor in actors for scan in actor.scans() if scan.tree is not None}
        return store.sweep(shop.journal.roots() | scanned)


def is_kept(store: bundle.Store, version: Version, served: Version | None) -> bool:
    """Whether the whole tree of a version is still in the store, and what differs from *served* undamaged; blocking."""
    try:
        for change in bundle.diff(store, served.digest if served is not None else None, version.digest, set()):
            if change.new is not None and change.new.kind != "d":
                store.check(change.new.digest)
        return all(entry.digest in store for _, entry in bundle.walk(store, version.digest))
    except StoreError:
        return False

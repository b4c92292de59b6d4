"""What may be asked about the files of a notebook: how they differ from others, and to bring contents back or over."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kaosd.notebook import differing, kept, restore, restore_all
from kaosd.notebook.between import between
from kaosd.notebook.environment_file import add_requirements
from kaosd.notebook.pulling import Wish, pull
from kaosd.notebook.resetting import reset
from kaosd.registry import Registry


class FileChanges:
    """Differences of files, and wishes to write some."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def edits(self, name: str) -> dict[str, Any]:
        """The edits made in a notebook, against what is deployed."""
        return await differing.edits(self.registry.actor(name))

    async def diff(self, name: str, path: str | None) -> dict[str, Any]:
        """The same with what differs in each file, or in those at *path*."""
        return await differing.diff(self.registry.actor(name), path)

    async def between(self, name: str, first: int, last: int) -> dict[str, Any]:
        """What differs between two deployments of a notebook: files, packages, data."""
        return await between(self.registry.actor(name), first, last)

    async def since_copy(self, name: str, copy: str) -> dict[str, Any]:
        """What differs between a copy that was kept and the notebook's file."""
        actor = self.registry.actor(name)
        copies = await asyncio.to_thread(kept.all_copies, self.registry.shop.journal, name, self._recovered(name))
        return await differing.since_copy(actor, copies, copy)

    async def recovered(self, name: str) -> dict[str, Any]:
        """Copies of edits that were ever kept, also of a notebook that is not there any more."""
        found = await asyncio.to_thread(kept.all_copies, self.registry.shop.journal, name, self._recovered(name))
        if not found:
            self.registry.actor(name)
        return {"recovered": kept.listed(found, self._recovered(name))}

    async def restore(self, name: str, wanted: str | None) -> dict[str, Any]:
        """Bring a copy of a person's edits back into the host; None: the newest copy of each path."""
        actor = self.registry.actor(name)
        return await restore(actor, wanted) if wanted is not None else await restore_all(actor)

    async def clear(self, name: str) -> dict[str, Any]:
        """Delete all copies of edits of a notebook, which need not be there any more."""
        async with contextlib.AsyncExitStack() as stack:
            if name in self.registry.actors:  # no other copy is kept meanwhile
                await stack.enter_async_context(self.registry.actors[name].steps.writing)
            elif not await asyncio.to_thread(kept.all_copies, self.registry.shop.journal, name, self._recovered(name)):
                self.registry.actor(name)
            cleared = await asyncio.to_thread(kept.clear, self.registry.shop.journal, name, self._recovered(name))
            if name in self.registry.actors:
                self.registry.actors[name].record.recovered = 0
                self.registry.actors[name].record.kept = ()
        self.registry.shop.journal.append("cleared", name, {"copies": cleared}, time.time())
        self.registry.shop.news.tell()
        return {"cleared": cleared}

    def _recovered(self, name: str) -> Path:
        """Where copies of edits of a notebook lie."""
        return self.registry.shop.state_dir / "notebooks" / name / "recovered"

    async def pull(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Write edits made in a notebook into its source directory. fields: paths, force, dry_run, strip_outputs."""
        strip = fields["strip_outputs"]
        wish = Wish(tuple(fields["paths"]), force=fields["force"], dry_run=fields["dry_run"], strip=strip)
        return await pull(self.registry.actor(name), wish)

    async def reset(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Bring the deployed version of files back into a notebook. fields: paths, dry_run."""
        return await reset(self.registry.actor(name), fields["paths"], dry_run=fields["dry_run"])

    async def add(self, name: str, packages: Sequence[str]) -> dict[str, Any]:
        """Write requirements into the environment file in use; the save is noticed and built like any other."""
        return await add_requirements(self.registry.actor(name), packages)

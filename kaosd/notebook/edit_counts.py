"""The edits made in one notebook: what differs between its files and what is deployed there.

They are looked for while nothing else is to be done: some time after a deployment, now and then, and when somebody
asks. A comparison stops for a save, and takes a thousandth of the time between two of them.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import structlog

from kaosd import bundle
from kaosd.bundle import EditSurvey, Entry, HostedEdit
from kaosd.bundle.copying import read_all
from kaosd.bundle.openat import opened
from kaosd.bundle.tree import join
from kaosd.engines.base import Carrier, Engine, Home, HostFiles
from kaosd.errors import ConflictError, KaosError
from kaosd.hosted import podtree
from kaosd.hosted.states import State, alike
from kaosd.model import NotebookSpec
from kaosd.notebook import cells, data_link
from kaosd.notebook.diffs import NOTEBOOK_LARGE
from kaosd.notebook.elsewhere import Digests
from kaosd.notebook.hosting import Hosting
from kaosd.notebook.record import Record
from kaosd.notebook.roots import Root
from kaosd.notebook.workshop import Workshop
from kaosd.planner import Step

SOON = 1.0  # seconds after a deployment
EVERY, SHARE = 5.0, 1000  # seconds between two looks at least, and times what the last one took
ASKED_EVERY, ASKED_SHARE = 1.0, 50  # the same when somebody asks for the status
PATIENCE = 10.0  # seconds that somebody who must know waits for a deployment to end
KINDS = ("edited", "new", "deleted")

log = structlog.get_logger(__name__)
Found = tuple[HostedEdit, ...]


class Counted(Protocol):
    """What is known of the notebook whose edits are counted."""

    spec: NotebookSpec
    shop: Workshop
    home: Home
    engine: Engine
    hosting: Hosting
    record: Record
    source: Root
    stepping: Step | None


class EditCounts:
    """See the module. Owned by the event loop. counts: edits by kind as last seen; None while they are not known."""

    def __init__(self, actor: Counted) -> None:
        self.actor = actor
        self.looks = 0  # that came to an end
        self._digests = Digests(actor.shop.store, actor.home.root)
        self._survey = EditSurvey(actor.shop.store, actor.home.work, self._ignored, self._equal)
        self._counts: dict[str, int] | None = None
        self._tree: str | None = None  # that the last look compared with
        self._task: asyncio.Task[Found | None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at, self._cost = float("-inf"), 0.0
        self._closed = False
        self._rules: object = None
        self._top = b""  # the notebook's root in the source directory

    @property
    def counts(self) -> dict[str, int] | None:
        """See the class; those of another version are not known where looking costs requests."""
        tree = self.actor.hosting.live.model_tree
        if tree is None or (isinstance(self.actor.engine, Carrier) and tree != self._tree):
            return None
        return self._counts

    def rest(self) -> None:
        """The notebook is at rest: look soon after a deployment, else when it is time again."""
        if self._closed or self.actor.hosting.host is None or isinstance(self.actor.engine, Carrier):
            return
        loop = asyncio.get_running_loop()
        fresh = self.actor.hosting.live.model_tree != self._tree
        at = loop.time() + SOON if fresh else self._at + max(EVERY, SHARE * self._cost)
        if self._timer is None or at < self._timer.when():
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(at, self._due)

    async def close(self) -> None:
        """Compare no longer; a comparison in its thread is waited for."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    async def freshen(self) -> None:
        """Compare again for a caller of the status, if the last comparison is not of just now."""
        age = asyncio.get_running_loop().time() - self._at
        if age > max(ASKED_EVERY, ASKED_SHARE * self._cost) and not isinstance(self.actor.engine, Carrier):
            await asyncio.shield(self._begin())

    async def look(self) -> tuple[str, Found]:
        """The edits as they are now, and the tree that they are compared with.

        ConflictError while what is deployed is not known: at first, and while a deployment is being written.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + PATIENCE
        while True:
            seen = self.actor.shop.news.number
            if self._task is not None:  # began before this call
                await asyncio.shield(self._task)
            found = await asyncio.shield(self._begin(patient=True))
            if found is not None and self._tree is not None:
                return self._tree, found
            try:
                async with asyncio.timeout_at(until):
                    await self.actor.shop.news.after(seen)
            except TimeoutError:
                name = self.actor.spec.name
                text = f"notebook {name!r} is being brought up to date, or was never deployed; try again after that"
                raise ConflictError(text, hint=f"kaosctl wait {name}") from None

    async def recount(self) -> None:
        """Look again after something was done about the edits; where that fails, what was known stays for a while."""
        if self._task is not None:
            await asyncio.shield(self._task)
        try:
            await asyncio.shield(self._begin(patient=True))
        except KaosError as error:
            log.warning("edits_unknown", notebook=self.actor.spec.name, error=str(error))

    def _due(self) -> None:
        """The timer."""
        self._timer = None
        if not self._closed and not self._busy():
            self._begin().add_done_callback(lambda _: self.rest())

    def _begin(self, *, patient: bool = False) -> asyncio.Task[Found | None]:
        """The comparison in progress, or one that starts now. patient: it does not stop for a save."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(
                self._look(patient), name=f"edits {self.actor.spec.name}"
            )
        return self._task

    async def _look(self, patient: bool) -> Found | None:
        """One look; None when what it found may be of two versions, or it gave way."""
        loop = asyncio.get_running_loop()
        began, live = loop.time(), self.actor.hosting.live
        try:
            if live.model_tree is None or live.syncing is not None:
                return None
            found = await self._find(live.model_tree, patient)
            now = self.actor.hosting.live
            if found is None or (now.model_tree, now.syncing) != (live.model_tree, None):
                return None
            self._tree, self._at, self._cost = live.model_tree, loop.time(), loop.time() - began
            self._tell(found)
        except OSError as error:
            log.warning("edits_unknown", notebook=self.actor.spec.name, error=str(error))
            return None
        except KaosError:
            if patient:
                raise
            return None
        else:
            return found
        finally:
            self._task = None

    async def _find(self, tree: str, patient: bool) -> Found | None:
        engine, host = self.actor.engine, self.actor.hosting.host
        if not isinstance(engine, Carrier):
            stopped = (lambda: self._closed) if patient else self._busy
            found = await asyncio.to_thread(self._find_here, tree, stopped)
            return found and tuple(one for one in found if not self._is_link(one))
        files = engine.files(host) if host is not None else None
        return await self._find_there(files, tree) if files is not None else None

    def _find_here(self, tree: str, stopped: Callable[[], bool]) -> Found | None:
        scanner = self.actor.source.scanner
        self._top = scanner.top
        if scanner.rules != self._rules:  # other names count now
            self._rules = scanner.rules
            self._survey = EditSurvey(self.actor.shop.store, self.actor.home.work, self._ignored, self._equal)
        return self._survey.run(tree, stopped)

    async def _find_there(self, files: HostFiles, tree: str) -> Found | None:
        """The same for a host that sees no directory of this machine."""
        if await files.holds() != (tree,):
            return None
        there = await files.look(None)
        self._top = await asyncio.to_thread(lambda: self.actor.source.scanner.top)
        return await asyncio.to_thread(self._differing, there, tree)

    def _differing(self, there: dict[bytes, State | None], tree: str) -> Found:
        store, digests = self.actor.shop.store, self._digests
        deployed = {
            path: entry
            for path, entry in bundle.walk(store, tree)
            if entry.kind != "d" and not podtree.CACHES & set(path.split(b"/"))
        }
        found = list[HostedEdit]()
        for path in sorted(deployed.keys() | there.keys()):
            hosted, entry = there.get(path), deployed.get(path)
            is_file = hosted is not None and hosted.kind in "fxl"
            if entry is not None and not is_file:
                found.append(HostedEdit(path, "deleted", entry))
            elif entry is not None and not alike(hosted, digests.state(entry)):
                found.append(HostedEdit(path, "edited", entry))
            elif entry is None and is_file and not self._left_out(path):
                found.append(HostedEdit(path, "new", None))
        return tuple(found)

    def _left_out(self, path: bytes) -> bool:
        parts = path.split(b"/")
        above = (b"/".join(parts[:length]) for length in range(1, len(parts)))
        return self._ignored(path, False) or any(self._ignored(one, True) for one in above)

    def _tell(self, found: Found) -> None:
        """Remember the counts, and tell of others."""
        kinds = Counter[str](one.kind for one in found)
        counts = {kind: kinds[kind] for kind in KINDS}
        before, self._counts = self._counts, counts
        self.looks += 1
        if counts != before:
            if before is not None or found:
                self.actor.record.event("edits", **counts)
            self.actor.shop.news.tell()

    def _busy(self) -> bool:
        """Whether something is to be done that a person waits for; any thread may ask."""
        source = self.actor.source
        return self._closed or self.actor.stepping is not None or source.unread or source.looking

    def _ignored(self, path: bytes, is_dir: bool) -> bool:
        """Whether the rules of the source leave out a path of the notebook."""
        return self.actor.source.scanner.ignored(join(self._top, path), is_dir)

    def _is_link(self, one: HostedEdit) -> bool:
        return os.fsdecode(one.path) == data_link.NAME and data_link.is_ours(Path(self.actor.home.work))

    def _equal(self, parent: int, path: bytes, entry: Entry) -> bool:
        """Whether a notebook only differs from what was deployed by what opening it writes."""
        if not path.endswith(b".ipynb") or entry.kind not in "fx" or entry.size > NOTEBOOK_LARGE:
            return False
        with opened(path.rpartition(b"/")[2], os.O_RDONLY, dir_fd=parent) as descriptor:
            size = os.fstat(descriptor).st_size
            hosted = read_all(descriptor, size) if size <= NOTEBOOK_LARGE else b""
        return is_same_notebook(self.actor.shop.store.get(entry.digest), hosted)


def is_same_notebook(old: bytes, new: bytes) -> bool:
    """Whether two contents are notebooks between which nothing differs that a person or a cell has made."""
    before, after = cells.parse(old), cells.parse(new)
    return before is not None and after is not None and cells.same(before, after)

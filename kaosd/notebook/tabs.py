"""What tabs have in the documents that are open in them, which is what the person means, saved or not."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NamedTuple

from kaosd import bundle
from kaosd.bundle import HostedEdit
from kaosd.errors import ConflictError, ContentLost, DocumentHeld
from kaosd.notebook.diffs import too_large
from kaosd.notebook.edit_counts import is_same_notebook
from kaosd.notebook.open_documents import Documents, InTab, Keep, Splice

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

TRIES = 5  # while saves come one after another


class Tabs:
    """The documents that were open when `of` was called. held: those whose tab did not say what it holds, with why."""

    def __init__(
        self, documents: Documents | None, texts: Mapping[bytes, InTab], held: Mapping[bytes, DocumentHeld]
    ) -> None:
        self._documents = documents
        self._texts = texts
        self._held = held

    @classmethod
    async def of(cls, actor: Notebook) -> Tabs:
        """Those of the notebook's host, none without one; what is shared is saved then. ConflictError: no answer."""
        host = actor.hosting.host
        if host is None:
            return cls(None, {}, {})
        documents = await actor.steps.work.documents(host)
        texts, held = dict[bytes, InTab](), dict[bytes, DocumentHeld]()
        try:
            paths = await documents.open()
        except DocumentHeld as error:
            raise _refusal(error) from error
        for path in sorted(paths):
            try:
                if (in_tab := await documents.text(path)) is not None:
                    texts[path] = in_tab
            except DocumentHeld as error:
                held[path] = error
        return cls(documents, texts, held)

    def text(self, path: bytes) -> InTab | None:
        """What the tab has; None when the document is not open. ConflictError when the tab did not say."""
        if path in self._held:
            raise _refusal(self._held[path]) from self._held[path]
        return self._texts.get(path)

    def unsaved(self) -> dict[bytes, bytes]:
        """The contents of documents whose file may not have them."""
        return {path: one.text.encode("utf-8", "surrogatepass") for path, one in self._texts.items() if not one.saved}

    async def change(self, splice: Splice, keep: Keep) -> frozenset[bytes]:
        """Change one document that is open; its path when that is done, or may be. ConflictError when it is held."""
        if self._documents is None:
            return frozenset()
        outcome = await self._documents.splice([splice], keep)
        if outcome.held:
            raise _refusal(DocumentHeld("; ".join(outcome.held.values())))
        return outcome.done | outcome.doubtful


class CurrentEdits(NamedTuple):
    """The edits against the deployed *tree*, those that are only in a tab among them, sorted by path."""

    tree: str
    tabs: Tabs
    found: tuple[HostedEdit, ...]


@asynccontextmanager
async def editing(actor: Notebook) -> AsyncIterator[CurrentEdits]:
    """The edits, while nothing is deployed. ConflictError when the tabs do not answer, or deployments do not end.

    A save does not wait for tabs that are asked.
    """
    for _ in range(TRIES):
        edits = await current_edits(actor, strict=True)
        async with actor.steps.writing:
            live = actor.hosting.live
            if (live.model_tree, live.syncing) == (edits.tree, None):
                yield edits
                return
    name = actor.spec.name
    text = f"notebook {name!r} is being brought up to date; try again after that"
    raise ConflictError(text, hint=f"kaosctl wait {name}")


async def current_edits(actor: Notebook, *, strict: bool) -> CurrentEdits:
    """The edits as they are now.

    strict: ConflictError when the tabs do not answer; else only the files count then.
    """
    try:
        tabs = await Tabs.of(actor)
    except ConflictError:
        if strict:
            raise
        tabs = Tabs(None, {}, {})
    tree, found = await actor.edits.look()
    unsaved = tabs.unsaved()
    if not unsaved:
        return CurrentEdits(tree, tabs, found)
    edited = {one.path for one in found}
    more = await asyncio.to_thread(
        lambda: [_only_in_tab(actor, tree, path, text) for path, text in unsaved.items() if path not in edited]
    )
    every = sorted((*found, *(one for one in more if one is not None)), key=lambda one: one.path)
    return CurrentEdits(tree, tabs, tuple(every))


def _only_in_tab(actor: Notebook, tree: str, path: bytes, text: bytes) -> HostedEdit | None:
    """The edit that a tab holds of a file which is as deployed; None when it is not an edit. Blocking."""
    store = actor.shop.store
    try:
        entry = bundle.lookup(store, tree, path)
        if entry is None or entry.kind not in "fx" or too_large(os.fsdecode(path), entry.size):
            return None
        deployed = store.get(entry.digest)
    except ContentLost:
        return None
    return None if means_the_same(deployed, text) else HostedEdit(path, "edited", entry, len(text), None)


def means_the_same(saved: bytes, text: bytes) -> bool:
    """Whether a tab's text is what the file holds: line ends and the form of a notebook are the file's own."""
    return text in (saved, saved.replace(b"\r\n", b"\n")) or is_same_notebook(saved, text)


def _refusal(error: DocumentHeld) -> ConflictError:
    return ConflictError(str(error), hint="look at its tab, or close it")

"""What tabs have in the documents that are open in them, for those who must know before they write something else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kaosd.errors import ConflictError, DocumentHeld
from kaosd.notebook.documents import Documents, InTab, Keep, Splice

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook


class Tabs:
    """The documents that were open when `of` was called. ConflictError when a tab does not answer."""

    def __init__(self, documents: Documents | None, paths: frozenset[bytes]) -> None:
        self._documents = documents
        self._paths = paths

    @classmethod
    async def of(cls, actor: Notebook) -> Tabs:
        """Those of the notebook's host; none without one."""
        host = actor.hosting.host
        if host is None:
            return cls(None, frozenset())
        documents = await actor.steps.work.documents(host)
        try:
            return cls(documents, await documents.open())
        except DocumentHeld as error:
            raise _refusal(error) from error

    async def text(self, path: bytes) -> InTab | None:
        """What the tab has; None when the document is not open."""
        if self._documents is None or path not in self._paths:
            return None
        try:
            return await self._documents.text(path)
        except DocumentHeld as error:
            raise _refusal(error) from error

    async def change(self, splice: Splice, keep: Keep) -> frozenset[bytes]:
        """Change one document that is open; its path when that is done, or may be."""
        if self._documents is None:
            return frozenset()
        outcome = await self._documents.splice([splice], keep)
        if outcome.held:
            raise _refusal(DocumentHeld("; ".join(outcome.held.values())))
        return outcome.done | outcome.doubtful


def _refusal(error: DocumentHeld) -> ConflictError:
    return ConflictError(str(error), hint="look at its tab, or close it")

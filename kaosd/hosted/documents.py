"""Server extension: documents that are open in a tab, changed as one more editor of the shared document.

GET  <base_url>kaosd/documents        the documents that are open now
POST <base_url>kaosd/documents/apply  bring a change to one of them, and save it

A change on disk would overwrite what was typed in the second before; a splice of the shared document overwrites
nothing. Without jupyter-collaboration no document is shared, and these answers say so.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

from jupyter_server.auth.decorator import authorized
from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tornado import ioloop, web

_LATE = 2.0  # seconds; typed text reaches the disk within twice that, even while a cell prints
_LAST_SAVE = 5.0  # seconds for saving open documents when the server ends


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    root = url_path_join(server.base_url, "kaosd", "documents")
    shared = _shared(server)
    routes = [(root, OpenDocuments), (url_path_join(root, "apply"), ApplyChange)]
    server.web_app.add_handlers(".*$", [(path, handler, {"shared": shared}) for path, handler in routes])
    if shared:
        ioloop.PeriodicCallback(shared.Overdue(server).save, _LATE * 1000).start()
        server.cleanup_extensions = partial(_save_first, shared.save_all, server, server.cleanup_extensions)


async def _save_first(save_all: Any, server: Any, cleanup: Any) -> None:
    """Save what was typed in the last second, which jupyter_server_ydoc would drop when it ends."""
    try:
        await asyncio.wait_for(save_all(server), _LAST_SAVE)
    except asyncio.TimeoutError:  # noqa: UP041 (another one in Python 3.9)
        server.log.warning("Open documents could not be saved within %.0f s", _LAST_SAVE)
    await cleanup()


def _shared(server: Any) -> Any:
    """The module `rooms`, or None when documents are not shared here."""
    if not server.extension_manager.extension_apps.get("jupyter_server_ydoc"):
        return None
    try:
        from . import rooms  # noqa: PLC0415 (needs packages that are not everywhere)
    except ImportError as error:
        server.log.warning("Open documents cannot be changed with this jupyter-collaboration: %s", error)
        return None
    return rooms


class _Handler(APIHandler):
    auth_resource = "contents"

    def initialize(self, shared: Any) -> None:
        self.shared = shared


class OpenDocuments(_Handler):
    """{"shared": whether documents are shared at all, "documents": [{"path", "type", "clients"}]}."""

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Answer with the documents that a tab is connected to."""
        documents = [
            {"path": path, "type": "notebook" if room.file_type == "notebook" else "file", "clients": len(room.clients)}
            for path, room in (self.shared.rooms(self.serverapp) if self.shared else ())
            if room.clients
        ]
        self.finish(json.dumps({"shared": self.shared is not None, "documents": documents}))


class ApplyChange(_Handler):
    """{"path", "base": text or null, "incoming": text} → {"applied", …}.

    Applied: "conflict" (something of the document gave way), "before" (its text, if it held edits that were not in
    base) and "saved". Not applied: "reason"; then the document is not open, and the file may be written.
    """

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Bring the change to every room of the path (a notebook may be open as a text as well)."""
        change = self.get_json_body()
        if not _well_formed(change):
            raise web.HTTPError(400, 'send {"path": text, "base": text or null, "incoming": text}')
        path = change["path"].strip("/")
        applied = []
        reason = f"{path} is not open"
        for place, room in list(self.shared.rooms(self.serverapp)) if self.shared else ():
            if place == path:
                try:
                    applied.append(await self.shared.apply(room, change["base"], change["incoming"]))
                except self.shared.Unreadable as error:
                    reason = f"{path}: {error}"
        self.finish(json.dumps(_summary(applied) if applied else {"applied": False, "reason": reason}))


def _well_formed(change: Any) -> bool:
    return (
        isinstance(change, dict)
        and isinstance(change.get("path"), str)
        and isinstance(change.get("incoming"), str)
        and isinstance(change.get("base"), (str, type(None)))
    )


def _summary(applied: list[Any]) -> dict[str, Any]:
    before = [change.before for change in applied if change.before is not None]
    return {
        "applied": True,
        "conflict": any(change.conflict for change in applied),
        "saved": all(change.saved for change in applied),
        **({"before": before[0]} if before else {}),
    }

"""Server extension: documents that are open in a tab, changed there and not on disk.

GET  <base_url>kaosd/documents        the documents that are open now
POST <base_url>kaosd/documents/apply  bring a change to one of them, and save it
POST <base_url>kaosd/documents/ask    whether one of them could take a change now; changes nothing
POST <base_url>kaosd/documents/text   what one of them holds now; it is saved first where it is shared
WS   <base_url>kaosd/documents/line   apply and ask, over a connection that stays open
WS   <base_url>kaosd/desk             the open pages themselves, see desk.py

A change on disk would overwrite what was typed in the second before; a splice of the open document overwrites
nothing. With jupyter-collaboration we are one more editor of the shared document (rooms.py); without it the page
carries the change out (desk.py), and where that cannot be the change is held.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from importlib import metadata
from typing import Any

from jupyter_server.auth.decorator import authorized, ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from jupyter_server.utils import url_path_join
from tornado import ioloop, web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from . import bytecode, handover
from .desk import Desk, Held, Page
from .keeping import Unkept
from .parsing import Unreadable

_FORM = 'send {"path": text, "base": text or null, "incoming": text, "kept": list of digests or null}'
_LATE = 2.0  # seconds; typed text reaches the disk within twice that, even while a cell prints
_LINE = 2**20  # bytes of one message over the line; more comes in a request
_LAST_SAVE = 5.0  # seconds for saving open documents when the server ends


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": __name__}]


def _load_jupyter_server_extension(server: Any) -> None:
    root = url_path_join(server.base_url, "kaosd", "documents")
    shared = _shared(server)
    desk = Desk(_version("jupyterlab") or "", _version("jupyter_server_ydoc") if shared else None)
    answers = Answers(server, shared, desk)
    pages = {"desk": desk, "bring": partial(handover.bring, server, shared)}
    routes = [
        (root, OpenDocuments, {"answer": answers.documents}),
        (url_path_join(root, "apply"), Question, {"answer": answers.apply}),
        (url_path_join(root, "ask"), Question, {"answer": answers.ask}),
        (url_path_join(root, "text"), Question, {"answer": answers.text}),
        (url_path_join(root, "line"), Line, {"answers": answers}),
        (url_path_join(server.base_url, "kaosd", "desk"), Page, pages),
    ]
    server.web_app.add_handlers(".*$", routes)
    if hasattr(server.contents_manager, "register_post_save_hook"):  # a notebook may bring a manager of its own
        server.contents_manager.register_post_save_hook(bytecode.saved)
    if shared:
        shared.keep_strangers(desk.expire)
        ioloop.PeriodicCallback(shared.Overdue(server).save, _LATE * 1000).start()
    leave = partial(_leave, server, shared, desk)
    server.web_app.settings["kaosd_leave"] = leave
    handover.orderly_end(server, leave)


async def _leave(server: Any, shared: Any, desk: Desk, why: str = "") -> None:
    """Tell the pages (why), and save what was typed in the last second, which jupyter_server_ydoc would drop."""

    async def leave() -> None:
        await desk.tell_at_last({"do": "left", "saved": await shared.leave(server)})

    desk.tell({"do": "leaving", "why": why})
    if not shared:
        return
    try:
        await asyncio.wait_for(leave(), _LAST_SAVE)
    except asyncio.TimeoutError:  # noqa: UP041 (another one in Python 3.9)
        server.log.warning("Open documents could not be saved within %.0f s", _LAST_SAVE)


def _version(package: str) -> str | None:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _shared(server: Any) -> Any:
    """The module `rooms`, or None when documents are not shared here."""
    if not server.extension_manager.extension_apps.get("jupyter_server_ydoc"):
        return None
    try:
        from . import histories, rooms  # noqa: PLC0415 (need packages that are not everywhere)
    except ImportError as error:
        server.log.warning("Open documents cannot be changed with this jupyter-collaboration: %s", error)
        return None
    histories.continue_histories()
    return rooms


class Answers:
    """What the daemon is answered, whichever way it asks."""

    def __init__(self, server: Any, shared: Any, desk: Desk) -> None:
        self._server, self._shared, self._desk = server, shared, desk

    def documents(self) -> dict[str, Any]:
        """{"shared": whether documents are shared at all, "documents": [{"path", "type", "clients"}]}.

        They are those that a tab is connected to. type: "notebook" or "file"; "page" when it is open in a page
        without being shared.
        """
        documents = [
            {"path": path, "type": "notebook" if room.file_type == "notebook" else "file", "clients": len(room.clients)}
            for path, room in self._rooms()
            if room.clients
        ]
        known = {document["path"] for document in documents}
        documents += [
            {"path": path, "type": "page", "clients": pages}
            for path, pages in self._desk.open().items()
            if path not in known
        ]
        return {"shared": self._shared is not None, "documents": documents}

    async def apply(self, change: Any) -> dict[str, Any]:
        """{"path", "base": text or null, "incoming": text, "kept": [digest, …]} → {"applied", …}.

        Brings the change to every room of the path (a notebook may be open as a text as well), or to the page.
        Applied: "conflict" (something of the document gave way), "before" (its text, if it held edits that were not
        in base) and "saved". Not applied: "reason"; then the document is not open, and the file may be written,
        unless "held": then it is open where it cannot be changed now, and the file must be left alone; or unless
        "before" is there: then that text is to be kept, and the change to be asked for again (see keeping.py; never
        without "kept").
        """
        if not _well_formed(change):
            raise web.HTTPError(400, _FORM)
        path, kept = change["path"].strip("/"), change.get("kept")
        applied = []
        reason = f"{path} is not open"
        try:
            for place, room in list(self._rooms()):
                if place == path:
                    applied.append(await self._shared.apply(room, change["base"], change["incoming"], kept))
            applied = applied or await self._desk.apply(path, change["base"], change["incoming"], kept)
        except Unreadable as error:
            reason = f"{path}: {error}"
        except Unkept as error:
            return {"applied": False, "before": error.before, "reason": f"{path}: {error}"}
        except Held as error:
            return {"applied": False, "held": True, "reason": f"{path}: {error}"}
        return _summary(applied) if applied else {"applied": False, "reason": reason}

    async def ask(self, asked: Any) -> dict[str, Any]:
        """{"path"} → {"held": whether a page that has it open cannot take a change now, "reason"}.

        A document that is shared is in the server itself, and never held.
        """
        path = _path_of(asked)
        try:
            if not any(place == path for place, _ in self._rooms()):
                await self._desk.ask(path)
        except Held as error:
            return {"held": True, "reason": f"{path}: {error}"}
        return {"held": False}

    async def text(self, asked: Any) -> dict[str, Any]:
        """{"path"} → {"open": whether it is open in a tab, "text": what it holds, "saved": whether the file has it}.

        "held" and "reason" when a page that has it open does not say what it holds. "text" is missing for a kind of
        document that is not text.
        """
        path = _path_of(asked)
        try:
            for place, room in list(self._rooms()):
                if place == path and room.clients:
                    saved, text = await self._shared.saved(room)
                    return {"open": True, "saved": saved, **({"text": text} if text is not None else {})}
            text = await self._desk.text(path)
        except Held as error:
            return {"open": True, "held": True, "reason": f"{path}: {error}"}
        return {"open": False} if text is None else {"open": True, "saved": False, "text": text}

    def _rooms(self) -> Any:
        return self._shared.rooms(self._server) if self._shared else ()


class _Handler(APIHandler):
    auth_resource = "contents"

    def initialize(self, answer: Any) -> None:
        """answer: one of Answers."""
        self._answer = answer


class OpenDocuments(_Handler):
    """See Answers.documents."""

    @web.authenticated
    @authorized
    def get(self) -> None:
        """Answer."""
        self.finish(json.dumps(self._answer()))


class Question(_Handler):
    """See Answers.apply and Answers.ask."""

    @web.authenticated
    @authorized
    async def post(self) -> None:
        """Answer."""
        self.finish(json.dumps(await self._answer(self.get_json_body())))


class Line(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """A line that the daemon keeps open: {"do": "apply" or "ask", …} → what Answers says, one after another.

    A save waits for its answer, and a message costs a fraction of a request. Whatever cannot be answered closes it.
    """

    auth_resource = "contents"
    max_message_size = _LINE
    ping_interval = 0  # nothing wakes the two while nothing is saved; each sees at once when the other ends

    def initialize(self, answers: Answers) -> None:
        """answers: what is said."""
        self._answers = {"apply": answers.apply, "ask": answers.ask}

    @ws_authenticated
    async def get(self, *arguments: Any, **named: Any) -> None:
        """Become a websocket, for those whom the server knows."""
        await super().get(*arguments, **named)

    async def on_message(self, message: Any) -> None:
        """Answer."""
        asked = json.loads(message)
        answer = await self._answers[asked["do"]](asked)
        try:
            self.write_message(json.dumps(answer))
        except WebSocketClosedError:
            self.log.debug("The daemon has gone")


def _path_of(asked: Any) -> str:
    """The path that a question is about."""
    if not isinstance(asked, dict) or not isinstance(asked.get("path"), str):
        raise web.HTTPError(400, 'send {"path": text}')
    return str(asked["path"]).strip("/")


def _well_formed(change: Any) -> bool:
    return (
        isinstance(change, dict)
        and isinstance(change.get("path"), str)
        and isinstance(change.get("incoming"), str)
        and isinstance(change.get("base"), (str, type(None)))
        and isinstance(change.get("kept"), (list, type(None)))
    )


def _summary(applied: list[Any]) -> dict[str, Any]:
    before = [change.before for change in applied if change.before is not None]
    return {
        "applied": True,
        "conflict": any(change.conflict for change in applied),
        "saved": all(change.saved for change in applied),
        **({"before": before[0]} if before else {}),
    }

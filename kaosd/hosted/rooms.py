"""Changes to documents that are open. Needs jupyter-collaboration.

A room (of jupyter_server_ydoc) holds the live document of one file; its clients are the tabs. A change is spliced
in while nothing is awaited, so no keystroke falls in between; the room's lock keeps its own reloads away meanwhile.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from jupyter_server_ydoc.handlers import YDocWebSocketHandler
from jupyter_server_ydoc.rooms import DocumentRoom
from jupyter_server_ydoc.utils import SERVER_SESSION, OutOfBandChanges
from jupyter_ydoc import YNotebook, YUnicode

from .keeping import Kept
from .live import LiveNotebook, LiveText, SharedDocument
from .parsing import Unreadable, written

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

_OPENING = 5.0  # seconds that a room may take to read its document; the daemon waits 10 for an answer
_DRAINED = 100  # looks, 10 ms apart, at whether all that pages sent was taken
_LIVE = "_kaosd_live"  # where a room has its document as we change it
_TURNS = 3  # of the event loop until a change is on its way to the pages, before its save keeps the loop busy
_ATTEMPTS = 3  # of saving, when the file on disk changes again and again


class Applied(NamedTuple):
    """conflict: something of the document gave way. before: its text, if it held edits that were not in base."""

    conflict: bool
    before: str | None
    saved: bool


def rooms(server: Any) -> Iterator[tuple[str, DocumentRoom]]:
    """All rooms with a document in memory, each with the path of its file below the root."""
    for app in server.extension_manager.extension_apps["jupyter_server_ydoc"]:
        for room in list(app.ywebsocket_server.rooms.values()):
            if isinstance(room, DocumentRoom):
                try:
                    yield room._file.path, room
                except RuntimeError:
                    continue  # the file was deleted, and with it its path


async def apply(room: DocumentRoom, base: str | None, incoming: str, kept: Kept = None) -> Applied:
    """Bring the change base→incoming to the document of *room*, and save it at once.

    Raises Unreadable when the document is of another kind, or *incoming* is not a document of its kind; Unkept when
    it holds edits that are not *kept*.
    """
    if not await _opened(room):
        raise Unreadable("the document is still being opened")
    document = live_of(room)
    try:
        old = None if base is None else document.parse(base)
    except Unreadable:
        old = None
    new = document.parse(incoming)
    async with room._update_lock:
        change = document.splice(old, new, kept)
        pending = room._saving_document
        if pending is not None:
            pending.cancel()  # it may have read one half before and one half after; what follows saves it all
    for _ in range(_TURNS):
        await asyncio.sleep(0)
    saved = await _save(room, partial(_take_over, room, document, old))
    return Applied(change.conflict, change.before, saved)


async def saved(room: DocumentRoom) -> tuple[bool, str | None]:
    """Save a document at once: whether its file has it now, and what it holds (see text_of)."""
    if not await _opened(room) or text_of(room) is None:
        return False, None
    done = not room._document.dirty and room not in _waiting_of([room])
    return done or await _save(room, room._on_outofband_change), text_of(room)


async def _opened(room: DocumentRoom) -> bool:
    """Whether a room has read its document, which is waited for a while."""
    try:
        if not room.ready:
            await asyncio.wait_for(room.ready_event.wait(), _OPENING)
    except asyncio.TimeoutError:  # noqa: UP041 (another one in Python 3.9)
        return False
    return True


class Overdue:
    """Saves documents whose own save is put off again and again, because a cell prints all the time."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self._waited: set[DocumentRoom] = set()

    async def save(self) -> None:
        """Save the documents that already waited for their save when this was called before."""
        waiting = _waiting(self._server)
        overdue = waiting & self._waited
        self._waited = waiting - overdue
        for room in overdue:
            await _save(room, room._on_outofband_change)


async def leave(server: Any) -> dict[str, str]:
    """Take nothing of the pages any more, and save all documents with their histories; what is saved, by path.

    What is typed from now on stays in the page, which brings it to the next server when it connects there.
    """
    clients = [client for _, room in rooms(server) for client in room.clients]
    for client in clients:
        client.on_message = _ignore
    for _ in range(_DRAINED):  # what has come is taken in turn; there is no event for that
        if all(client._message_queue.empty() for client in clients):
            break
        await asyncio.sleep(0.01)
    await asyncio.gather(*(_save(room, room._on_outofband_change) for room in _waiting(server)))
    saved = {path: text_of(room) for path, room in rooms(server) if room.ready and not room._document.dirty}
    # A history is written update by update, each some time after it was made.
    stores = [(room.ystore, room.ydoc) for _, room in rooms(server) if room.ystore is not None and room.ready]
    await asyncio.gather(*(store.encode_state_as_update(document) for store, document in stores))
    return {path: text for path, text in saved.items() if text is not None}


def text_of(room: DocumentRoom) -> str | None:
    """What a room holds, as the text of a file; None when it is of a kind that is not changed."""
    try:
        content = live_of(room).get()
    except Unreadable:
        return None
    return written(content) if isinstance(content, dict) else content


async def _ignore(_message: str | bytes) -> None:
    """The on_message of a page that is to connect to the next server."""


class _Stranger(Exception):
    """A page's session was made by a server that shares documents in another way, or is not known."""


def keep_strangers(found: Callable[[], None]) -> None:
    """Leave the sockets of strangers open and unserved, and report them.

    jupyter_server_ydoc would close them, and the page would then ask the person to reload it at once, without
    what was typed since it lost its own server. Instead the page hands that over and loads itself again.
    """
    opened = YDocWebSocketHandler.open

    def refuse(code: int | None = None, reason: str | None = None) -> None:
        raise _Stranger(code, reason)

    async def open_(self: Any, room_id: str) -> None:
        own = self.get_query_argument("sessionId", "") == SERVER_SESSION
        if own or not isinstance(self.room, DocumentRoom):
            await opened(self, room_id)
            return
        early: list[str | bytes] = []  # what a stranger says must not reach the room
        self.close, self.on_message = refuse, early.append
        try:
            await opened(self, room_id)
        except _Stranger:
            self._message_queue.put_nowait(b"")  # ends its service, if that has begun
            self.on_message = _ignore
            if not self.room.ready:  # it was made for the stranger, and would take changes of the file for its content
                self._cleanup_delay = 0
                await self._clean_room()
                self.room = None
            found()
        else:
            del self.on_message
            for message in early:
                await self.on_message(message)
        finally:
            del self.close

    YDocWebSocketHandler.open = open_


def _waiting(server: Any) -> set[DocumentRoom]:
    return _waiting_of([room for _, room in rooms(server)])


def _waiting_of(found: list[DocumentRoom]) -> set[DocumentRoom]:
    """Those whose own save is due."""
    saves = ((room, room._saving_document) for room in found)
    return {room for room, save in saves if save is not None and not save.done()}


def live_of(room: DocumentRoom) -> SharedDocument:
    """The document of a room, the same one each time. Raises Unreadable for a kind that is not changed."""
    live: SharedDocument | None = vars(room).get(_LIVE)
    if live is None:
        live = vars(room)[_LIVE] = _live(room)
    return live


def _live(room: DocumentRoom) -> SharedDocument:
    document = room._document
    if isinstance(document, YNotebook):
        return LiveNotebook(document)
    if isinstance(document, YUnicode) and room.file_format == "text":
        return LiveText(document)
    raise Unreadable(f"the document is open as {room.file_format} {room.file_type}")


def _content(room: DocumentRoom) -> Any:
    """What a document of any kind holds, as the content of its file."""
    try:
        return live_of(room).get()
    except Unreadable:
        return room._document.get()


async def _save(room: DocumentRoom, take_over: Callable[[], Awaitable[None]]) -> bool:
    """Write the document to its file by the room's own loader, which then knows that the change was its own.

    The room's save cannot be used: the next keystroke cancels it. When somebody else changed the file since it was
    read, *take_over* brings that change to the document first.
    """
    for _ in range(_ATTEMPTS):
        content = _content(room)
        model = {"format": room.file_format, "type": room.file_type, "content": content}
        try:
            saved = await room._file.maybe_save_content(model)
        except OutOfBandChanges:
            await take_over()
            continue
        except Exception:
            room.log.exception("Saving %s failed", room._document.path)
            return False
        if saved:
            async with room._update_lock:
                room._document.hash = saved["hash"]  # or pages take the file for changed by somebody else
                if _content(room) == content:
                    room._document.dirty = False
        return saved is not None
    return False


async def _take_over(room: DocumentRoom, document: SharedDocument, base: Any) -> None:
    """Bring what is on disk to the document; a change whose *base* is unknown is replaced by the document."""
    model = await room._file.load_content(room.file_format, room.file_type)
    if base is not None:
        async with room._update_lock:
            document.splice(base, model["content"])

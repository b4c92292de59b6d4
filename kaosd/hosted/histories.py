"""What is new in a file comes into its document by splices, where jupyter_server_ydoc would replace the content.

Replaced content is new text by another author: what pages typed meanwhile would be taken back, or be there twice.
Needs jupyter-collaboration.
"""

from __future__ import annotations

import asyncio
import json
import os
from functools import partial
from typing import TYPE_CHECKING, Any

from jupyter_server.utils import ensure_async
from jupyter_server_ydoc.loaders import FileLoader
from jupyter_server_ydoc.rooms import DocumentRoom
from jupyter_ydoc import YNotebook

from .handover import keep_beside
from .parsing import Unreadable
from .rooms import live_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_FRESH = ".new"  # what is being written
_KNOWN, _BEFORE = (
    "_kaosd_known",
    "_kaosd_before",
)  # contents, as JSON, of the file by format and type: now, and until then


def continue_histories() -> None:
    """From now on let documents continue from what they hold."""
    initialize, load, save = DocumentRoom.initialize, FileLoader.load_content, FileLoader._save_content

    async def initialize_(room: DocumentRoom) -> None:
        if "aset" not in vars(room._document):
            room._document.aset = partial(_bring, room, room._document.aset)
        if room.ready:
            return
        before = await _hash(room._file)
        await initialize(room)
        if before == await _hash(room._file):
            await _remember(room, before)

    async def load_content(loader: FileLoader, form: str, kind: str) -> dict[str, Any]:
        model: dict[str, Any] = await load(loader, form, kind)
        _note(loader, (form, kind), json.dumps(model["content"]))
        return model

    async def save_content(loader: FileLoader, model: dict[str, Any], *more: Any) -> dict[str, Any]:
        saved: dict[str, Any] = await save(loader, model, *more)
        content = json.dumps(model["content"])
        _note(loader, (model["format"], model["type"]), content)
        _write(_place(loader, model["format"], model["type"]), saved["hash"], content)
        return saved

    DocumentRoom.initialize = initialize_
    FileLoader.load_content, FileLoader._save_content = load_content, save_content


def _note(loader: FileLoader, key: tuple[str, str], content: str) -> None:
    known = vars(loader).setdefault(_KNOWN, {})
    vars(loader).setdefault(_BEFORE, {})[key] = known.get(key)
    known[key] = content


async def _bring(room: DocumentRoom, replace: Callable[[Any], Awaitable[None]], content: Any) -> None:
    """Bring the *content* of the file to the document; *replace* it where nothing is known of its past."""
    document = room._document
    try:
        live = live_of(room)
    except Unreadable:
        await replace(content)
        return
    base = vars(room._file).get(_BEFORE, {}).get((room.file_format, room.file_type))
    if not (len(document.ycells) if isinstance(document, YNotebook) else document.get()):
        await replace(content)
    elif base is not None:
        live.splice(json.loads(base), content)
    elif await _ahead(room):
        room._saving_document = asyncio.create_task(room._maybe_save_document(room._saving_document))
    else:
        await _catch_up(room, live, content)


async def _catch_up(room: DocumentRoom, live: Any, content: Any) -> None:
    """Bring the *content* of a file that was changed while no server ran, after one that was killed before its save.

    What is in the history alone stays; where the file changed the same lines it wins, and the text is saved beside it.
    """
    document = room._document
    base = _read(_place(room._file, room.file_format, room.file_type), document.hash)
    change = live.splice(document.get() if base is None else base, content)
    if change.conflict:
        await keep_beside(room._file._contents_manager, room._file.path, room.file_type, change.before)
    if document.get() != content:
        room._saving_document = asyncio.create_task(room._maybe_save_document(room._saving_document))


async def _remember(room: DocumentRoom, known: str) -> None:
    """Write into the document and its history which content of the file, by its hash, is in it.

    Else only its first save would tell that, and a server that is killed before could not know who is ahead.
    """
    if room._document.hash == known or room._saving_document is not None:  # the document is ahead of the file
        return
    room._document.hash = known
    key = (room.file_format, room.file_type)
    _write(_place(room._file, *key), known, vars(room._file)[_KNOWN][key])
    if room.ystore is not None:  # it does not see changes yet
        await room.ystore.encode_state_as_update(room.ydoc)


async def _ahead(room: DocumentRoom) -> bool:
    """Whether the file is still what this document, which comes from its history, was saved to or read from last."""
    return bool(await _hash(room._file) == room._document.hash)


async def _hash(loader: FileLoader) -> str:
    model = await ensure_async(loader._contents_manager.get(loader.path, content=False, require_hash=True))
    return str(model["hash"])


def _place(loader: FileLoader, form: str, kind: str) -> str:
    """Where the contents are, by hash, that a document was saved to or read from last: the bases of a merge."""
    return os.path.join(os.environ["JUPYTER_DATA_DIR"], "saved_documents", f"{loader.file_id}-{form}-{kind}")


def _write(place: str, known: str, content: str) -> None:
    """Remember *content*, which is JSON, and the one before: the document may not know yet that it is saved."""
    os.makedirs(place, exist_ok=True)
    earlier = [entry for entry in os.scandir(place) if entry.name not in (known, _FRESH)]
    fresh = os.path.join(place, _FRESH)
    with open(fresh, "w", encoding="utf-8") as file:
        file.write(content)
    os.replace(fresh, os.path.join(place, known))
    for entry in sorted(earlier, key=lambda entry: entry.stat().st_mtime_ns)[:-1]:
        os.unlink(entry.path)


def _read(place: str, known: str | None) -> Any:
    """The content of this hash; None when no document was saved to it, or the machine went down."""
    if not known:
        return None
    try:
        with open(os.path.join(place, known), encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return None

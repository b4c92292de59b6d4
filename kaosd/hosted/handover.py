"""From one server of a notebook to the next: what was typed meanwhile."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from jupyter_server.utils import ensure_async
from tornado import web

from .merge import merge_notebooks
from .parsing import Unreadable, parse_notebook, parse_text, written
from .text import Edit, merge_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable


async def bring(
    server: Any, shared: Any, path: str, kind: str, base: str | None, sure: bool | None, text: str
) -> str | None:
    """Save what a page of an earlier server holds of *path* and could not save there; the error, if it cannot be.

    base: what the page had when it was saved last. What was saved since is merged; where both touch the same
    lines the disk wins, and the page's text is saved beside it first. sure: the base is known to have been on disk;
    else what the disk seems to have taken away may never have been there. shared: the module rooms, or None.
    """
    try:
        merged, conflict, less = await _merged(server, path, kind, base, text)
        if conflict or (less and not sure):
            await keep_beside(server.contents_manager, path, kind, text)
        for place, room in list(shared.rooms(server)) if shared else ():
            if place == path and room.ready:
                await shared.apply(room, shared.text_of(room), written(merged) if kind == "notebook" else merged)
                return None
        await _save(server.contents_manager, path, kind, merged)
    except (Unreadable, web.HTTPError, OSError) as error:
        server.log.warning("%s of an earlier page cannot be saved: %s", path, error)
        return str(error)
    return None


async def _merged(server: Any, path: str, kind: str, base: str | None, text: str) -> tuple[Any, bool, bool]:
    """The page's text and the disk's, whether the page's gave way somewhere, and whether it lost something."""
    mine = _parse(kind, text)
    form = "json" if kind == "notebook" else "text"
    try:
        model = await ensure_async(server.contents_manager.get(path, type=kind, format=form))
    except web.HTTPError as error:
        if error.status_code == 404:  # deleted meanwhile; nobody asked for that in the page
            return mine, False, False
        raise
    disk: Any = dict(model["content"]) if kind == "notebook" else model["content"]
    ancestor = disk if base is None else _parse(kind, base)
    if kind == "notebook":
        notebook = merge_notebooks(ancestor, mine, disk)
        left = [cell for cell in notebook.cells if cell.origin is not None]
        less = len(left) < len(mine["cells"]) or any(_less(cell.splices) for cell in left)
        return notebook.notebook(), notebook.conflict, less
    merged = merge_text(ancestor, mine, disk)
    return merged.text, merged.conflict, _less(merged.splices)


def _less(splices: Iterable[Edit]) -> bool:
    return any(edit.end > edit.start for edit in splices)


def _parse(kind: str, text: str) -> Any:
    return parse_notebook(text) if kind == "notebook" else parse_text(text)


async def keep_beside(contents: Any, path: str, kind: str, text: str) -> None:
    """Save a *text* that is replaced beside the file at *path*."""
    stem, extension = os.path.splitext(path)
    await _save(contents, f"{stem}-unsaved{extension}", kind, _parse(kind, text))


async def _save(contents: Any, path: str, kind: str, content: Any) -> None:
    model = {"type": kind, "format": "json" if kind == "notebook" else "text", "content": content}
    await ensure_async(contents.save(model, path))


def orderly_end(server: Any, before: Callable[[], Awaitable[None]]) -> None:
    """Have *before* done at the very start of the server's stop."""
    cleanup = server.cleanup_extensions

    async def end() -> None:
        await before()
        await cleanup()

    server.cleanup_extensions = end

"""`kaosctl diff NAME [PATH]`: the edits made in a notebook, listed and shown."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaosd.bundle import HostedEdit
from kaosd.display import printable, rfc3339
from kaosd.errors import NotFoundError
from kaosd.journal import Recovered
from kaosd.notebook import diffs
from kaosd.notebook.edit_counts import KINDS
from kaosd.notebook.restoring import choose as choose_copy
from kaosd.notebook.restoring import hosted_path
from kaosd.notebook.sides import hosted_side, side_below, stored_side
from kaosd.notebook.tabs import current_edits, means_the_same

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

Json = dict[str, Any]
SHOWN = 8 * 2**20  # bytes of contents that one answer shows; of further files it tells size and time


async def edits(actor: Notebook) -> Json:
    """The edits made in a notebook: for each "path", "kind", "size", "size_before" and "modified_at".

    root: the directory of the source that is the notebook's root, "" for the source itself.
    """
    found = (await current_edits(actor, strict=False)).found
    return await _head(actor, found) | {"files": [_listed(one) for one in found]}


async def diff(actor: Notebook, path: str | None) -> Json:
    """The same with what differs in each file (see diffs.py); path: only that file, or what is below it."""
    _, tabs, found = await current_edits(actor, strict=False)
    unsaved = tabs.unsaved()
    chosen = await choose(actor, found, [path]) if path is not None else found
    files, left = list[Json](), SHOWN
    for one in chosen:
        left -= (one.size or 0) + (one.deployed.size if one.deployed is not None else 0)
        files.append(
            await _shown(actor, one, unsaved.get(one.path))
            if left > 0 or len(chosen) == 1
            else {**_listed(one), "form": "large"}
        )
    return await _head(actor, found) | {"from": str(actor.hosting.live.source), "to": None, "files": files}


async def since_copy(actor: Notebook, copies: tuple[Recovered, ...], wanted: str) -> Json:
    """What differs between one of *copies*, by its path or file, and the notebook's file now. NotFoundError."""
    name = actor.spec.name
    copy = choose_copy(copies, wanted)
    if copy is None:
        raise NotFoundError(f"{printable(wanted)} is not a copy of notebook {name!r}", hint=f"kaosctl recovered {name}")
    path, file = hosted_path(copy), Path(copy.file)
    before = await asyncio.to_thread(side_below, file.parent, os.fsencode(file.name)) if file.parent.is_dir() else None
    now = await hosted_side(actor, path)
    if before is None:
        raise NotFoundError(f"the copy {copy.file} was deleted", hint=f"kaosctl recovered {name}")
    changed = await asyncio.to_thread(diffs.changed, copy.path, before, now)
    return {"name": name, "from": copy.file, "to": None, "files": [changed]}


async def choose(actor: Notebook, found: Sequence[HostedEdit], wanted: Iterable[str]) -> list[HostedEdit]:
    """The edits at *wanted* paths: files or directories of the notebook, or of its source. NotFoundError."""
    top = os.fsdecode(await asyncio.to_thread(lambda: actor.source.scanner.top))
    chosen: dict[bytes, HostedEdit] = {}
    source = actor.spec.source
    for path in wanted:
        names = spellings(_in_source(path, source), top)
        matching = [one for one in found if any(is_meant(one.path, name) for name in names)]
        if not matching:
            name = actor.spec.name
            hint = f"`kaosctl diff {name}` shows what is" if found else f"nothing was edited in {name}"
            raise NotFoundError(f"{printable(path)} is not edited in notebook {name!r}", hint=hint)
        chosen |= {one.path: one for one in matching}
    return [chosen[path] for path in sorted(chosen)]


def _in_source(path: str, source: Path | None) -> str:
    """An absolute path as it is called in the source directory; any other as it is."""
    return os.path.relpath(path, source) if source is not None and os.path.isabs(path) else path


def spellings(path: str, top: str) -> tuple[str, ...]:
    """What a path that a person names may be called in the notebook. top: its root in the source directory."""
    plain = os.path.normpath(path) if path else path
    inside = plain.removeprefix(f"{top}/") if top and plain != top else "." if top else plain
    return tuple(dict.fromkeys((plain, inside)))


def is_meant(path: bytes, wanted: str) -> bool:
    """Whether *path* is the file *wanted*, as it is or as it is shown, or lies in the directory of that name."""
    names = (os.fsdecode(path), printable(os.fsdecode(path)))
    return wanted == "." or any(name == wanted or name.startswith(f"{wanted}/") for name in names)


def is_file_named(path: bytes, wanted: str, top: str) -> bool:
    """Whether *wanted* is the very file, and not a directory above it."""
    return any(name in spellings(wanted, top) for name in (os.fsdecode(path), printable(os.fsdecode(path))))


async def _head(actor: Notebook, found: Sequence[HostedEdit]) -> Json:
    kinds = Counter[str](one.kind for one in found)
    top = await asyncio.to_thread(lambda: actor.source.scanner.top)
    return {
        "name": actor.spec.name,
        "deployed": str(actor.hosting.live.source),
        "root": printable(os.fsdecode(top)),
        "at": rfc3339(time.time()),
        "counts": {kind: kinds[kind] for kind in KINDS},
    }


def _listed(one: HostedEdit) -> Json:
    return {
        "path": printable(os.fsdecode(one.path)),
        "kind": one.kind,
        "size": one.size,
        "size_before": one.deployed.size if one.deployed is not None else None,
        "modified_at": rfc3339(one.modified_at) if one.modified_at is not None else None,
    }


async def _shown(actor: Notebook, one: HostedEdit, in_tab: bytes | None) -> Json:
    """One edit with what differs. in_tab: what a tab has that has not saved it."""
    try:
        hosted = await hosted_side(actor, one.path)
        if hosted is not None and in_tab is not None and not means_the_same(hosted.content or b"", in_tab):
            hosted = diffs.Side(hosted.kind, len(in_tab), in_tab)
    except OSError as error:
        return {**_listed(one), "form": "unreadable", "why": f"it cannot be read: {error.strerror}"}

    def compare() -> Json:
        deployed = stored_side(actor.shop.store, one.path, one.deployed)
        if hosted is None and deployed is None:  # it has gone since it was looked for
            return {**_listed(one), "form": "binary"}
        return diffs.changed(printable(os.fsdecode(one.path)), deployed, hosted)

    return await asyncio.to_thread(compare)

"""`kaosctl reset`: the deployed version of files comes back into the notebook, and a copy of the edits is kept.

A document that is open in a tab is changed there, as in every sync; a file otherwise. What exists only in the notebook
stays, unless it is named.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kaosd.bundle import HostedEdit
from kaosd.bundle.put_back import put_back
from kaosd.bundle.writing import write_entry
from kaosd.display import printable
from kaosd.engines.base import Carrier
from kaosd.errors import ConflictError
from kaosd.notebook.copies import Copies, place_for_copies
from kaosd.notebook.differing import choose, is_file_named
from kaosd.notebook.elsewhere import Elsewhere
from kaosd.notebook.open_documents import Splice
from kaosd.notebook.tabs import Tabs, editing
from kaosd.notebook.work import DOCUMENT_MAX, is_text

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

Json = dict[str, Any]
Note = Callable[[list[tuple[bytes, str]]], None]
KIND = "reset"  # the directory for its copies, which says why they were kept


async def reset(actor: Notebook, paths: Sequence[str], *, dry_run: bool) -> Json:
    """Bring back what is deployed at *paths* (none: all that was edited or deleted); what was done with each file.

    "action": restored, removed (a new file that was named), or stays (a new file that was not). ConflictError.
    """
    name = actor.spec.name
    async with editing(actor) as (_, tabs, found):
        chosen = await choose(actor, found, paths) if paths else found
        top = os.fsdecode(await asyncio.to_thread(lambda: actor.source.scanner.top))
        actions = {one.path: _action(one, paths, top) for one in chosen}
        wanted = [one for one in chosen if actions[one.path] != "stays"]
        kept = dict[bytes, str]() if dry_run else await _bring_back(actor, tabs, wanted)
    files = [_shown(one, actions[one.path], kept) for one in chosen]
    if wanted and not dry_run:
        shown = [file["path"] for file in files if file["action"] != "stays"]
        actor.record.note(f"reset to what is deployed: {', '.join(shown[:20])}")
        actor.record.event("reset", paths=shown)
        actor.shop.news.tell()
        await actor.edits.recount()
    return {"name": name, "dry_run": dry_run, "files": files}


def _action(one: HostedEdit, paths: Sequence[str], top: str) -> str:
    if one.deployed is not None:
        return "restored"
    return "removed" if any(is_file_named(one.path, path, top) for path in paths) else "stays"


def _shown(one: HostedEdit, action: str, kept: dict[bytes, str]) -> Json:
    path = printable(os.fsdecode(one.path))
    return {"path": path, "kind": one.kind, "action": action, "size": one.size, "kept": kept.get(one.path)}


async def _bring_back(actor: Notebook, tabs: Tabs, wanted: Sequence[HostedEdit]) -> dict[bytes, str]:
    """Do it; where the copy of each file is."""
    kept = dict[bytes, str]()

    def note(made: list[tuple[bytes, str]]) -> None:
        kept.update(made)
        actor.steps.work.keep(made)

    in_tabs = set[bytes]()
    for one in wanted:
        if await _in_tab(actor, tabs, one, note):
            in_tabs.add(one.path)
    rest = [one for one in wanted if one.path not in in_tabs]
    if rest:
        await _on_disk(actor, rest, note)
    return kept


async def _in_tab(actor: Notebook, tabs: Tabs, one: HostedEdit, note: Note) -> bool:
    """Change the document in its tab, if it is open there and can be."""
    entry = one.deployed
    if entry is None or entry.kind not in "fx" or entry.size > DOCUMENT_MAX:
        return False
    in_tab = tabs.text(one.path)
    deployed = await asyncio.to_thread(actor.shop.store.get, entry.digest) if in_tab is not None else b""
    if in_tab is None or not is_text(deployed):
        return False
    async with Copies(actor.home, note, f"{KIND}/tabs") as copies:
        await copies.keep(one.path, in_tab.text)
        # that text is the base, so that the document becomes what is deployed, outputs and all
        done = await tabs.change(Splice(one.path, in_tab.text.encode("utf-8", "surrogatepass"), deployed), copies.keep)
        copies.changed(done)
    return bool(done)


async def _on_disk(actor: Notebook, wanted: Sequence[HostedEdit], note: Note) -> None:
    """Change the files of those that are not open."""
    place = place_for_copies(actor.home) / KIND
    entries = [(one.path, one.deployed) for one in wanted]
    if not isinstance(actor.engine, Carrier):
        saved = await asyncio.to_thread(put_back, actor.shop.store, actor.home.work, entries, place)
        note([(found.path, os.fsdecode(found.file)) for found in saved])
        return
    files = actor.engine.files(actor.hosting.host) if actor.hosting.host is not None else None
    if files is None:
        raise ConflictError(f"notebook {actor.spec.name!r} has no host", hint=f"kaosctl wait {actor.spec.name}")
    await files.holds()
    elsewhere = Elsewhere(files, actor.steps.work.digests, place)
    try:
        with tempfile.TemporaryDirectory(dir=actor.home.root) as scratch:
            for path, entry in entries:
                if entry is None:
                    await elsewhere.remove(path)
                    continue
                await asyncio.to_thread(write_entry, actor.shop.store, Path(scratch), path, entry)
                await elsewhere.put(path, Path(scratch) / os.fsdecode(path))
    finally:
        note([(found.path, os.fsdecode(found.file)) for found in elsewhere.copies])

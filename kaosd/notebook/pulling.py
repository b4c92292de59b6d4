"""`kaosctl pull`: edits made in the notebook are written into the source directory, three-way for each file.

The base is what is deployed, ours is what the notebook has (in its tab, where it is open there), theirs is what is on
disk. Only what the notebook alone has changed is written. The save that follows is recognised as what the notebook
already has (WorkDirectory.pulled), so that nothing is merged and nothing is replaced.
"""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kaosd.bundle import Entry, HostedEdit, Store
from kaosd.bundle.copying import ChangingError
from kaosd.bundle.entry_state import state
from kaosd.bundle.openat import directory, open_root, opened
from kaosd.bundle.read_file import leaves
from kaosd.bundle.source_writing import ChangedMeanwhile, copy_out, state_below, write_below
from kaosd.bundle.tree import Kind, join, split
from kaosd.display import printable
from kaosd.engines.base import Carrier
from kaosd.errors import ConflictError
from kaosd.hosted.states import State, alike
from kaosd.notebook import cells
from kaosd.notebook.copies import place_for_copies
from kaosd.notebook.differing import choose, is_file_named
from kaosd.notebook.diffs import NOTEBOOK_LARGE
from kaosd.notebook.tabs import Tabs, editing, means_the_same

if TYPE_CHECKING:
    from kaosd.notebook.actor import Notebook

Json = dict[str, Any]
WRITES = ("write", "delete", "overwrite")
DONE = {"write": "written", "delete": "deleted", "overwrite": "written"}


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for. paths: of the notebook or of the source; none: all edits.

    force: also what was changed on disk as well; a copy of that is kept. strip: notebooks without their outputs.
    """

    paths: tuple[str, ...] = ()
    force: bool = False
    dry_run: bool = False
    strip: bool = False


@dataclass(frozen=True, slots=True)
class _Pulled:
    """One edit and what is to become of it. entry: what is written, in the store; None: the file goes.

    theirs: what is on disk. action: see `decide`; or refused: a link that leads out of the notebook.
    """

    edit: HostedEdit
    entry: Entry | None
    theirs: State | None
    action: str


def decide(base: State | None, ours: State | None, theirs: State | None, *, named: bool, force: bool) -> str:
    """What a pull does with one file. Pure. named: a person has named the very file.

    write, delete, overwrite (on disk it was changed as well, and a copy is kept); or nothing: same (it is on disk
    already), unchanged (nothing is left to write), unnamed (a file that was deleted in the notebook stays on disk
    unless it is named), conflict.
    """
    if alike(ours, theirs):
        return "same"
    if alike(ours, base):
        return "unchanged"
    if ours is None and not named:
        return "unnamed"
    if alike(theirs, base):
        return "delete" if ours is None else "write"
    movable = theirs is None or theirs.kind in "fxl"
    return "overwrite" if force and movable else "conflict"


async def pull(actor: Notebook, wish: Wish) -> Json:
    """Do it; what was done with each file. ConflictError, and nothing is written, when a file was changed in both."""
    name, source = actor.spec.name, actor.spec.source
    if source is None:
        hint = f"give it one: kaosctl notebook deploy --name {name} -s DIR --replace"
        raise ConflictError(f"notebook {name!r} has no source directory to write to", hint=hint)
    async with editing(actor) as (_, tabs, found):
        chosen = await choose(actor, found, wish.paths) if wish.paths else found
        top = await asyncio.to_thread(lambda: actor.source.scanner.top)
        with actor.shop.store.holding():
            pulled = [await _planned(actor, tabs, one, source, top, wish) for one in chosen]
            if not wish.dry_run:
                _refuse_conflicts(name, pulled)
            done = [await _do(actor, one, source, top, wish) for one in pulled]
    if not wish.dry_run and any(one.action in WRITES for one in pulled):
        paths = [printable(os.fsdecode(one.edit.path)) for one in pulled if one.action in WRITES]
        actor.record.note(f"pulled into {source}: {', '.join(paths[:20])}")
        actor.record.event("pulled", paths=paths)
        actor.shop.news.tell()
    counts = Counter(one.action for one in pulled)
    return {"name": name, "source": str(source), "dry_run": wish.dry_run, "counts": dict(counts), "files": done}


def _refuse_conflicts(name: str, pulled: Sequence[_Pulled]) -> None:
    """ConflictError when a file was changed in the notebook and on disk."""
    paths = [printable(os.fsdecode(one.edit.path)) for one in pulled if one.action == "conflict"]
    if paths:
        shown = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if paths[3:] else "")
        was = "was" if len(paths) == 1 else "were"
        raise ConflictError(
            f"{shown} {was} changed in the notebook and on disk as well; nothing was written",
            hint=f"`kaosctl diff {name}` shows the edits; name the files to pull, or add --force, which keeps a copy of"
            " the file on disk",
        )


async def _planned(actor: Notebook, tabs: Tabs, edit: HostedEdit, source: Path, top: bytes, wish: Wish) -> _Pulled:
    """What is to become of one edit."""
    entry = await _ours(actor, tabs, edit, strip=wish.strip) if edit.kind != "deleted" else None
    try:
        theirs = await asyncio.to_thread(state_below, source, join(top, edit.path))
    except OSError as error:
        raise ConflictError(f"{source} cannot be read: {error.strerror}", hint="make it readable") from error
    named = any(is_file_named(edit.path, path, os.fsdecode(top)) for path in wish.paths)
    base = _stripped(actor.shop.store, edit) if wish.strip and _is_notebook(edit.path) else state(edit.deployed)
    if entry is not None and entry.kind == "l" and await asyncio.to_thread(_leads_out, actor.shop.store, edit, entry):
        return _Pulled(edit, entry, theirs, "refused")
    there = base if alike(theirs, state(edit.deployed)) else theirs  # as deployed, with outputs or without
    action = decide(base, state(entry), there, named=named, force=wish.force)
    return _Pulled(edit, entry, theirs, action)


def _leads_out(store: Store, edit: HostedEdit, entry: Entry) -> bool:
    """Whether a link would be refused as part of the source; blocking."""
    return leaves(split(edit.path)[0], store.get(entry.digest)) is not None


def _is_notebook(path: bytes) -> bool:
    return path.endswith(b".ipynb")


def _stripped(store: Store, edit: HostedEdit) -> State | None:
    """What is deployed, without its outputs."""
    entry = edit.deployed
    if entry is None or entry.kind not in "fx" or entry.size > NOTEBOOK_LARGE:
        return state(entry)
    return State(entry.kind, store.put(cells.strip_outputs(store.get(entry.digest))))


async def _ours(actor: Notebook, tabs: Tabs, edit: HostedEdit, *, strip: bool) -> Entry | None:
    """What the notebook has at a path, put into the store: the text in its tab, else the file. None: it has gone."""
    store, in_tab = actor.shop.store, tabs.text(edit.path)
    entry = await _hosted(actor, edit.path)
    if in_tab is not None and not in_tab.saved and entry is not None and entry.size <= NOTEBOOK_LARGE:
        text = in_tab.text.encode("utf-8", "surrogatepass")
        entry = await asyncio.to_thread(_of_tab, store, entry, text)
    if strip and _is_notebook(edit.path) and entry is not None and entry.size <= NOTEBOOK_LARGE:
        entry = await asyncio.to_thread(_without_outputs, store, entry)
    return entry


def _without_outputs(store: Store, entry: Entry) -> Entry:
    bare = cells.strip_outputs(store.get(entry.digest))
    return entry._replace(digest=store.put(bare), size=len(bare))


def _of_tab(store: Store, entry: Entry, text: bytes) -> Entry:
    """What is in a tab that has not saved it; the file itself where that says the same. Blocking."""
    if means_the_same(store.get(entry.digest), text):
        return entry
    return entry._replace(digest=store.put(text), size=len(text))


async def _hosted(actor: Notebook, path: bytes) -> Entry | None:
    """A file or link of the notebook, put into the store; None when it has gone meanwhile."""
    store, name = actor.shop.store, split(path)[1]
    try:
        if not isinstance(actor.engine, Carrier):
            return await asyncio.to_thread(_take, store, actor.home.work, path)
        files = actor.engine.files(actor.hosting.host) if actor.hosting.host is not None else None
        there = (await files.look([path])).get(path) if files is not None else None
        if files is None or there is None or there.kind not in "fxl":
            return None
        with tempfile.TemporaryFile(dir=actor.home.root) as scratch:
            await files.read(path, scratch)
            size = scratch.tell()
            kind: Kind = "l" if there.kind == "l" else "x" if there.kind == "x" else "f"
            return Entry(name, kind, await asyncio.to_thread(_put, store, scratch), size)
    except ChangingError as error:
        text = f"{printable(os.fsdecode(path))} is being written in the notebook"
        raise ConflictError(text, hint="try again when that has ended") from error


def _put(store: Store, scratch: BinaryIO) -> str:
    scratch.flush()
    return store.put_file(scratch.fileno(), os.fstat(scratch.fileno()))


def _take(store: Store, work: Path, path: bytes) -> Entry | None:
    """A file or link of the work directory, put into the store; blocking."""
    above, name = split(path)
    root = open_root(work)
    try:
        with directory(root, above) as parent:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(status.st_mode):
                target = os.readlink(name, dir_fd=parent)
                return Entry(name, "l", store.put(target), len(target))
            with opened(name, os.O_RDONLY, dir_fd=parent) as descriptor:
                status = os.fstat(descriptor)
                kind: Kind = "x" if status.st_mode & stat.S_IXUSR else "f"
                return Entry(name, kind, store.put_file(descriptor, status), status.st_size)
    except (FileNotFoundError, NotADirectoryError):
        return None
    finally:
        os.close(root)


async def _do(actor: Notebook, one: _Pulled, source: Path, top: bytes, wish: Wish) -> Json:
    """Carry one of them out; what is said of it."""
    path = join(top, one.edit.path)
    shown: Json = {
        "path": printable(os.fsdecode(one.edit.path)),
        "kind": one.edit.kind,
        "action": one.action,
        "file": str(source / os.fsdecode(path)),
        "size": one.entry.size if one.entry is not None else None,
        "kept": None,
    }
    if wish.dry_run or one.action not in WRITES:
        return shown
    if one.action == "overwrite" and one.theirs is not None:
        copy = place_for_copies(actor.home) / "pull" / "1" / os.fsdecode(one.edit.path)
        await asyncio.to_thread(copy_out, source, path, copy)
        actor.steps.work.keep([(one.edit.path, str(copy))])
        shown["kept"] = str(copy)
    if one.entry is not None:
        actor.steps.work.pulled[one.edit.path] = one.entry.digest
    try:
        await asyncio.to_thread(write_below, actor.shop.store, source, path, one.entry, one.theirs)
    except ChangedMeanwhile as error:
        actor.steps.work.pulled.pop(one.edit.path, None)
        text = f"{shown['path']} is being changed on disk at this moment; the files before it were written"
        raise ConflictError(text, hint="try again") from error
    return shown

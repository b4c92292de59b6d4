"""Edits made in a notebook whose host is about to be replaced with all that is in it: read out, and put into the next.

    <home>/parked/list.json    what differs from the code that was deployed there, and where its content is
    <home>/parked/N            the contents

It is whole when it is there, and goes when the next host has what it holds. An edit on which the code has changed
meanwhile is replaced as in every sync: it is kept where `kaosctl recovered` lists it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kaosd import bundle
from kaosd.bundle import Action, SavedCopy, decide
from kaosd.bundle.store_errors import store_errors
from kaosd.engines.base import FileEdit, HostFiles
from kaosd.hosted import podtree
from kaosd.hosted.states import State, alike
from kaosd.notebook.elsewhere import Digests, Elsewhere, Trees, edits_for


class Parking:
    """What is parked of one notebook. home: its directory."""

    def __init__(self, home: Path) -> None:
        self._parked = home / "parked"

    def __bool__(self) -> bool:
        """Whether there is something."""
        return (self._parked / "list.json").exists()

    async def park(self, files: HostFiles, digests: Digests, trees: Trees) -> int:
        """Read out all that differs from what kaosd has brought; how many paths. trees: versions that may be there."""
        found = await files.look(None)
        expected = await asyncio.to_thread(_expected, digests, trees)
        nothing = (None,) * len(trees)
        draft = self._parked.with_name("parked.new")
        await asyncio.to_thread(_fresh, draft)
        entries = list[dict[str, Any]]()
        reader = Elsewhere(files, digests, draft)
        for path in sorted(found.keys() | expected.keys()):
            hosted, bases = found.get(path), expected.get(path, nothing)
            if any(alike(hosted, base) for base in bases) or (hosted is not None and hosted.kind == "?"):
                continue
            file = str(len(entries))
            if hosted is not None and hosted.kind != "d":
                hosted = await reader.read(path, hosted, draft / file)
            entries.append({"path": os.fsdecode(path), "state": hosted, "bases": bases, "file": file})
        await asyncio.to_thread(self._complete, draft, entries)
        return len(entries)

    def _complete(self, draft: Path, entries: list[dict[str, Any]]) -> None:
        with store_errors("write to", draft):
            with open(draft / "list.json", "w", encoding="ascii") as file:
                json.dump(entries, file)
                file.flush()
                os.fsync(file.fileno())
            shutil.rmtree(self._parked, ignore_errors=True)
            draft.rename(self._parked)

    async def put_back(
        self, files: HostFiles, digests: Digests, incoming: str | None, place: Path
    ) -> tuple[int, list[SavedCopy]]:
        """Put it into a host that holds *incoming*: how many paths, and what gave way instead (kept in *place*)."""
        entries = self._entries()
        found = await files.look([path for path, *_ in entries])
        edits, saved = list[FileEdit](), list[tuple[bytes, str]]()
        for path, hosted, bases, file in entries:
            there, code = found.get(path), (await asyncio.to_thread(digests.states, (incoming,), path))[0][0]
            if there == hosted or decide(bases, hosted, code) in (Action.NOTHING, Action.WRITE, Action.DELETE):
                continue
            if alike(there, code) and decide(bases, hosted, code) is Action.KEEP:
                edits += await asyncio.to_thread(_edits, path, there, hosted, self._parked / file)
            elif hosted is not None and hosted.kind != "d":
                saved.append((path, file))
        edits = [edit for edit in edits[::-1] if edit.kind is None] + [edit for edit in edits if edit.kind is not None]
        done = await files.change(edits, None, None) if edits else []
        missed = {edit.path for edit in edits[sum(outcome.done for outcome in done) :]}
        saved += [(path, file) for path, hosted, _, file in entries if path in missed and hosted and hosted.kind != "d"]
        kept = await asyncio.to_thread(self._save, saved, place)
        await asyncio.to_thread(shutil.rmtree, self._parked, ignore_errors=True)
        return len({edit.path for edit in edits} - missed), kept

    def give_up(self, place: Path) -> list[SavedCopy]:
        """Keep all of it as copies: there will be no next host; blocking."""
        if not self:
            return []
        entries = [(path, file) for path, hosted, _, file in self._entries() if hosted and hosted.kind != "d"]
        kept = self._save(entries, place)
        shutil.rmtree(self._parked, ignore_errors=True)
        return kept

    def _entries(self) -> list[tuple[bytes, State | None, tuple[State | None, ...], str]]:
        with store_errors("read", self._parked):
            known = json.loads((self._parked / "list.json").read_text(encoding="ascii"))
        return [
            (os.fsencode(one["path"]), _state(one["state"]), tuple(map(_state, one["bases"])), one["file"])
            for one in known
        ]

    def _save(self, entries: list[tuple[bytes, str]], place: Path) -> list[SavedCopy]:
        kept = []
        with store_errors("write to", place):
            for path, file in entries:
                target = place / "parked" / os.fsdecode(path)
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                (self._parked / file).rename(target)
                kept.append(SavedCopy(path, target))
        return kept


def _expected(digests: Digests, trees: Trees) -> Mapping[bytes, tuple[State | None, ...]]:
    """The states of all paths of *trees*, in each; blocking. What the store has lost counts as never deployed."""
    paths = {change.path for tree in trees for change in bundle.diff(digests.store, tree, None, set())}
    return {path: digests.states(trees, path)[0] for path in paths if not podtree.CACHES & set(path.split(b"/"))}


def _edits(path: bytes, there: State | None, hosted: State | None, file: Path) -> list[FileEdit]:
    if hosted is None:
        return [FileEdit(path, there, None)]
    if hosted.kind == "d":
        return [*([FileEdit(path, there, None)] if there is not None else []), FileEdit(path, None, "d")]
    return edits_for(path, there, file)


def _state(told: list[str] | None) -> State | None:
    return State(*told) if told is not None else None


def _fresh(directory: Path) -> None:
    with store_errors("write to", directory):
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(mode=0o700)

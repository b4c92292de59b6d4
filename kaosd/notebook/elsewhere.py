"""The directory of a host that sees none of this machine's: brought up to date three-way, read out, put back.

The rule is that of `bundle.sync`, and the contents are those of the store. What differs is who writes: the host itself,
when it is asked to, and only where it finds what was seen there before. What is to be replaced is read out first, and
kept where `kaosctl recovered` lists it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kaosd import bundle
from kaosd.bundle import Action, Entry, SavedCopy, Store, SyncReport, decide
from kaosd.bundle.store_errors import store_errors
from kaosd.engines.base import EditOutcome, FileEdit, HostFiles, Piece
from kaosd.errors import ContentLost, EngineError
from kaosd.hosted.states import State
from kaosd.notebook.content import StoredContent

TRIES = 10  # of one path, whose host was quicker each time
CHUNK = 1 << 20
Trees = Sequence[str | None]


class Digests:
    """SHA-256 of contents by their digest in the store, each computed once; blocking. scratch: as in StoredContent."""

    def __init__(self, store: Store, scratch: Path) -> None:
        self.store = store
        self._contents = StoredContent(store, "", scratch)
        self._known: dict[str, str] = {}

    def state(self, entry: Entry | None) -> State | None:
        """The state of an entry as a host tells it."""
        if entry is None:
            return None
        if entry.kind == "d":
            return State("d")
        if entry.digest not in self._known:
            hasher = hashlib.sha256()
            for part in self.chunks(entry, CHUNK):
                hasher.update(part)
            self._known[entry.digest] = hasher.hexdigest()
        return State(entry.kind, self._known[entry.digest])

    def states(self, trees: Trees, path: bytes) -> tuple[tuple[State | None, ...], bool]:
        """The states of a path in several trees, and whether the store has lost some of them."""
        states, unknown = [], False
        for tree in trees:
            try:
                states.append(self.state(bundle.lookup(self.store, tree, path)))
            except ContentLost:
                unknown = True
        return tuple(states), unknown

    def chunks(self, entry: Entry, size: int) -> Iterator[bytes]:
        """The content of a file or the target of a link, in parts."""
        return self._contents.chunks(Piece(entry.name, entry.digest, entry.size), size)


@dataclass(frozen=True, slots=True)
class _Path:
    """What is known of one path that differs between what may be there and what is to be."""

    bases: tuple[State | None, ...]
    unknown: bool  # it may have been something else as well: the store has lost what was deployed
    incoming: State | None
    entry: Entry | None


@dataclass(slots=True)
class _Kept:
    """Copies of what is replaced. place: where they go, not made before it is needed."""

    place: Path
    copies: list[SavedCopy]

    def room(self, path: bytes) -> Path:
        """A file, not there yet, for a copy of *path*; blocking."""
        number = 1
        while True:
            target = self.place / str(number) / os.fsdecode(path)
            try:
                target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                if not os.path.lexists(target):
                    return target
            except (FileExistsError, NotADirectoryError):
                pass  # something else of that name was saved before
            number += 1


class Elsewhere:
    """The directory of one host. place: a directory, not made yet, for copies of what is replaced."""

    def __init__(self, files: HostFiles, digests: Digests, place: Path) -> None:
        self._files = files
        self._digests = digests
        self._kept = _Kept(place, [])

    @property
    def copies(self) -> tuple[SavedCopy, ...]:
        """What has been kept so far."""
        return tuple(self._kept.copies)

    async def bring(
        self, bases: Trees, incoming: str | None, skip: frozenset[bytes], *, fresh: bool, last: bool
    ) -> SyncReport:
        """Bring the directory from the trees *bases* to *incoming*; see `bundle.sync` for the rule and *skip*.

        fresh: no edit was made there since it started. last: the host learns what it holds when all is done.
        """
        paths = await asyncio.to_thread(self._paths, tuple(bases) or (None,), incoming)
        skipped = tuple(sorted(path for path in paths if path in skip))
        pending = {path: known for path, known in paths.items() if path not in skip}
        written, deleted, kept = set[bytes](), set[bytes](), set[bytes]()
        names = [tree or "" for tree in dict.fromkeys((*bases, incoming))]
        after = [incoming or ""] if last else None
        for _ in range(TRIES):
            found = await self._files.look(sorted(pending)) if pending else {}
            edits = await self._edits(pending, found, kept, fresh=fresh)
            outcomes = await self._files.change(edits, None if fresh else names, after)
            for edit, outcome in zip(edits, outcomes, strict=False):
                if not outcome.done:
                    await self._clear_way(edit, outcome)
                    continue
                if edit.path in pending and (edit.kind is not None or pending[edit.path].entry is None):
                    del pending[edit.path]
                if edit.kind != "d" and not (edit.expected and edit.expected.kind == "d"):
                    (deleted if edit.kind is None else written).add(edit.path)
            if not pending and (not edits or (len(outcomes) == len(edits) and outcomes[-1].done)):
                break
        else:
            raise EngineError("the notebook's files change faster than kaosd can write them", retryable=True)
        done, gone, stayed = (tuple(sorted(found)) for found in (written, deleted - written, kept))
        return SyncReport(done, gone, stayed, self.copies, skipped)

    def _paths(self, bases: Trees, incoming: str | None) -> dict[bytes, _Path]:
        """All that differs; blocking."""
        store, digests = self._digests.store, self._digests
        lost = set[bytes]()
        changes = {change.path: change.new for base in bases for change in bundle.diff(store, base, incoming, lost)}
        return {
            path: _Path(*digests.states(bases, path), digests.state(entry), entry) for path, entry in changes.items()
        }

    async def _edits(
        self, pending: dict[bytes, _Path], found: Mapping[bytes, State | None], kept: set[bytes], *, fresh: bool
    ) -> list[FileEdit]:
        """What is to be done now, deletions first; what needs nothing leaves *pending*."""
        deletions, additions = list[FileEdit](), list[FileEdit]()
        for path in sorted(pending, reverse=True):  # what is inside goes before its directory
            known, hosted = pending[path], found.get(path)
            action = decide(known.bases, hosted, known.incoming, unknown=known.unknown)
            if action in (Action.NOTHING, Action.KEEP):
                del pending[path]
                kept |= {path} if action is Action.KEEP and (hosted is None or hosted.kind != "d") else set()
                continue
            if action is Action.RECOVER and not fresh and hosted is not None and hosted.kind in "fxl":
                await self._keep(path, hosted)
            deletions += await self._cleared(path, hosted, known, {edit.path for edit in deletions})
            if known.entry is not None:
                replaced = hosted if hosted is not None and hosted.kind in "fxl" and known.entry.kind != "d" else None
                additions.append(self._addition(path, replaced, known.entry))
        return deletions + additions[::-1]

    def _addition(self, path: bytes, expected: State | None, entry: Entry) -> FileEdit:
        return FileEdit(path, expected, entry.kind, entry.size, partial(self._digests.chunks, entry))

    async def _cleared(self, path: bytes, hosted: State | None, known: _Path, going: set[bytes]) -> list[FileEdit]:
        """What must go before the new one can come: all of it when it is deleted, or of another kind.

        going: paths that are deleted before it.
        """
        if hosted is None or (known.entry is not None and (hosted.kind == known.entry.kind == "d")):
            return []
        if hosted.kind != "d":
            goes = known.entry is None or known.entry.kind == "d" or hosted.kind == "?"
            return [FileEdit(path, hosted, None)] if goes else []
        if known.entry is None:
            return [FileEdit(path, hosted, None)]
        everything = await self._files.look(None)
        inside = {one: there for one, there in everything.items() if one.startswith(path + b"/") and one not in going}
        for one, there in inside.items():
            if there is not None and there.kind in "fxl":
                await self._keep(one, there)
        return [FileEdit(one, inside[one], None) for one in sorted(inside, reverse=True)] + [
            FileEdit(path, hosted, None)
        ]

    async def _clear_way(self, edit: FileEdit, outcome: EditOutcome) -> None:
        """Keep and remove what stands in the place of a directory above a path, which then is tried again."""
        if outcome.at != edit.path and outcome.found is not None:
            if outcome.found.kind in "fxl":
                await self._keep(outcome.at, outcome.found)
            await self._files.change([FileEdit(outcome.at, outcome.found, None)], None, None)

    async def put(self, path: bytes, file: Path) -> tuple[SavedCopy, ...]:
        """Put a file or link of this machine there; what stood there is kept, and returned."""
        for _ in range(TRIES):
            there = (await self._files.look([path]))[path]
            edits = await asyncio.to_thread(edits_for, path, there, file)
            if there is not None and there.kind in "fxl":
                await self._keep(path, there)
            if (outcomes := await self._files.change(edits, None, None)) and outcomes[-1].done:
                return self.copies
            await self._clear_way(edits[-1], outcomes[-1])
        raise EngineError("the notebook's files change faster than kaosd can write them", retryable=True)

    async def remove(self, path: bytes) -> None:
        """Remove a file or link there; it is kept."""
        for _ in range(TRIES):
            there = (await self._files.look([path]))[path]
            if there is None or there.kind not in "fxl":
                return
            await self._keep(path, there)
            if (outcomes := await self._files.change([FileEdit(path, there, None)], None, None)) and outcomes[-1].done:
                return
        raise EngineError("the notebook's files change faster than kaosd can write them", retryable=True)

    async def _keep(self, path: bytes, hosted: State) -> None:
        """Keep a copy of what stands at *path*; one that has just changed is read again at the next try."""
        target = await asyncio.to_thread(self._kept.room, path)
        if (await self.read(path, hosted, target)).digest == hosted.digest:
            self._kept.copies.append(SavedCopy(path, target))
        else:
            await asyncio.to_thread(target.unlink)

    async def read(self, path: bytes, hosted: State, target: Path) -> State:
        """Read a file or link out to *target*, durably; what it was."""
        with store_errors("write to", target.parent), open(target, "x+b") as file:  # noqa: ASYNC230 - opening is quick
            digest = await self._files.read(path, file)
            await asyncio.to_thread(file.flush)
            await asyncio.to_thread(_finish, file.fileno(), target, hosted.kind)
        return State(hosted.kind, digest)


def edits_for(path: bytes, there: State | None, file: Path) -> list[FileEdit]:
    """What puts a file or link of this machine in the place of what is there; blocking."""
    gone = [FileEdit(path, there, None)] if there is not None and there.kind not in "fxl" else []
    expected = there if not gone else None
    if file.is_symlink():
        target = os.fsencode(os.readlink(file))
        return [*gone, FileEdit(path, expected, "l", len(target), lambda _size: iter((target,)))]
    kind = "x" if os.access(file, os.X_OK) else "f"
    return [*gone, FileEdit(path, expected, kind, file.stat().st_size, partial(_parts, file))]


def _parts(file: Path, size: int) -> Iterator[bytes]:
    with open(file, "rb") as opened:
        while part := opened.read(size):
            yield part


def _finish(descriptor: int, target: Path, kind: str) -> None:
    """Make a file that was read out durable, and what it is; blocking."""
    if kind == "l":
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        target.unlink()
        os.symlink(content, os.fsencode(target))
        return
    os.fchmod(descriptor, 0o700 if kind == "x" else 0o600)
    os.fsync(descriptor)

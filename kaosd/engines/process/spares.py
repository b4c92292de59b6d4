"""Copies of environments, made beforehand, so that a changed environment starts with what it has in common.

`<root>/<digest>.spare` is a copy of the environment `<digest>` that is not used; a build that needs it renames it into
the new environment. `<root>/<digest>.spare-…` is one in the making; it is of no use once the process that makes it,
known by the mark in its environment, is gone.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import mkdtemp

from kaosd import proc
from kaosd.engines.process import copying

_SPARE = ".spare"
_LEISURELY = "10"  # nice value of what nobody waits for
_PROGRAM = copying.__file__


class Spares:
    """See the module. remove: takes a directory away in the background."""

    def __init__(self, root: Path, variables: Mapping[str, str], remove: Callable[[Path], None]) -> None:
        self._root = root
        self._variables = variables
        self._remove = remove
        self._making: dict[str, asyncio.Task[str]] = {}
        self._drafts: set[Path] = set()  # ours; between two steps no process with their mark runs

    def prepare(self, digest: str, before: str | None) -> None:
        """Start to make a copy of an environment at leisure, once it has the bytecode of the one *before* it."""
        if digest not in self._making and not self._spare(digest).exists():
            making = asyncio.ensure_future(self._prepare(digest, before))
            self._making[digest] = making
            making.add_done_callback(lambda _: self._making.pop(digest, None))

    async def take(self, digest: str, target: Path) -> str:
        """Move a copy of *digest* into the directory *target*; otherwise the reason why there is none."""
        if digest in self._making:
            await asyncio.wait([self._making[digest]])
        if not self._spare(digest).exists() and (reason := await self._make(digest, "0")):
            return reason
        try:
            await asyncio.to_thread(self._move, digest, target)
        except FileNotFoundError:
            return "another daemon has taken the copy"
        return ""

    async def close(self) -> None:
        """Break off what is being made."""
        making = list(self._making.values())
        for task in making:
            task.cancel()
        await asyncio.gather(*making, return_exceptions=True)

    def collect(self, keep: frozenset[str]) -> None:
        """Remove the copies of environments that are not in *keep*, and what a killed daemon left half-made."""
        for name in sorted(os.listdir(self._root)):
            digest, spare, draft = name.partition(_SPARE)
            path = self._root / name
            if spare and (digest not in keep if not draft else path not in self._drafts and not _being_made(path)):
                self._discard(path)

    def _spare(self, digest: str) -> Path:
        return self._root / f"{digest}{_SPARE}"

    async def _prepare(self, digest: str, before: str | None) -> str:
        if before is not None:
            await self._run("bytecode", self._root / before, self._root / digest)
        return await self._make(digest, _LEISURELY)

    async def _make(self, digest: str, nice: str) -> str:
        """Make the copy; returns why it cannot be made, "" when it is there."""
        draft = Path(mkdtemp(prefix=f"{digest}{_SPARE}-", dir=self._root))
        self._drafts.add(draft)
        try:
            finished = await self._run("tree", self._root / digest, draft, nice)
            if finished.code == 0:
                self._complete(draft, digest)
            return "" if finished.code == 0 else finished.output or f"it ended with {finished.code}"
        finally:
            self._drafts.discard(draft)
            self._discard(draft)

    def _complete(self, draft: Path, digest: str) -> None:
        """Give the copy its name, unless another daemon was quicker."""
        if not self._spare(digest).exists():
            draft.rename(self._spare(digest))

    async def _run(self, what: str, old: Path, new: Path, *more: str) -> proc.Finished:
        argv = [sys.executable, "-I", "-S", _PROGRAM, what, str(old), str(new), *more]
        return await proc.run(argv, cwd=self._root, env={**self._variables, proc.BUILD_MARK: str(new)})

    def _move(self, digest: str, target: Path) -> None:
        """The copy's own directory first, which only one can take, then what is in it."""
        taken = target / _SPARE
        self._spare(digest).rename(taken)
        copying.relocate(taken, self._root / digest, target)
        for path in sorted(taken.iterdir()):
            path.rename(target / path.name)
        taken.rmdir()

    def _discard(self, path: Path) -> None:
        """Remove it, at once by its name: no build may take what is half removed. Nothing when it is gone."""
        trash = path.with_name(f"{path.name}-{secrets.token_hex(4)}")
        try:
            path.rename(trash)
        except FileNotFoundError:
            return
        except OSError:  # an overlay does not move a directory of its lower layer, so that no build can take it either
            trash = path
        self._remove(trash)


def _being_made(path: Path) -> bool:
    return any(proc.environ_value(pid, proc.BUILD_MARK) == str(path) for pid in proc.pids())

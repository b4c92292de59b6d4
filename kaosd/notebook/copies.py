"""Copies of what persons had in their tabs, on disk before the tab is changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Self

from kaosd.bundle.store_errors import store_errors
from kaosd.engines.base import Home


class Copies:
    """The copies of one round of changes. note: called with path and file of those that stay, if any do.

    At the end those go whose documents were left as they are (see `changed`); all stay when the round breaks off.
    Each lies in a directory of its own, <recovered>/<time>/<kind>/PATH: a daemon that was killed in between finds it.
    """

    def __init__(self, home: Home, note: Callable[[list[tuple[bytes, str]]], None], kind: str = "tabs") -> None:
        self._home = home
        self._kind = kind
        self._note = note
        self._changed: Collection[bytes] = ()
        self._made: list[tuple[bytes, Path, str]] = []  # path, its directory, its file

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        stay = [made for made in self._made if kind is not None or made[0] in self._changed]
        for made in self._made:
            if made not in stay:
                await asyncio.to_thread(shutil.rmtree, made[1], ignore_errors=True)
        if stay:
            self._note([(path, file) for path, _, file in stay])

    async def keep(self, path: bytes, text: str) -> None:
        """Return when the copy is durable: the only one of *path* in this round. StoreError when it cannot be made.

        A user that types while the text is being kept gives the next one, which has all that the one before it had.
        """
        place = place_for_copies(self._home)
        file = await asyncio.to_thread(_write, place / self._kind, path, text)
        before = [made for made in self._made if made[0] == path]
        self._made = [made for made in self._made if made[0] != path] + [(path, place, file)]
        for _, old, _ in before:
            await asyncio.to_thread(shutil.rmtree, old, ignore_errors=True)

    def changed(self, paths: Collection[bytes]) -> None:
        """Say which documents were changed, or may have been."""
        self._changed = paths


def place_for_copies(home: Home) -> Path:
    """A directory, not made yet, for what is replaced at this moment."""
    return home.root / "recovered" / f"{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}"


def _write(place: Path, path: bytes, text: str) -> str:
    file = os.path.join(os.fsencode(place), path)
    with store_errors("write to", place):
        os.makedirs(os.path.dirname(file), mode=0o700, exist_ok=True)
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as copy:
            copy.write(text.encode("utf-8", "surrogatepass"))
            copy.flush()
            os.fsync(copy.fileno())
    return os.fsdecode(file)

"""What the environments of a notebook have held, by their digests, for as long as anybody may compare them.

An environment itself is dropped soon after its last use; the list of its packages is a few kilobytes:
<home>/packages/<digest>.json, {"name": "version"}.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import structlog

from kaosd.aside import discard, is_file
from kaosd.bundle.store_errors import store_errors
from kaosd.engines.base import Engine, Home, Listing
from kaosd.errors import KaosError
from kaosd.model import Environment

KEPT = 100  # lists, the newest

log = structlog.get_logger(__name__)


class PackageLists:
    """The lists of one notebook. Owned by the event loop."""

    def __init__(self, home: Home, engine: Engine) -> None:
        self._home = home
        self._engine = engine
        self._place = home.root / "packages"
        self._noted = ""  # the digest that was noted last
        self._task: asyncio.Task[None] | None = None

    def note(self, environment: Environment | None) -> None:
        """Write down what an environment holds that is served now, in the background, unless that is known."""
        if environment is None or environment.digest == self._noted or not isinstance(self._engine, Listing):
            return
        self._noted = environment.digest
        self._task = asyncio.get_running_loop().create_task(self._note(environment), name="list of packages")

    async def close(self) -> None:
        """Return when nothing is being written."""
        if self._task is not None:
            await asyncio.wait([self._task])

    def read(self, digest: str) -> dict[str, str] | None:
        """The packages of an environment; None when they are not known. Blocking."""
        path = self._place / f"{digest}.json"
        try:
            found = json.loads(path.read_text()) if is_file(path) else None  # a FIFO would hang us
        except (OSError, ValueError):
            return None
        return found if isinstance(found, dict) else None

    async def _note(self, environment: Environment) -> None:
        try:
            if isinstance(self._engine, Listing) and await asyncio.to_thread(self.read, environment.digest) is None:
                packages = (await self._engine.contents(environment, self._home)).packages
                await asyncio.to_thread(self._write, environment.digest, packages)
        except KaosError as error:
            log.warning("packages_not_noted", environment=environment.digest, error=str(error))

    def _write(self, digest: str, packages: dict[str, str]) -> None:
        with store_errors("write to", self._place):
            self._place.mkdir(mode=0o700, exist_ok=True)
            draft, path = self._place / "new", self._place / f"{digest}.json"
            for one in (draft, path):
                discard(one)  # whatever it is: what was there could not be read
            with open(draft, "w", opener=_private) as file:
                json.dump(packages, file)
            draft.rename(path)
            lists = sorted(self._place.glob("*.json"), key=_age, reverse=True)
            for old in lists[KEPT:]:
                old.unlink()


def _age(path: Path) -> float:
    return path.stat().st_mtime


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)

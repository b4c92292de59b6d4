"""What all notebooks of a daemon share, and where each keeps its files."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from kaosd.bundle import Store
from kaosd.engines.base import Engine, Home
from kaosd.journal import Journal
from kaosd.planner import Settle
from kaosd.watch import Watcher


class News:
    """Wakes those who wait for something to have changed. Owned by the event loop; number only grows."""

    def __init__(self) -> None:
        self.number = 0
        self._changed = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self.number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    async def after(self, number: int) -> int:
        """Return the present number once it is higher than *number*."""
        while self.number <= number:
            await self._changed.wait()
        return self.number


@dataclass(frozen=True, slots=True)
class Workshop:
    """Shared by all notebooks of a daemon.

    state_dir: the daemon's own directory. empty: the built-in bundle of a notebook without a source.
    origins: what a browser may send as Host of the front. backoff_cap, grace: seconds.
    news: told whenever an event was appended or a status changed.
    """

    state_dir: Path
    store: Store
    journal: Journal
    watcher: Watcher
    engines: Mapping[str, Engine]
    empty: Path
    origins: tuple[str, ...]
    front_url: str
    news: News
    settle: Settle = field(default_factory=Settle)
    keep_versions: int = 20
    backoff_cap: float = 60.0
    grace: float = 5.0

    def home(self, name: str) -> Home:
        """The directories of a notebook, made if absent (mode 0700), with its token."""
        root = self.state_dir / "notebooks" / name
        home = Home(
            root=root,
            work=root / "work",
            data=root / "data",
            jupyter=root / "jupyter",
            logs=root / "logs",
            token_file=root / "token",
            run=self.state_dir / "run",
        )
        for path in (root.parent, root, home.work, home.jupyter, home.logs, home.run):
            path.mkdir(mode=0o700, exist_ok=True)
        secret_file(home.token_file)
        return home


def secret_file(path: Path) -> str:
    """The random token in *path* (mode 0600, no newline), made if absent: whole or not at all."""
    if path.exists():
        return path.read_text()
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(secrets.token_hex(24))
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    return path.read_text()

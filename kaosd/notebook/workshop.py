"""What all notebooks of a daemon share, and where each keeps its files."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from kaosd.aside import discard, is_file, set_aside
from kaosd.bundle import Store
from kaosd.engines.base import Engine, Home
from kaosd.engines.gpus import Gpus
from kaosd.journal import Journal
from kaosd.metrics import Counters
from kaosd.planner import Settle
from kaosd.watch import Watcher

log = structlog.get_logger(__name__)
_TOKEN = re.compile("[0-9a-f]{48}")


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
    gpus: Gpus = field(default_factory=Gpus)
    counters: Counters = field(default_factory=Counters)

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
            _directory(path)
        secret_file(home.token_file)
        return home


def secret_file(path: Path) -> str:
    """The random token in *path* (mode 0600, no newline), made whole or not at all: if absent, or no token of ours."""
    found = path.read_bytes().decode("latin-1") if is_file(path) else ""
    if not _TOKEN.fullmatch(found):
        if os.path.lexists(path):
            log.warning("token_made_again", path=str(path), reason="the file held no token")
        found = secrets.token_hex(24)
        put_secret(path, found)
    return found


def put_secret(path: Path, token: str) -> None:
    """Write *token* to *path*, whatever stands there. OSError."""
    new = path.with_suffix(".new")
    discard(new)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(token)
        file.flush()
        os.fsync(file.fileno())
    if path.is_dir():
        discard(path)
    new.rename(path)


def _directory(path: Path) -> None:
    """Make a directory, mode 0700, if it is absent; what else stands there is set aside. OSError."""
    if os.path.lexists(path) and not path.is_dir():
        log.warning("set_aside", path=str(path), aside=str(set_aside(path, time.time())))
    path.mkdir(mode=0o700, exist_ok=True)

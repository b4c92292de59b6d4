"""What may be asked of the daemon, by subject: of itself, and of the life, the state and the files of its notebooks.

Each request is a coroutine (a run: a generator) that returns the object of JSON that kaosd.api answers with. Errors are
KaosErrors; the rest are bugs.
"""

from __future__ import annotations

from kaosd.registry import Registry
from kaosd.requests.daemon_wide import DaemonWide
from kaosd.requests.file_changes import FileChanges
from kaosd.requests.lifecycle import Lifecycle
from kaosd.requests.reports import Reports


class Requests:
    """All that may be asked."""

    def __init__(self, registry: Registry, daemon: DaemonWide) -> None:
        self.daemon = daemon
        self.lifecycle = Lifecycle(registry, lambda: daemon.settings)
        self.reports = Reports(registry)
        self.files = FileChanges(registry)


__all__ = ["DaemonWide", "Requests"]

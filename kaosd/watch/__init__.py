"""Watching directories: whatever happens below them becomes a few coalesced wake-ups that say "look again".

Nothing here reads a file or decides what a change means: an event is a hint, the digest is the truth. What
inotify cannot see or has lost is made good by looking at everything, or by polling.
"""

from __future__ import annotations

from kaosd.watch.dirty import Dirty
from kaosd.watch.file_systems import file_system, is_made_up
from kaosd.watch.root import WatchedRoot
from kaosd.watch.watcher import Watcher, WatchStats

__all__ = ["Dirty", "WatchStats", "WatchedRoot", "Watcher", "file_system", "is_made_up"]

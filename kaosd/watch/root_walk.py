"""One look at where a root is, which of its directories are under watch, and if need be at all of its files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaosd.watch.file_systems import PathIdentity, file_system, identify, is_remote
from kaosd.watch.kernel import WatchLimit
from kaosd.watch.polling import Snapshot, differences, snapshot
from kaosd.watch.trees import Released, Tree, Watches

_MOVING = 3  # looks at a root that is replaced while we look; a later one finds it at rest


@dataclass(frozen=True, slots=True)
class RootWalk:
    """What one look found.

    identity: None when there is no directory. kind: type of its file system. tree: its directories under
    watch, None when inotify does not serve it. limited: because of the watch limit. snapshot: for polling,
    None where inotify alone will do. cpu, wall: seconds that the scan took.
    """

    identity: PathIdentity | None = None
    kind: str = ""
    tree: Tree | None = None
    limited: bool = False
    snapshot: Snapshot | None = None
    cpu: float = 0.0
    wall: float = 0.0

    def since(self, before: RootWalk) -> frozenset[bytes]:
        """Paths that polling found changed since the scan *before*, of the same directory."""
        if self.snapshot is None or before.snapshot is None:
            return frozenset()
        return differences(before.snapshot, self.snapshot)


def survey(
    root: Path,
    ignored: Callable[[bytes, bool], bool],
    watches: Watches | None,
    tree: Tree | None,
    stopped: Callable[[], bool],
) -> RootWalk:
    """Look at *root*; blocking. *tree* is what an earlier look left, and is kept or released.

    watches: None when inotify is not to be used.
    """
    cpu, wall = time.thread_time(), time.monotonic()
    path = os.fsencode(root)
    for _ in range(_MOVING):
        identity = identify(path)
        kind = file_system(identity.place) if identity else ""
        tree, limited = _cover(identity, ignored, watches, tree)
        files = None
        if identity is not None and (tree is None or is_remote(kind)):
            files = snapshot(identity.place, ignored, stopped)
        if identify(path) == identity:
            break
    return RootWalk(identity, kind, tree, limited, files, time.thread_time() - cpu, time.monotonic() - wall)


def _cover(
    identity: PathIdentity | None,
    ignored: Callable[[bytes, bool], bool],
    watches: Watches | None,
    tree: Tree | None,
) -> tuple[Tree | None, bool]:
    """The tree of *identity* with all its directories under watch, and whether the watch limit forbids that."""
    if tree is not None and (tree.identity != identity or tree.watches is not watches or tree.lost):
        tree.release()
        tree = None
    if identity is None or watches is None:
        return None, False
    tree = tree or Tree(watches, identity, ignored)
    try:
        tree.cover_all()
    except Released:
        return None, False
    except WatchLimit:
        tree.limited = True
    except BaseException:
        tree.release()
        raise
    if tree.limited or not tree.directories:  # in part is not at all: what it misses, it would miss in silence
        tree.release()
        return None, tree.limited
    return tree, False

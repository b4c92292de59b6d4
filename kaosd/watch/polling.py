"""Looking for changes without inotify: a walk that compares what stat says, at an interval that it can afford."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, field

SHORTEST = 1.0  # seconds between two walks
CORE_SHARE = 0.015  # of a core that polling may take
TIME_SHARE = 0.1  # of the time that a walk may run: a slow server is not to be asked without end


@dataclass(slots=True)
class Snapshot:
    """What one walk found: a number per path that changes when the file does. directories: how many there are."""

    entries: dict[bytes, int] = field(default_factory=dict)
    directories: int = 0


def join(directory: bytes, name: bytes) -> bytes:
    """The path of *name* in the relative *directory*, which is b"" for the root."""
    return directory + b"/" + name if directory else name


def snapshot(place: bytes, ignored: Callable[[bytes, bool], bool], stopped: Callable[[], bool]) -> Snapshot:
    """Walk *place*; what is ignored, vanishes or may not be read is left out. Ends early when *stopped*."""
    result = Snapshot()
    waiting = [b""]
    while waiting and not stopped():
        directory = waiting.pop()
        result.directories += 1
        for name, found in _list(os.path.join(place, directory)):
            path = join(directory, name)
            is_directory = stat.S_ISDIR(found.st_mode)
            if ignored(path, is_directory):
                continue
            result.entries[path] = _mark(found, is_directory)
            if is_directory:
                waiting.append(path)
    return result


def _list(directory: bytes) -> list[tuple[bytes, os.stat_result]]:
    """The entries of *directory* with what stat says; without those that are gone or out of reach."""
    found: list[tuple[bytes, os.stat_result]] = []
    with contextlib.suppress(OSError), os.scandir(directory) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                found.append((entry.name, entry.stat(follow_symlinks=False)))
    return found


def _mark(found: os.stat_result, is_directory: bool) -> int:
    """A directory's own times are left out: they change with ignored temporaries, and its entries tell the rest."""
    if is_directory:
        return hash((found.st_mode, found.st_ino, found.st_uid, found.st_gid))
    return hash((found.st_mode, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns))


def differences(old: Snapshot, new: Snapshot) -> frozenset[bytes]:
    """Paths that came, went or changed between two walks."""
    return frozenset(path for path, _ in old.entries.items() ^ new.entries.items())


def poll_interval(cpu: float, wall: float) -> float:
    """Seconds until the next walk, from the seconds of processor and of time that the last one took."""
    return max(SHORTEST, cpu / CORE_SHARE, wall / TIME_SHARE)

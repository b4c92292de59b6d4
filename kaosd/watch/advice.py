"""What is wrong with watching, as sentences with their fix."""

from __future__ import annotations

import contextlib
from collections import deque
from pathlib import Path

from kaosd.model import Problem

STORM = 10  # overflows ...
STORM_TIME = 10.0  # ... within so many seconds: events come faster than they can be read


def storming(overflows: deque[float], now: float) -> bool:
    """Whether the loop times of the latest overflows mean that inotify is of no use at the moment."""
    return sum(now - at <= STORM_TIME for at in overflows) >= STORM


_LIMITS = {
    "watches": ("/proc/sys/fs/inotify/max_user_watches", "/proc/sys/user/max_inotify_watches"),
    "instances": ("/proc/sys/fs/inotify/max_user_instances", "/proc/sys/user/max_inotify_instances"),
    "events": ("/proc/sys/fs/inotify/max_queued_events",),
}


def limit(what: str) -> int:
    """The limit in force on inotify "watches", "instances" or "events"; 0 when the kernel does not tell."""
    found = []
    for file in _LIMITS[what]:
        with contextlib.suppress(OSError, ValueError):
            found.append(int(Path(file).read_text(encoding="ascii")))
    return min(found, default=0)


def raised(limit: int, least: int) -> int:
    """A limit to propose instead of *limit*: at least *least*, else twice as much."""
    return max(least, 2 * limit)


def set_limit(name: str, value: int) -> str:
    """The command that sets a kernel limit now and for good."""
    file = "/etc/sysctl.d/60-kaosd.conf"
    return f"echo fs.inotify.{name}={value} | sudo tee -a {file} && sudo sysctl -p {file}"


def no_watches(root: Path, limit: int, every: float, since: float) -> Problem:
    """A root has more directories than there are watches left."""
    return Problem(
        "watch_limit",
        "warning",
        f"the limit of {limit} inotify watches is used up, so {root} is polled every {every:.0f} s",
        set_limit("max_user_watches", raised(limit, 524288)),
        since,
    )


def no_instance(limit: int, since: float) -> Problem:
    """The kernel gives no inotify instance at all."""
    return Problem(
        "watch_instances",
        "warning",
        f"the limit of {limit} inotify instances or of open files is used up, so all directories are polled",
        set_limit("max_user_instances", raised(limit, 1024)),
        since,
    )


def storm(limit: int, since: float) -> Problem:
    """The queue overflows again and again."""
    return Problem(
        "watch_overflow",
        "warning",
        f"files change faster than the inotify queue of {limit} events can hold, so all directories are polled "
        "for a while",
        set_limit("max_queued_events", raised(limit, 131072)) + ", or put what changes into .kaosignore",
        since,
    )


def failed(since: float) -> Problem:
    """The thread that reads inotify ended; the log has its traceback."""
    return Problem(
        "watch_failed",
        "error",
        "reading inotify failed, so all directories are polled for a while",
        "see `kaosctl logs --stage daemon` and report it",
        since,
    )


def remote(root: Path, kind: str, every: float, since: float) -> Problem:
    """A root lies where others can change it unseen."""
    return Problem(
        "watch_remote",
        "warning",
        f"{root} is on {kind}, which does not report changes made elsewhere, so it is polled every {every:.0f} s",
        "changes made elsewhere take that long to be seen; keep the directory on a local disk to have them at once",
        since,
    )

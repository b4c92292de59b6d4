"""What becomes of a file of the state directory that is not what it must be: set aside, removed, made readable."""

from __future__ import annotations

import os
import shutil
import stat
import time
from pathlib import Path

_MARK = ".damaged-"


def set_aside(path: Path, at: float) -> Path:
    """Rename *path*, whatever it is, to `<name>.damaged-<time>`, the only one that is kept. OSError.

    at: the time now, in seconds since the epoch.
    """
    aside = path.with_name(f"{path.name}{_MARK}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(at))}")
    for earlier in sorted(path.parent.glob(f"{path.name}{_MARK}*")):
        discard(earlier)
    os.rename(path, aside)
    return aside


def discard(path: Path) -> None:
    """Remove *path*, whatever it is, if it is there. OSError."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def is_file(path: Path) -> bool:
    """Whether *path* is a regular file, perhaps through a link, which its owner can read and write from now on.

    Never opens it, so a FIFO does not hang. OSError when its mode cannot be changed.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(mode):
        return False
    if mode & 0o600 != 0o600:
        path.chmod(0o600)
    return True

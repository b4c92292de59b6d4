"""What Python has compiled of a file beside it, which it takes for the file's own for as long as that looks the same.

Python compares the size and the time of a source, in whole seconds. A file that is saved twice within a second, with
as many bytes, would be imported as it was the first time, whatever it says now.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

CACHE = b"__pycache__"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def forget(parent: int, *names: bytes) -> None:
    """Remove what Python has compiled of the files *names* in the directory descriptor *parent*, as far as possible."""
    firsts = {name.partition(b".")[0] for name in names if name.endswith(b".py")}
    if not firsts:
        return
    with contextlib.suppress(OSError):  # most directories have none; another one may be removing it
        cache = os.open(CACHE, _DIRECTORY, dir_fd=parent)
        try:
            for one in os.listdir(cache):
                if one.endswith(".pyc") and os.fsencode(one).partition(b".")[0] in firsts:
                    os.unlink(one, dir_fd=cache)
        finally:
            os.close(cache)


def saved(os_path: str, **_: Any) -> None:
    """After JupyterLab has saved a file: a hook of its contents manager."""
    above, name = os.path.split(os.fsencode(os_path))
    with contextlib.suppress(OSError):  # it was moved meanwhile
        parent = os.open(above, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            forget(parent, name)
        finally:
            os.close(parent)

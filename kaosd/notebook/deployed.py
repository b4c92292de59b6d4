"""Which trees the files of a work directory came from, told in a file beside it.

The journal says so as well. But it can be lost, or be older than the work directory: after a power cut, or when a
backup of it was put back. Then what it says would make old content pass for a person's edit.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable
from pathlib import Path

from kaosd.aside import discard, is_file
from kaosd.bundle.store_errors import store_errors
from kaosd.engines.base import Home

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WHOLE = re.compile(r"(?:[0-9a-f]{64}\n)+end\n")  # anything else is the half of one


def read(home: Home) -> tuple[str, ...]:
    """The trees; none when that is not known. Several while a sync has not ended. Blocking."""
    try:
        text = _file(home).read_text() if is_file(_file(home)) else ""
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(text.split()[:-1]) if _WHOLE.fullmatch(text) else ()


def write(home: Home, trees: Iterable[str | None]) -> None:
    """Say which; blocking. StoreError.

    In place and not synced, since each save does it twice: half of it, after a kill or a power cut, is none, and then
    the journal says what is true.
    """
    text = "".join(f"{tree}\n" for tree in dict.fromkeys(trees) if tree is not None) + "end\n"
    with store_errors("write to", home.root):
        try:
            _put(_file(home), text.encode())
        except OSError as error:
            if error.errno in {errno.ENOSPC, errno.EDQUOT}:
                raise
            discard(_file(home))  # it is not a file
            _put(_file(home), text.encode())


def _put(path: Path, data: bytes) -> None:
    descriptor = os.open(path, _NEW, 0o600)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def forget(home: Home) -> None:
    """Say that it is not known, because the work directory is set aside; blocking. StoreError."""
    with store_errors("write to", home.root):
        _file(home).unlink(missing_ok=True)


def _file(home: Home) -> Path:
    return home.root / "deployed"

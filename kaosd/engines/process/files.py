"""Files and links that are replaced whole, so that a reader or a crash never meets half of one."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from kaosd.aside import discard, is_file


def replace_file(path: Path, content: bytes) -> None:
    """Put a file with *content*, mode 0600, in the place of *path*, durably. Raises OSError."""
    draft = _draft(path)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        _put(draft, path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def replace_link(path: Path, target: str) -> None:
    """Put a symbolic link to *target* in the place of *path*. Raises OSError."""
    draft = _draft(path)
    draft.symlink_to(target)
    _put(draft, path)


def read_file(path: Path) -> str:
    """The text of a file; OSError when there is none, also when something else stands there, which would hang us."""
    if not is_file(path):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    return path.read_text()


def read_link(path: Path) -> str | None:
    """Where the link points; None when there is no link."""
    return os.readlink(path) if path.is_symlink() else None


def _put(draft: Path, path: Path) -> None:
    if path.is_dir() and not path.is_symlink():  # nothing of ours; a rename does not replace it
        discard(path)
    draft.rename(path)


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")

"""Files and links that are replaced whole, so that a reader or a crash never meets half of one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def replace_file(path: Path, content: bytes) -> None:
    """Put a file with *content*, mode 0600, in the place of *path*, durably. Raises OSError."""
    draft = _draft(path)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        draft.rename(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def replace_link(path: Path, target: str) -> None:
    """Put a symbolic link to *target* in the place of *path*. Raises OSError."""
    draft = _draft(path)
    draft.symlink_to(target)
    draft.rename(path)


def read_link(path: Path) -> str | None:
    """Where the link points; None when there is no link."""
    return os.readlink(path) if path.is_symlink() else None


def _draft(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}")

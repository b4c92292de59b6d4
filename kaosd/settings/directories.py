"""Makes the daemon's own directories and refuses those that others could have a hand in."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

from kaosd.errors import ConfigError


def make_private(directory: Path, what: str, *, tighten: bool) -> None:
    """Make *directory* (and missing parents) with mode 0700, or check the one that is there.

    what: its role, for messages. tighten: take all rights of others away from an existing one, too; without it
    only their write permission is refused. Raises ConfigError when it is a link, is not a directory, belongs to
    another user, is writable by others or cannot be written.
    """
    refuse_borrowed(directory, what, os.geteuid())
    try:
        _make(directory)
        handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(_unusable(directory, what, error)) from error
    try:
        _check(handle, directory, what)
        if tighten:
            os.fchmod(handle, 0o700)
        tempfile.TemporaryFile(dir=directory).close()
    except OSError as error:
        raise ConfigError(f"the {what} {directory} cannot be written: {error.strerror}") from error
    finally:
        os.close(handle)


def _make(directory: Path) -> None:
    """Like mkdir -p, but every directory that is made is private from its first moment."""
    for path in (*reversed(directory.parents), directory):
        try:
            os.mkdir(path, 0o700)
        except OSError:
            if not os.path.lexists(path):
                raise


def _check(handle: int, directory: Path, what: str) -> None:
    status = os.fstat(handle)
    if status.st_uid != os.geteuid():
        raise ConfigError(
            f"the {what} {directory} belongs to user id {status.st_uid}, and kaosd runs as {os.geteuid()}",
            hint="name a directory of your own",
        )
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ConfigError(f"the {what} {directory} can be written by others", hint=f"chmod go-w {directory}")


def _unusable(directory: Path, what: str, error: OSError) -> str:
    if directory.is_symlink():
        return f"the {what} {directory} is a symbolic link; name the directory that it leads to"
    if directory.exists() and not directory.is_dir():
        return f"the {what} {directory} is not a directory"
    return f"the {what} {directory} cannot be made: {error.strerror} ({error.filename})"


def refuse_borrowed(directory: Path, what: str, user: int) -> None:
    """ConfigError when *user* is root and *directory* lies in another person's.

    sudo keeps HOME, and root would leave files there that the person cannot use.
    """
    if user != 0:
        return
    nearest = next(path for path in (directory, *directory.parents) if path.exists())
    owner = nearest.stat().st_uid
    if owner != 0:
        raise ConfigError(
            f"kaosd runs as root, but its {what} {directory} lies in a directory of user id {owner}",
            hint="run it as that user, or name a directory of root's",
        )

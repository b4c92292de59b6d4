"""Makes the daemon's own directories and refuses those that others could have a hand in."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Collection
from pathlib import Path

from kaosd.errors import ConfigError

OVERFLOW = 65534  # how the kernel shows a user that is not known in this user namespace


def make_private(directory: Path, what: str, *, tighten: bool) -> None:
    """Make *directory* (and missing parents) with mode 0700, or check the one that is there.

    what: its role, for messages. tighten: take all rights of others away from an existing one, too; without it
    only their write permission is refused. Raises ConfigError when it is a link, is not a directory, belongs to
    another user, is writable by others, lies where others could put another in its place, or cannot be written.
    """
    refuse_borrowed(directory, what, os.geteuid())
    refuse_replaceable(directory, what)
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


def refuse_replaceable(directory: Path, what: str) -> None:
    """ConfigError when others could put a directory of theirs in the place of *directory*, or of one above it."""
    above = {*directory.parents, *Path(os.path.realpath(directory)).parents}  # links on the way can be replaced as well
    trusted = {0, os.geteuid()} | ({OVERFLOW} if _in_user_namespace() else set())
    for parent in sorted(above):
        try:
            why = in_other_hands(os.stat(parent), trusted, os.getegid())
        except OSError:
            continue  # not there yet; or it may not be entered, which is told when it is used
        if why:
            text = f"the {what} {directory} cannot lie below {parent}, which {why}"
            raise ConfigError(text, hint="name a directory below one that only you can change")


def in_other_hands(found: os.stat_result, trusted: Collection[int], group: int) -> str:
    """Why somebody but the users *trusted* could replace what lies in this directory; "" when no other user could.

    group: the user's own. In a sticky directory, such as /tmp, everybody can replace only what is theirs.
    """
    if found.st_uid not in trusted:
        return f"belongs to user id {found.st_uid}"
    if found.st_mode & stat.S_ISVTX:
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "is writable by everybody"
    if found.st_mode & stat.S_IWGRP and found.st_gid not in (0, group):
        return f"is writable by group id {found.st_gid}"
    return ""


def _in_user_namespace() -> bool:
    """Whether the owners of some files are not known here: the root outside of a container is shown as OVERFLOW."""
    try:
        return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]
    except OSError:
        return False


def tighten_files(state_dir: Path) -> None:
    """Take the rights of others away from tokens, logs and the like, which may be from a backup or a careless copy."""
    for pattern in ("*", "logs/*", "notebooks/*/*", "notebooks/*/logs/*"):
        for path in state_dir.glob(pattern):
            with contextlib.suppress(OSError):  # gone, or not readable by us: then it is not by others either
                _tighten_file(path)


def _tighten_file(path: Path) -> None:
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o077 or found.st_uid != os.geteuid():
        return
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        os.fchmod(handle, found.st_mode & 0o700)
    finally:
        os.close(handle)

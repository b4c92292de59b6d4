"""The socket's path: who may stand there, how it is taken, and how it is given back.

The caller holds the lock of the state directory, so that what stands at the path and does not answer is stale.
"""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING

from kaosd.errors import ConfigError
from kaosd.settings.directories import make_private, refuse_replaceable
from kaosd.settings.locations import SOCKET_PATH_MAX

if TYPE_CHECKING:
    from pathlib import Path

BACKLOG = 128


def listen(path: Path) -> socket.socket:
    """A listening socket at *path*, mode 0600; a stale one of ours is replaced.

    Raises ConfigError: path too long, directory not private, another daemon answers, something else stands there.
    """
    size = len(os.fsencode(path))
    if size > SOCKET_PATH_MAX:
        text = f"the socket path {path} has {size} bytes, and the system allows {SOCKET_PATH_MAX}"
        raise ConfigError(text, hint="name a shorter one with KAOSD_SOCKET")
    refuse_replaceable(path.parent, "socket's directory")
    make_private(path.parent, "directory of the socket", tighten=False)
    _clear(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        # Linux gives the path the mode of the descriptor: private from its first moment, and without umask(),
        # which would act on files that other threads make meanwhile.
        os.fchmod(listening.fileno(), 0o600)
        listening.bind(os.fspath(path))
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise ConfigError(f"the socket {path} cannot be made: {error.strerror}") from error
    return listening


def given(listening: socket.socket, path: Path) -> socket.socket:
    """The socket that systemd listens on for us, when it is the one that clients use.

    Raises ConfigError, and closes it, when it is of another kind or stands at another path.
    """
    unix = listening.family == socket.AF_UNIX and listening.type == socket.SOCK_STREAM
    at = listening.getsockname() if unix else None
    if at != os.fspath(path) or not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        listening.close()
        where = at or "something that is not a Unix socket"
        text = f"kaosd.socket listens at {where}, and kaosd is to listen at {path}"
        raise ConfigError(text, hint="change ListenStream= in a drop-in of kaosd.socket, or KAOSD_SOCKET")
    return listening


def identity(path: Path) -> tuple[int, int] | None:
    """Which file stands at *path* (device, inode); None when none does."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


def _clear(path: Path) -> None:
    """Remove a stale socket of ours; ConfigError when anything else stands there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid():
        what = (
            f"a socket of user id {found.st_uid}" if stat.S_ISSOCK(found.st_mode) else "something that is not a socket"
        )
        raise ConfigError(f"at {path} stands {what}", hint="remove it, or name another path with KAOSD_SOCKET")
    if _answers(path):
        text = f"another kaosd, with another state directory, listens at {path}"
        raise ConfigError(text, hint="stop it with `kaosctl stop`, or name another path with KAOSD_SOCKET")
    os.unlink(path)


def _answers(path: Path) -> bool:
    """Whether a process listens at *path*, however busy it is."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as probe:
        try:
            probe.connect(os.fspath(path))
        except BlockingIOError:
            return True
        except OSError:
            return False
        return True

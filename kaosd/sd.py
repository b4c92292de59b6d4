"""Tells systemd how the daemon is: sd_notify(3) in a few lines, because no kept library is both small and right.

The socket's name is taken out of the environment at first use, so that no child can speak for the daemon.
Without systemd every call does nothing. Called from the event loop only: the socket never blocks.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import MutableMapping

import structlog

from kaosd.display import printable

log = structlog.get_logger(__name__)
FIRST_GIVEN = 3  # the first descriptor that systemd hands over
GIVEN = {"control": 1, "front": 2}  # how many sockets of a name; the front has one for 127.0.0.1 and one for ::1


class Notifier:
    """The daemon's line to systemd.

    watchdog_interval: seconds between two signs of life (half of what systemd tolerates), None when it wants none.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None
        self._complained = False
        self.watchdog_interval = _interval(environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", ""))

    def notify(self, state: str) -> None:
        """Send one datagram of NAME=value lines. A systemd that does not listen is logged once and then ignored."""
        if not self._address:
            return
        if self._socket is None:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._socket.sendto(state.encode(errors="backslashreplace"), self._address)
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError) as error:
            if not self._complained:
                log.warning("systemd_does_not_listen", socket=self._address, error=str(error))
            self._complained = True

    def close(self) -> None:
        """Close the socket; a later notify opens it again."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def notify(state: str) -> None:
    """Tell the systemd that started this process, if one did: "READY=1", "STOPPING=1", "WATCHDOG=1" and so on."""
    _own().notify(state)


def listening(environ: MutableMapping[str, str] = os.environ) -> dict[str, tuple[socket.socket, ...]]:
    """The sockets that systemd listens on for this process, by name (see GIVEN); others that it gave are closed.

    The variables are taken out of the environment, and no child inherits the descriptors (sd_listen_fds(3)).
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    found: dict[str, tuple[socket.socket, ...]] = {}
    for offset in range(int(count)):
        descriptor = FIRST_GIVEN + offset
        name = names[offset] if offset < len(names) else ""
        if len(found.get(name, ())) < GIVEN.get(name, 0):
            os.set_inheritable(descriptor, False)
            given = socket.socket(fileno=descriptor)
            given.setblocking(False)
            found[name] = (*found.get(name, ()), given)
        else:
            os.close(descriptor)
    return found


def watchdog_interval() -> float | None:
    """Seconds between two signs of life, None when systemd wants none."""
    return _own().watchdog_interval


def status(text: str) -> str:
    """The state that shows *text* in `systemctl status`, on one line whatever it holds."""
    return f"STATUS={printable(text)}"


def reloading() -> str:
    """The state that starts a reload; READY=1 ends it, also when it failed."""
    return f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}"


@functools.cache
def _own() -> Notifier:
    return Notifier(os.environ)


def _interval(microseconds: str, pid: str) -> float | None:
    """Half of the watchdog's time, unless it is meant for another process."""
    if not microseconds.isdecimal() or int(microseconds) == 0 or pid not in ("", str(os.getpid())):
        return None
    return int(microseconds) / 2_000_000

"""One-time addresses: what `kaosctl open` hands to a browser in place of the token.

A browser is given its address as an argument, and every user of the machine can read the arguments of every process.
So the address works once, for a short time, and only over a connection that belongs to our own user.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

SECONDS: Final = 120.0  # that an address works; a browser that starts for the first time needs some
_MOST = 100  # addresses at a time; above it the oldest is worth nothing any more
_ROOT = 0
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))


class OneTime:
    """The one-time addresses that were given out and not used yet. clock: seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._known: dict[bytes, tuple[str, float]] = {}  # digest of the code: scope, and until when; oldest first

    def issue(self, scope: str) -> str:
        """A code that signs a browser in to *scope* (the name of a notebook; "": the console) once."""
        code = secrets.token_urlsafe(32)
        while len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        self._known[_digest(code)] = scope, self._clock() + SECONDS
        return code

    def redeem(self, scope: str, code: str) -> bool:
        """Whether *code* signs in to *scope* now; it is used up then."""
        known, until = self._known.get(_digest(code), (None, 0.0))
        if known != scope:
            return False
        del self._known[_digest(code)]
        return self._clock() <= until


def _digest(code: str) -> bytes:
    return hashlib.sha256(code.encode(errors="replace")).digest()


def another_user(near: tuple[Any, ...], far: tuple[Any, ...]) -> int | None:
    """The user at the other end of a connection on this machine, if that is neither ours nor root; blocking.

    near, far: the addresses of our end and of the other one. None also when the other end is not on this machine.
    """
    wanted = (_plain(str(far[0])), far[1]), (_plain(str(near[0])), near[1])
    for table in _TABLES:
        try:
            lines = table.read_text().splitlines()[1:]
        except OSError:  # no such protocol here
            continue
        for line in lines:
            fields = line.split()
            if (_parsed(fields[1]), _parsed(fields[2])) == wanted:
                uid = int(fields[7])
                return uid if uid not in (_ROOT, os.geteuid()) else None
    return None


def _parsed(text: str) -> tuple[str, int]:
    """Address and port of a field of /proc/net/tcp: each group of four bytes is written as a number of this machine."""
    address, _, port = text.partition(":")
    groups = (bytes.fromhex(address[at : at + 8])[::-1] for at in range(0, len(address), 8))
    return _plain(str(ipaddress.ip_address(b"".join(groups)))), int(port, 16)


def _plain(address: str) -> str:
    found = ipaddress.ip_address(address)
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)

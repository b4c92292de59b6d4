"""Which directories some process has in hand: as its working directory, through an open file, or mapped.

Looks at all processes of this machine, containers included, as far as the kernel lets this user see them. One that
may not be seen counts as a user of everything if it runs in a container that mounts the directories; other users'
processes outside of containers are not seen.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator


def in_use(directories: Collection[bytes]) -> frozenset[bytes]:
    """Those of *directories* that a process has in hand.

    Matched by the last three parts of their paths, since a container may see what is above them elsewhere.
    """
    marks = {_mark(directory): directory for directory in directories}
    used: set[bytes] = set()
    own = _read("self", "mountinfo")
    for pid in os.listdir("/proc"):
        if not pid.isdecimal():
            continue
        try:
            held = b"\n".join((*_links(pid), b""))
        except PermissionError:
            mounted = _read(pid, "mountinfo")
            if mounted != own:
                used.update(d for m, d in marks.items() if m.rpartition(b"/")[0].rpartition(b"/")[0] + b" " in mounted)
            continue
        held += _read(pid, "maps")
        used.update(d for m, d in marks.items() if any(m + end in held for end in (b"/", b"\n", b" (deleted)\n")))
        if len(used) == len(marks):
            break
    return frozenset(used)


def _mark(directory: bytes) -> bytes:
    """The end of a path, as the kernel writes it: "/notebook/versions/12"."""
    return b"/" + b"/".join(directory.split(b"/")[-3:]).replace(b"\n", b"\\012")


def _links(pid: str) -> Iterator[bytes]:
    """Where the links of a process lead. PermissionError when they may not be read; nothing when it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        yield os.readlink(f"/proc/{pid}/cwd".encode()).replace(b"\n", b"\\012")
        yield os.readlink(f"/proc/{pid}/root".encode()).replace(b"\n", b"\\012")
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                yield os.readlink(f"/proc/{pid}/fd/{name}".encode()).replace(b"\n", b"\\012")


def _read(pid: str, name: str) -> bytes:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
        return file.read()
    return b""

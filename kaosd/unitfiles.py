"""The unit files that kaosd installs: made from the shipped ones, and known again by their stamp.

The first line says which version wrote the file and the digest of the rest, so that a file which a person has changed
is never overwritten, and one of another version or interpreter is seen.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kaosd.errors import KaosError
from kaosd.settings import locations

# in an installed package beside this module, in a checkout above it
SHIPPED = next(path for up in (0, 1) if (path := Path(__file__).parents[up] / "systemd").is_dir())
SOCKETS = ("kaosd.socket", "kaosd-front.socket")
NAMES = ("kaosd.service", *SOCKETS)
_STAMP = re.compile(r"# written by `kaosd install-service` of kaosd (\S+), sha256 ([0-9a-f]{64})\n")
_NEW_KEYS = re.compile(r"^Restart(Steps|MaxDelaySec)=.*\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Installed:
    """A unit file on disk. version: of the kaosd that wrote it, None for a file of the person's own.

    intact: whether it is as it was written. program: the first word of ExecStart=; "" when it has none.
    port: that it listens at; 0 for none.
    """

    path: Path
    version: str | None
    intact: bool
    program: str
    port: int = 0


def directory(environ: Mapping[str, str]) -> Path:
    """Where a person's units are."""
    return locations.config_home(environ) / "systemd" / "user"


def render(template: str, interpreter: str, version: str, systemd: int, *, port: int, ipv6: bool) -> str:
    """The file to install. systemd: its version; keys that it does not know are left out. port: of the front.

    ipv6: whether this machine has ::1; a socket unit with an address that is not there does not start.

    Raises KaosError when the interpreter's path cannot be written in a unit file.
    """
    body = re.sub(r"^# where pipx .*\n", "", template, flags=re.MULTILINE)
    command = f"ExecStart={quoted(interpreter)} -m kaosd run"
    body = re.sub(r"^ExecStart=.*$", lambda _: command, body, flags=re.MULTILINE)
    body = body if systemd >= 254 else _NEW_KEYS.sub("", body)
    body = re.sub(r"^(ListenStream=(?:127\.0\.0\.1|\[::1\])):[0-9]+$", rf"\1:{port}", body, flags=re.MULTILINE)
    body = body if ipv6 else re.sub(r"^ListenStream=\[::1\].*\n", "", body, flags=re.MULTILINE)
    return f"# written by `kaosd install-service` of kaosd {version}, sha256 {_digest(body)}\n{body}"


def quoted(path: str) -> str:
    """A program's path as ExecStart= takes it: quoted, with no specifier in it."""
    if set("$\"'\\") & set(path) or not path.isprintable():
        raise KaosError(f"systemd cannot start {path!r}", hint="install kaosd below a directory with a plainer name")
    return f'"{path.replace("%", "%%")}"'


def read(path: Path) -> Installed | None:
    """The unit file at *path*; None when there is none. Raises KaosError when it cannot be read."""
    try:
        text = "" if path.is_symlink() else path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise KaosError(f"{path} cannot be read: {error}", hint="move it away") from error
    stamp = _STAMP.match(text)
    intact = stamp is not None and stamp[2] == _digest(text[stamp.end() :])
    port = re.search(r"^ListenStream=127\.0\.0\.1:([0-9]{1,5})$", text, re.MULTILINE)
    return Installed(path, stamp[1] if stamp else None, intact, _program(text), int(port[1]) if port else 0)


def _program(text: str) -> str:
    found = re.search(r'^ExecStart="([^"]*)"', text, re.MULTILINE)
    if found is None:
        plain = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)
        return os.path.expanduser(plain[1].replace("%h", "~")) if plain else ""
    return found[1].replace("%%", "%")


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()

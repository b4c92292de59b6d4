"""Where things are: configuration, state and socket, by the XDG rules and those of a systemd system unit.

Pure but for the account database: everything else comes from the given environment. Relative values of XDG
variables are ignored, as the specification asks. Nothing here touches the disk.
"""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping
from pathlib import Path

from kaosd.errors import ConfigError
from kaosd.model import NAME_MAX

SOCKET_PATH_MAX = 107  # bytes; what sockaddr_un holds
STATE_DIR_MAX = 85  # bytes; sockets of hosts lie up to 22 bytes below it
_ETC = Path("/etc/kaosd/kaosd.toml")


def home(environ: Mapping[str, str]) -> Path:
    """The person's home: HOME when it is absolute, else what the account database says. ConfigError without either."""
    try:
        return _absolute(environ.get("HOME")) or Path(pwd.getpwuid(os.getuid()).pw_dir)
    except KeyError:
        text = f"user id {os.getuid()} has no home directory: HOME is not set, and no account says where it is"
        raise ConfigError(text, hint="set HOME") from None


def here() -> Path:
    """The working directory. ConfigError when it has been removed, or may not be entered."""
    try:
        return Path.cwd()
    except OSError as error:
        text = f"the working directory cannot be used: {error.strerror}"
        raise ConfigError(text, hint="start kaosd in a directory that exists") from error


def login() -> str:
    """The login name as it may stand in a notebook's name: characters that may not become "-"."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run with user ids that no account has
        name = f"user{os.getuid()}"
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:NAME_MAX] or f"user{os.getuid()}"


def in_system_unit(environ: Mapping[str, str]) -> bool:
    """Whether systemd's system instance started us: user managers always set XDG_RUNTIME_DIR."""
    return "INVOCATION_ID" in environ and "XDG_RUNTIME_DIR" not in environ


def default_config(environ: Mapping[str, str]) -> Path:
    """The configuration file when none is named."""
    if in_system_unit(environ):
        return _ETC
    return config_home(environ) / "kaosd" / "kaosd.toml"


def config_home(environ: Mapping[str, str]) -> Path:
    """The directory of the configuration of all programs of this person."""
    return _xdg(environ, "XDG_CONFIG_HOME", ".config")


def default_state_dir(environ: Mapping[str, str]) -> Path:
    """The state directory when none is named. STATE_DIRECTORY counts in the system unit only.

    In user units its path differs between versions of systemd, and state must not move with an upgrade.
    """
    if in_system_unit(environ) and (given := _first(environ.get("STATE_DIRECTORY"))):
        return given
    return _xdg(environ, "XDG_STATE_HOME", ".local/state") / "kaosd"


def default_socket(environ: Mapping[str, str], state_dir: Path) -> Path:
    """The socket when none is named; in the state directory where there is no runtime directory."""
    if in_system_unit(environ):
        directory = _first(environ.get("RUNTIME_DIRECTORY")) or Path(f"/run/kaosd-{login()}")
        return directory / "kaosd.sock"
    runtime = _absolute(environ.get("XDG_RUNTIME_DIR"))
    return runtime / "kaosd" / "kaosd.sock" if runtime else state_dir / "kaosd.sock"


def expand(text: str, base: Path | None, environ: Mapping[str, str]) -> Path:
    """The absolute path of *text*: "~" and "~user" expanded, a relative path taken from *base*.

    base: None for the working directory. Raises ValueError when "~user" names no user, ConfigError as `home`, `here`.
    """
    name, _, rest = text.partition("/")
    if name == "~":
        return home(environ) / rest
    if name.startswith("~"):
        try:
            return Path(pwd.getpwnam(name[1:]).pw_dir) / rest
        except KeyError:
            raise ValueError(f"there is no user {name[1:]!r} here") from None
    path = Path(text)
    return path if path.is_absolute() else (base or here()) / path


def _xdg(environ: Mapping[str, str], variable: str, below_home: str) -> Path:
    return _absolute(environ.get(variable)) or home(environ) / below_home


def _first(text: str | None) -> Path | None:
    """The first of the paths that systemd separates by colons."""
    return _absolute(text.split(":")[0]) if text else None


def _absolute(text: str | None) -> Path | None:
    return Path(text) if text and text.startswith("/") else None

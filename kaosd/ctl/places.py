"""Where the client finds the daemon: the same rules as the daemon's own, in as few imports as possible."""

from __future__ import annotations

import os


def state_dir() -> str:
    """The state directory: KAOSD_STATE_DIR, else by the XDG rules. The daemon's configuration may name another."""
    if given := os.environ.get("KAOSD_STATE_DIR"):
        return absolute(given)
    base = os.environ.get("XDG_STATE_HOME", "")
    own = os.path.join(base if base.startswith("/") else os.path.expanduser("~/.local/state"), "kaosd")
    return _or_of_the_system(own, "/var/lib/kaosd/{login}")


def socket_path() -> str:
    """The daemon's socket: KAOSD_SOCKET, else in the runtime directory, else in the state directory.

    Where none is there, that of kaosd@.service, which the system has started for this person.
    """
    if given := os.environ.get("KAOSD_SOCKET"):
        return absolute(given)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    own = os.path.join(runtime, "kaosd", "kaosd.sock") if runtime.startswith("/") else f"{state_dir()}/kaosd.sock"
    return _or_of_the_system(own, "/run/kaosd-{login}/kaosd.sock")


def config_file() -> str:
    """The configuration file: KAOSD_CONFIG, else by the XDG rules."""
    if given := os.environ.get("KAOSD_CONFIG"):
        return absolute(given)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(base if base.startswith("/") else os.path.expanduser("~/.config"), "kaosd/kaosd.toml")


def _or_of_the_system(own: str, other: str) -> str:
    """*own*, unless only the place that the system's unit has is there. Whose the daemon is, the client checks."""
    if os.path.exists(own):
        return own
    import pwd

    try:
        login = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return own
    found = other.format(login=login)
    return found if os.path.exists(found) else own


def absolute(path: str) -> str:
    """*path* with "~" expanded, taken from the working directory; links in it stay."""
    return os.path.abspath(os.path.expanduser(path))

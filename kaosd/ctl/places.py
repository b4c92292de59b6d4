"""Where the client finds the daemon: the same rules as the daemon's own, in as few imports as possible."""

from __future__ import annotations

import os

from kaosd.ctl.failure import USAGE, Failure


def state_dir() -> str:
    """The state directory: KAOSD_STATE_DIR, else by the XDG rules. The daemon's configuration may name another."""
    if given := os.environ.get("KAOSD_STATE_DIR"):
        return absolute(given)
    own = os.path.join(_base("XDG_STATE_HOME", ".local/state", "KAOSD_STATE_DIR"), "kaosd")
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
    return os.path.join(_base("XDG_CONFIG_HOME", ".config", "KAOSD_CONFIG"), "kaosd/kaosd.toml")


def _base(variable: str, below_home: str, instead: str) -> str:
    """The directory that an XDG variable names, else one below the home; relative ones do not count."""
    given = os.environ.get(variable, "")
    if given.startswith("/"):
        return given
    home = os.environ.get("HOME", "")
    if not home.startswith("/"):
        home = os.path.expanduser(f"~{_login()}")
    if not home.startswith("/"):
        raise Failure("you have no home directory: HOME is not set", hint=f"set HOME, or {instead}", exit_code=USAGE)
    return os.path.join(home, below_home)


def _login() -> str:
    """The name of this user; "" when the system knows none, as in a container."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return ""


def _or_of_the_system(own: str, other: str) -> str:
    """*own*, unless only the path of the system's unit exists. Whose the daemon is, the client checks."""
    if os.path.exists(own):
        return own
    found = other.format(login=_login())
    return found if os.path.exists(found) else own


def absolute(path: str) -> str:
    """*path* with "~" expanded, taken from the working directory; links in it stay. Raises Failure."""
    try:
        return os.path.abspath(os.path.expanduser(path))
    except OSError as error:
        text = f"{path} is a relative path, and the working directory cannot be used: {error.strerror}"
        raise Failure(text, hint="change into a directory that exists, or give a path that starts with /") from None

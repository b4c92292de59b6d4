"""Where the client finds the daemon: the same rules as the daemon's own, in as few imports as possible."""

from __future__ import annotations

import os


def state_dir() -> str:
    """The state directory: KAOSD_STATE_DIR, else by the XDG rules. The daemon's configuration may name another."""
    if given := os.environ.get("KAOSD_STATE_DIR"):
        return absolute(given)
    base = os.environ.get("XDG_STATE_HOME", "")
    return os.path.join(base if base.startswith("/") else os.path.expanduser("~/.local/state"), "kaosd")


def socket_path() -> str:
    """The daemon's socket: KAOSD_SOCKET, else in the runtime directory, else in the state directory."""
    if given := os.environ.get("KAOSD_SOCKET"):
        return absolute(given)
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return os.path.join(runtime, "kaosd", "kaosd.sock") if runtime.startswith("/") else f"{state_dir()}/kaosd.sock"


def config_file() -> str:
    """The configuration file: KAOSD_CONFIG, else by the XDG rules."""
    if given := os.environ.get("KAOSD_CONFIG"):
        return absolute(given)
    base = os.environ.get("XDG_CONFIG_HOME", "")
    return os.path.join(base if base.startswith("/") else os.path.expanduser("~/.config"), "kaosd/kaosd.toml")


def absolute(path: str) -> str:
    """*path* with "~" expanded, taken from the working directory; links in it stay."""
    return os.path.abspath(os.path.expanduser(path))

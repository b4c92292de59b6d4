"""`kaosctl doctor --bundle FILE`: all that helps to find a fault, in one zip file, without a secret in it.

Everything is read by the client, so it works while the daemon is down or hangs; every member goes through `masking`.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

from kaosd import __version__
from kaosd.ctl import files, places
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.failure import Failure
from kaosd.ctl.masking import MASK, Masks, names_a_secret
from kaosd.stage_logs import stage_logs

LINES = 400  # of each log, the last
BYTES = 256 * 1024  # of each log, at most
SHOWN = (
    "KAOSD_CONFIG", "KAOSD_STATE_DIR", "KAOSD_SOCKET", "KAOSD_ENGINE", "KAOSD_FRONT_", "KAOSD_WATCH_", "KAOSD_LOG_",
    "XDG_", "NO_COLOR", "TERM", "LANG", "LC_",
)  # fmt: skip
NAMES = frozenset({"name", "workspace", "user", "path", "url", "job", "state_dir", "config", "front", "disk", "live"})
NAMED = ("KAOSD_", *SHOWN)  # variables of which the name tells something
NEWEST = 60  # log files of a notebook
PATIENCE = 5.0  # seconds; the daemon may hang
ABOUT = """`kaosctl doctor --bundle` made this. What is not known to be harmless is masked: tokens, passwords, keys, and
other words that look like one. Names and paths are as they are. Look through it before you send it to anybody.
"""
Members = Iterator[tuple[str, str]]


def write(target: str, findings: object) -> list[str]:
    """Write the bundle to *target*, which must not exist; the names of its members. Failure says what is wrong."""
    path = places.absolute(target)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Failure(f"{path} is there already; nothing was written", hint="name another file") from None
    except OSError as error:
        raise Failure(f"the bundle cannot be written to {path}: {error.strerror}") from None
    names = []
    try:
        with os.fdopen(descriptor, "wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in _members(findings):
                archive.writestr(name, text.encode(errors="backslashreplace"))
                names.append(name)
    except BaseException as error:
        os.unlink(path)  # half a bundle tells nothing, and would be in the way of the next
        if isinstance(error, OSError):
            raise Failure(f"the bundle cannot be written to {path}: {error.strerror}") from None
        raise
    return names


def _members(findings: object) -> Members:
    client = Client()
    status = _asked(client, "/v1/status")
    daemon = status.get("daemon") or {}  # a daemon that is silent now is asked no more, it would take as long each time
    state = str(daemon.get("state_dir") or places.state_dir())
    notebooks = files.notebook_names(state)
    masks = Masks(_secrets(state, daemon.get("pid")), [state, *notebooks, *_given(status)])
    facts: dict[str, object] = {
        "versions.json": _versions(_asked(client, "/v1/version") if daemon else status),
        "environment.json": _environment(daemon.get("pid")),
        "status.json": status,
        "doctor.json": findings,
    }
    for name in notebooks:
        facts[f"history/{name}.json"] = _asked(client, notebook_path(name, "history")) if daemon else status
    yield "README.txt", ABOUT
    for name, value in facts.items():
        yield name, json.dumps(masks.value(value), indent=2) + "\n"
    yield "kaosd.toml", masks.text(_text(str(daemon.get("config") or places.config_file())))
    for name, path in _logs(state, notebooks):
        yield name, masks.text(_tail(path))


def _asked(client: Client, path: str) -> dict[str, Any]:
    """What the daemon answers, or why it does not."""
    try:
        return client.get(path, timeout=PATIENCE)
    except Failure as error:
        return {"error": {"code": error.code, "text": error.text}}


def _versions(daemon: dict[str, object]) -> dict[str, object]:
    from importlib import metadata

    every: list[Any] = [one.metadata for one in metadata.distributions()]
    packages = {str(one.get("Name")): str(one.get("Version")) for one in every}  # None in a broken installation
    return {
        "kaosctl": __version__,
        "daemon": daemon,
        "python": sys.version,
        "system": platform.platform(),
        "packages": dict(sorted(packages.items())),
    }


def _environment(pid: object) -> dict[str, object]:
    """The variables that kaosd and kaosctl look at; of all others not even the names."""

    def those(variables: dict[str, str]) -> dict[str, str]:
        named = {name: value for name, value in sorted(variables.items()) if name.startswith(NAMED)}
        return {name: value if name.startswith(SHOWN) else MASK for name, value in named.items()}

    return {"kaosctl": those(dict(os.environ)), "kaosd": those(_variables(pid))}


def _secrets(state: str, pid: object) -> Iterator[str]:
    """The secrets that are known: tokens, and what stands in variables whose name says so."""
    names = files.notebook_names(state)
    for path in (f"{state}/token", *(f"{state}/notebooks/{name}/token" for name in names)):
        yield _text(path, missing="")
    for variables in (dict(os.environ), _variables(pid)):
        yield from (value for name, value in variables.items() if names_a_secret(name))


def _given(value: object) -> Iterator[str]:
    """The names and paths in a status, which are not secrets wherever they occur."""
    if isinstance(value, dict):
        for key, one in value.items():
            if key in NAMES and isinstance(one, str):
                yield one
            yield from _given(one)
    if isinstance(value, list):
        for one in value:
            yield from _given(one)


def _variables(pid: object) -> dict[str, str]:
    """The environment of the daemon; empty when it is gone or not ours."""
    if not isinstance(pid, int):
        return {}
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            pairs = (entry.partition(b"=") for entry in file.read().split(b"\0") if entry)
            return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}
    except OSError:
        return {}


def _logs(state: str, notebooks: list[str]) -> Iterator[tuple[str, str]]:
    """The name of each log in the bundle, and its path."""
    directory = f"{state}/logs"
    for name in sorted(os.listdir(directory)) if os.path.isdir(directory) else ():
        yield f"logs/{name}", f"{directory}/{name}"
    for notebook in notebooks:
        for log in stage_logs(f"{state}/notebooks/{notebook}/logs", notebook)[-NEWEST:]:
            yield f"logs/{notebook}/{os.path.basename(log.path)}", log.path


def _tail(path: str) -> str:
    """The last lines of a log."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines(keepends=True)
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"
    whole = lines if size <= BYTES else lines[1:]
    return "".join(whole[-LINES:])


def _text(path: str, missing: str | None = None) -> str:
    """The content of a file, as far as it is not too long; *missing*, or else why it cannot be read."""
    why = "not a regular file"
    try:
        if os.path.isfile(path) or not os.path.exists(path):
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read(BYTES)
    except OSError as error:
        why = str(error.strerror)
    return f"# {path}: {why}\n" if missing is None else missing

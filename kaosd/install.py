"""`kaosd install-service` and its undo: units of the person's own systemd, and what else she must know."""

from __future__ import annotations

import asyncio
import getpass
import os
import re
import subprocess
import sys
from pathlib import Path

from kaosd import __version__, cgroups, proc, unitfiles
from kaosd.errors import KaosError
from kaosd.front.connections import has_ipv6
from kaosd.settings import load
from kaosd.units import UserUnits

_MANUAL = "systemctl --user edit kaosd.service keeps changes in a file of their own"


def install(*, now: bool) -> int:
    """Write the units, enable them, start them if *now*; told on stdout. Raises KaosError; then nothing is changed."""
    version = _check()
    directory = unitfiles.directory(os.environ)
    port, ipv6 = load().front.port, has_ipv6()

    def rendered(name: str) -> str:
        template = (unitfiles.SHIPPED / name).read_text()
        return unitfiles.render(template, sys.executable, __version__, version, port=port, ipv6=ipv6)

    texts = {directory / name: rendered(name) for name in unitfiles.NAMES}
    for path in texts:
        _refuse_edited(path)
    asyncio.run(_free_notebooks())
    for path, text in texts.items():
        _write(path, text)
        _say(f"wrote {path}")
    _systemctl("daemon-reload")
    _systemctl("enable", *unitfiles.NAMES)
    if now:
        # one after the other: systemd refuses to listen for a service that runs
        _systemctl("stop", *unitfiles.NAMES)
        _systemctl("start", *reversed(unitfiles.NAMES))
    _say("kaosd runs, and starts with every login" if now else "kaosd starts with the next login, or when kaosctl asks")
    _explain_lingering()
    return 0


def remove() -> int:
    """Stop and disable the units and remove their files; notebooks, state and configuration stay. Raises KaosError."""
    _check()
    directory = unitfiles.directory(os.environ)
    installed = [path for name in unitfiles.NAMES if unitfiles.read(path := directory / name) is not None]
    if not installed:
        _say(f"nothing to do: there is no unit of kaosd in {directory}")
        return 0
    for path in installed:
        _refuse_edited(path)
    asyncio.run(_free_notebooks())
    _systemctl("disable", "--now", *(path.name for path in installed))
    for path in installed:
        path.unlink()
        _say(f"removed {path}")
    _systemctl("daemon-reload")
    _say("notebooks that run keep running; `kaosd run` finds them again")
    return 0


def _check() -> int:
    """The version of systemd. Raises KaosError where units cannot be installed."""
    if os.geteuid() == 0:
        hint = "run it as the person whose notebooks these are, without sudo; for the system there is kaosd@.service"
        raise KaosError("root has no notebooks, and kaosd is not a service of the system's", hint=hint)
    try:
        told = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise KaosError("this machine has no systemd", hint="run `kaosd run` in some other way at login") from error
    _systemctl("show", "--property=Version")
    found = re.match(r"systemd (\d+)", told)
    return int(found[1]) if found else 0


def _refuse_edited(path: Path) -> None:
    found = unitfiles.read(path)
    if found is not None and not found.intact:
        whose = "was not written by kaosd" if found.version is None else "was changed by hand"
        raise KaosError(f"{path} {whose}, and is left as it is", hint=f"move it away and try again; {_MANUAL}")


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(text)
        draft.replace(path)
    except OSError as error:
        raise KaosError(f"{path} cannot be written: {error.strerror}", hint="is the directory yours?") from error


async def _free_notebooks() -> None:
    """Give notebooks that an older kaosd started as its children a unit of their own, before a stop can kill them."""
    units = UserUnits(os.environ)
    group = (await units.show("kaosd.service", "ControlGroup")).get("ControlGroup", "")
    hosts = {pid for pid in cgroups.pids(group) if proc.environ_value(pid, "KAOS_HOST") is not None}
    if hosts:
        await units.take(hosts, f"kaos-kept-{os.getpid()}.scope")
        _say("notebooks of an older kaosd keep running in a unit of their own")


def _systemctl(*arguments: str) -> None:
    done = subprocess.run(["systemctl", "--user", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        if "connect to bus" in said:
            hint = "log in directly, or with `machinectl shell`, instead of su or sudo"
            raise KaosError("no systemd of yours runs here", hint=hint)
        raise KaosError(f"systemctl --user {arguments[0]} failed: {said}", hint="see `journalctl --user -u kaosd`")


def _explain_lingering() -> None:
    login = getpass.getuser()
    if Path("/var/lib/systemd/linger", login).exists():
        _say("you linger: notebooks keep running after you log out, and start with the machine")
    else:
        _say(f"notebooks end when you log out, unless you linger: sudo loginctl enable-linger {login}")


def _say(text: str) -> None:
    print(text)  # noqa: T201

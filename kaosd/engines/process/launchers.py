"""The two ways to bring a host up: in a unit of the person's systemd, or as a plain child where there is none.

Either outlives the daemon. Only a unit has limits that the kernel enforces, and an end of its own when the daemon's
unit is stopped by force.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blake3 import blake3

from kaosd.engines.base import Home
from kaosd.engines.process.files import replace_file
from kaosd.model import Resources
from kaosd.units import Unit, UserUnits

UNITS = "kaos-host-"  # how the names of the units of all hosts begin
ENTER = Path(__file__).parents[2] / "hosted" / "enter.py"


@dataclass(frozen=True, slots=True)
class Command:
    """What is to run. home: for whom; log: the file, which exists, that output is appended to."""

    argv: tuple[str, ...]
    home: Home
    variables: Mapping[str, str]
    log: Path
    resources: Resources


class Launcher(Protocol):
    """One way to start a host."""

    async def start(self, command: Command) -> Unit:
        """Start it. Raises OSError or EngineError; nothing of it is left then, nor when this is cancelled."""


class PlainChild:
    """A child of the daemon in a session of its own; its unit has no name."""

    async def start(self, command: Command) -> Unit:
        """See `Launcher`."""
        log = os.open(command.log, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            process = subprocess.Popen(  # noqa: ASYNC220 - our own program, and it answers at once
                command.argv,
                cwd=command.home.work,
                env=command.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        finally:
            os.close(log)
        process.returncode = 0  # we reap it by its pidfd; its destructor must not complain that the host outlives us
        return Unit("", process.pid, "", "")


class OwnUnit:
    """A transient service of the person's systemd, named after the notebook's home."""

    def __init__(self, units: UserUnits) -> None:
        self._units = units

    async def start(self, command: Command) -> Unit:
        """See `Launcher`."""
        os.stat(command.argv[0])  # what cannot run is told here, not by a program that we never see
        name = f"{stem(command.home)}-{secrets.token_hex(4)}.service"
        file = command.home.jupyter / f"{name}.json"
        told = {"argv": command.argv, "cwd": str(command.home.work), "variables": dict(command.variables)}
        replace_file(file, json.dumps(told).encode())
        output = f"append:{command.log}"
        settings = [
            "OOMPolicy=continue", f"StandardOutput={output}", f"StandardError={output}", *limits(command.resources)
        ]  # fmt: skip
        argv = [sys.executable, "-I", "-S", str(ENTER), str(file)]
        try:
            return await self._units.start(name, argv, settings, f"JupyterLab in {command.home.root.name}")
        except BaseException:
            await asyncio.shield(self._units.stop(name))
            file.unlink(missing_ok=True)
            raise


def stem(home: Home) -> str:
    """How the names of all units of a home start."""
    return f"{UNITS}{blake3(os.fsencode(home.root)).hexdigest(6)}"


def limits(resources: Resources) -> list[str]:
    """The limits as settings of a unit; swap would let a host use more memory than it may, only slowly."""
    memory = resources.memory_bytes
    return [
        f"MemoryMax={'infinity' if memory is None else memory}",
        f"MemorySwapMax={'infinity' if memory is None else 0}",
        f"CPUQuota={'' if resources.cpu is None else f'{resources.cpu * 100:.2f}%'}",
    ]


ENDED = ("Result", "ExecMainCode", "ExecMainStatus")  # what `cause` wants to know of a unit
_KILLED = (str(os.CLD_KILLED), str(int(signal.SIGKILL)))


def cause(found: Mapping[str, str], memory: str | None) -> str:
    """Why the host of a unit has ended, as far as `ENDED` of the unit tells; else "". memory: its limit.

    systemd does not say that the kernel ended the server for want of memory where the unit continues without what was
    killed (OOMPolicy=continue); then only the signal is left to go by.
    """
    if found.get("Result") == "oom-kill":
        return f"it used up its memory{f' of {memory}' if memory else ''}, and the system killed JupyterLab"
    if memory and (found.get("ExecMainCode"), found.get("ExecMainStatus")) == _KILLED:
        return f"JupyterLab was killed, perhaps for want of memory: its limit is {memory}"
    return ""

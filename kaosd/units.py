"""The person's own systemd: starts a program in a unit of its own, changes its limits, finds it, moves processes.

Everything goes through systemctl, systemd-run and busctl, which are there wherever that systemd is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kaosd import proc
from kaosd.errors import EngineError

SLICE = "kaos-hosts.slice"  # one drop-in of the person's can limit all notebooks together
_STOP = "10s"  # what is left of a host after its server ended has so long before it is killed


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit that was started. pid: of its main process, 0 when that has ended already. invocation: of this start."""

    name: str
    pid: int
    invocation: str
    cgroup: str


class UserUnits:
    """Talks to the user manager of this person. environ: stands for os.environ."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"  # a system unit is not told of it
        self._private = Path(runtime, "systemd", "private")
        self._environ = {"XDG_RUNTIME_DIR": runtime, "PATH": environ.get("PATH", os.defpath), "LC_ALL": "C"}

    async def available(self) -> bool:
        """Whether it answers."""
        if not self._private.exists():
            return False
        try:
            return (await self._run("systemctl", "--user", "show", "--property=Version")).code == 0
        except OSError:
            return False

    async def start(self, name: str, argv: Sequence[str], settings: Sequence[str], description: str) -> Unit:
        """Start a program as the service *name*, which has executed it when this returns.

        settings: "Name=value" of systemd.service(5). Raises EngineError, retryable, with systemd's own words.
        """
        properties = [f"--property={one}" for one in ("Type=exec", f"TimeoutStopSec={_STOP}", *settings)]
        # systemd replaces $NAME in arguments
        command = [one.replace("$", "$$") for one in argv]
        await self._do(
            "systemd-run", "--user", "--quiet", "--no-ask-password", f"--unit={name}", f"--slice={SLICE}",
            f"--description={description}", *properties, "--", *command,
        )  # fmt: skip
        found = await self.show(name, "MainPID", "InvocationID", "ControlGroup")
        return Unit(name, int(found.get("MainPID") or 0), found.get("InvocationID", ""), found.get("ControlGroup", ""))

    async def show(self, name: str, *properties: str) -> dict[str, str]:
        """Properties of a unit as texts; empty when systemd cannot be asked."""
        if not self._private.exists():
            return {}
        try:
            done = await self._run("systemctl", "--user", "show", f"--property={','.join(properties)}", "--", name)
        except OSError:
            return {}
        return dict(re.findall(r"^(\w+)=(.*)$", done.output, re.MULTILINE)) if done.code == 0 else {}

    async def set(self, name: str, settings: Sequence[str]) -> None:
        """Change settings of a running unit until it ends. Raises EngineError."""
        await self._do("systemctl", "--user", "set-property", "--runtime", "--", name, *settings)

    async def take(self, pids: Iterable[int], name: str) -> None:
        """Move running processes into a new scope *name*, out of the unit that they are in. Raises EngineError."""
        chosen = [str(pid) for pid in pids]
        await self._do(
            "busctl", "--user", "--quiet", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
            "org.freedesktop.systemd1.Manager", "StartTransientUnit", "ssa(sv)a(sa(sv))", name, "fail",
            "3", "PIDs", "au", str(len(chosen)), *chosen, "Slice", "s", SLICE, "OOMPolicy", "s", "continue", "0",
        )  # fmt: skip

    async def stop(self, pattern: str) -> None:
        """End the units that match and forget that they failed; none is not an error."""
        for verb in ("stop", "reset-failed"):
            await self._run("systemctl", "--user", verb, "--", pattern)

    async def forget(self, pattern: str) -> None:
        """Forget that units which match have failed; none is not an error."""
        await self._run("systemctl", "--user", "reset-failed", "--", pattern)

    async def _do(self, *argv: str) -> None:
        try:
            done = await self._run(*argv)
        except OSError as error:
            raise EngineError(f"{argv[0]} cannot be started: {error}", retryable=True) from error
        if done.code != 0:
            said = " ".join(done.output.split())
            raise EngineError(f"{argv[0]} failed: {said or f'exit code {done.code}'}", retryable=True)

    async def _run(self, *argv: str) -> proc.Finished:
        return await proc.run(argv, cwd=Path("/"), env=self._environ)

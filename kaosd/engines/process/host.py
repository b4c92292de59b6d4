"""One running JupyterLab as processes and a socket: launch, wait for its answer, ask, find again, end.

A host is known by its mark: `KAOS_HOST=<home>:<random>` in the environment of the server, which its kernels, terminals
and all that they start inherit. Stopping a host kills everything that carries its mark, and all that descends from it:
also what gave itself another session and environment, because the server adopts orphans (kaosd/hosted/orphans.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from kaosd import cgroups, proc
from kaosd.engines import jupyter
from kaosd.engines.base import Home, Order
from kaosd.engines.jupyter import ENDING, JupyterClient
from kaosd.engines.process.launchers import Command, Launcher
from kaosd.errors import EngineError, StartFailed
from kaosd.model import Host, HostStatus

LAUNCHER = Path(__file__).parents[2] / "hosted" / "launch.py"


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A host that was started; JSON values only, so that it is its own handle.

    pid, started, boot: the server's identity. environment, server: digests as in Host. link: the symbolic link that
    kernels start from. kernel_env: the file of their variables. log_from: bytes of the log that are older.
    unit, invocation, cgroup: of the unit of its own; "" for a plain child, as versions before 0.2 started all.
    """

    pid: int
    started: int
    boot: str
    argv: list[str]
    mark: str
    socket: str
    base_url: str
    token_file: str
    log: str
    log_from: int
    link: str
    kernel_env: str
    environment: str
    server: str
    started_at: float
    unit: str = ""
    invocation: str = ""
    cgroup: str = ""

    @property
    def identity(self) -> proc.Identity:
        """What tells the server from every other process."""
        return proc.Identity(self.pid, self.started, self.boot)

    def host(self) -> Host:
        """The engine-neutral form."""
        return Host(f"unix:{self.socket}", self.environment, self.server, self.started_at, asdict(self))


def of(host: Host) -> RunningServer:
    """The reverse of RunningServer.host."""
    return RunningServer(**host.handle)


async def launch(
    launcher: Launcher, order: Order, settings: Path, socket: str, variables: Mapping[str, str]
) -> RunningServer:
    """Start the server, its output appended to the log; it outlives us. Raises OSError or EngineError."""
    home, environment = order.home, order.environment
    mark = f"{home.root}:{secrets.token_hex(8)}"
    argv = [f"{environment.handle}/bin/python", "-u", str(LAUNCHER), str(settings)]
    log = os.open(order.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        log_from = os.fstat(log).st_size
    finally:
        os.close(log)
    marked = {**variables, proc.HOST_MARK: mark}
    unit = await launcher.start(Command(tuple(argv), home, marked, order.log, order.spec.resources))
    identity = proc.identify(unit.pid)
    return RunningServer(
        pid=unit.pid,
        started=identity.started if identity else 0,
        boot=proc.boot_id(),
        argv=argv,
        mark=mark,
        socket=socket,
        base_url=order.base_url,
        token_file=str(home.token_file),
        log=str(order.log),
        log_from=log_from,
        link=str(link_of(home)),
        kernel_env=str(kernel_env_of(home)),
        environment=environment.digest,
        server=environment.server,
        started_at=time.time(),
        unit=unit.name,
        invocation=unit.invocation,
        cgroup=unit.cgroup,
    )


def link_of(home: Home) -> Path:
    """The symbolic link to the environment that kernels of this home start from."""
    return home.root / "environment"


def own_of(home: Path) -> Path:
    """The directory of what is installed by hand in the home at this path; see kaosd/hosted/overlay.py."""
    return home / "environments"


def kernel_env_of(home: Home) -> Path:
    """The file of variables that kernels of this home get at their start."""
    return home.jupyter / "kernel-env.json"


async def answering(running: RunningServer, within: float) -> None:
    """Return when the host answers with its token. StartFailed when it ends or *within* seconds have passed."""
    what = await jupyter.failing(door(running), ended(running), within)
    if what is None:
        return
    raise StartFailed(f"JupyterLab {what}{last_words(running)}", hint=f"the whole log is {running.log}")


async def probe(running: RunningServer) -> HostStatus:
    """How the host is; see Engine.probe."""
    if not proc.alive(running.identity):
        return _ended(running)
    status = await door(running).probe(partial(last_words, running, running=True))
    if status.lost:  # a process that ends listens no more before it has ended
        await proc.ended(running.pid, timeout=ENDING)
    return status if status.answering or proc.alive(running.identity) else _ended(running)


def _ended(running: RunningServer) -> HostStatus:
    """How a host is that has ended."""
    proc.reap(running.pid)
    return HostStatus(alive=False, answering=False, reason=f"JupyterLab has ended{last_words(running)}")


def door(running: RunningServer) -> JupyterClient:
    """Where the host is asked."""
    return JupyterClient(running.socket, running.base_url, running.token_file)


def adopt(handle: Mapping[str, object]) -> RunningServer | None:
    """The host of *handle* when exactly that process still runs with the very command line and mark."""
    try:
        running = RunningServer(**cast(dict[str, Any], handle))
    except TypeError:
        return None
    ours = (
        isinstance(running.pid, int)
        and proc.alive(running.identity)
        and proc.command_line(running.pid) == running.argv
        and proc.environ_value(running.pid, proc.HOST_MARK) == running.mark
        and (not running.unit or cgroups.of(running.pid).endswith(f"/{running.unit}"))
    )
    return running if ours else None


async def ended(running: RunningServer) -> None:
    """Return when the server has ended; its zombie is taken away if it is our child."""
    if proc.alive(running.identity):
        await proc.ended(running.pid)


async def stop(running: RunningServer, grace: float) -> None:
    """Ask the server to stop its kernels and itself; after *grace* seconds kill all that is left. Idempotent."""
    family = await asyncio.to_thread(_family, running)
    if proc.alive(running.identity):
        with contextlib.suppress(ProcessLookupError):
            os.kill(running.pid, signal.SIGTERM)
        await proc.ended(running.pid, timeout=grace)

    def left() -> set[int]:
        known = {one.pid for one in family if proc.alive(one)}
        return proc.family(*known) | set(marked(running.mark)) | cgroups.pids(running.cgroup)

    if not await proc.kill_all(left):
        raise EngineError(f"processes {sorted(left())} of a host do not end", hint="they may hang in the kernel")
    proc.reap(running.pid)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(running.socket)


def members(running: RunningServer) -> set[int]:
    """All processes of the host: by descent, by session, by mark and by its unit."""
    return {one.pid for one in _family(running)} | set(marked(running.mark)) | cgroups.pids(running.cgroup)


def _family(running: RunningServer) -> set[proc.Identity]:
    if not proc.alive(running.identity):
        return set()
    return {one for pid in proc.family(running.pid) if (one := proc.identify(pid)) is not None}


def marked(mark: str) -> list[int]:
    """All processes that carry *mark*."""
    return [pid for pid in proc.pids() if proc.environ_value(pid, proc.HOST_MARK) == mark]


def marked_in(home: Home, but: str | None) -> list[int]:
    """All processes that any host of *home* started, except those that carry the mark *but*."""
    marks = {pid: mark for pid in proc.pids() if (mark := proc.environ_value(pid, proc.HOST_MARK)) is not None}
    return [pid for pid, mark in marks.items() if mark.rpartition(":")[0] == str(home.root) and mark != but]


def last_words(host: RunningServer, *, running: bool = False) -> str:
    """See jupyter.last_words."""
    return jupyter.last_words(host.log, host.log_from, running=running)

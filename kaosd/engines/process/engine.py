"""The Engine Protocol on plain processes: which steps in which order, and what the engine remembers of its hosts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import uv

from kaosd import proc
from kaosd.engines.base import Home, Inputs, Log, Order
from kaosd.engines.jupyter import SOCKET_MAX
from kaosd.engines.machine import check
from kaosd.engines.process import host as hosts
from kaosd.engines.process import limits
from kaosd.engines.process.environment import Environments
from kaosd.engines.process.files import read_link, replace_file, replace_link
from kaosd.engines.process.host import Running
from kaosd.engines.process.surroundings import build_variables, host_variables
from kaosd.errors import EngineError, StartFailed
from kaosd.model import Environment, Host, HostStatus, NotebookSpec, Resources

_PRECOMPILE = """
import compileall, os, sys
os.nice(19)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
compileall.compile_dir(sys.argv[1], quiet=2)
"""
_PRECOMPILED = "kaosd-bytecode"


class ProcessEngine:
    """See `Engine`. environments: the directory of all environments, made if absent.

    pass_environment: names (shell patterns) of the daemon's variables that hosts get besides the usual ones, such as
    "AWS_*" or "SSH_AUTH_SOCK". start_within: seconds that a host may take to answer. python: the interpreter for
    environments that ask for none. variables: stands for os.environ.
    """

    name = "process"
    live_sync = True
    builds_bundle = False

    def __init__(
        self,
        environments: Path,
        *,
        pass_environment: tuple[str, ...] = (),
        start_within: float = 60.0,
        python: str = sys.executable,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        own = dict(os.environ if variables is None else variables)
        self._environments = Environments(environments, uv.find_uv_bin(), python, build_variables(own))
        self._variables = host_variables(own, pass_environment)
        self._start_within = start_within
        self._running: dict[str, Running] = {}  # by mark; to share out cores and GPUs
        self._precompiling: dict[str, asyncio.Task[None]] = {}  # by path of the environment

    async def built(self, digest: str) -> Environment | None:
        """See `Engine`."""
        return self._environments.complete(digest)

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        """See `Engine`."""
        return await self._environments.build(spec, inputs, log)

    async def start(self, order: Order, log: Log) -> Host:
        """See `Engine`. The link that kernels start from points back when the start fails."""
        before = read_link(hosts.link_of(order.home))
        running = None
        try:
            running = self._launch(order)
            log.line(f"JupyterLab started as process {running.pid}")
            await hosts.answering(running, self._start_within)
            log.line("JupyterLab answers")
        except BaseException as error:
            _put_back(hosts.link_of(order.home), before)
            if running is not None:
                await hosts.stop(running, 0)
            if isinstance(error, OSError):
                raise StartFailed(f"JupyterLab cannot be started: {error}") from error
            raise
        self._running[running.mark] = running
        self._precompile(order.environment.handle)
        return running.host()

    def _launch(self, order: Order) -> Running:
        home, resources = order.home, order.spec.resources
        socket = str(home.run / f"{secrets.token_hex(4)}.sock")
        if (length := len(os.fsencode(socket))) > SOCKET_MAX:
            raise StartFailed(
                f"the path of the host's socket has {length} bytes: {socket}",
                hint=f"at most {SOCKET_MAX} are possible; choose a shorter state directory",
                retryable=False,
            )
        _write_kernel_env(hosts.kernel_env_of(home), resources, self._taken_gpus())
        replace_link(hosts.link_of(home), order.environment.handle)
        settings = _write_settings(order, socket)
        running = hosts.launch(order, settings, socket, order.environment, self._host_variables(order))
        limits.limit(running.pid, limits.cores(resources, self._taken_cores()), resources.memory_bytes)
        return running

    def _host_variables(self, order: Order) -> dict[str, str]:
        spec = order.spec
        return {
            **self._variables,
            "PATH": os.pathsep.join([f"{order.environment.handle}/bin", self._variables.get("PATH", os.defpath)]),
            "KAOS_WORKSPACE": spec.workspace,
            "KAOS_USER": spec.user,
            "KAOS_NOTEBOOK": spec.name,
            "DATA_REPO": f"data-{spec.name}",
            "KAOS_DATA": str(order.home.data),
        }

    async def switch(self, host: Host, order: Order) -> Host | None:
        """See `Engine`."""
        running = hosts.of(host)
        if order.environment.server != host.server or not proc.alive(running.identity):
            return None
        with _writing(running.link):
            replace_link(Path(running.link), order.environment.handle)
        switched = dataclasses.replace(running, environment=order.environment.digest)
        self._running[running.mark] = switched
        self._precompile(order.environment.handle)
        return switched.host()

    async def apply(self, host: Host, resources: Resources) -> bool:
        """See `Engine`. Always possible; GPUs are seen by kernels that start from now on."""
        running = hosts.of(host)
        with _writing(running.kernel_env):
            _write_kernel_env(Path(running.kernel_env), resources, self._taken_gpus(running.mark))
        cores = limits.cores(resources, self._taken_cores(running.mark))
        for pid in await asyncio.to_thread(hosts.members, running):
            limits.limit(pid, cores, resources.memory_bytes)
        return True

    async def reaches(self, host: Host, home: Home) -> bool:  # noqa: ARG002 - the same for all
        """See `Engine`. A process sees every directory of this machine."""
        return True

    async def probe(self, host: Host) -> HostStatus:
        """See `Engine`."""
        return await hosts.probe(hosts.of(host))

    async def stop(self, host: Host, grace: float) -> None:
        """See `Engine`."""
        running = hosts.of(host)
        await hosts.stop(running, grace)
        self._running.pop(running.mark, None)

    async def adopt(self, handle: dict[str, object]) -> Host | None:
        """See `Engine`. A switch that was not written down any more is seen from the link."""
        running = hosts.adopt(handle)
        if running is None:
            return None
        running = self._behind_link(running)
        self._running[running.mark] = running
        self._precompile(str(self._environments.path(running.environment)))
        return running.host()

    def _behind_link(self, running: Running) -> Running:
        """The host with the environment of its link, which is put back when this server cannot serve it."""
        link = Path(running.link)
        found = self._environments.complete(Path(read_link(link) or "-").name)
        if found is not None and found.server == running.server:
            return dataclasses.replace(running, environment=found.digest)
        with _writing(running.link):
            replace_link(link, str(self._environments.path(running.environment)))
        return running

    async def sweep(self, home: Home, host: Host | None) -> None:
        """See `Engine`."""
        but = hosts.of(host).mark if host is not None else None
        if not await proc.kill_all(lambda: hosts.marked_in(home, but)):
            raise EngineError(f"processes {hosts.marked_in(home, but)} of an earlier host do not end")

    async def ended(self, host: Host) -> None:
        """See `Engine`."""
        await hosts.ended(hosts.of(host))

    async def forget(self, home: Home) -> None:
        """See `Engine`."""
        await self.sweep(home, None)
        _put_back(hosts.link_of(home), None)

    async def collect(self, keep: frozenset[str]) -> None:
        """See `Engine`."""
        await self._environments.collect(keep)

    def enforced(self, host: Host) -> bool:  # noqa: ARG002 - the same for all
        """See `Engine`. Affinity and RLIMIT_DATA are best effort, so never."""
        return False

    def check(self, resources: Resources) -> None:
        """See `Engine`."""
        check(resources)

    async def close(self) -> None:
        """End what the engine itself runs in the background; hosts go on."""
        tasks = list(self._precompiling.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._environments.close()

    def _taken_cores(self, but: str = "") -> list[set[int]]:
        """The cores of the other hosts that have a part of them only."""
        every = os.sched_getaffinity(0)
        taken = []
        for running in self._others(but):
            with contextlib.suppress(ProcessLookupError):
                taken.append(os.sched_getaffinity(running.pid))
        return [cores for cores in taken if cores != every]

    def _taken_gpus(self, but: str = "") -> list[list[int]]:
        """The GPUs of the other hosts, from the files that their kernels read."""
        taken = []
        for running in self._others(but):
            with contextlib.suppress(OSError, ValueError):
                given = json.loads(Path(running.kernel_env).read_text()).get("CUDA_VISIBLE_DEVICES", "")
                taken.append([int(index) for index in given.split(",") if index])
        return taken

    def _others(self, but: str) -> list[Running]:
        return [one for one in self._running.values() if one.mark != but and proc.alive(one.identity)]

    def _precompile(self, environment: str) -> None:
        """Compile an environment's bytecode in the background, once: kernels then start and import faster."""
        if environment not in self._precompiling and not Path(environment, _PRECOMPILED).exists():
            self._precompiling[environment] = asyncio.ensure_future(self._run_precompile(Path(environment)))

    async def _run_precompile(self, environment: Path) -> None:
        argv = [str(environment / "bin/python"), "-I", "-c", _PRECOMPILE, str(environment / "lib")]
        try:
            with contextlib.suppress(OSError):  # a full disk or a vanished environment only imports more slowly
                finished = await proc.run(argv, cwd=environment, env=self._variables)
                if finished.code == 0:
                    replace_file(environment / _PRECOMPILED, b"")
        finally:
            del self._precompiling[str(environment)]


@contextlib.contextmanager
def _writing(path: str) -> Iterator[None]:
    """Turn an OSError into what leaves an engine."""
    try:
        yield
    except OSError as error:
        raise EngineError(f"{path} cannot be written: {error}", retryable=True) from error


def _put_back(link: Path, before: str | None) -> None:
    """Undo what a failed start did to the link."""
    if before is None:
        link.unlink(missing_ok=True)
    else:
        replace_link(link, before)


def _write_settings(order: Order, socket: str) -> Path:
    """Write host.json, which tells kaosd/hosted/launch.py what to serve; 0600. Raises OSError."""
    home = order.home
    for name in ("config", "data", "runtime", "ipython", "checkpoints"):
        (home.jupyter / name).mkdir(mode=0o700, exist_ok=True)
    settings = {
        "name": order.spec.name,
        "base_url": order.base_url,
        "root_dir": str(home.work),
        "socket": socket,
        "token_file": str(home.token_file),
        "origins": list(order.origins),
        "jupyter": str(home.jupyter),
        "environment_link": str(hosts.link_of(home)),
        "kernel_env": str(hosts.kernel_env_of(home)),
        "checkpoints": str(home.jupyter / "checkpoints"),
    }
    path = home.jupyter / "host.json"
    replace_file(path, json.dumps(settings, indent=1).encode())
    return path


def _write_kernel_env(path: Path, resources: Resources, taken: list[list[int]]) -> None:
    replace_file(path, json.dumps(limits.kernel_variables(resources, taken)).encode())

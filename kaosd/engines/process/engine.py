"""The Engine Protocol on plain processes: which steps in which order, and what the engine remembers of its hosts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import structlog
import uv

from kaosd import cgroups, proc
from kaosd.engines.base import Contents, Home, Inputs, Log, Order
from kaosd.engines.jupyter import SOCKET_MAX
from kaosd.engines.machine import check
from kaosd.engines.process import host as hosts
from kaosd.engines.process import kernels, limits, personal
from kaosd.engines.process.environment import Environments
from kaosd.engines.process.files import read_file, read_link, replace_file, replace_link
from kaosd.engines.process.host import RunningServer
from kaosd.engines.process.launchers import ENDED, UNITS, Launcher, OwnUnit, PlainChild, cause, stem
from kaosd.engines.process.launchers import limits as unit_limits
from kaosd.engines.process.surroundings import host_variables
from kaosd.errors import EngineError, StartFailed
from kaosd.hosted import overlay
from kaosd.model import ByHand, Environment, Host, HostStatus, NotebookSpec, Resources
from kaosd.stage_logs import stamp
from kaosd.units import SLICE, UserUnits

log = structlog.get_logger(__name__)

_PRECOMPILE = """
import compileall, os, sys
os.nice(19)
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
compileall.compile_dir(sys.argv[1], quiet=2)
"""
_MOVED_GRACE = 5.0  # seconds
_PRECOMPILED = "kaosd-bytecode"
_EXAMINE_EVERY, _EXAMINE_SHARE = (
    60.0,
    2000,
)  # a look at every file: at the least after so many seconds, and times its own


class ProcessEngine:
    """See `Engine`. environments: the directory of all environments, made if absent.

    pass_environment: names (shell patterns) of the daemon's variables that hosts get besides the usual ones, such as
    "AWS_*" or "SSH_AUTH_SOCK". start_within: seconds that a host may take to answer. python: the interpreter for
    environments that ask for none. variables: stands for os.environ. launcher: None to choose at each start: a unit of
    its own wherever the person's systemd answers. python_downloads: whether uv may fetch a Python that a
    bundle asks for. personal_kernels, personal_settings: whether hosts offer the person's own kernelspecs, and share
    the person's settings of JupyterLab.
    """

    name = "process"
    builds_bundle = False
    data_link: str | None = "../data"  # beside the notebook's directory; it stays right when the state is moved

    def __init__(
        self,
        environments: Path,
        *,
        pass_environment: tuple[str, ...] = (),
        start_within: float = 60.0,
        python: str = sys.executable,
        variables: Mapping[str, str] | None = None,
        launcher: Launcher | None = None,
        python_downloads: bool = False,
        personal_kernels: bool = False,
        personal_settings: bool = False,
    ) -> None:
        own = dict(os.environ if variables is None else variables)
        self._uv = uv.find_uv_bin()
        self._environments = Environments(environments, self._uv, python, own, downloads=python_downloads)
        self._variables = host_variables(own, pass_environment)
        self._personal: dict[str, Any] = {
            **({"kernels": personal.kernel_directories(own)} if personal_kernels else {}),
            **({"lab_settings": personal.lab_settings(own)} if personal_settings else {}),
        }
        self._start_within = start_within
        self._launcher = launcher
        self._units = UserUnits(own)
        self._running: dict[str, RunningServer] = {}  # by mark; to share out cores and GPUs
        self._killed: dict[str, int] = {}  # by mark: how many processes the kernel had killed when we told of it
        self._precompiling: dict[str, asyncio.Task[None]] = {}  # by path of the environment
        self._fit: dict[str, float] = {}  # by mark: when the environment was built in which it can start kernels
        self._examining: dict[str, asyncio.Task[None]] = {}  # by digest of the environment
        self._examine_at: dict[str, float] = {}  # monotonic time, by digest

    async def built(self, digest: str) -> Environment | None:
        """See `Engine`."""
        return await asyncio.to_thread(self._environments.complete, digest)

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        """See `Engine`."""
        environment = await self._environments.build(spec, inputs, log)
        if any(running.environment == environment.digest for running in self._running.values()):
            self._precompile(environment.handle)  # it was built again below a running host
        self._examine(environment.digest)
        return environment

    async def start(self, order: Order, log: Log) -> Host:
        """See `Engine`. The link that kernels start from points back when the start fails."""
        before = read_link(hosts.link_of(order.home))
        running = None
        try:
            running = await self._launch(order)
            log.line(f"JupyterLab started as process {running.pid}{f' in {running.unit}' if running.unit else ''}")
            await hosts.answering(running, self._start_within)
            log.line("JupyterLab answers")
        except BaseException as error:
            _put_back(hosts.link_of(order.home), before)
            why = await self._cause(running) if running is not None and isinstance(error, StartFailed) else ""
            if running is not None:
                await hosts.stop(running, 0)
            if why:
                raise StartFailed(f"JupyterLab cannot be started: {why}", hint="raise its memory") from error
            if isinstance(error, OSError | EngineError) and not isinstance(error, StartFailed):
                raise StartFailed(f"JupyterLab cannot be started: {error}") from error
            raise
        self._running[running.mark] = running
        self._precompile(order.environment.handle)
        return running.host()

    async def _launch(self, order: Order) -> RunningServer:
        home, resources = order.home, order.spec.resources
        socket = str(home.run / f"{secrets.token_hex(4)}.sock")
        if (length := len(os.fsencode(socket))) > SOCKET_MAX:
            raise StartFailed(
                f"the path of the host's socket has {length} bytes: {socket}",
                hint=f"at most {SOCKET_MAX} are possible; choose a shorter state directory",
                retryable=False,
            )
        _write_kernel_env(hosts.kernel_env_of(home), resources, self._taken_gpus())
        await asyncio.to_thread(self._settle, order)
        replace_link(hosts.link_of(home), order.environment.handle)
        settings = _write_settings(order, socket, self._personal)
        own = self._launcher or (OwnUnit(self._units) if await self._units.available() else PlainChild())
        running = await hosts.launch(own, order, settings, socket, self._host_variables(order))
        self._limit(running, resources, {running.pid})
        return running

    def _limit(self, running: RunningServer, resources: Resources, pids: set[int]) -> None:
        """Write down what the host may use; where its unit does not hold it to that, do what is possible otherwise."""
        wanted = {"cpu": resources.cpu, "memory": resources.memory}
        replace_file(_limits_of(running), json.dumps(wanted).encode())
        if cgroups.held(running.cgroup, resources.cpu, resources.memory_bytes):
            return
        cores = limits.cores(resources, self._taken_cores(running.mark))
        for pid in pids - {0}:  # a main process that has ended already; 0 would be ourselves
            limits.limit(pid, cores, resources.memory_bytes)

    def _settle(self, order: Order) -> None:
        """Prepare what is installed by hand for the environment of *order*. Blocking. Raises OSError."""
        gone = overlay.settle(str(hosts.own_of(order.home.root)), order.environment.handle, {"uv": self._uv})
        if gone:
            text = f"the environment brings {', '.join(gone)} now, in place of what was installed by hand"
            log.warning("installed_by_hand_replaced", notebook=order.spec.name, packages=gone)
            with open(order.log, "a", encoding="utf-8") as file:
                file.write(f"{stamp(text)}\n")

    def _host_variables(self, order: Order) -> dict[str, str]:
        spec = order.spec
        return {
            **self._variables,
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
            await asyncio.to_thread(self._settle, order)
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
        if running.unit:
            await self._units.set(running.unit, unit_limits(resources))
        members = await asyncio.to_thread(hosts.members, running)
        with _writing(running.kernel_env):
            self._limit(running, resources, members)
        return True

    async def reaches(self, host: Host, linked: Path | None) -> bool:  # noqa: ARG002 - the same for all
        """See `Engine`. A process sees every directory of this machine."""
        return True

    async def probe(self, host: Host) -> HostStatus:
        """See `Engine`."""
        running = hosts.of(host)
        status = await hosts.probe(running)
        if status.alive:
            wrong = await asyncio.to_thread(self._damage, running) or await self._unfit(running)
            by_hand = await asyncio.to_thread(self._by_hand, Path(running.link).parent, running.environment)
            status = dataclasses.replace(status, damage=wrong, by_hand=by_hand)
            status = await asyncio.to_thread(kernels.told, status, running)
            self._examine(running.environment)
        if not running.unit:
            return status
        if not status.alive:
            return dataclasses.replace(status, reason=await self._cause(running) or status.reason)
        return dataclasses.replace(status, notice=self._out_of_memory(running))

    def _by_hand(self, home: Path, digest: str) -> tuple[ByHand, ...]:
        """What was installed by hand in a home and is used with an environment; nothing when that is gone. Blocking."""
        try:
            found = overlay.installed_by_hand(str(hosts.own_of(home)), str(self._environments.path(digest)))
        except OSError:
            return ()
        return tuple(ByHand(str(one["name"]), str(one["version"]), bool(one["requested"])) for one in found)

    async def contents(self, environment: Environment, home: Home) -> Contents:
        """See `Listing`."""
        try:
            return await asyncio.to_thread(self._contents, environment, home)
        except OSError as error:
            raise EngineError(f"the environment cannot be read: {error}", retryable=True) from error

    async def outdated(self, environment: Environment) -> dict[str, str]:
        """See `Listing`."""
        return await self._environments.outdated(environment.digest)

    def _contents(self, environment: Environment, home: Home) -> Contents:
        own = str(hosts.own_of(home.root))
        return Contents(
            overlay.python_of(environment.handle).removeprefix("python"),
            dict(sorted(overlay.versions(environment.handle).items())),
            self._by_hand(home.root, environment.digest),
            overlay.of_other_pythons(own, environment.handle),
        )

    def _damage(self, running: RunningServer) -> str:
        """What is wrong with what kernels start from, as a sentence; "" when nothing is. Blocking."""
        if not os.path.lexists(running.link):
            with contextlib.suppress(OSError):
                replace_link(Path(running.link), str(self._environments.path(running.environment)))
        found = self._environments.damage(running.environment, running.server)
        if not found and not os.access(running.argv[0], os.X_OK):
            found = f"JupyterLab has lost its own environment: {running.argv[0]} is gone"
        return found

    async def _unfit(self, running: RunningServer) -> str:
        """Why JupyterLab cannot start kernels, in an environment that was built again below it; "" when it can.

        It may have loaded parts while others were missing; only a trial tells.
        """
        built_at = self._environments.built_at(Path(running.argv[0]).parents[1])
        if built_at <= running.started_at or self._fit.get(running.mark) == built_at:
            return ""
        starts = await hosts.door(running).starts_kernels()
        if starts:
            self._fit[running.mark] = built_at
        return "JupyterLab cannot start kernels since its environment was built again" if starts is False else ""

    def _examine(self, digest: str) -> None:
        """Look at every file of an environment in the background, if that is due."""
        if digest in self._examining or time.monotonic() < self._examine_at.get(digest, 0):
            return

        async def examine() -> None:
            begun = time.monotonic()
            try:
                with contextlib.suppress(OSError):  # it is gone, which every probe sees
                    if found := await self._environments.examine(digest):
                        log.warning("environment_damaged", environment=digest[:7], found=found)
            finally:
                now = time.monotonic()
                self._examine_at[digest] = now + max(_EXAMINE_EVERY, (now - begun) * _EXAMINE_SHARE)
                del self._examining[digest]

        self._examining[digest] = asyncio.ensure_future(examine())

    async def _cause(self, running: RunningServer) -> str:
        """Why the host ended, where its unit knows; else ""."""
        found = await self._units.show(running.unit, *ENDED) if running.unit else {}
        return cause(found, _limits(running).memory)

    def _out_of_memory(self, running: RunningServer) -> str:
        """What the kernel killed in this host for want of memory, as a sentence; new ones are written to its log."""
        count = cgroups.killed_for_memory(running.cgroup)
        if count == 0:
            return ""
        memory = _limits(running).memory
        text = (
            f"the system ended {'a process' if count == 1 else f'{count} processes'} of this notebook, "
            f"which used up its memory{f' of {memory}' if memory else ''}"
        )
        if count > self._killed.get(running.mark, 0):
            self._killed[running.mark] = count
            log.warning("host_out_of_memory", notebook=running.base_url.strip("/"), killed=count, memory=memory)
            with contextlib.suppress(OSError), open(running.log, "a", encoding="utf-8") as file:  # a full disk
                file.write(f"{stamp(text)}\n")
        return text

    async def stop(self, host: Host, grace: float) -> None:
        """See `Engine`."""
        running = hosts.of(host)
        await hosts.stop(running, grace)
        if running.unit:
            await self._units.forget(running.unit)
        self._running.pop(running.mark, None)
        self._killed.pop(running.mark, None)
        self._fit.pop(running.mark, None)

    async def adopt(self, handle: dict[str, object]) -> Host | None:
        """See `Engine`. A switch that was not written down any more is seen from the link.

        A host whose home was moved while it ran is ended: it would keep writing, and no kernel of it would start.
        """
        running = hosts.adopt(handle)
        if running is None or not await self._same_start(running):
            return None
        if not Path(running.link).parent.is_dir():  # the state directory was moved: nothing it was given is there
            log.warning("host_of_a_moved_state", notebook=running.base_url.strip("/"), was=running.link)
            await self.stop(running.host(), _MOVED_GRACE)
            return None
        running = self._behind_link(running)
        self._killed[running.mark] = cgroups.killed_for_memory(running.cgroup)
        await self._out_of_our_unit(running)
        self._running[running.mark] = running
        self._precompile(str(self._environments.path(running.environment)))
        return running.host()

    async def _same_start(self, running: RunningServer) -> bool:
        """Whether its unit is still the one that was started, as far as systemd can be asked."""
        if not running.unit:
            return True
        found = (await self._units.show(running.unit, "InvocationID")).get("InvocationID")
        return found in (None, "", running.invocation)

    async def _out_of_our_unit(self, running: RunningServer) -> None:
        """Give a plain child that shares the daemon's unit one of its own: a stop of the daemon's would kill it."""
        if cgroups.of(running.pid) != cgroups.of() or not await self._units.available():
            return
        pids = {pid for pid in await asyncio.to_thread(hosts.members, running) if cgroups.of(pid) == cgroups.of()}
        try:
            await self._units.take(pids, f"kaos-kept-{secrets.token_hex(6)}.scope")
        except EngineError as error:
            log.warning("host_stays_in_our_unit", notebook=running.base_url.strip("/"), error=str(error))

    async def _out_of_hosts_unit(self) -> None:
        """Leave the unit of a host in whose terminal this daemon was started: it ends with all that is in it."""
        if not cgroups.of().rpartition("/")[2].startswith(UNITS):
            return
        try:
            await self._units.take({os.getpid()}, f"kaosd-{secrets.token_hex(6)}.scope")
        except EngineError as error:
            log.warning("daemon_stays_in_unit_of_host", error=str(error))

    def _behind_link(self, running: RunningServer) -> RunningServer:
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
        await self._out_of_hosts_unit()
        kept = hosts.of(host) if host is not None else None
        but, unit = (kept.mark, kept.unit) if kept is not None else (None, "")
        slice_of_hosts = (await self._units.show(SLICE, "ControlGroup")).get("ControlGroup", "")

        def strays() -> set[int]:
            """Those that carry a mark, and those in a unit that were not given one yet."""
            names = {name for name in cgroups.below(slice_of_hosts) if name.startswith(stem(home)) and name != unit}
            return set(hosts.marked_in(home, but)).union(*(cgroups.pids(f"{slice_of_hosts}/{one}") for one in names))

        if not await proc.kill_all(strays):
            raise EngineError(f"processes {sorted(strays())} of an earlier host do not end")
        if slice_of_hosts:
            await self._units.forget(f"{stem(home)}-*")

    async def ended(self, host: Host) -> None:
        """See `Engine`."""
        await hosts.ended(hosts.of(host))

    async def forget(self, home: Home) -> None:
        """See `Engine`."""
        await self.sweep(home, None)
        _put_back(hosts.link_of(home), None)
        await asyncio.to_thread(shutil.rmtree, hosts.own_of(home.root), ignore_errors=True)

    async def collect(self, keep: frozenset[str]) -> None:
        """See `Engine`."""
        await self._environments.collect(keep)

    def enforced(self, host: Host) -> bool:
        """See `Engine`. Affinity and RLIMIT_DATA are best effort, so never without a unit of its own."""
        running = hosts.of(host)
        wanted = _limits(running)
        return cgroups.held(running.cgroup, wanted.cpu, wanted.memory_bytes)

    def check(self, resources: Resources) -> None:
        """See `Engine`."""
        check(resources)

    async def close(self) -> None:
        """End what the engine itself runs in the background; hosts keep running."""
        tasks = [*self._precompiling.values(), *self._examining.values()]
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
                given = json.loads(read_file(Path(running.kernel_env))).get("CUDA_VISIBLE_DEVICES", "")
                taken.append([int(index) for index in given.split(",") if index])
        return taken

    def _others(self, but: str) -> list[RunningServer]:
        return [one for one in self._running.values() if one.mark != but and proc.alive(one.identity)]

    def _precompile(self, environment: str) -> None:
        """Compile an environment's bytecode in the background, once: kernels then start and import faster."""
        if environment not in self._precompiling and not Path(environment, _PRECOMPILED).exists():
            self._precompiling[environment] = asyncio.ensure_future(self._run_precompile(Path(environment)))

    async def _run_precompile(self, environment: Path) -> None:
        argv = [str(environment / "bin/python"), "-I", "-c", _PRECOMPILE, str(environment / "lib")]
        try:
            with contextlib.suppress(OSError):  # a full disk or a vanished environment only imports more slowly
                # it makes directories that are gone again, so that whoever clears the environment must end it
                variables = {**self._variables, proc.BUILD_MARK: str(environment)}
                finished = await proc.run(argv, cwd=environment, env=variables)
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


def _write_settings(order: Order, socket: str, personal: Mapping[str, Any]) -> Path:
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
        "own": str(hosts.own_of(home.root)),
        "kernel_env": str(hosts.kernel_env_of(home)),
        "checkpoints": str(home.jupyter / "checkpoints"),
        **personal,
    }
    path = home.jupyter / "host.json"
    replace_file(path, json.dumps(settings, indent=1).encode())
    return path


def _limits_of(running: RunningServer) -> Path:
    """The file of what the host may use; the newest wish, which it may not have yet."""
    return Path(running.kernel_env).with_name("limits.json")


def _limits(running: RunningServer) -> Resources:
    try:
        return Resources(**json.loads(read_file(_limits_of(running))))
    except (OSError, ValueError, TypeError):  # a host of an older version has none
        return Resources()


def _write_kernel_env(path: Path, resources: Resources, taken: list[list[int]]) -> None:
    replace_file(path, json.dumps(limits.kernel_variables(resources, taken)).encode())

"""The Engine Protocol on containers: which steps in which order, and what the engine remembers of its hosts."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import secrets
import shutil
from collections import defaultdict
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from blake3 import blake3

from kaosd import proc
from kaosd.engines.base import Finding, Home, Inputs, Log, Order
from kaosd.engines.docker import examining, images, limits, place, seed
from kaosd.engines.docker import host as hosts
from kaosd.engines.docker.building import Builder
from kaosd.engines.docker.connection import EngineConnection, NoSuchThing
from kaosd.engines.docker.facts import EngineFacts
from kaosd.engines.docker.host import HOME, RunningContainer
from kaosd.engines.docker.place import Place
from kaosd.engines.jupyter import SOCKET_MAX
from kaosd.engines.machine import check
from kaosd.errors import EngineError, EngineUnavailable, StartFailed
from kaosd.model import Environment, Host, HostStatus, NotebookSpec, Resources

OWNER = "kaosd.owner"  # label of everything that we make
_ENDED = ("created", "configured", "exited", "stopped", "dead")
_TOO_SMALL = re.compile(r"unable to set memory limit|resource busy")  # as the kernel says it, by way of runc
_NEVER = ("KAOSD_*", "NOTIFY_SOCKET", "LISTEN_*", "CREDENTIALS_DIRECTORY", "JUPYTER_*", "PYTHON*", "PATH", "HOME")


class DockerEngine:
    """See `Engine`. state_dir: the daemon's own directory, which marks its containers and images.

    socket: where the container engine listens; None: at the usual paths. pass_environment: names (shell patterns) of
    the daemon's variables that kernels get. start_within: seconds that a host may take to answer.
    variables: stands for os.environ.
    """

    name = "docker"
    data_link: str | None = "/pfs/data-{name}"
    builds_bundle = True

    def __init__(
        self,
        state_dir: Path,
        *,
        socket: str | None = None,
        pass_environment: tuple[str, ...] = (),
        start_within: float = 120.0,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        own = dict(os.environ if variables is None else variables)
        owner = blake3(os.fsencode(os.path.realpath(state_dir))).hexdigest()[:12]
        self._connection = EngineConnection(socket, own)
        self.owner = owner
        self._labels = {OWNER: owner}
        self._images = images.Images(self._connection, f"kaosd-{owner}", f"{OWNER}={owner}")
        self._builder = Builder(self._connection, f"kaosd-{owner}", self._labels, f"kaosd-{owner}-cache", own)
        self._passed = _passed(own, pass_environment)
        self._start_within = start_within
        self._building: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._starting = 0
        self._enforced: dict[str, bool] = {}  # by id of the container
        self._killed: dict[str, int] = {}  # processes that the memory limit has ended, by id of the container
        self._undone: dict[str, Place] = {}  # containers of failed starts that the engine would not remove, by name
        self._given_up: set[str] = set()  # names of containers whose start has failed, whatever their engine does yet
        self._unswept: dict[Path, tuple[Home, str | None]] = {}  # that the engine was away for; the container to spare
        self._sweeping = asyncio.Lock()
        self._clearing: asyncio.Task[None] | None = None

    async def built(self, digest: str) -> Environment | None:
        """See `Engine`. While the container engine is away nothing is known to be built."""
        try:
            image = await self._images.find(digest)
        except EngineError:
            return None
        return None if image is None else Environment(digest, image, image)

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:  # noqa: ARG002 - the Protocol's
        """See `Engine`."""
        async with self._building[inputs.digest]:
            image = await self._images.find(inputs.digest)
            if image is not None:
                log.line(f"environment {inputs.digest[:7]} is there already")
            else:
                image = await self._builder.build(inputs, log)
                log.line(f"environment {inputs.digest[:7]} is complete")
        return Environment(inputs.digest, image, image)

    async def start(self, order: Order, log: Log) -> Host:
        """See `Engine`."""
        self._starting += 1
        try:
            return await self._start(order, log)
        finally:
            self._starting -= 1

    async def _start(self, order: Order, log: Log) -> Host:
        facts = await self._connection.facts()
        _refuse_what_cannot_be(facts, order.spec.resources)
        with contextlib.suppress(EngineError):  # one that will not go is no reason for others not to start
            await self._undo_what_was_left()
        await self._sweep_what_was_left(order.home.root)
        mark = secrets.token_hex(4)
        name, at = f"kaosd-{order.spec.name}-{mark}", Place.of(order.home, mark)
        if (length := len(os.fsencode(at.socket))) > SOCKET_MAX:
            hint = f"at most {SOCKET_MAX} are possible; choose a shorter state directory"
            raise StartFailed(
                f"the path of the host's socket has {length} bytes: {at.socket}", hint=hint, retryable=False
            )
        first = ""
        try:
            workdir, first = await self._lay_out(order, at, log)
            running = await self._launch(order, at, facts, name, workdir)
            log.line(f"JupyterLab started in container {name}")
            if unheld := limits.unheld(order.spec.resources, facts):
                log.line(unheld)
            await hosts.answering(self._connection, running, self._start_within)
        except BaseException as error:
            await self._undo(name, at)
            if isinstance(error, OSError):
                raise StartFailed(f"JupyterLab cannot be started: {error}") from error
            if isinstance(error, NoSuchThing):
                raise StartFailed(f"JupyterLab cannot be started: {error.text}") from error
            if isinstance(error, StartFailed) and first and error.hint:
                error.hint += f'; {first} of the image is run first and must end with: exec "$@"'
            raise
        log.line("JupyterLab answers")
        self._remember(running, order.spec.resources)
        return running.host()

    async def _lay_out(self, order: Order, at: Place, log: Log) -> tuple[str, str]:
        """Write what the container mounts, and bring what the image has in its working directory.

        That directory, and the program that is run first, or "".
        """
        workdir, first = await self._images.says(order.environment.handle)
        await asyncio.to_thread(place.lay_out, at, order, workdir or place.WORK, self._passed, first)
        if workdir is not None:
            listing = order.home.root / "containers" / "brought.json"
            brought = await self._connection.call(
                lambda client: self._images.bring(client, order.environment.handle, workdir, order.home.work, listing)
            )
            if brought:
                log.line(f"{brought} files that the build made in {workdir} were brought to the work directory")
        return workdir or place.WORK, first

    async def _launch(self, order: Order, at: Place, facts: EngineFacts, name: str, workdir: str) -> RunningContainer:
        def launch(client: Any) -> RunningContainer:
            container = hosts.create(client, order, at, facts, name, self._labels, workdir)
            begin = hosts.size(order.log)  # one that ends at once has written all it says before it is asked for
            client.start(container)
            if name in self._given_up:  # the engine hung meanwhile, and nobody waits for it any more
                hosts.remove(client, container, 0)
                raise StartFailed("the container engine was too late")
            state = client.inspect_container(container)["State"]
            return hosts.running(container, name, state, at, order, order.environment, begin)

        return await self._connection.call(launch)

    async def _undo(self, name: str, at: Place) -> None:
        """Leave nothing of a start that failed; what cannot be removed now is before the next one."""
        self._undone[name] = at
        self._given_up.add(name)
        with contextlib.suppress(EngineError):
            await self._undo_what_was_left()

    async def _undo_what_was_left(self) -> None:
        for name, at in list(self._undone.items()):
            await self._remove(name, 0)
            await asyncio.to_thread(at.remove)
            self._undone.pop(name, None)

    def _remember(self, running: RunningContainer, resources: Resources) -> None:
        groups = running.groups
        self._enforced[running.container] = groups.held(resources.cpu, resources.memory_bytes)
        self._killed[running.container] = groups.killed_for_memory()

    async def switch(self, host: Host, order: Order) -> Host | None:
        """See `Engine`. Only another name for the same image needs no new container."""
        if order.environment.server != host.server:
            return None
        return dataclasses.replace(hosts.of(host), environment=order.environment.digest).host()

    async def apply(self, host: Host, resources: Resources) -> bool:
        """See `Engine`. GPUs are given to containers when they are made; some Podmans change nothing in place."""
        running = hosts.of(host)
        facts = await self._connection.facts()
        if resources.gpu != running.gpu:
            _refuse_what_cannot_be(facts, resources)
            return False
        options = limits.options(resources, facts)
        try:
            if options:  # some engines hold no limit at all; status says so
                await self._connection.call(lambda client: client.update_container(running.container, **options))
        except NoSuchThing:
            return False
        except EngineError as error:
            if not _TOO_SMALL.search(error.text):
                raise
            text = f"the notebook uses more than {resources.memory} of memory now"
            raise EngineError(text, hint="restart kernels, or give it more", retryable=True) from error
        self._remember(running, resources)
        return True

    async def reaches(self, host: Host, linked: Path | None) -> bool:
        """See `Engine`."""
        return linked is None or await asyncio.to_thread(hosts.of(host).sees, linked)

    async def reach(self) -> None:
        """See `Remote`."""
        await self._connection.facts()

    async def examine(self) -> list[Finding]:
        """See `Remote`."""
        return await examining.examine(self._connection)

    async def probe(self, host: Host) -> HostStatus:
        """See `Engine`. Tells of processes that the memory limit has ended, here and in the host's log."""
        running = hosts.of(host)
        status = await hosts.probe(self._connection, running)
        self._clear_up(running.place.own.parents[1])
        if status.alive:
            status = dataclasses.replace(status, usage=running.groups.used(), pids=frozenset(running.groups.pids()))
        killed = running.groups.killed_for_memory() if status.alive else 0
        if not killed:
            return status
        notice = f"its memory limit of {running.memory} has ended {_processes(killed)}; give it more with --memory"
        if killed > self._killed.get(running.container, 0):
            self._killed[running.container] = killed
            running.note(notice)
        return dataclasses.replace(status, notice=notice)

    async def stop(self, host: Host, grace: float) -> None:
        """See `Engine`."""
        running = hosts.of(host)
        await hosts.stop(self._connection, running, grace)
        self._enforced.pop(running.container, None)
        self._killed.pop(running.container, None)

    async def adopt(self, handle: dict[str, object]) -> Host | None:
        """See `Engine`. By its process alone where the engine is away."""
        running = hosts.parse(handle)
        if running is None or not proc.alive(running.identity):
            return None
        if await hosts.inspect(self._connection, running) == {}:
            return None
        self._remember(running, Resources(memory=running.memory, gpu=running.gpu))
        return running.host()

    async def sweep(self, home: Home, host: Host | None) -> None:
        """See `Engine`. Where the engine is away it is done as soon as it is there, or with the next start."""
        self._unswept[home.root] = (home, hosts.of(host).container if host is not None else None)
        with contextlib.suppress(EngineError):
            await self._sweep_what_was_left(home.root)

    def _clear_up(self, root: Path) -> None:
        """Try again what the engine would not do before: sweep the home at *root*, undo what failed."""
        if (root in self._unswept or self._undone) and (self._clearing is None or self._clearing.done()):
            self._clearing = asyncio.ensure_future(self._clear(root))

    async def _clear(self, root: Path) -> None:
        with contextlib.suppress(EngineError):
            await self._sweep_what_was_left(root)
            await self._undo_what_was_left()

    async def _sweep_what_was_left(self, root: Path) -> None:
        """Sweep the home at *root*, if that is still to be done; one at a time: a start meets none half-done."""
        if root not in self._unswept:
            return
        async with self._sweeping:
            if root not in self._unswept:  # somebody else has done it meanwhile
                return
            home, spared = self._unswept[root]
            stays = None
            for container in await self._containers(f"{HOME}={root}"):
                if container["Id"] != spared:
                    await self._remove(container["Id"], 0)
                else:
                    stays = container["Names"][0].rpartition("-")[2]  # its mark
            marks = {path.name for path in (root / "containers").glob("*") if path.is_dir()}
            for mark in marks - {stays}:
                await asyncio.to_thread(Place.of(home, mark).remove)
            del self._unswept[root]

    async def ended(self, host: Host) -> None:
        """See `Engine`."""
        await hosts.ended(hosts.of(host))

    async def forget(self, home: Home) -> None:
        """See `Engine`."""
        await self.sweep(home, None)
        with contextlib.suppress(OSError):  # what stays then counts as an edit, and is kept
            await asyncio.to_thread(seed.withdraw, home.work, home.root / "containers" / "brought.json")
        for path in (home.root / "containers", place.pfs(home)):
            await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)

    async def collect(self, keep: frozenset[str]) -> None:
        """See `Engine`. Nothing while something is built or started, the engine is away, or it was never needed."""
        if self._busy() or not self._connection.used:
            return
        with contextlib.suppress(EngineUnavailable):
            await self._undo_what_was_left()
            for container in await self._containers():
                if container["State"] in _ENDED and not self._busy():  # it may be one that is about to start
                    await self._remove(container["Id"], 0)
            await self._images.collect(keep, self._busy)

    def _busy(self) -> bool:
        """Whether something is built or started."""
        return self._starting > 0 or any(lock.locked() for lock in self._building.values())

    async def _containers(self, *labels: str) -> list[dict[str, Any]]:
        """Our containers, ended ones included; those with *labels*."""
        wanted = [f"{OWNER}={self.owner}", *labels]
        return await self._connection.call(lambda client: client.containers(all=True, filters={"label": wanted}))

    async def _remove(self, container: str, grace: int) -> None:
        await self._connection.call(lambda client: hosts.remove(client, container, grace))

    def enforced(self, host: Host) -> bool:
        """See `Engine`."""
        return self._enforced.get(hosts.of(host).container, False)

    def check(self, resources: Resources) -> None:
        """See `Engine`."""
        check(resources)

    async def close(self) -> None:
        """Let go of the container engine; hosts keep running."""
        if self._clearing is not None:
            self._clearing.cancel()
            await asyncio.gather(self._clearing, return_exceptions=True)
        self._connection.close()


def _passed(own: Mapping[str, str], patterns: tuple[str, ...]) -> dict[str, str]:
    """What kernels get out of the daemon's own variables."""
    named = {name for name in own if any(fnmatchcase(name, pattern) for pattern in patterns)}
    return {name: own[name] for name in sorted(named) if not any(fnmatchcase(name, never) for never in _NEVER)}


def _refuse_what_cannot_be(facts: EngineFacts, resources: Resources) -> None:
    if resources.gpu and facts.podman:
        raise StartFailed(
            "Podman gives no GPUs by its Docker-compatible socket",
            hint="use Docker with the NVIDIA Container Toolkit, or ask for gpu 0",
            retryable=False,
        )


def _processes(count: int) -> str:
    return "a process" if count == 1 else f"{count} processes"

"""One running JupyterLab as a container: what it is made of, wait for its answer, ask, find again, end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

from kaosd import cgroups, proc
from kaosd.engines.base import Order
from kaosd.engines.docker import limits, place
from kaosd.engines.docker.connection import EngineConnection, NoSuchThing, remove_container
from kaosd.engines.docker.facts import EngineFacts
from kaosd.engines.docker.place import Place
from kaosd.engines.jupyter import ENDING, JupyterClient, failing, last_words
from kaosd.errors import EngineError, StartFailed
from kaosd.model import Environment, Host, HostStatus
from kaosd.stage_logs import stamp

_LATE, _POLL = 30, 0.1  # questions, and seconds between them, until the engine knows what the kernel does
HOME = "kaosd.home"  # label: the directory of the notebook


@dataclass(frozen=True, slots=True)
class RunningContainer:
    """A host that was started; JSON values only, so that it is its own handle.

    container: its id. name: of the container. pid, started, boot: identity of its first process on this machine.
    own, run: its two directories. log_from: bytes of the log that are older. linked: see linked_data;
    linked_at: where that is seen inside.
    environment, server: digests as in Host; the latter is the id of the image.
    """

    container: str
    name: str
    pid: int
    started: int
    boot: str
    own: str
    run: str
    base_url: str
    token_file: str
    log: str
    log_from: int
    linked: str | None
    gpu: int
    memory: str | None
    environment: str
    server: str
    started_at: float
    linked_at: str | None = None

    @property
    def identity(self) -> proc.Identity:
        """What tells its first process from every other process."""
        return proc.Identity(self.pid, self.started, self.boot)

    @property
    def groups(self) -> cgroups.Contained:
        """Its control groups."""
        return cgroups.Contained(self.pid, self.container)

    @property
    def place(self) -> Place:
        """Its directories."""
        return Place(Path(self.own), Path(self.run))

    @property
    def door(self) -> JupyterClient:
        """Where it is asked."""
        return JupyterClient(self.place.socket, self.base_url, self.token_file)

    def sees(self, linked: Path) -> bool:
        """Whether it mounts this directory of the person's, as it is now. Blocking."""
        return os.path.realpath(linked) == self.linked and (self.linked_at or self.linked) == str(linked)

    def host(self) -> Host:
        """The engine-neutral form."""
        return Host(f"unix:{self.place.socket}", self.environment, self.server, self.started_at, asdict(self))

    def last_words(self, *, running: bool = False) -> str:
        """See jupyter.last_words."""
        return last_words(self.log, self.log_from, running=running)

    def note(self, text: str) -> None:
        """Add a line of ours to its log; a log that cannot be written to is not a reason to fail."""
        with contextlib.suppress(OSError), open(self.log, "a", encoding="utf-8") as log:
            log.write(f"{stamp(text)}\n")


def of(host: Host) -> RunningContainer:
    """The reverse of RunningContainer.host."""
    return RunningContainer(**host.handle)


def parse(handle: Mapping[str, object]) -> RunningContainer | None:
    """The host of a stored handle; None when it is of another engine."""
    try:
        return RunningContainer(**cast(dict[str, Any], handle))
    except TypeError:
        return None


def variables(order: Order, person: tuple[int, int]) -> dict[str, str]:
    """The environment variables of the container; everybody who may ask the engine can read them."""
    spec = order.spec
    own = {
        "KAOS_WORKSPACE": spec.workspace,
        "KAOS_USER": spec.user,
        "KAOS_NOTEBOOK": spec.name,
        "DATA_REPO": f"data-{spec.name}",
        "KAOS_DATA": f"/pfs/data-{spec.name}",
    }
    if person[0] == 0:
        return own
    # a user that the image does not know: without these it has no home to write to and no name
    return own | {"HOME": str(order.home.jupyter / "home"), "USER": spec.user, "LOGNAME": spec.user}


def user(facts: EngineFacts, person: tuple[int, int]) -> tuple[int, int]:
    """Who works in the container so that files belong to *person* (uid, gid) outside.

    Rootless engines show the person as root inside.
    """
    return (0, 0) if facts.rootless else person


def create(
    client: Any,
    order: Order,
    at: Place,
    facts: EngineFacts,
    name: str,
    labels: Mapping[str, str],
    workdir: str,
) -> str:
    """Create the container of a host, not started; its id. Blocking."""
    from docker import types

    who = user(facts, (os.getuid(), os.getgid()))
    resources = order.spec.resources
    host_config = client.create_host_config(
        mounts=[
            types.Mount(one.inside, one.outside, type="bind", read_only=one.read_only)
            for one in place.mounts(at, order, workdir)
        ],
        device_requests=limits.gpus(resources.gpu, types),
        init=not facts.podman,  # reaps what kernels leave; Podman needs a program for it that may not be there
        security_opt=["label=disable"] if facts.selinux else [],
        **limits.options(resources, facts),
    )
    created = client.create_container(
        order.environment.handle,
        name=name,
        entrypoint=["/bin/sh", f"{place.INSIDE}/serve"],
        command=[str(order.log)],
        working_dir=workdir,
        user=f"{who[0]}:{who[1]}",
        environment=variables(order, who),
        labels={**labels, HOME: str(order.home.root)},
        stop_signal="SIGTERM",
        host_config=host_config,
    )
    found: str = created["Id"]
    return found


def running(
    container: str,
    name: str,
    state: Mapping[str, Any],
    at: Place,
    order: Order,
    environment: Environment,
    log_from: int,
) -> RunningContainer:
    """What is to be remembered of a container that was started; it may have ended already."""
    pid = int(state.get("Pid") or 0)
    identity = proc.identify(pid) if pid else None
    return RunningContainer(
        container=container,
        name=name,
        pid=pid,
        started=identity.started if identity else 0,
        boot=proc.boot_id(),
        own=str(at.own),
        run=str(at.run),
        base_url=order.base_url,
        token_file=str(order.home.token_file),
        log=str(order.log),
        log_from=log_from,
        linked=place.linked_data(order),
        gpu=order.spec.resources.gpu,
        memory=order.spec.resources.memory,
        environment=environment.digest,
        server=environment.server,
        started_at=time.time(),
        linked_at=str(order.spec.data) if place.linked_data(order) is not None else None,
    )


async def answering(connection: EngineConnection, started: RunningContainer, within: float) -> None:
    """Return when the host answers. StartFailed when it ends or *within* seconds have passed."""
    what = await failing(started.door, ended(started), within)
    if what is None:
        return
    words = started.last_words() or await _container_words(connection, started)
    raise StartFailed(f"JupyterLab {what}{words}", hint=f"the whole log is {started.log}")


async def _container_words(connection: EngineConnection, started: RunningContainer) -> str:
    """What the engine itself kept of the container's output: all that came before our log was open."""
    with contextlib.suppress(EngineError):
        if not proc.alive(started.identity):
            await _last_state(connection, started)  # by then it has all of the output
        said = await connection.call(lambda client: client.logs(started.container, tail=3))
        lines = [line for line in said.decode("utf-8", "replace").splitlines() if line.strip()]
        return f": {' | '.join(lines)}" if lines else ""
    return ""


async def ended(started: RunningContainer) -> None:
    """Return when the container's first process has ended; needs no engine."""
    if proc.alive(started.identity):
        await proc.ended(started.pid)


async def probe(connection: EngineConnection, started: RunningContainer) -> HostStatus:
    """How the host is; see Engine.probe. An engine that is away does not make a host bad that answers."""
    found = await _ended_or_paused(connection, started)
    if found is not None:
        return found
    status = await started.door.probe(partial(started.last_words, running=True))
    if status.answering:
        return status
    if status.lost:  # when a container ends, what listened in it ends before its first process does
        await proc.ended(started.pid, timeout=ENDING)
    return await _ended_or_paused(connection, started) or status


async def _ended_or_paused(connection: EngineConnection, started: RunningContainer) -> HostStatus | None:
    """How a host is that cannot answer because its container has ended or is paused; None when neither is so."""
    if not proc.alive(started.identity):
        state = await _last_state(connection, started)
        return HostStatus(alive=False, answering=False, reason=f"{_end(started, state)}{started.last_words()}")
    state = await inspect(connection, started)
    if state is None or not state.get("Paused"):
        return None
    reason = f"its container {started.name} is paused; docker unpause {started.name} lets it continue"
    return HostStatus(alive=True, answering=False, reason=reason)


async def inspect(connection: EngineConnection, started: RunningContainer) -> dict[str, Any] | None:
    """The engine's word on the container's state: {} when it is removed, None when the engine is away."""
    try:
        found = await connection.ask(lambda client: client.inspect_container(started.container), 2)
    except NoSuchThing:
        return {}
    except (EngineError, TimeoutError):
        return None
    state: dict[str, Any] = found["State"]
    return state


async def _last_state(connection: EngineConnection, started: RunningContainer) -> dict[str, Any] | None:
    """As `inspect`, once the engine has noticed that the container's process has ended."""
    state = await inspect(connection, started)
    for _ in range(_LATE):
        if not state or not state.get("Running"):
            break
        await asyncio.sleep(_POLL)
        state = await inspect(connection, started)
    return state


def _end(started: RunningContainer, state: Mapping[str, Any] | None) -> str:
    """How the container ended, in words."""
    if state is None:
        return f"its container {started.name} has ended, and the container engine is away"
    if not state or state.get("Status") in ("removing", "dead"):  # a removal by force kills first
        return f"its container {started.name} was removed"
    if state.get("Running"):  # an exit code is told only after that
        return f"its container {started.name} has ended, and the container engine does not know how yet"
    code = state.get("ExitCode")
    if state.get("OOMKilled"):
        return f"its container {started.name} has used up its memory of {started.memory}"
    how = {137: "was killed", 143: "was asked to stop"}.get(code or 0, f"has ended with exit code {code}")
    return f"its container {started.name} {how}"


async def stop(connection: EngineConnection, started: RunningContainer, grace: float) -> None:
    """End and remove the container and its directories. Idempotent. EngineUnavailable when the engine is away."""

    def end(client: Any) -> None:
        remove(client, started.container, round(grace))

    await connection.call(end)
    await asyncio.to_thread(started.place.remove)


def remove(client: Any, container: str, grace: int) -> None:
    """Stop a container, after *grace* seconds by force, and remove it; one that is gone is not an error. Blocking."""
    import docker

    def trying(act: Callable[[], object]) -> None:
        """Do what may be impossible in the container's present state."""
        with contextlib.suppress(docker.errors.APIError):
            act()

    if grace:
        trying(lambda: client.unpause(container))  # one that is paused takes no signal
        trying(lambda: client.stop(container, timeout=grace))
    remove_container(client, container)


def size(path: Path) -> int:
    """The bytes of a file; 0 while there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0

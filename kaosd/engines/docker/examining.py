"""What `kaosctl doctor` asks of the container engine: may we use it, is it new enough, does it limit, has it room."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator

from kaosd.engines.base import Finding
from kaosd.engines.docker import limits
from kaosd.engines.docker.connection import EngineConnection
from kaosd.engines.docker.facts import EngineFacts
from kaosd.errors import EngineError

CODE = "docker"
WITHIN = 5.0  # seconds for the engine's answer
LOW_SPACE = 4 * 10**9  # bytes; an image with JupyterLab and the usual packages takes 1 GB, and twice that in its making
OLDEST = {"Docker": (20, 10), "Podman": (4, 3)}  # that the tests have seen


async def examine(connection: EngineConnection, within: float = WITHIN) -> list[Finding]:
    """All findings, or the one that makes all others pointless. Never raises."""
    try:
        facts = await connection.ask(lambda client: client.ping() and connection.known, within)
    except TimeoutError:
        text = f"the container engine at {connection.place} does not answer within {within:g} s"
        return [Finding(CODE, "error", text, "look at its own log, or restart it: sudo systemctl restart docker")]
    except EngineError as error:
        return [Finding(CODE, "error", error.text, error.hint)]
    if facts is None:
        return [Finding(CODE, "error", "the container engine has just gone", "ask again")]
    free = await asyncio.to_thread(_free, facts.root)
    return list(findings(facts, free))


def findings(facts: EngineFacts, free: int | None) -> Iterator[Finding]:
    """What *facts* mean. free: bytes that are free where images are kept; None when that cannot be seen from here."""
    kind = facts.version.partition(" ")[0]
    shown = (
        f"{facts.version}{', rootless,' if facts.rootless else ''} answers at {facts.address.removeprefix('unix://')}"
    )
    if facts.release < OLDEST[kind]:
        oldest = ".".join(map(str, OLDEST[kind]))
        yield Finding(CODE, "warning", f"{shown}; the oldest that kaosd is tested with is {oldest}", f"upgrade {kind}")
    else:
        yield Finding(CODE, "ok", shown)
    if facts.unlimited:
        text = f"{' and '.join(facts.unlimited)} of notebooks cannot be limited: {limits.why(facts)}"
        yield Finding(CODE, "warning", text, _mend_limits(facts))
    else:
        yield Finding(CODE, "ok", "memory and cpu of notebooks are limited as they say")
    if facts.driver == "vfs":
        text = f"{kind} keeps images by the storage driver vfs, which copies all of an image for each layer"
        yield Finding(CODE, "warning", text, f"have {kind} use the storage driver overlay")
    else:
        yield Finding(CODE, "ok", f"images are kept by {facts.driver}")
    if free is None:
        yield Finding(CODE, "ok", f"how much is free at {facts.root}, where images are kept, cannot be seen by you")
    elif free < LOW_SPACE:
        command = "podman system prune" if facts.podman else "docker system prune"
        yield Finding(CODE, "warning", f"{free / 1e9:.1f} GB free for images at {facts.root}", f"make room: {command}")
    else:
        yield Finding(CODE, "ok", f"{free / 1e9:.1f} GB free for images at {facts.root}")


def _mend_limits(facts: EngineFacts) -> str:
    if not facts.rootless:
        return "enable the memory and cpu control groups of the kernel (cgroup_enable=memory), and restart"
    if facts.groups in ("1", "v1"):
        return "boot with systemd.unified_cgroup_hierarchy=1, or use an engine that runs as root"
    return "have systemd delegate them: Delegate=cpu cpuset io memory pids in a drop-in of user@.service"


def _free(root: str) -> int | None:
    try:
        return shutil.disk_usage(root).free
    except OSError:
        return None

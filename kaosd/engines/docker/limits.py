"""Limits of a container as they are given to the engine. What the kernel says of them is in kaosd.cgroups."""

from __future__ import annotations

from typing import Any

from kaosd.engines.docker.facts import EngineFacts
from kaosd.model import Resources

_PERIOD = 100_000  # microseconds over which cpu is shared out


def options(resources: Resources, facts: EngineFacts) -> dict[str, int]:
    """Limits as create_host_config and update_container take them; those that the engine can hold.

    All of these are always given, because an update can widen a limit but not take it away.
    """
    memory = resources.memory_bytes or facts.memory
    quota = -1 if resources.cpu is None else max(1000, round(resources.cpu * _PERIOD))
    found = {
        "memory": {"mem_limit": memory, "memswap_limit": memory},
        "cpu": {"cpu_period": _PERIOD, "cpu_quota": quota},
    }
    return {key: value for name in found if name not in facts.unlimited for key, value in found[name].items()}


def unheld(resources: Resources, facts: EngineFacts) -> str:
    """What the engine cannot hold a container of *resources* to, as a sentence; "" when it can."""
    wanted = {"memory": resources.memory, "cpu": resources.cpu}
    lost = [name for name in facts.unlimited if wanted[name] is not None]
    if not lost:
        return ""
    return f"{' and '.join(lost)} of the notebook {'is' if len(lost) == 1 else 'are'} not limited: {why(facts)}"


def why(facts: EngineFacts) -> str:
    """Why an engine cannot hold limits."""
    if not facts.rootless:
        return f"the kernel gives {facts.version} no control group for that"
    if facts.groups in ("1", "v1"):
        return f"{facts.version} is rootless, and this machine has control groups of version 1"
    return f"{facts.version} is rootless, and was given no control group for that"


def gpus(count: int, types: Any) -> list[Any]:
    """The device requests for *count* GPUs."""
    return [types.DeviceRequest(driver="nvidia", count=count, capabilities=[["gpu"]])] if count else []

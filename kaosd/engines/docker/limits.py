"""Limits of a container: what the engine is told, and what the kernel says of them (control groups, v1 and v2)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kaosd.model import Resources

_PERIOD = 100_000  # microseconds over which cpu is shared out
_GROUPS = Path("/sys/fs/cgroup")
_NEVER = 2**62  # bytes from which a limit of version 1 is none


def options(resources: Resources, total: int) -> dict[str, int]:
    """Limits as create_host_config and update_container take them. total: bytes that the machine has.

    All are always given, because an update can widen a limit but not take it away.
    """
    memory = resources.memory_bytes or total
    quota = -1 if resources.cpu is None else max(1000, round(resources.cpu * _PERIOD))
    return {"mem_limit": memory, "memswap_limit": memory, "cpu_period": _PERIOD, "cpu_quota": quota}


def holds(resources: Resources, pid: int) -> bool:
    """Whether the kernel limits the container of process *pid* to *resources*, as its control groups say."""
    memory, cpu = _memory_limit(pid), _cpu_limit(pid)
    wanted = resources.memory_bytes
    page = os.sysconf("SC_PAGE_SIZE")
    fits_memory = wanted is None or (memory is not None and abs(memory - wanted) <= page)
    fits_cpu = resources.cpu is None or (cpu is not None and abs(cpu - resources.cpu) < 0.02)
    return fits_memory and fits_cpu


def killed(pid: int) -> int:
    """How many processes the memory limit of the container of process *pid* has ended so far."""
    for name, key in (("memory.events", "oom_kill"), ("memory.oom_control", "oom_kill")):
        for line in _read(pid, "memory", name).splitlines():
            word, _, value = line.partition(" ")
            if word == key:
                return int(value)
    return 0


def _memory_limit(pid: int) -> int | None:
    text = (_read(pid, "memory", "memory.max") or _read(pid, "memory", "memory.limit_in_bytes")).strip()
    return int(text) if text.isdigit() and int(text) < _NEVER else None


def _cpu_limit(pid: int) -> float | None:
    words = _read(pid, "cpu", "cpu.max").split()
    if not words:
        words = [*_read(pid, "cpu", "cpu.cfs_quota_us").split(), *_read(pid, "cpu", "cpu.cfs_period_us").split()]
    return int(words[0]) / int(words[1]) if len(words) == 2 and words[0].isdigit() else None


def _read(pid: int, controller: str, name: str) -> str:
    """A file of the control group that *pid* is in; "" when there is none."""
    try:
        lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    except OSError:
        return ""
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(",") or not controllers:
            top = _GROUPS / controllers if controllers else _GROUPS
            try:
                return (top / path.lstrip("/") / name).read_text()
            except OSError:
                continue
    return ""


def gpus(count: int, types: Any) -> list[Any]:
    """The device requests for *count* GPUs."""
    return [types.DeviceRequest(driver="nvidia", count=count, capabilities=[["gpu"]])] if count else []

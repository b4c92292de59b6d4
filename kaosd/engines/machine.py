"""What this machine has, for all engines that host notebooks on it."""

from __future__ import annotations

import os
import re

from kaosd.errors import ConfigError
from kaosd.model import Resources

_GPU = re.compile(r"nvidia([0-9]+)")


def check(resources: Resources) -> None:
    """Raise ConfigError when this machine cannot give *resources*."""
    cores, memory, gpus = len(os.sched_getaffinity(0)), memory_total(), len(gpu_indexes())
    if resources.cpu is not None and resources.cpu > cores:
        raise ConfigError(f"cpu {resources.cpu:g} is more than there is", hint=f"this machine has {cores} cores")
    if resources.gpu > gpus:
        raise ConfigError(f"gpu {resources.gpu} is more than there is", hint=f"this machine has {gpus} GPUs")
    if (wanted := resources.memory_bytes) is not None and wanted > memory:
        raise ConfigError(
            f"memory {resources.memory} is more than there is", hint=f"this machine has {memory // 2**20}Mi"
        )


def gpu_indexes() -> list[int]:
    """Indexes of the NVIDIA devices of this machine."""
    return sorted(int(match[1]) for name in os.listdir("/dev") if (match := _GPU.fullmatch(name)))


def memory_total() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

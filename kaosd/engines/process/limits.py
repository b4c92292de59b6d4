"""Limits without a resource controller: cores by affinity, memory by RLIMIT_DATA, GPUs by CUDA_VISIBLE_DEVICES.

All three are best effort: children inherit them, but a program can widen its affinity, and the memory limit holds for
each process by itself. Status says so (`enforced` is false).
"""

from __future__ import annotations

import contextlib
import math
import os
import re
import resource
from collections import Counter
from collections.abc import Iterable, Sequence

from kaosd.errors import ConfigError
from kaosd.model import Resources

_NOT_OURS = (ProcessLookupError, FileNotFoundError, PermissionError)
_GPU = re.compile(r"nvidia([0-9]+)")


def check(resources: Resources) -> None:
    """Raise ConfigError when this machine cannot give *resources*."""
    cores, memory, gpus = len(os.sched_getaffinity(0)), _memory_total(), len(gpu_indexes())
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


def choose(available: Iterable[int], taken: Iterable[Iterable[int]], count: int) -> list[int]:
    """*count* of the *available* indexes, those first that occur least often in *taken*; ascending."""
    load = Counter(index for one in taken for index in one)
    return sorted(sorted(available, key=lambda index: (load[index], index))[:count])


def cores(resources: Resources, taken: Sequence[Iterable[int]]) -> list[int]:
    """The cores that a host gets: whole ones, those that other hosts use least."""
    available = os.sched_getaffinity(0)
    return choose(available, taken, len(available) if resources.cpu is None else math.ceil(resources.cpu))


def kernel_variables(resources: Resources, taken: Iterable[Iterable[int]]) -> dict[str, str]:
    """The environment variables that kernels get.

    As in Kubernetes a host that asked for no GPU sees none; on a machine without GPUs nothing is set at all.
    """
    available = gpu_indexes()
    if not available:
        return {}
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, choose(available, taken, resources.gpu)))}


def limit(pid: int, on_cores: Iterable[int], memory: int | None) -> None:
    """Put all threads of a process on *on_cores* and limit its data to *memory* bytes (None: as far as allowed).

    Only the soft limit moves: a lowered hard limit could not be raised again. A process that is gone is no error.
    """
    with contextlib.suppress(*_NOT_OURS):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        soft = hard if memory is None else memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (soft, hard))
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(*_NOT_OURS):
                os.sched_setaffinity(int(thread), on_cores)


def _memory_total() -> int:
    """Bytes of memory that this machine has."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")

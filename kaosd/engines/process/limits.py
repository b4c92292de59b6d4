"""Limits without a resource controller: cores by affinity, memory by RLIMIT_DATA, GPUs by CUDA_VISIBLE_DEVICES.

All three are best effort: children inherit them, but a program can widen its affinity, and the memory limit holds for
each process by itself. Status says so (`enforced` is false).
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
from collections import Counter
from collections.abc import Iterable, Sequence

from kaosd.engines.machine import gpu_indexes
from kaosd.model import Resources

_NOT_OURS = (ProcessLookupError, FileNotFoundError, PermissionError)


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

    Only the soft limit moves: a lowered hard limit could not be raised again. A process that is gone is not an error.
    """
    with contextlib.suppress(*_NOT_OURS):
        _, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        soft = hard if memory is None else memory if hard == resource.RLIM_INFINITY else min(memory, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (soft, hard))
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(*_NOT_OURS):
                os.sched_setaffinity(int(thread), on_cores)

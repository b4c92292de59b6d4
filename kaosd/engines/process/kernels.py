"""The kernels of a host as processes of this machine: which environment each runs in, and what each uses.

The server starts each one as a child of its own, with the kernel's id in the name of its connection file, and
kaosd/hosted/start.py writes the environment that it found into the variables that the kernel runs with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace

from kaosd import cgroups, proc
from kaosd.engines.process.host import RunningServer
from kaosd.hosted.overlay import VARIABLE
from kaosd.model import HostStatus, Usage

_CONNECTION = re.compile(r".*/kernel-([0-9a-f-]{36})\.json")


def told(status: HostStatus, host: RunningServer) -> HostStatus:
    """What a probe found, with what is known of the processes of the host and its kernels; blocking."""
    found = running_in(host.pid)
    whole, each, members = used(host.pid, host.cgroup, found)
    old = outdated(found, host.link)
    return replace(status, outdated=old, usage=whole, kernel_usage=each, pids=members)


def running_in(server: int) -> dict[str, int]:
    """The process of each kernel of the server with this pid, by the kernel's id; blocking."""
    found = {}
    for pid in proc.children(server):
        match = next(filter(None, map(_CONNECTION.fullmatch, proc.command_line(pid))), None)
        if match is not None:
            found[match[1]] = pid
    return found


def outdated(kernels: Mapping[str, int], environment: str) -> tuple[str, ...]:
    """Those kernels that run in another environment than the one at the path *environment*; blocking.

    Kernels of other programs than the environment's do not count.
    """
    wanted = os.path.realpath(environment)
    there = ((kernel, proc.environ_value(pid, VARIABLE)) for kernel, pid in sorted(kernels.items()))
    return tuple(kernel for kernel, prefix in there if prefix is not None and prefix != wanted)


def used(server: int, cgroup: str, kernels: Mapping[str, int]) -> tuple[Usage, dict[str, Usage], frozenset[int]]:
    """What the host uses, each of its kernels, and which processes belong to it; blocking.

    cgroup: of its unit; without one, or where the system does not count for it, its processes are asked.
    """
    each = {kernel: proc.descendants(pid) for kernel, pid in kernels.items()}
    members = proc.descendants(server) | cgroups.pids(cgroup)
    whole = cgroups.used(cgroup) or proc.used(members)
    return whole, {kernel: proc.used(pids) for kernel, pids in each.items()}, frozenset(members)

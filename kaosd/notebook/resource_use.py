"""What a notebook uses of memory and processors: out of what its host has used at several times. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from kaosd.model import Usage

SHORTEST = 1.0  # seconds over which the use of processors is taken, at the least
KEPT = 20.0  # seconds for which a sample is of use
NEAR = 0.9  # share of the memory limit from which the person is warned


@dataclass(frozen=True, slots=True)
class Sample:
    """What was used at one time. at: in seconds, of a clock that only grows."""

    at: float
    host: Usage
    kernels: Mapping[str, Usage]


@dataclass(frozen=True, slots=True)
class Rate:
    """What is in use: bytes of memory, and processors as a number of cores over the last interval."""

    memory: int
    cpu: float


def kept(samples: Iterable[Sample], now: float) -> list[Sample]:
    """The samples that are still of use, oldest first: one that is old enough for an interval, and those after it."""
    fresh = [one for one in samples if now - one.at <= KEPT]
    old = [one for one in fresh if now - one.at >= SHORTEST]
    return [*old[-1:], *fresh[len(old) :]]


def rate(samples: list[Sample]) -> Rate | None:
    """What the host uses; None until there are two samples far enough apart."""
    return _rate([(one.at, one.host) for one in samples])


def kernel_rates(samples: list[Sample]) -> dict[str, Rate]:
    """What each kernel uses, by its id; without those that were not there for long enough."""
    found = {}
    for kernel in samples[-1].kernels if samples else ():
        measured = _rate([(one.at, one.kernels[kernel]) for one in samples if kernel in one.kernels])
        if measured is not None:
            found[kernel] = measured
    return found


def _rate(used: list[tuple[float, Usage]]) -> Rate | None:
    (begun, before), (at, now) = (used[0], used[-1]) if used else ((0.0, Usage(0, 0)), (0.0, Usage(0, 0)))
    if at - begun < SHORTEST / 2:
        return None
    return Rate(now.memory, round(max(0.0, now.seconds - before.seconds) / (at - begun), 2))


def near_limit(used: Rate | None, limit: int | None) -> str:
    """The memory in use against the limit in bytes, such as "memory 3.7 of 4.0 Gi"; "" while that is far away."""
    if used is None or not limit or used.memory < NEAR * limit:
        return ""
    unit, size = next((unit for unit in (("Gi", 2**30), ("Mi", 2**20)) if limit >= unit[1]), ("Ki", 2**10))
    return f"memory {used.memory / size:.1f} of {limit / size:.1f} {unit}"

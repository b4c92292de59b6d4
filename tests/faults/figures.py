"""What rounds under faults came to, as one table; several worlds beside each other make one as well."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.oracle import LOSSES


@dataclass
class Figures:
    """Sums, and the seconds that each round took to come to rest. met: points; struck: how often each was struck."""

    faults: Counter[str] = field(default_factory=Counter)
    losses: Counter[str] = field(default_factory=Counter)
    sums: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    met: set[str] = field(default_factory=set)
    struck: Counter[str] = field(default_factory=Counter)

    def table(self) -> str:
        """What was done and what was lost."""
        times = sorted(self.times) or [0.0]
        sums = self.sums
        rows: list[tuple[str, object]] = [(f"fault: {name}", count) for name, count in sorted(self.faults.items())]
        rows += [
            ("faults in all", self.faults.total()),
            ("points met, and struck", f"{len(self.met)}, {len({one.removesuffix(' (done)') for one in self.struck})}"),
            ("strikes at points", self.struck.total()),
            ("starts of the daemon, ended by itself", f"{sums['starts']}, {sums['ends']}"),
            ("saves made", sums["saves"]),
            ("edits in the host made, of these recovered", f"{sums['edits']}, {sums['recovered']}"),
            *((column, self.losses[column]) for column in LOSSES),
            ("time to converge: median, 95 %, most", " ".join(f"{_at(times, part):.2f} s" for part in (0.5, 0.95, 1))),
        ]
        return "\n".join(f"{name:44} {value}" for name, value in rows)

    def save(self, path: Path) -> None:
        """For `merged`, in another process of this same harness."""
        path.write_bytes(pickle.dumps(self))


def merged(paths: Iterable[Path]) -> Figures:
    """The figures of several runs as one."""
    whole = Figures()
    for path in paths:
        one: Figures = pickle.loads(path.read_bytes())  # our own child wrote it
        for sums, more in ((whole.faults, one.faults), (whole.losses, one.losses), (whole.sums, one.sums)):
            sums.update(more)
        whole.struck.update(one.struck)
        whole.times += one.times
        whole.met |= one.met
    return whole


def _at(times: list[float], part: float) -> float:
    return times[min(len(times) - 1, int(part * len(times)))]

"""How many requests a thousand daemons make that lose one pachd at the same moment; simulated, in no time.

`python -m tests.pachyderm.reconnecting` prints the load. Each daemon tries again after the engine's own waits; the
others are what it could do instead.
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import repeat

from kaosd.engines.pachyderm.backoff import waits

DAEMONS = 1000
OUTAGES = (5.0, 30.0, 600.0)  # seconds
Waits = Callable[[random.Random], Iterator[float]]
WAYS: dict[str, Waits] = {
    "kaosd: doubled, any part of it": lambda drawn: waits(drawn.uniform),
    "doubled, without jitter": lambda _: waits(lambda _low, high: high),
    "every second": lambda _: repeat(1.0),
}


@dataclass(frozen=True, slots=True)
class Load:
    """Requests in a second at most: while pachd is away, and after it is back; last: the second of the last return."""

    away: int
    back: int
    last: int
    returned: int


def load(outage: float, ways: Waits, daemons: int = DAEMONS, seed: int = 7) -> Load:
    """What *daemons* that lose pachd at once ask of it when it is back after *outage* seconds."""
    away: Counter[int] = Counter()
    back: Counter[int] = Counter()
    drawn = random.Random(seed)
    for _ in range(daemons):
        at = 0.0
        for wait in ways(drawn):
            at += wait
            if at >= outage:
                back[int(at - outage)] += 1
                break
            away[int(at)] += 1
    return Load(max(away.values(), default=0), max(back.values()), max(back), sum(back.values()))


def main() -> None:
    """Print the table."""
    sys.stdout.write(f"{DAEMONS} daemons lose one pachd at once; requests per second at most\n\n")
    sys.stdout.write(
        "| away for | way to wait | while it is away | when it is back | all are back after |\n|---|---|---|---|---|\n"
    )
    for outage in OUTAGES:
        for name, ways in WAYS.items():
            found = load(outage, ways)
            cells = (f"{outage:g} s", name, str(found.away), str(found.back), f"{found.last + 1} s")
            sys.stdout.write(f"| {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()

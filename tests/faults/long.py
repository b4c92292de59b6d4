"""The long run: `make faults LONG=5000` makes so many saves, builds and swaps in between, and looks for what grows.

Prints what it measured as a table, writes it as long.csv and long.svg into build/, and ends with 1
when something is not flat.
"""

from __future__ import annotations

import contextlib
import csv
import os
import random
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.e2e.daemon import until
from tests.faults.rounds import World, world

SAMPLES = 100
BUILDS = 10
DIGEST = re.compile("[0-9a-f]{64}")  # the name of a whole environment
ENVIRONMENTS = 5  # that are kept: the newest, and those in use
MIB = 2**20


class Sample(NamedTuple):
    """What the daemon holds after so many saves. Sizes in MiB."""

    saves: int
    memory: float
    descriptors: int
    threads: int
    journal: float
    store: float
    logs: int
    environments: int
    processes: int


# What a measure may have grown by between the second quarter and the end: a factor, and a sum.
LIMITS = {
    "memory": (1.15, 8.0), "descriptors": (1.0, 12), "threads": (1.0, 4), "journal": (1.5, 6.0), "processes": (1.0, 2),
}  # fmt: skip


def measure(made: World, saves: int) -> Sample:
    """Look at the daemon from outside."""
    daemon, state = made.daemon, made.daemon.state
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{daemon.pid}/status").read_text().splitlines())
    return Sample(
        saves,
        int(status["VmRSS"].split()[0]) / 1024,
        daemon.descriptors(),
        int(status["Threads"]),
        sum(path.stat().st_size for path in state.glob("journal.sqlite*")) / MIB,
        _size(state / "store"),
        len(list((daemon.home(made.name) / "logs").iterdir())),
        len([path for path in (state / "environments").iterdir() if DIGEST.fullmatch(path.name)]),
        len(daemon.hosts()),
    )


def _size(top: Path) -> float:
    total = 0
    for directory, _, files in os.walk(top):
        for name in files:
            with contextlib.suppress(FileNotFoundError):
                total += os.stat(os.path.join(directory, name)).st_blocks * 512
    return total / MIB


def work(made: World, saves: int) -> Iterator[Sample]:
    """Save and save, with a sample now and then."""
    every, build_every = max(1, saves // SAMPLES), max(1, saves // BUILDS)
    made.first()
    for number in range(1, saves + 1):
        made.editor.change(1)
        if number % 7 == 0:
            made.editor.edit(1, at_rest=False)
        if number % build_every == 0:
            (made.editor.model / "requirements.txt").write_text(f"# {number}\n")
        if number % every == 0:
            made.settle()
            yield measure(made, number)
        else:
            made.daemon.ensure()


def retained(made: World) -> list[str]:
    """What is kept although nobody can come back to it, after the daemon has tidied up."""
    made.daemon.stop()
    output = made.daemon.place / "output"
    before = output.stat().st_size
    made.daemon.start()
    until(lambda: '"collected"' in output.read_bytes()[before:].decode(errors="replace"), "the daemon to tidy up")
    until(lambda: measure(made, 0).environments <= ENVIRONMENTS, "environments to be removed, which comes last")
    last = measure(made, made.editor.saves)
    shown = made.daemon.ask("GET", f"/v1/notebooks/{made.name}/history")["deployments"]
    wrong = [] if len(shown) <= 100 else [f"{len(shown)} deployments are shown"]
    wrong += [] if last.store <= 40 else [f"the store has {last.store:.1f} MiB for {_size(made.editor.model):.1f}"]
    print("after tidying up:", " ".join(f"{name}={value:.6g}" for name, value in last._asdict().items()))
    return wrong


def growing(samples: Sequence[Sample]) -> list[str]:
    """The measures that are higher at the end than in the second quarter by more than they may be."""
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    for name, (factor, more) in LIMITS.items():
        before = max(getattr(one, name) for one in early)
        after = min(getattr(one, name) for one in late)
        if after > before * factor + more:
            found.append(f"{name} grew from {before:.6g} to {after:.6g}")
    return found


def plot(samples: Sequence[Sample], path: Path) -> None:
    """Small plots below each other, each from zero to its own highest value."""
    names = [name for name in Sample._fields if name != "saves"]
    width, height, left = 900, 90, 190
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + left + 20}" height="{height * len(names) + 30}" '
        'font-family="sans-serif" font-size="13">'
    ]
    for row, name in enumerate(names):
        values = [float(getattr(one, name)) for one in samples]
        top, bottom = max(values) or 1.0, height * (row + 1)
        points = " ".join(
            f"{left + width * one.saves / samples[-1].saves:.1f},{bottom - value / top * (height - 20):.1f}"
            for one, value in zip(samples, values, strict=True)
        )
        lines.append(f'<text x="5" y="{bottom - height // 2}">{name}: {values[-1]:.6g} (most {top:.6g})</text>')
        lines.append(f'<line x1="{left}" x2="{left + width}" y1="{bottom}" y2="{bottom}" stroke="#ccc"/>')
        lines.append(f'<polyline points="{points}" fill="none" stroke="#0645ad" stroke-width="1.5"/>')
    lines.append(f'<text x="{left}" y="{height * len(names) + 22}">saves: 0 to {samples[-1].saves}</text></svg>')
    path.write_text("\n".join(lines) + "\n")


def main(arguments: list[str]) -> int:
    """Run by hand; 0 when all is flat."""
    saves = int(arguments[0]) if arguments else 5000
    samples: list[Sample] = []
    place = Path("build")
    place.mkdir(exist_ok=True)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))
    with world(random.SystemRandom().randrange(10**6)) as made:
        for sample in work(made, saves):
            samples.append(sample)
            print(" ".join(f"{name}={value:.6g}" for name, value in sample._asdict().items()), flush=True)
            plot(samples, place / "long.svg")
        wrong = growing(samples) + retained(made)
    with open(place / "long.csv", "w", newline="") as file:
        csv.writer(file).writerows([Sample._fields, *samples])
    minutes = (time.monotonic() - began) / 60
    print(f"{saves} saves in {minutes:.1f} min:", "; ".join(wrong) or "all is flat")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

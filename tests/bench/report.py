"""What a section has measured: times, facts and targets; kept as JSON, shown as Markdown. Ratios are of one section."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

OWN = "kaosd"
BOUND = "bound: "  # what begins a row of what no tool can be quicker than; it is no peer


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds that *who* took for *what* at *size* (files in the tree, or what the section counts; 0: no size).

    One infinite time, and no other, says that it never came.
    """

    what: str
    size: int
    who: str
    seconds: list[float]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """The time that 95 of 100 do not exceed, in seconds."""
        return self._not_exceeded_by(0.95)

    @property
    def p99(self) -> float:
        """The time that 99 of 100 do not exceed, in seconds."""
        return self._not_exceeded_by(0.99)

    def _not_exceeded_by(self, share: float) -> float:
        return sorted(self.seconds)[max(0, math.ceil(len(self.seconds) * share) - 1)]


@dataclass(frozen=True, slots=True)
class Target:
    """A limit that the project sets itself, and what was found; unit "x" is a ratio."""

    what: str
    value: float
    limit: float
    unit: str = "x"

    @property
    def verdict(self) -> str:
        """Reached, or by how much not."""
        if not math.isfinite(self.value):
            return "not measured"
        if self.value <= self.limit:
            return "reached"
        return f"missed by {self.value / self.limit:.2f} x" if self.limit else "missed"


@dataclass
class Report:
    """One section. *seconds*: what it took as a whole. *missing*: who or what could not take part, and why."""

    section: str
    times: list[Times] = field(default_factory=list)
    targets: list[Target] = field(default_factory=list)
    facts: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, what: str, size: int, who: str, seconds: list[float]) -> None:
        """Add measured times; none at all name *who* as missing there."""
        if seconds:
            self.times.append(Times(what, size, who, seconds))
        else:
            self.missing.append(f"{who} ({what}{f', {size}' if size else ''}): no result")

    def median(self, what: str, size: int, who: str = OWN) -> float:
        """The median of what was measured; not a number when nothing was."""
        return next((one.median for one in self.times if (one.what, one.size, one.who) == (what, size, who)), math.nan)

    def best(self, what: str, size: int) -> Times | None:
        """The one of the smallest median among all others."""
        others = [one for one in self.times if (one.what, one.size) == (what, size) and one.who != OWN]
        others = [one for one in others if not one.who.startswith(BOUND)]
        return min(others, key=lambda one: one.median, default=None)

    def ratio(self, what: str, size: int, who: str) -> float:
        """Our median in that of *who*."""
        return self.median(what, size) / self.median(what, size, who)

    def target(self, what: str, value: float, limit: float, unit: str = "x") -> None:
        """What the project limits. A value that is not a number was not measured."""
        self.targets.append(Target(what, value, limit, unit))

    def exponents(self) -> dict[tuple[str, str], float]:
        """By what and who: e, where the cost grows as size to the power of e (least squares of the logarithms)."""
        points: dict[tuple[str, str], list[tuple[float, float]]] = {}
        for one in self.times:
            if one.size:
                points.setdefault((one.what, one.who), []).append((math.log(one.size), math.log(one.median)))
        found = {}
        for key, line in points.items():
            if len(line) > 1:
                found[key] = statistics.linear_regression(*zip(*line, strict=True)).slope
        return found

    # -- keeping and showing -------------------------------------------------------------------------------

    def save(self, directory: Path) -> None:
        """Keep it below *directory*, in place of an earlier run of the section."""
        (directory / f"{self.section}.json").write_text(json.dumps(asdict(self), indent=1) + "\n")

    @staticmethod
    def load(path: Path) -> Report:
        """A section that was kept."""
        found: dict[str, Any] = json.loads(path.read_text())
        times = [Times(**one) for one in found.pop("times")]
        targets = [Target(**one) for one in found.pop("targets")]
        return Report(times=times, targets=targets, **found)

    def markdown(self) -> str:
        """Its table, exponents, facts, targets and who is missing."""
        lines = [f"### {self.section}", ""]
        if self.times:
            lines += ["| what | size | who | n | median ms | p95 ms | p99 ms | kaosd of it |", "|---" * 8 + "|"]
            lines += [self._row(one) for one in sorted(self.times, key=self._order)]
            lines.append("")
        growth = [f"{who} {slope:.2f}" for (what, who), slope in self.exponents().items() if what == self._grown]
        if growth:
            lines += [f"{self._grown}: cost grows with the size to the power of: {', '.join(growth)}.", ""]
        lines += [f"- {fact}" for fact in self.facts]
        lines += [f"- not measured: {one}" for one in self.missing]
        lines += ["", *target_table(self.targets)] if self.targets else []
        return "\n".join([*lines, f"({self.seconds:.0f} s)", ""])

    @property
    def _grown(self) -> str:
        """The first of what was measured at several sizes."""
        return next((what for what, _ in self.exponents()), "")

    def _order(self, one: Times) -> tuple[int, int, float]:
        firsts = list(dict.fromkeys(each.what for each in self.times))
        return firsts.index(one.what), one.size, 0.0 if one.who == OWN else one.median

    def _row(self, one: Times) -> str:
        best = self.best(one.what, one.size)
        known = one.who != OWN and math.isfinite(one.median) and math.isfinite(self.median(one.what, one.size))
        ratio = f"{self.ratio(one.what, one.size, one.who):.3g}" if known else ""
        if best is one and known:
            ratio += " (best)"
        size = str(one.size) if one.size else ""
        shown = f"| {one.what} | {size} | {one.who} | {len(one.seconds)} | {_ms(one.median)} | {_ms(one.p95)} "
        return f"{shown}| {_ms(one.p99)} | {ratio} |"


def target_table(targets: Iterable[Target]) -> list[str]:
    """The lines of a table of targets."""
    lines = ["| target | found | limit | |", "|---|---|---|---|"]
    for one in targets:
        found = f"{one.value:.3g} {one.unit}" if math.isfinite(one.value) else "-"
        lines.append(f"| {one.what} | {found} | {one.limit:g} {one.unit} | {one.verdict} |")
    return lines


def _ms(seconds: float) -> str:
    if math.isinf(seconds):
        return "never"
    return f"{seconds * 1e3:.3g}" if seconds < 0.9995 else f"{seconds * 1e3:.0f}"

"""What a run has measured, as a table, marks for the targets, and a plot; absolute times are of one run only."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf")
OWN = "kaosd"


@dataclass
class Report:
    """Times in seconds by (what, files in the tree, who), targets, and who could not take part."""

    times: dict[tuple[str, int, str], list[float]] = field(default_factory=dict)
    targets: list[tuple[str, float, float]] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def add(self, what: str, files: int, who: str, times: list[float]) -> None:
        """Add measured times; none at all names *who* as missing there."""
        if times:
            self.times[what, files, who] = times
        else:
            self.missing.append(f"{who} ({what}, {files} files): not finished in time")

    def median(self, what: str, files: int, who: str = OWN) -> float:
        """The median of what was measured; infinite when nothing was."""
        times = self.times.get((what, files, who))
        return statistics.median(times) if times else math.inf

    def best(self, what: str, files: int) -> float:
        """The smallest median of all others."""
        return min(
            (self.median(*key) for key in self.times if key[:2] == (what, files) and key[2] != OWN), default=math.inf
        )

    def target(self, what: str, ratio: float, limit: float) -> None:
        """A ratio that section 9 of the design limits; left out when one side was not measured."""
        if math.isfinite(ratio) and ratio > 0:
            self.targets.append((what, ratio, limit))

    def markdown(self) -> str:
        """The tables."""
        lines = ["| what | files | who | n | median ms | p99 ms | of kaosd's |", "|---|---|---|---|---|---|---|"]
        for (what, files, who), times in sorted(self.times.items(), key=lambda item: (*item[0][:2], item[0][2] != OWN)):
            own, found = self.median(what, files), statistics.median(times)
            ratio = f"{found / own:.2f}" if math.isfinite(own) else ""
            lines.append(
                f"| {what} | {files} | {who} | {len(times)} | {found * 1e3:.1f} | {p99(times) * 1e3:.1f} | {ratio} |"
            )
        lines += ["", "| target | ratio | limit | |", "|---|---|---|---|"]
        for what, value, limit in self.targets:
            verdict = "reached" if value <= limit else f"missed by {value / limit:.2f} x"
            lines.append(f"| {what} | {value:.3g} | {limit} | {verdict} |")
        lines += ["", *(f"Not measured: {one}." for one in self.missing)]
        return "\n".join(lines) + "\n"

    def plot(self, what: str) -> str:
        """An SVG of the medians of *what* over the number of files, both axes logarithmic."""
        series: dict[str, list[tuple[int, float]]] = {}
        for found, files, who in sorted(self.times):
            if found == what:
                series.setdefault(who, []).append((files, self.median(what, files, who)))
        points = [point for line in series.values() for point in line]
        if not points:
            return ""
        x = _axis([files for files, _ in points], 60, 480)
        y = _axis([seconds for _, seconds in points], 360, 30)
        parts = ['<svg xmlns="http://www.w3.org/2000/svg" width="720" height="400" font-family="sans-serif">']
        parts.append(f'<text x="60" y="20">{what}: median ms over files in the tree</text>')
        for number, (who, line) in enumerate(sorted(series.items(), key=lambda item: item[0] != OWN)):
            colour = COLOURS[number % len(COLOURS)]
            path = " ".join(f"{x(files):.0f},{y(seconds):.0f}" for files, seconds in line)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts.append(f'<text x="520" y="{40 + 18 * number}" fill="{colour}">{who}</text>')
            parts += [
                f'<text x="{x(files):.0f}" y="{y(seconds) - 4:.0f}" font-size="9">{seconds * 1e3:.0f}</text>'
                for files, seconds in line
            ]
        parts += [
            f'<text x="{x(files):.0f}" y="385">{files}</text>' for files in sorted({files for files, _ in points})
        ]
        return "\n".join([*parts, "</svg>"]) + "\n"

    def write(self, directory: Path) -> None:
        """Write the table and the plots."""
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "table.md").write_text(self.markdown())
        for what in sorted({key[0] for key in self.times if len({k[1] for k in self.times if k[0] == key[0]}) > 1}):
            (directory / f"{what.replace(' ', '-')}.svg").write_text(self.plot(what))


def p99(times: list[float]) -> float:
    """The time that 99 of 100 do not exceed."""
    return sorted(times)[min(len(times) - 1, int(len(times) * 0.99))]


def _axis(values: Sequence[float], low: float, high: float) -> Callable[[float], float]:
    """Where a value lies on a logarithmic axis that reaches from *low* to *high*."""
    first, last = math.log(min(values)), math.log(max(values))
    return lambda value: low + (math.log(value) - first) / ((last - first) or 1) * (high - low)

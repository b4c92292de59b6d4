"""Plots of one section as SVG: how the latency is distributed, and what it costs over the size."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from tests.bench.report import OWN, Times

COLOURS = ("#d62728", "#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf", "#ff7f0e",
           "#393b79", "#637939")  # fmt: skip
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 520, 40, 360


def distribution(title: str, times: Sequence[Times]) -> str:
    """The share of measurements that took no longer than so many milliseconds, a line for each who."""
    x = _scale([second for one in times for second in one.seconds], _LEFT, _RIGHT)
    lines = []
    for one in _ours_first(times):
        ordered = sorted(one.seconds)
        lines.append((one.who, [(x.of(s), _share((n + 1) / len(ordered))) for n, s in enumerate(ordered)]))
    marks = [f'<text x="10" y="{_share(share) + 4:.0f}">{share:.0%}</text>' for share in (0, 0.5, 0.99)]
    return _picture(f"{title}: share of saves over ms", lines, [*marks, *x.marks(lambda s: f"{s * 1e3:.3g}")])


def over_size(title: str, times: Sequence[Times]) -> str:
    """Medians over the size, both axes logarithmic."""
    x = _scale([float(one.size) for one in times], _LEFT, _RIGHT)
    y = _scale([one.median for one in times], _BOTTOM, _TOP)
    series: dict[str, list[tuple[float, float]]] = {}
    for one in sorted(_ours_first(times), key=lambda one: one.size):
        series.setdefault(one.who, []).append((x.of(one.size), y.of(one.median)))
    ordered = sorted(series.items(), key=lambda item: item[0] != OWN)
    marks = [
        f'<text x="{x.of(size):.0f}" y="385">{size}</text>' for size in sorted({one.size for one in times})
    ]  # fmt: skip
    high = [f'<text x="5" y="{y.of(s) + 4:.0f}">{s * 1e3:.3g}</text>' for s in y.ticks]
    return _picture(f"{title}: median ms over size", ordered, [*marks, *high])


class _Scale:
    """A logarithmic axis that reaches over *values*, from *low* to *high* in the picture."""

    def __init__(self, values: Sequence[float], low: float, high: float) -> None:
        first, last = math.log10(min(values)), math.log10(max(values))
        span = (last - first) or 1.0
        self._of: Callable[[float], float] = lambda value: low + (math.log10(value) - first) / span * (high - low)
        steps = [step * 10.0**power for power in range(math.floor(first), math.ceil(last) + 1) for step in (1, 2, 5)]
        self.ticks = [tick for tick in steps if min(values) <= tick <= max(values)]

    def of(self, value: float) -> float:
        return self._of(value)

    def marks(self, text: Callable[[float], str]) -> list[str]:
        return [f'<text x="{self.of(tick):.0f}" y="385">{text(tick)}</text>' for tick in self.ticks]


def _scale(values: Sequence[float], low: float, high: float) -> _Scale:
    return _Scale([max(value, 1e-7) for value in values], low, high)


def _share(share: float) -> float:
    return _BOTTOM + (_TOP - _BOTTOM) * share


def _ours_first(times: Sequence[Times]) -> list[Times]:
    return sorted(times, key=lambda one: one.who != OWN)


def _picture(title: str, lines: Sequence[tuple[str, Sequence[tuple[float, float]]]], marks: Sequence[str]) -> str:
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="760" height="400" font-family="sans-serif" font-size="12">'
    ]
    parts += ['<rect width="760" height="400" fill="white"/>', f'<text x="{_LEFT}" y="20">{html.escape(title)}</text>']
    parts.append(f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="#999"/>')
    for number, (who, line) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{across:.1f},{up:.1f}" for across, up in line)
        width = 3 if who == OWN else 1.5
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="{width}"/>')
        parts += [f'<circle cx="{across:.1f}" cy="{up:.1f}" r="2" fill="{colour}"/>' for across, up in line[:1]]
        parts.append(f'<text x="{_RIGHT + 15}" y="{_TOP + 18 * number}" fill="{colour}">{html.escape(who)}</text>')
    return "\n".join([*parts, *marks, "</svg>"]) + "\n"

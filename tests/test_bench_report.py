"""What `make bench` says of what it measured: ratios, verdicts, growth; and that nothing of it is lost on the disk."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tests.bench import plots
from tests.bench.report import BOUND, OWN, Report, Target, Times


def report() -> Report:
    found = Report("saves")
    for size, own, quick, slow in ((10, 1.0, 2.0, 4.0), (1000, 1.0, 20.0, 4.0)):
        found.add("save", size, OWN, [own, own, own * 3])
        found.add("save", size, "quick", [quick])
        found.add("save", size, "slow", [slow, slow])
        found.add("save", size, f"{BOUND}write", [0.001])
    found.add("save", 1000, "absent", [])
    return found


@pytest.mark.parametrize(
    ("value", "limit", "verdict"),
    [
        (0.5, 0.5, "reached"),
        (0.4, 0.5, "reached"),
        (1.0, 0.5, "missed by 2.00 x"),
        (0, 0, "reached"),
        (2, 0, "missed"),
        (math.nan, 0.5, "not measured"),
        (math.inf, 0.5, "not measured"),
    ],
)
def test_the_verdict(value: float, limit: float, verdict: str) -> None:
    assert Target("it", value, limit).verdict == verdict


def test_the_best_peer_is_neither_us_nor_a_bound() -> None:
    best = [report().best("save", size) for size in (10, 1000, 5)]
    assert [one.who if one else None for one in best] == ["quick", "slow", None]


def test_ratios_are_of_medians_and_unknown_where_one_is() -> None:
    assert report().ratio("save", 10, "quick") == 0.5
    assert math.isnan(report().ratio("save", 10, "absent"))


def test_growth_is_the_slope_of_the_logarithms() -> None:
    found = report().exponents()
    assert {who: round(slope, 6) for (_, who), slope in found.items()} == {
        OWN: 0, "quick": 0.5, "slow": 0, f"{BOUND}write": 0,
    }  # fmt: skip


def test_p95_and_p99_are_measured_times() -> None:
    assert Times("save", 0, OWN, [float(number) for number in range(1000)]).p99 == 989
    assert Times("save", 0, OWN, [float(number) for number in range(20)]).p95 == 18
    assert Times("save", 0, OWN, [2.0, 1.0]).p99 == 2


def test_what_never_came_is_shown_kept_and_no_ratio(tmp_path: Path) -> None:
    whole = report()
    whole.add("save", 10, "blind", [math.inf])
    whole.save(tmp_path)
    shown = Report.load(tmp_path / "saves.json").markdown()
    assert "| save | 10 | blind | 1 | never | never | never |  |" in shown
    assert "| save | 10 | quick | 1 | 2000 | 2000 | 2000 | 0.5 (best) |" in shown


def test_what_is_kept_is_what_was_measured(tmp_path: Path) -> None:
    whole = report()
    whole.target("fine", 0.4, 0.5)
    whole.target("unknown", math.nan, 0.5)
    whole.facts.append("so it was")
    whole.save(tmp_path)
    found = Report.load(tmp_path / "saves.json")
    assert found.markdown() == whole.markdown()
    assert "| save | 1000 | slow | 2 | 4000 | 4000 | 4000 | 0.25 (best) |" in found.markdown()
    assert "| unknown | - | 0.5 x | not measured |" in found.markdown()
    assert "- not measured: absent (save, 1000): no result" in found.markdown()


def test_plots_have_a_line_for_each() -> None:
    times = report().times
    for picture in (
        plots.over_size("save", times),
        plots.distribution("save", [one for one in times if one.size == 10]),
    ):
        assert picture.count("<polyline") == 4
        assert picture.startswith("<svg")

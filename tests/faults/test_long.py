"""What counts as growth in the long run."""

from __future__ import annotations

from pathlib import Path

from tests.faults.long import Sample, growing, plot

FLAT = [Sample(number, 60.0 + number % 3, 22, 7, 1.0, 2.0, 5, 2, 2) for number in range(1, 41)]


def test_what_goes_up_and_down_is_flat() -> None:
    assert growing(FLAT) == []


def test_what_goes_up_and_up_is_not() -> None:
    leaking = [one._replace(descriptors=22 + 2 * one.saves, memory=60.0 + 4 * one.saves) for one in FLAT]
    assert [text.split()[0] for text in growing(leaking)] == ["memory", "descriptors"]


def test_the_plot_has_a_line_for_each_measure(tmp_path: Path) -> None:
    plot(FLAT, tmp_path / "long.svg")
    assert (tmp_path / "long.svg").read_text().count("<polyline") == len(Sample._fields) - 1

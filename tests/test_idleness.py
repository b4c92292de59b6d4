"""When a notebook is idle, and when that stops it."""

from __future__ import annotations

import pytest

from kaosd.notebook.idleness import Idleness, idle_reason


def test_a_tab_counts_as_long_as_it_is_open_and_kernels_at_the_moment() -> None:
    now = [100.0]
    idleness = Idleness(lambda: now[0])
    now[0] = 110.0
    assert idleness.seconds() == 10.0
    with idleness.used():
        with idleness.used():
            now[0] = 200.0
        assert idleness.seconds() == 0.0, "the other one is open still"
    now[0] = 205.0
    assert idleness.seconds() == 5.0
    idleness.touch()
    assert idleness.seconds() == 0.0


# limit, idle, reason
TABLE = {
    "never": (0.0, 1e9, None),
    "not yet": (60.0, 59.0, None),
    "a minute": (60.0, 60.0, "stopped: no busy kernel and no open tab for 1 min"),
    "eight hours": (8 * 3600.0, 9 * 3600.0, "stopped: no busy kernel and no open tab for 8 h"),
    "an odd time": (90.0, 90.0, "stopped: no busy kernel and no open tab for 90 s"),
}


@pytest.mark.parametrize(("limit", "idle", "reason"), TABLE.values(), ids=TABLE.keys())
def test_why_a_host_is_stopped(limit: float, idle: float, reason: str | None) -> None:
    assert idle_reason(limit, idle) == reason

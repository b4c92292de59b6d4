"""`kaosctl history`: answers of the daemon in, text out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from kaosd.ctl.screen import Screen, columns
from kaosd.ctl.timeline import started, timeline
from tests.ctl.standin import NOW


def deployment(number: int, **changes: Any) -> dict[str, Any]:
    return {
        "number": number, "cause": ["train.py"], "action": "sync", "source": f"example:{number:07x}",
        "data": "data:77ab01c", "started_at": f"2026-11-18T10:2{number}:02.000Z", "seconds": 0.3, "outcome": "live",
        "error": None, "current": False, "can_roll_back": False, **changes,
    }  # fmt: skip


PAST = {
    "pinned": None,
    "deployments": [
        deployment(6, outcome="failed", action="build", seconds=8.1, error="requirements.txt:2: no shap-lite 9",
                   cause=["model/requirements.txt", "model/日本語.py", "model/b.py"]),
        deployment(5, current=True),
        deployment(4, source="example:0000003", data="data:0000001", action="attach", cause=["[first start]"]),
        deployment(3, can_roll_back=True, action="start", seconds=125, cause=["a-long-name-" + "x" * 60]),
    ],
}  # fmt: skip
WIDE = """\
      N  started   result  cost          source   data     cause
      6  10:26:02  failed  build 8.1 s   0000006           model/requirements.txt, model/日本語.py (+1)
          requirements.txt:2: no shap-lite 9
    ● 5  10:25:02  live    sync 0.3 s    0000005  77ab01c  train.py
      4  10:24:02  live    attach 0.3 s           0000001  [first start]
    ○ 3  10:23:02  live    start 2 min   0000003  77ab01c  a-long-name-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
    ● current   ○ can be rolled back to:   kaosctl rollback n N
"""
USUAL = """\
      N  started   result  cost          source   data     cause
      6  10:26:02  failed  build 8.1 s   0000006           model/requirements.txt, …
          requirements.txt:2: no shap-lite 9
    ● 5  10:25:02  live    sync 0.3 s    0000005  77ab01c  train.py
      4  10:24:02  live    attach 0.3 s           0000001  [first start]
    ○ 3  10:23:02  live    start 2 min   0000003  77ab01c  a-long-name-xxxxxxxxxxxx…
    ● current   ○ can be rolled back to:   kaosctl rollback n N
"""
NARROW = """\
      N  started   result  cost          source   data
      6  10:26:02  failed  build 8.1 s   0000006
          model/requirements.txt, model/日本語.py (+1)
          requirements.txt:2: no shap-lite 9
    ● 5  10:25:02  live    sync 0.3 s    0000005  77ab01c
          train.py
"""


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks show UTC."""
    with monkeypatch.context() as here:
        here.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(("width", "expected"), [(110, WIDE), (80, USUAL), (60, NARROW)])
def test_the_history_as_text(width: int, expected: str) -> None:
    lines = timeline(PAST, "n", NOW, Screen(width))
    assert lines[: len(expected.splitlines())] == [line[4:] for line in expected.splitlines()]


@pytest.mark.parametrize("width", [40, 60, 80, 110])
def test_the_history_fits_the_screen(width: int) -> None:
    lines = timeline(PAST, "n", NOW, Screen(width))
    assert all(columns(line) <= width for line in lines if "xxx" not in line and "kaosctl" not in line)


def test_a_pinned_version_is_named_first() -> None:
    assert timeline({**PAST, "pinned": "example:0000003"}, "n", NOW, Screen(80))[0] == "pinned: example:0000003"


def test_without_a_deployment_there_is_a_sentence() -> None:
    assert timeline({"pinned": None, "deployments": []}, "n", NOW, Screen(80)) == ["no deployment yet"]


def test_times_of_other_days_have_their_date() -> None:
    assert [started(NOW - ago, NOW) for ago in (3600, 2 * 86400)] == ["09:26:40", "11-16 10:26"]


def test_a_notebook_file_that_failed_after_a_deployment_stands_below_it() -> None:
    check = {"notebook": "smoke.ipynb", "outcome": "failed", "cell": 3, "error": "KeyError: 'a'", "seconds": 1.0}
    passed = check | {"notebook": "other.ipynb", "outcome": "passed", "cell": None, "error": None}
    newest = {**PAST["deployments"][0], "checks": [passed, check]}
    lines = timeline({**PAST, "deployments": [newest]}, "n", NOW, Screen(80))
    assert "      smoke.ipynb failed in cell 3: KeyError: 'a'" in lines
    assert not any("other.ipynb" in line for line in lines)

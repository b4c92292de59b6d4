"""A bare `kaosctl`."""

from __future__ import annotations

import pytest

from kaosd.ctl.screen import Screen, columns
from kaosd.ctl.welcome import ROWS, overview, start
from tests.ctl.standin import NOW, Daemon, notebook, status


def test_without_a_daemon_it_shows_three_commands_to_start_with(stopped: Daemon) -> None:
    done = stopped.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "kaosd keeps hosted notebooks as they are on disk.   It is not running.",
        "",
        "  kaosd demo       hosts a ready example, and ends with its address",
        "  kaosctl up DIR   hosts the repository in DIR, and starts kaosd where it does not run",
        "  kaosctl help     lists the commands and the topics",
    ]


def test_with_a_daemon_it_is_the_status(daemon: Daemon) -> None:
    daemon.serves(notebook(), notebook("other", state="failed"))
    done, asked = daemon.run(), daemon.run("status")
    assert (done.returncode, done.stderr) == (asked.returncode, "") == (1, "")
    *lines, last = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [line.split()[:2] for line in asked.stdout.splitlines()]
    assert last == "commands and topics: kaosctl help"


@pytest.mark.parametrize("count", [1, 36, 37, 38, 200])
def test_it_fits_on_forty_rows(count: int) -> None:
    found = status(*(notebook(f"n{number}") for number in range(count)))
    lines = overview(found, NOW, Screen(80))
    assert len(lines) == min(count + 4, ROWS)
    assert ("more lines: kaosctl status" in lines[-2]) is (count > 36)


def test_the_start_fits_narrow_screens() -> None:
    assert all(columns(line) <= 40 for line in start(Screen(40)))

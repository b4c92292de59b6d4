"""`kaosctl status --watch`: in a pipe on each change, on a terminal in place."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from kaosd.ctl.screen import Screen
from kaosd.ctl.watching import fitting, frame
from tests.ctl.standin import Daemon, listening, notebook, until

NAME = "notebook-mnist-ada"


@pytest.fixture
def eventful(daemon: Daemon) -> Daemon:
    """A daemon that always has an event."""
    daemon.serves(notebook())
    daemon.answers["GET /v1/events"] = {"events": [], "last": 1, "gap": False}
    return daemon


def test_a_pipe_gets_each_change_once(eventful: Daemon) -> None:
    with eventful.started("status", "--watch") as running:
        running.expect("live")
        asked = len(eventful.requests)
        until(lambda: len(eventful.requests) > asked + 6)
        eventful.serves(notebook(state="failed", reason="no such package"))
        running.expect("no such package")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 130
    assert sum("● notebook-mnist-ada" in line for line in running.lines) == 1


def test_a_pipe_gets_a_build_once_a_step(eventful: Daemon) -> None:
    with eventful.started("status", "--watch") as running:
        steps = (2, "resolve"), (4, "install: 9 packages"), (4, "install: 9 packages; 1 of 1 built")
        for seconds, (step, text) in enumerate(steps):
            build = {**notebook()["build"], "state": "JOB_RUNNING", "seconds": float(seconds)}
            progress = {"stage": "build", "step": step, "steps": 4, "text": text, "seconds": seconds, "expected": None}
            usage = {"memory": seconds * 2**20, "cpu": 0.1, "gpu_memory": None}
            eventful.serves(notebook(state="building", progress=progress, build=build, usage=usage))
            asked = len(eventful.requests)
            until(lambda asked=asked: len(eventful.requests) > asked + 6)
        eventful.serves(notebook(state="failed", reason="no such package"))
        running.expect("no such package")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 130
    assert [line.split("step ")[1] for line in running.lines if "step " in line] == [
        "2 of 4: resolve",
        "4 of 4: install: 9 packages",
    ]


def test_json_is_an_object_a_line(eventful: Daemon) -> None:
    with eventful.started("status", NAME, "--watch", "--json") as running:
        running.expect('"live"')
        eventful.serves(notebook(state="stale", reason="a change on disk is being applied"))
        running.expect('"stale"')
    states = [json.loads(line)["notebooks"][0]["state"] for line in running.lines]
    assert states == ["live", "stale"]


def test_the_watch_outlives_the_daemon(stopped: Daemon) -> None:
    stopped.serves(notebook())
    stopped.answers["GET /v1/events"] = {"events": [], "last": 3, "gap": False}
    with stopped.started("status", "--watch") as running:
        running.expect("kaosd is not running")
        with listening(stopped):
            running.expect("● notebook-mnist-ada")
        running.expect("kaosd is not running", 2)


def test_a_notebook_that_is_not_there_ends_the_watch(eventful: Daemon) -> None:
    done = eventful.run("status", "nowhere", "--watch")
    assert done.returncode == 4


class Terminal:
    """kaosctl on a terminal of its own."""

    def __init__(self, daemon: Daemon, *arguments: str, columns: int, environment: dict[str, str]) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kaosd.ctl", *arguments],
            env={**daemon.environment, "TERM": "xterm", **environment},
            stdin=slave,
            stdout=slave,
            stderr=slave,
        )
        self.slave = slave
        self.shown = ""

    def expect(self, text: str) -> None:
        """Return when *text* was written."""
        while text not in self.shown:
            self.shown += os.read(self.master, 65536).decode()

    def end(self) -> str:
        """Wait for the end; everything that was written."""
        os.close(self.slave)
        self.process.wait(30)
        try:
            while more := os.read(self.master, 65536):
                self.shown += more.decode()
        except OSError:  # how Linux says that the last writer has gone
            return self.shown
        return self.shown


@contextmanager
def on_terminal(daemon: Daemon, *arguments: str, columns: int = 100, **environment: str) -> Iterator[Terminal]:
    terminal = Terminal(daemon, *arguments, columns=columns, environment=environment)
    try:
        yield terminal
    finally:
        terminal.process.kill()
        terminal.process.wait()
        os.close(terminal.master)


@pytest.mark.parametrize(("columns", "lines"), [(100, 4), (60, 4), (40, 4)])
def test_a_terminals_width_counts(daemon: Daemon, columns: int, lines: int) -> None:
    daemon.serves(notebook())
    with on_terminal(daemon, "status", columns=columns, NO_COLOR="1") as terminal:
        shown = terminal.end().split("\r\n")
    assert len(shown) - 1 >= lines
    assert all(len(line) <= columns for line in shown)


@pytest.mark.parametrize(
    ("environment", "colour"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(daemon: Daemon, environment: dict[str, str], colour: bool) -> None:
    daemon.serves(notebook())
    with on_terminal(daemon, "status", **environment) as terminal:
        assert ("\x1b[" in terminal.end()) is colour


def test_columns_of_the_environment_count_in_a_pipe(daemon: Daemon) -> None:
    daemon.serves(notebook())
    assert len(daemon.run("status").stdout.splitlines()) == 4
    assert len(daemon.run("status", COLUMNS="30").stdout.splitlines()) > 4


def test_symbols_that_the_encoding_lacks_have_a_plain_form(daemon: Daemon) -> None:
    daemon.serves(notebook())
    done = daemon.run("status", PYTHONUTF8="0", PYTHONIOENCODING="latin-1")
    assert done.stdout.splitlines()[3].startswith("* notebook-mnist-ada")


def test_a_terminal_is_drawn_in_place_and_left_as_it_was(eventful: Daemon) -> None:
    with on_terminal(eventful, "status", "--watch") as terminal:
        terminal.expect("live")
        eventful.serves(notebook(state="failed", reason="no such package"))
        terminal.expect("no such package")
        assert termios.tcgetattr(terminal.slave) == terminal.before
        terminal.process.send_signal(signal.SIGTERM)
        shown = terminal.end()
    assert "\x1b[4A" in shown  # up over the first picture
    assert shown.count("\x1b[?7l") == shown.count("\x1b[?7h")
    assert "\x1b[?1049h" not in shown
    assert "\x1b[?25l" not in shown


FRAMES = {
    "the first": (["a", "b"], [], "\r\x1b[?7la\x1b[K\nb\x1b[K\n\x1b[?7h"),
    "one line differs": (["a", "c"], ["a", "b"], "\x1b[2A\r\x1b[?7l\nc\x1b[K\n\x1b[?7h"),
    "it shrinks": (["a"], ["a", "b"], "\x1b[2A\r\x1b[?7l\n\x1b[J\x1b[?7h"),
    "it grows": (["a", "b"], ["a"], "\x1b[1A\r\x1b[?7l\nb\x1b[K\n\x1b[?7h"),
}


@pytest.mark.parametrize("case", FRAMES)
def test_a_frame_is_what_differs(case: str) -> None:
    lines, shown, expected = FRAMES[case]
    assert frame(lines, shown) == expected


@pytest.mark.parametrize(
    ("height", "expected"),
    [(5, ["a", "b", "c"]), (4, ["a", "b", "c"]), (3, ["a", "… 2 more lines"]), (2, ["… 3 more lines"])],
)
def test_a_picture_that_is_too_high_is_cut(height: int, expected: list[str]) -> None:
    assert fitting(["a", "b", "c"], height, Screen()) == expected

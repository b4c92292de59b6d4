"""`kaosctl logs`: levels, what JupyterLab says at every start, and matches with the lines around them."""

from __future__ import annotations

import json
import re

import pytest

from kaosd.ctl.levels import is_start_up_noise, level
from kaosd.ctl.printing import Printer
from kaosd.ctl.screen import Screen
from kaosd.ctl.searching import Search
from kaosd.stage_logs import LogLine, StageLog
from tests.ctl.standin import NOW, Daemon, listening, notebook
from tests.ctl.test_watching import on_terminal

NAME = "notebook-mnist-ada"
HOST = StageLog("", NAME, 1, "host", "ab" * 16)
NOISE = (
    "I ServerApp jupyter_lsp | extension was successfully linked.",
    "I ServerApp Writing Jupyter server cookie secret to /s/cookie_secret",
    "I LabApp JupyterLab extension loaded from /s/lib/jupyterlab",
    "I LabApp Extension Manager is 'readonly'.",
    "I ServerApp Serving notebooks from local directory: /s/work",
    "I ServerApp Jupyter Server 2.21.1 is running at:",
    "I ServerApp http+unix://%2Fs%2Fx.sock/n/lab?token=...",
    "[I ServerApp] http://127.0.0.1:8888/n/lab?token=...",
    "I ServerApp Use Control-C to stop this server and shut down all kernels (twice to skip confirmation).",
    "I ServerApp Extension package jupyter_server_ydoc took 0.1800s to import",
    "I FileIdExtension ArbitraryFileIdManager : Successfully connected to database file.",
    "W ServerApp The websocket_ping_timeout (90000) cannot be longer than the websocket_ping_interval (30000).",
    "    Setting websocket_ping_timeout=30000",
    "D ServerApp Paths used for configuration",
)
NEWS = (
    "JupyterLab started as process 12078",
    "I ServerApp Kernel started: ffa28de9",
    "I ServerApp Saving file at /train.ipynb",
    "W ServerApp Notebook n.ipynb is not trusted",
    "Traceback (most recent call last):",
    "MemoryError: no room",
)


@pytest.mark.parametrize("text", NOISE)
def test_what_jupyterlab_says_at_every_start_is_noise(text: str) -> None:
    assert is_start_up_noise("host", text)
    assert not is_start_up_noise("build", text)


@pytest.mark.parametrize("text", NEWS)
def test_what_happens_is_no_noise(text: str) -> None:
    assert not is_start_up_noise("host", text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("E ServerApp it broke", "error"),
        ("[C ServerApp] it broke", "error"),
        ("Traceback (most recent call last):", "error"),
        ("error: No solution found", "error"),
        ("  \u00d7 No solution found", "error"),
        ("error   step_failed notebook=n", "error"),
        ("warning attempt_failed notebook=n", "warning"),
        ("-- failed: there is no package x", "error"),
        ("W ServerApp Notebook n.ipynb is not trusted", "warning"),
        ("x.py:3: DeprecationWarning: old", "warning"),
        ("warning: apt.txt: its packages are not installed", "warning"),
        ("D ServerApp Paths", "debug"),
        ("I ServerApp Kernel started", ""),
        ("We are fine", ""),
    ],
)
def test_the_level_of_a_line(text: str, expected: str) -> None:
    assert level(text) == expected


def entries(text: str) -> list[LogLine]:
    return [LogLine(NOW, HOST, char) for char in text]


def shown(search: Search, *parts: str) -> str:
    """What a search shows of lines of one letter that come in *parts*: matches large, gaps as |."""
    found = [one for part in parts for one in search.take(entries(part))]
    return "".join(
        ("|" if one.gap else "") + (one.entry.text.upper() if one.matches else one.entry.text) for one in found
    )


@pytest.mark.parametrize(
    ("parts", "skip", "expected"),
    [
        (["abcxdefg"], 0, "bcXde"),
        (["xabcdefx"], 0, "Xab|efX"),
        (["xabcdx"], 0, "XabcdX"),
        (["xabcdefx", "ghi"], 0, "Xab|efXgh"),
        (["abx", "c", "dex"], 0, "abXcdeX"),
        (["abcxdefghxi"], 1, "ghXi"),
        (["xx"], 0, "XX"),
        (["abc"], 0, ""),
    ],
)
def test_a_match_has_two_lines_before_and_after(parts: list[str], skip: int, expected: str) -> None:
    assert shown(Search(lambda entry: entry.text == "x", skip), *parts) == expected


def test_levels_and_matches_have_their_colours(capsys: pytest.CaptureFixture[str]) -> None:
    printer = Printer(Screen(colour=True), searched=re.compile("err|oo+"))
    found = Search(lambda entry: "error" in entry.text).take(
        [LogLine(0, HOST, "before"), LogLine(0, HOST, "error: foo"), LogLine(0, HOST, "W Server after")]
    )
    printer.show_found(found)
    _, before, match, after = capsys.readouterr().out.splitlines()
    assert before.endswith("\x1b[2mbefore\x1b[0m")
    assert match.startswith("> ")
    assert match.endswith("\x1b[30;43merr\x1b[0m\x1b[31mor: f\x1b[0m\x1b[30;43moo\x1b[0m")
    assert after.endswith("\x1b[2mW Server after\x1b[0m")
    printer.show([LogLine(0, HOST, "W Server after")])
    assert "\x1b[33mW Server after\x1b[0m" in capsys.readouterr().out


def test_noise_is_shown_when_asked_for(stopped: Daemon) -> None:
    stopped.log(NAME, 1, "host", *NOISE, *NEWS, job="ab" * 16)

    def texts(*options: str) -> list[str]:
        return [line[16:] for line in stopped.run("logs", NAME, "--stage", "host", *options).stdout.splitlines()[1:]]

    assert texts() == list(NEWS)
    assert texts("-v") == [*NOISE, *NEWS]
    assert len(stopped.run("logs", NAME, "--json").stdout.splitlines()) == len(NOISE) + len(NEWS)
    assert len(stopped.run("logs", NAME, "-n", "7").stdout.splitlines()) == 1 + len(NEWS)
    matches = [line for line in stopped.run("logs", NAME, "--grep", "cookie").stdout.splitlines() if line[0] == ">"]
    assert len(matches) == 1


def test_matches_as_json_are_the_matches_alone(stopped: Daemon) -> None:
    stopped.log(NAME, 1, "host", "one", "two", "three", "four", job="ab" * 16)
    lines = stopped.run("logs", NAME, "--grep", "^t", "-n", "1", "--json").stdout.splitlines()
    assert [json.loads(line)["text"] for line in lines] == ["three"]


def test_a_build_in_progress_is_shown_below_its_lines(stopped: Daemon) -> None:
    progress = {"stage": "build", "step": 2, "steps": 4, "text": "fetch: 3 of 9 downloads", "seconds": 38,
                "expected": 125}  # fmt: skip
    stopped.serves(notebook(state="building", progress=progress))
    stopped.log(NAME, 1, "build", "step 2/4 fetch", job="ab" * 16)
    last = f"◐ {NAME} building  38 s of about 2 min  step 2 of 4: fetch: 3 of 9 downloads"
    with listening(stopped):
        assert stopped.run("logs", NAME).stdout.splitlines()[-1] == last
        with on_terminal(stopped, "logs", NAME, "-f", NO_COLOR="1") as terminal:
            terminal.expect("building  38 s of about 2 min  step 2 of 4: fetch")
            stopped.log(NAME, 1, "build", "step 3/4 install", job="ab" * 16)
            terminal.expect("\r\x1b[K")
            terminal.expect("step 3/4 install")
    assert all("building" not in line for line in stopped.run("logs", NAME).stdout.splitlines())

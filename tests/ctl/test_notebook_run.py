"""`kaosctl run`: what is asked for, what is shown as it comes, what is written, and how it ends."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web

from kaosd.ctl.failure import Failure
from kaosd.ctl.notebook_run import parameter

from .standin import Daemon

NAME = "notebook-mnist-ada"
PATH = f"POST /v1/notebooks/{NAME}/run"
STARTED = {"event": "started", "cells": 2}
ONE = {"event": "cell", "number": 1, "seconds": 0.5, "text": "import x\x1b[31m", "output": "a\n b\x07\n"}
ERROR = {"name": "KeyError", "value": "'a'", "output": "before\n", "traceback": "Traceback\n  cell line 1"}
FAILED = {"event": "end", "outcome": "failed", "seconds": 1.0, "cell": 2, "error": ERROR}
PASSED = {"event": "end", "outcome": "passed", "seconds": 1.0, "cell": None, "error": None}
LATE = {"event": "end", "outcome": "timeout", "seconds": 60.0, "cell": 2, "error": None}


def telling(daemon: Daemon, *events: dict[str, Any]) -> None:
    """Answer with these events, one by one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for event in events:
            await response.write(json.dumps(event).encode() + b"\n")
        return response

    daemon.answers[PATH] = answer


def test_cells_are_shown_and_the_copy_is_written(daemon: Daemon) -> None:
    parts = [{"event": "notebook", "part": part} for part in ('{"cells"', ": []}")]
    telling(daemon, {"event": "waiting", "text": "building"}, STARTED, ONE, *parts, PASSED)
    out = daemon.root / "out.ipynb"
    done = daemon.run("run", NAME, "a.ipynb", "-o", str(out), "-p", "n=3", "-p", "word=x y", "--timeout", "1m")
    assert (done.returncode, done.stderr) == (0, "kaosctl: building\n")
    shown = [" ".join(line.split()) for line in done.stdout.splitlines()]
    cells = ["[1/2] 0.5 s import x\\x1b[31m", "a", "b\\x07"]
    assert shown == [*cells, "● 1 cell passed 1.0 s", f"the executed copy: {out}"]
    assert (out.read_text(), out.stat().st_mode & 0o400) == ('{"cells": []}', 0o400)
    ((_, _, asked),) = daemon.requests
    assert asked["file"].endswith("/a.ipynb")
    assert {key: asked[key] for key in ("notebook", "parameters", "timeout", "keep")} == {
        "notebook": "a.ipynb", "parameters": {"n": 3, "word": "x y"}, "timeout": 60.0, "keep": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        (FAILED, 1, ["    before", "Traceback", "  cell line 1", "✗ failed in cell [2/2]   KeyError: 'a'   1.0 s"]),
        (LATE, 5, ["✗ time is up in cell [2/2]   1 min"]),
    ],
)
def test_how_a_run_ends(daemon: Daemon, end: dict[str, Any], code: int, said: list[str]) -> None:
    telling(daemon, STARTED, ONE, end)
    done = daemon.run("run", NAME, "a.ipynb")
    assert (done.returncode, done.stdout.splitlines()[1:]) == (code, ["    a", "     b\\x07", *said])
    found = json.loads(daemon.run("run", NAME, "a.ipynb", "--json").stdout)
    assert (found["outcome"], found["cells"][0]["number"]) == (end["outcome"], 1)


def test_a_refusal_before_and_an_error_in_between_are_a_sentence(daemon: Daemon) -> None:
    daemon.answers[PATH] = (404, {"detail": "no.ipynb is not a file of it", "code": "not_found", "hint": "look"})
    done = daemon.run("run", NAME, "no.ipynb")
    assert (done.returncode, done.stderr) == (4, "kaosctl: no.ipynb is not a file of it\n  look\n")
    telling(daemon, STARTED, {"event": "error", "detail": "the host went away", "hint": "look", "code": "engine"})
    done = daemon.run("run", NAME, "a.ipynb")
    assert (done.returncode, done.stderr) == (1, "kaosctl: the host went away\n  look\n")


def test_nothing_is_run_where_the_copy_could_not_be_written(daemon: Daemon) -> None:
    done = daemon.run("run", NAME, "a.ipynb", "-o", str(daemon.root))
    assert (done.returncode, daemon.requests) == (2, [])
    assert "is a directory" in done.stderr


def test_an_interrupt_ends_the_request_with_130(daemon: Daemon) -> None:
    begun, left = asyncio.Event(), []

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(json.dumps(STARTED | {"cells": 1}).encode() + b"\n" + json.dumps(ONE).encode() + b"\n")
        try:
            await begun.wait()
        finally:
            left.append(True)
        return response

    daemon.answers[PATH] = answer
    command = [sys.executable, "-m", "kaosd.ctl", "run", NAME, "a.ipynb"]
    with subprocess.Popen(command, env=daemon.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"[1/1]")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert said == b"\nthe kernel was interrupted and stopped\n"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a=1", 1), ("a=-0.5", -0.5), ("a=1e3", 1000.0), ("a=true", True), ("a=None", None), ("a=x=y", "x=y"),
        ("a=", ""), ("a=1_000", "1_000"), ("a=nan", "nan"), ("a=01x", "01x"), ("a=inf", "inf"),
    ],
)  # fmt: skip
def test_a_parameter(text: str, value: object) -> None:
    assert parameter(text) == ("a", value)


@pytest.mark.parametrize("text", ["a", "=1", "a b=1", "1a=2"])
def test_what_is_not_a_parameter(text: str) -> None:
    with pytest.raises(Failure, match="is not a parameter"):
        parameter(text)

"""`kaosctl start, stop, restart`: what is asked before a busy kernel stops, and what is said after the daemon did."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from aiohttp import web

from .standin import Daemon, notebook

NAME = "notebook-mnist-ada"
PATH = f"/v1/notebooks/{NAME}"


@pytest.fixture
def busy(daemon: Daemon) -> Daemon:
    """A notebook with three kernels, one of them busy."""
    one = notebook(host={"state": "PIPELINE_RUNNING", "since": None, "restarts": 0, "kernels": 3, "busy": 1})
    daemon.serves(one)
    daemon.token(NAME)
    daemon.answers |= {
        f"POST {PATH}/stop": {**one, "state": "stopped", "reason": "stopped by you"},
        f"POST {PATH}/restart": {**one, "restarted": 3},
    }
    return daemon


@pytest.mark.parametrize("command", ["stop", "restart", "restart --kernels"])
def test_a_busy_kernel_is_not_stopped_without_being_asked(busy: Daemon, command: str) -> None:
    done = busy.run(*command.split(), NAME)
    assert done.returncode == 2
    assert done.stderr == (
        f"kaosctl: {NAME} has work in progress: 1 busy kernel stops in the middle of a cell, and the variables of all "
        "3 kernels are lost\n  add -y to agree\n"
    )
    assert [method for method, _, _ in busy.requests] == ["GET"]


@pytest.mark.parametrize(
    ("command", "asked", "body"),
    [("stop", "stop", {}), ("restart --kernels", "restart", {"kernels": True})],
)
def test_who_agrees_is_not_asked(busy: Daemon, command: str, asked: str, body: dict[str, Any]) -> None:
    done = busy.run(*command.split(), NAME, "-y")
    assert (done.returncode, done.stderr) == (0, "")
    assert busy.requests[-1] == ("POST", f"{PATH}/{asked}", body)
    assert done.stdout.startswith(f"○ {NAME} is stopped" if asked == "stop" else f"● {NAME}: 3 kernels were restarted")


def test_stopping_the_daemon_waits_for_its_end_and_names_what_keeps_running(daemon: Daemon) -> None:
    daemon.serves(notebook())
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    daemon.answers["GET /v1/status"]["daemon"]["pid"] = process.pid  # type: ignore[index,call-overload]

    async def stop(_: web.Request) -> web.StreamResponse:
        assert process.stdin is not None
        process.stdin.close()
        return web.json_response({"running": [NAME, "other"]})

    daemon.answers["POST /v1/stop"] = stop
    done = daemon.run("stop")
    assert (done.returncode, done.stderr) == (0, "")
    assert process.wait(10) is not None
    assert " ".join(done.stdout.split()) == (
        f"kaosd is stopped 2 notebooks keep running and are not reachable until `kaosctl start`: {NAME}, other"
    )


def test_a_bare_start_says_that_the_daemon_runs(daemon: Daemon) -> None:
    daemon.serves(notebook())
    daemon.answers["GET /v1/version"] = {"version": "0", "schema": 1}
    assert daemon.run("start").stdout == "kaosd runs already, 1 notebook\n"

"""`kaosctl notebook deploy`: progress, outcome, interruption."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from kaosd.ctl.progress import routine, shortly
from kaosd.stage_logs import LogLine, StageLog
from tests.ctl.standin import Daemon, notebook, until
from tests.ctl.test_watching import on_terminal

NAME = "notebook-mnist-ada"
JOB = "ab" * 16
URL = f"http://127.0.0.1:8890/{NAME}/lab?token=s3cret"


class Deployment:
    """A daemon that deploys one notebook: the outcome comes when the test says so."""

    def __init__(self, daemon: Daemon) -> None:
        self.daemon = daemon
        self.outcome: dict[str, Any] | None = None
        daemon.token(NAME)
        self.building(1, "resolve")
        daemon.answers["POST /v1/notebooks"] = {**notebook(), "after": 4}
        daemon.answers[f"POST /v1/notebooks/{NAME}/wait"] = self.wait

    def building(self, step: int, text: str, seconds: float = 38) -> None:
        """The build has got to this step, of 2."""
        progress = {"stage": "build", "step": step, "steps": 2, "text": text, "seconds": seconds, "expected": 125}
        self.daemon.serves(notebook(state="building", progress=progress))

    async def wait(self, request: web.Request) -> web.StreamResponse:
        while self.outcome is None:
            await asyncio.sleep(0.02)
        return web.json_response(self.outcome)

    def ends(self, outcome: str, **changes: Any) -> None:
        """The notebook is as *changes* say, and the wait has this outcome."""
        one = notebook(**changes)
        self.daemon.serves(one)
        self.outcome = {"outcome": outcome, "reason": one["reason"], "state": one["state"], "seconds": 12.3}


@pytest.fixture
def deployment(daemon: Daemon) -> Deployment:
    return Deployment(daemon)


def test_the_way_to_live_is_shown_and_ends_with_the_address(deployment: Deployment) -> None:
    daemon = deployment.daemon
    daemon.log(NAME, 1, "build", "an old line", job="cd" * 16)
    with daemon.started("notebook", "deploy", "-s", ".") as running:
        running.expect("building  38 s of about 2 min  step 1 of 2: resolve")
        deployment.building(1, "resolve: 9 packages", 39)
        asked = len(daemon.requests)
        until(lambda: len(daemon.requests) > asked + 2)
        deployment.building(2, "install", 40)
        running.expect("building  40 s of about 2 min  step 2 of 2: install")
        daemon.log(NAME, 8, "build", "step 1/2 resolve", "step 2/2 install", job=JOB)
        running.expect("step 2/2 install")
        deployment.ends("live")
        assert running.process.wait(30) == 0
    assert running.lines[-2:] == [f"● {NAME} live   12 s", URL]
    assert sum("building  " in line for line in running.lines) == 2  # a line for each step
    assert not any("an old line" in line for line in running.lines)
    assert not any("\x1b" in line or "\r" in line for line in running.lines)


def test_arguments_become_the_request(daemon: Daemon, tmp_path: Path) -> None:
    Deployment(daemon)
    daemon.run(
        *("notebook", "deploy", "-s", "~/code", "-d", str(tmp_path), "--cpu", "0.5", "--memory", "4Gi", "--gpu", "0"),
        *("--workspace", "mnist", "--user", "ada", "--name", "n", "--engine", "process", "--detach"),
    )
    assert daemon.requests[-1] == (
        "POST",
        "/v1/notebooks",
        {
            "source": f"{daemon.root}/code",
            "data": str(tmp_path),
            "cpu": 0.5,
            "memory": "4Gi",
            "gpu": 0,
            "workspace": "mnist",
            "user": "ada",
            "name": "n",
            "engine": "process",
        },
    )


def test_nothing_said_is_nothing_asked_for(daemon: Daemon) -> None:
    Deployment(daemon)
    assert daemon.run("notebook", "deploy", "--detach").returncode == 0
    assert daemon.requests[-1] == ("POST", "/v1/notebooks", {})


def test_a_failure_shows_the_error_and_the_next_command(deployment: Deployment) -> None:
    see = {"label": "logs", "command": f"kaosctl logs {NAME} --stage build", "action": None}
    warning = "apt.txt: its packages are not installed"
    deployment.ends("failed", state="failed", reason="no such package: shap-lite", next=[see], warnings=[warning])
    done = deployment.daemon.run("notebook", "deploy")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-4:] == [
        f"✗ {NAME} failed   12 s",
        "    no such package: shap-lite",
        f"    ! {warning}",
        f"    logs: kaosctl logs {NAME} --stage build",
    ]


def test_a_hold_says_why(deployment: Deployment) -> None:
    resume = {"label": "resume", "command": f"kaosctl resume {NAME}", "action": None}
    deployment.ends("held", state="held", paused=True, reason="paused by you", next=[resume])
    done = deployment.daemon.run("notebook", "deploy")
    assert done.returncode == 1
    assert done.stdout.splitlines()[-2:] == ["    paused by you", f"    resume: kaosctl resume {NAME}"]


def test_what_is_tried_again_ends_the_client_with_how_to_wait_for_it(deployment: Deployment) -> None:
    deployment.ends("failed", state="failed", reason="there is no container engine")
    assert deployment.outcome is not None
    deployment.outcome["hold"] = "backing off"
    done = deployment.daemon.run("notebook", "deploy")
    assert done.returncode == 1
    assert f"    kaosd keeps trying; to wait for it:   kaosctl wait {NAME}" in done.stdout.splitlines()
    (asked,) = [body for _, path, body in deployment.daemon.requests if path.endswith("/wait")]
    assert asked["tries"] == 3


def test_an_argument_that_the_daemon_refuses_is_wrong_usage(daemon: Daemon) -> None:
    daemon.serves()
    daemon.answers["POST /v1/notebooks"] = (
        400,
        {"detail": "memory '4GB' is not a quantity", "code": "config", "hint": "4Gi"},
    )
    done = daemon.run("notebook", "deploy", "--memory", "4GB")
    assert (done.returncode, done.stderr) == (2, "kaosctl: memory '4GB' is not a quantity\n  4Gi\n")
    daemon.answers["POST /v1/notebooks"] = (422, {"detail": "there is no directory /x", "code": "bundle"})
    assert daemon.run("notebook", "deploy", "-s", "/x").returncode == 1


def test_an_interrupt_leaves_the_deployment_running_and_says_so(deployment: Deployment) -> None:
    with deployment.daemon.started("notebook", "deploy") as running:
        running.expect("building")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 130
        assert running.process.stderr is not None
        assert f"kaosctl cancel {NAME}" in running.process.stderr.read()
    assert not any("cancel" in path or method == "DELETE" for method, path, _ in deployment.daemon.requests)


def test_json_is_one_object_at_the_end(deployment: Deployment) -> None:
    deployment.ends("live")
    deployment.daemon.log(NAME, 8, "build", "step 1/2", job=JOB)
    answer = json.loads(deployment.daemon.run("notebook", "deploy", "--json").stdout)
    assert (answer["outcome"], answer["url"], answer["notebook"]["name"]) == ("live", URL, NAME)


def test_a_daemon_that_goes_away_meanwhile_is_told(deployment: Deployment) -> None:
    async def vanish(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    deployment.daemon.answers[f"POST /v1/notebooks/{NAME}/wait"] = vanish
    done = deployment.daemon.run("notebook", "deploy")
    assert done.returncode == 3
    assert "went away during the request" in done.stderr


def test_a_terminal_has_a_line_of_progress_that_is_wiped(deployment: Deployment) -> None:
    with on_terminal(deployment.daemon, "notebook", "deploy", columns=60) as terminal:
        terminal.expect("step 1 of 2: r")
        deployment.daemon.log(NAME, 8, "build", "x" * 200, job=JOB)
        terminal.expect("xxx")
        deployment.ends("live")
        shown = terminal.end()
    assert "\r\x1b[K" in shown
    assert "x" * 60 not in shown
    assert shown.rstrip().split("\r\n")[-1] == f"\x1b[36m{URL}\x1b[0m"


def test_a_narrow_terminal_has_the_bytes_too() -> None:
    progress = {"stage": "build", "step": 2, "steps": 4, "text": "fetch: 41 packages; 3 of 9 downloads, 120 of 812 MB",
                "seconds": 38, "expected": 125}  # fmt: skip
    assert shortly(notebook(progress=progress)) == (
        "0:38 of 2:05  2/4 fetch: 41 packages; 3 of 9 downloads, 120 of 812 MB"
    )
    assert shortly(notebook(progress={**progress, "step": None, "expected": None, "text": "data"})) == "0:38  data"
    assert shortly(notebook()) == ""


@pytest.mark.parametrize(
    ("stage", "text", "hidden"),
    [
        ("build", "step 2/4 resolve the requirements", False),
        ("build", " + numpy==2.0", True),
        ("build", "Downloading numpy (16.1MiB)", True),
        ("build", " Downloaded numpy", True),
        ("build", "      Built loc @ file:///src/loc", True),
        ("build", "Prepared 99 packages in 4.64s", True),
        ("build", "warning: model/apt.txt: its packages are not installed (curl)", False),
        ("build", "error: No solution found", False),
        ("host", "I ServerApp jupyterlab | extension was successfully linked.", True),
        ("host", "W ServerApp something is odd", False),
        ("host", "Traceback (most recent call last):", False),
        ("watch", "deployment 1: live", False),
    ],
)
def test_routine_lines_are_left_out_while_one_waits(stage: str, text: str, hidden: bool) -> None:
    assert routine(LogLine(0.0, StageLog("", "n", 1, stage, ""), text)) is hidden

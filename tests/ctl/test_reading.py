"""`kaosctl logs` out of real files, with the daemon down and up."""

from __future__ import annotations

import json
import signal
import time

import pytest

from kaosd.stage_logs import stamp
from tests.ctl.standin import NOW, Daemon, listening, notebook, status

NAME = "notebook-mnist-ada"
BUILD, HOST, LATER = "ab" * 16, "cd" * 16, "ef" * 16


@pytest.fixture
def story(stopped: Daemon) -> Daemon:
    """1 brought a host up; 2 failed in Build while that host went on."""
    stopped.log(NAME, 1, "watch", "deployment 1: [first start] -> start")
    stopped.log(NAME, 1, "host", "host is up", "kernel started", job=HOST, at=NOW + 1)
    stopped.log(NAME, 1, "watch", "deployment 1: live", at=NOW + 3)
    stopped.log(NAME, 2, "watch", "deployment 2: model/requirements.txt -> build", at=NOW + 60)
    stopped.log(NAME, 2, "build", "step 1/2 resolve", "error: no such package: shap-lite", job=BUILD, at=NOW + 61)
    stopped.log(NAME, 2, "watch", "deployment 2: failed: no such package", at=NOW + 63)
    stopped.log(NAME, 1, "host", "the host goes on", job=HOST, at=NOW + 70)
    return stopped


FAILED = [
    "── deployment 2  2026-11-18 10:27:40  model/requirements.txt -> build",
    "10:27:41 build  step 1/2 resolve",
    "10:27:42 build  error: no such package: shap-lite",
    "── deployment 2 failed: no such package",
]
FIRST = [
    "── deployment 1  2026-11-18 10:26:40  [first start] -> start",
    "10:26:41 host   host is up",
    "10:26:42 host   kernel started",
    "── deployment 1 live",
]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("", FAILED),
        ("--deploy last", FAILED),
        ("--deploy failed", FAILED),
        ("--deploy 2", FAILED),
        ("--deploy 1", FIRST),
        ("--stage build", ["── deployment 2  2026-11-18 10:27:41", *FAILED[1:3]]),
        ("--stage host", ["── deployment 1  2026-11-18 10:26:41", *FIRST[1:3], "10:27:50 host   the host goes on"]),
        ("--stage host --deploy 2", ["── deployment 1  2026-11-18 10:27:50", "10:27:50 host   the host goes on"]),
        ("--job abab", ["── deployment 2  2026-11-18 10:27:41", *FAILED[1:3]]),
        ("-n 1", ["── deployment 2 failed: no such package"]),
        ("-n 0", []),
        (
            "--grep shap",
            [
                "── deployment 2  2026-11-18 10:27:40",
                "  10:27:40 watch  deployment 2: model/requirements.txt -> build",
                f"  {FAILED[1]}",
                f"> {FAILED[2]}",
                "  10:27:43 watch  deployment 2: failed: no such package",
            ],
        ),
        ("--since 2026-11-18T10:27:43Z", [FAILED[3], "10:27:50 host   the host goes on"]),
    ],
)
def test_what_is_shown(story: Daemon, options: str, expected: list[str]) -> None:
    done = story.run("logs", NAME, *options.split())
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == expected


def test_lines_as_json_hold_the_raw_text(story: Daemon) -> None:
    story.log(NAME, 2, "build", "plain", job=BUILD, at=NOW + 64)
    lines = [json.loads(line) for line in story.run("logs", NAME, "--stage", "build", "--json").stdout.splitlines()]
    assert lines[-1] == {
        "time": "2026-11-18T10:27:44.000Z",
        "notebook": NAME,
        "deployment": 2,
        "stage": "build",
        "job": BUILD,
        "text": "plain",
    }


def test_escapes_in_a_file_do_not_reach_the_terminal(stopped: Daemon) -> None:
    path = stopped.log(NAME, 1, "host", "x", job=HOST)
    path.write_bytes(stamp("x", NOW).encode() + b"\x1b[2J\xff\n")
    assert stopped.run("logs").stdout.splitlines()[1] == "10:26:40 host   x\\x1b[2J\\xff"


def test_several_notebooks_are_told_apart(story: Daemon) -> None:
    story.log("other", 1, "build", "resolved", job=LATER, at=NOW + 62)
    lines = story.run("logs", "--stage", "build").stdout.splitlines()
    assert "── other deployment 1  2026-11-18 10:27:42" in lines
    assert "10:27:42 other build  resolved" in lines
    assert f"10:27:41 {NAME} build  step 1/2 resolve" in lines


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("logs nowhere", "there is no notebook 'nowhere'"),
        (f"logs {NAME} --deploy 9", f"there is no log of deployment 9 of {NAME}"),
        (f"logs {NAME} --job 9999", "there is no log of job 9999"),
        ("logs --stage daemon", "there is no log of the daemon"),
        (
            "logs --deploy failed --stage watch other",
            "no log of stage watch of a deployment that failed",
        ),
    ],
)
def test_what_is_not_there_is_4(story: Daemon, options: str, told: str) -> None:
    story.log("other", 1, "watch", "deployment 1: live")
    done = story.run(*options.split())
    assert (done.returncode, done.stdout) == (4, "")
    assert told in done.stderr


def test_a_state_directory_without_notebooks_says_so(stopped: Daemon) -> None:
    done = stopped.run("logs")
    assert done.returncode == 4
    assert "kaosctl logs --stage daemon" in done.stderr


def test_the_daemons_own_log(stopped: Daemon) -> None:
    (stopped.state / "logs").mkdir()
    (stopped.state / "logs" / "daemon.log").write_text(stamp("started version=0.1.0", NOW) + "\n")
    assert stopped.run("logs", "--stage", "daemon").stdout == "10:26:40 daemon started version=0.1.0\n"


def test_the_state_directory_that_the_daemon_uses_counts(daemon: Daemon) -> None:
    daemon.log(NAME, 1, "build", "resolved", job=BUILD)
    daemon.answers["GET /v1/status"] = status(notebook(), state_dir=str(daemon.state))
    done = daemon.run("logs", KAOSD_STATE_DIR=str(daemon.root / "another"))
    assert "resolved" in done.stdout


def test_following_goes_on_over_deployments_and_new_notebooks(story: Daemon) -> None:
    with story.started("logs", "-f") as running:
        running.expect("deployment 2 failed")
        story.log(NAME, 3, "watch", "deployment 3: model/requirements.txt -> build", at=time.time())
        story.log(NAME, 3, "build", "resolved now", job=LATER, at=time.time())
        running.expect("── deployment 3")
        running.expect("resolved now")
        story.log(NAME, 1, "host", "the host of 1 speaks", job=HOST, at=time.time())
        running.expect("the host of 1 speaks")
        story.log("second", 1, "build", "another notebook", job=BUILD, at=time.time())
        running.expect("another notebook")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(30) == 130
    assert running.lines[: len(FAILED)] == FAILED
    assert sum("resolved now" in line for line in running.lines) == 1
    assert not any("the host goes on" in line for line in running.lines)


def test_following_one_stage_of_one_deployment_leaves_the_rest_out(story: Daemon) -> None:
    with story.started(
        "logs", NAME, "-f", "--stage", "build", "-n", "1", "--grep", "error|wanted", "--json"
    ) as running:
        running.expect("error: no such package")
        story.log(NAME, 3, "host", "wanted but of the host", job=LATER, at=time.time())
        story.log(NAME, 3, "build", "not this", "wanted", job="11" * 16, at=time.time())
        running.expect('"wanted"')
    texts = [json.loads(line)["text"] for line in running.lines]
    assert texts == ["error: no such package: shap-lite", "wanted"]


def test_following_tells_when_the_daemon_goes_and_comes_back(story: Daemon) -> None:
    with story.started("logs", NAME, "-f") as running:
        running.expect("deployment 2 failed")
        with listening(story):
            running.expect("kaosd is back")
        running.expect("kaosd stopped; the notebooks keep running")
        story.log(NAME, 1, "host", "still here", job=HOST, at=time.time())
        running.expect("still here")


def test_following_a_log_that_is_rotated(stopped: Daemon) -> None:
    (stopped.state / "logs").mkdir()
    path = stopped.state / "logs" / "daemon.log"
    path.write_text(stamp("one") + "\n")
    with stopped.started("logs", "--stage", "daemon", "-f") as running:
        running.expect("one")
        path.rename(path.with_suffix(".1"))
        path.write_text(stamp("two") + "\n")
        running.expect("two")
    assert len(running.lines) == 2

"""The status as a person sees it: status objects in, text out."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from kaosd.ctl.picture import draw
from kaosd.ctl.screen import Screen
from tests.ctl.standin import NOW, notebook, status

STARTED = "2026-11-18T10:26:02.000Z"
RUNNING = {
    "job": "ab" * 16,
    "state": "JOB_RUNNING",
    "started_at": STARTED,
    "seconds": 38,
    "error": None,
}
FAILED = {**RUNNING, "state": "JOB_FAILURE"}
INSTALLING = {"stage": "build", "step": 6, "steps": 9, "text": "install", "seconds": 38.0, "expected": None}
LOGS = {"label": "logs", "command": "kaosctl logs notebook-mnist-ada --stage build", "action": None}
BACK = {"label": "roll back", "command": "kaosctl rollback notebook-mnist-ada", "action": None}
RESUME = {"label": "resume", "command": "kaosctl resume notebook-mnist-ada", "action": None}
NOW_ = {"label": "redeploy now", "command": "kaosctl redeploy notebook-mnist-ada --now", "action": None}
KEPT = {"label": "kept copies", "command": "kaosctl recovered notebook-mnist-ada", "action": None}
BEHIND = {"path": "/home/ada/example", "disk": "example:c04d2e1", "live": "example:1f3c9aa"}
NO_DATA = {"path": None, "disk": None, "live": None}
DEAD = {"state": "PIPELINE_FAILURE", "since": "2026-11-18T10:20:40.000Z", "restarts": 4, "kernels": 0, "busy": 0}
IDLE = {**DEAD, "state": "PIPELINE_STANDBY", "restarts": 0}
WATCH = {
    "code": "watch_limit",
    "severity": "warning",
    "text": "the limit of inotify watches is reached (65536)",
    "mend": "sudo sysctl fs.inotify.max_user_watches=524288",
    "since": "2026-11-18T10:20:40.000Z",
}


def deployment(**changes: Any) -> dict[str, Any]:
    return {
        "number": 8,
        "cause": ["model/requirements.txt", "model/a.py", "model/b.py"],
        "action": "build",
        "started_at": STARTED,
        "finished_at": None,
        "seconds": 38.0,
        "error": None,
        **changes,
    }


FAILURE = deployment(finished_at="2026-11-18T10:26:10.000Z", error="no matching distribution: shap-lite==9")
CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "healthy": (
        status(notebook()),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ● notebook-mnist-ada   live 12 min   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            example:1f3c9aa = on disk   data:77ab01c = on disk   sync 0.3 s   2 kernels, 0 busy
        """,
    ),
    "live, and something befell it": (
        status(notebook(host={**notebook()["host"], "notice": "its memory limit of 4Gi has ended a process"})),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ● notebook-mnist-ada   live 12 min   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            example:1f3c9aa = on disk   data:77ab01c = on disk   sync 0.3 s   2 kernels, 0 busy
            its memory limit of 4Gi has ended a process
        """,
    ),
    "healthy on 80 columns": (
        status(notebook()),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ● notebook-mnist-ada   live 12 min   process
            http://127.0.0.1:8890/notebook-mnist-ada/lab
            example:1f3c9aa = on disk   data:77ab01c = on disk   sync 0.3 s
                2 kernels, 0 busy
        """,
    ),
    "no notebook": (
        status(),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
          no notebook yet   kaosctl notebook deploy --source DIR
        """,
    ),
    "a problem of the daemon": (
        status(problems=(WATCH,)),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
          no notebook yet   kaosctl notebook deploy --source DIR
        ! warning   the limit of inotify watches is reached (65536)   for 6 min
            sudo sysctl fs.inotify.max_user_watches=524288
        """,
    ),
    "building": (
        status(
            notebook(
                state="building", source=BEHIND, data=NO_DATA, build=RUNNING, deployment=deployment(),
                reason="the environment is being built", progress=INSTALLING,
            )
        ),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ◐ notebook-mnist-ada   building 38 s   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            still serving example:1f3c9aa   on disk example:c04d2e1   2 kernels, 0 busy
            change: model/requirements.txt, model/a.py (+1)   build 38 s   step 6 of 9: install
        """,
    ),
    "build failed": (
        status(
            notebook(
                state="failed", source=BEHIND, data=NO_DATA, build=FAILED, deployment=FAILURE,
                reason="no matching distribution: shap-lite==9", next=[LOGS, BACK],
            )
        ),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ✗ notebook-mnist-ada   failed 30 s ago   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            still serving example:1f3c9aa   on disk example:c04d2e1   2 kernels, 0 busy
            no matching distribution: shap-lite==9
            logs: kaosctl logs notebook-mnist-ada --stage build
                roll back: kaosctl rollback notebook-mnist-ada
        """,
    ),
    "host dead, with the last lines of its log": (
        status(
            notebook(
                state="failed", host=DEAD, reason="the host ended: exit status 1\nImportError: tornado", next=[LOGS],
            )
        ),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ✗ notebook-mnist-ada   failed 12 min ago   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            nothing is served   on disk example:1f3c9aa   on disk data:77ab01c
            the host ended: exit status 1
            ImportError: tornado
            host PIPELINE_FAILURE 6 min   4 restarts
            logs: kaosctl logs notebook-mnist-ada --stage build
        """,
    ),
    "paused": (
        status(notebook(state="held", paused=True, reason="paused by you", source=BEHIND, data=NO_DATA, next=[RESUME])),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ‖ notebook-mnist-ada   paused by you 12 min   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            still serving example:1f3c9aa   on disk example:c04d2e1   2 kernels, 0 busy
            resume: kaosctl resume notebook-mnist-ada
        """,
    ),
    "paused, and nothing has changed since": (
        status(notebook(paused=True, data=NO_DATA, next=[RESUME])),
        110,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ● notebook-mnist-ada   live 12 min, paused by you   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            example:1f3c9aa = on disk   sync 0.3 s   2 kernels, 0 busy
            resume: kaosctl resume notebook-mnist-ada
        """,
    ),
    "held with a command in its reason": (
        status(
            notebook(
                state="held", data=NO_DATA, next=[NOW_],
                reason="1 kernel is busy; `kaosctl redeploy --now` does not wait",
            )
        ),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ‖ notebook-mnist-ada   held 12 min   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            example:1f3c9aa = on disk   2 kernels, 0 busy
            1 kernel is busy; `kaosctl redeploy --now` does not wait
            redeploy now: kaosctl redeploy notebook-mnist-ada --now
        """,
    ),
    "not started yet": (
        status(
            notebook(
                state="stale", reason="not started yet", deployment=None, build=None, data=NO_DATA, host=IDLE,
                source={**BEHIND, "live": None}, since="2026-11-18T10:26:39.000Z",
            )
        ),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ◐ notebook-mnist-ada   stale 1 s   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            nothing is served   on disk example:c04d2e1
            not started yet
        """,
    ),
    "live, the files having gone back after a deployment that failed": (
        status(notebook(deployment={**FAILURE, "outcome": "failed"}, data=NO_DATA)),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ● notebook-mnist-ada   live   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            example:1f3c9aa = on disk   2 kernels, 0 busy
        """,
    ),
    "live, with files left out and recovered": (
        status(
            notebook(
                refused=["run.sock: a socket", "a: b", "c: d"],
                recovered=1,
                warnings=["apt.txt: its packages are not installed"],
                next=[KEPT],
            )
        ),
        100,
        """\
        kaosd 0.1.0   up 3 d 2 h   watching 214 files in 2 directories (inotify)
        ● notebook-mnist-ada   live 12 min   process   http://127.0.0.1:8890/notebook-mnist-ada/lab
            example:1f3c9aa = on disk   data:77ab01c = on disk   sync 0.3 s   2 kernels, 0 busy
            left out: run.sock: a socket, a: b (+1)
            ! apt.txt: its packages are not installed
            1 edited file kept
            kept copies: kaosctl recovered notebook-mnist-ada
        """,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_status_as_text(case: str) -> None:
    given, width, expected = CASES[case]
    assert draw(given, NOW, Screen(width)) == dedent(expected).splitlines()


def test_one_notebook_has_its_details() -> None:
    assert draw(status(notebook()), NOW, Screen(100), detail=True)[3:] == [
        "    source    /home/ada/example",
        "    data      /home/ada/data",
        "    limits    cpu 2.0   memory 4Gi   gpu 0",
        "    deploy    7   model/train.py",
        "    build     JOB_SUCCESS 41 s   " + "3f" * 16,
        "    host      PIPELINE_RUNNING 59 min   0 restarts",
    ]


def test_healthy_is_at_most_six_lines_on_any_usual_terminal() -> None:
    assert all(len(draw(status(notebook()), NOW, Screen(width))) <= 6 for width in (60, 80, 100, 200))


def test_no_line_is_wider_than_the_screen_but_addresses_and_commands() -> None:
    for given, _, _ in CASES.values():
        for line in draw(given, NOW, Screen(50)):
            assert len(line) <= 50 or "http://" in line or "kaosctl" in line or "sysctl" in line


def test_every_state_has_a_cause_or_a_next_command() -> None:
    for state in ("stale", "building", "swapping", "held", "failed", "stopped"):
        lines = draw(status(notebook(state=state, reason=None, build=None, deployment=None)), NOW, Screen(100))
        assert "no reason is known" in "\n".join(lines)


def test_colour_marks_the_state_and_nothing_else_changes() -> None:
    plain = draw(status(notebook()), NOW, Screen(100))
    coloured = draw(status(notebook()), NOW, Screen(100, colour=True))
    assert "\x1b[32mlive 12 min\x1b[0m" in coloured[1]
    assert coloured[1].startswith("\x1b[32m●\x1b[0m notebook-mnist-ada")
    stripped = [line.replace("\x1b[0m", "") for line in coloured]
    for code in ("1", "2", "32", "33", "31", "36"):
        stripped = [line.replace(f"\x1b[{code}m", "") for line in stripped]
    assert stripped == plain


def test_strings_of_the_daemon_cannot_steer_the_terminal() -> None:
    evil = notebook(state="failed", reason="\x1b[2Jgone\u202e", deployment=None, build=None)
    assert "    \\x1b[2Jgone\\u202e" in draw(status(evil), NOW, Screen(100))

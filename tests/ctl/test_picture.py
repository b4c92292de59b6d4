"""The status as a person sees it: status objects in, text out."""

from __future__ import annotations

from textwrap import dedent
from typing import Any

import pytest

from kaosd.ctl.picture import draw, next_commands
from kaosd.ctl.screen import Screen, columns, quantity, size_of
from tests.ctl.standin import NOW, notebook, status

STARTED = "2026-11-18T10:26:02.000Z"
RUNNING = {"job": "ab" * 16, "state": "JOB_RUNNING", "started_at": STARTED, "seconds": 38, "error": None}
NO_DATA = {"path": None, "disk": None, "live": None}
DEAD = {"state": "PIPELINE_FAILURE", "since": "2026-11-18T10:20:40.000Z", "restarts": 4, "kernels": 0, "busy": 0}
UNLIMITED = "its limits are not enforced: kaosctl doctor says why"


def behind(name: str) -> dict[str, Any]:
    return {"path": f"/home/ada/{name}", "disk": f"{name}:c04d2e1", "live": f"{name}:1f3c9aa"}


def used(memory: float, cpu: float) -> dict[str, Any]:
    return {"memory": memory * 2**20, "cpu": cpu, "gpu_memory": None}


def step(label: str, command: str) -> dict[str, Any]:
    return {"label": label, "command": command, "action": None}


FAILED = notebook(
    "fraud",
    state="failed",
    tone="bad",
    since="2026-11-18T10:26:10.000Z",
    reason="model/requirements.txt:2: there is no shap-lite 9",
    source=behind("fraud"),
    next=[step("logs", "kaosctl logs fraud --stage build"), step("go back", "kaosctl rollback fraud")],
)
BUILDING = notebook(
    "churn",
    state="building",
    tone="busy",
    since=STARTED,
    reason="the environment is being built",
    build=RUNNING,
    data=NO_DATA,
    deployment={**notebook()["deployment"], "cause": ["a.txt", "b.py", "c.py"], "finished_at": None},
    progress={
        "stage": "build", "step": 2, "steps": 4, "text": "fetch: 3 of 9 downloads, 120 of 812 MB",
        "seconds": 38, "expected": 125,
    },
)  # fmt: skip
PAUSED = notebook("mnist", state="held", paused=True, tone="warn", reason="paused by you", usage=used(3900, 1.97),
                  next=[step("resume", "kaosctl resume mnist")])  # fmt: skip
EDITED = notebook("日本語", edits={"edited": 2, "new": 1, "deleted": 0}, recovered=1, usage=used(70, 0))
DIED = notebook("dead", state="failed", tone="bad", host=DEAD, usage=None, warnings=[UNLIMITED],
                reason="the host ended: exit status 1\nImportError: tornado")  # fmt: skip
OLD = notebook("notebook-" + "x" * 35, host={**notebook()["host"], "outdated": 1})
MANY = status(EDITED, FAILED, BUILDING, PAUSED)
WATCH = {
    "code": "watch_limit",
    "severity": "warning",
    "text": "the limit of inotify watches is reached (65536)",
    "mend": "sudo sysctl fs.inotify.max_user_watches=524288",
    "since": "2026-11-18T10:20:40.000Z",
}
CASES: dict[str, tuple[dict[str, Any], int, str]] = {
    "one that is well": (
        status(notebook()),
        120,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/
            1 notebook, live   312Mi, 0.1 cores in use
          notebook            state        memory     cpu    address
        ● notebook-mnist-ada  live 12 min  312Mi/4Gi  0.1/2  http://127.0.0.1:8890/notebook-mnist-ada/lab
        """,
    ),
    "one that is well, 80 columns": (
        status(notebook()),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/
            1 notebook, live   312Mi, 0.1 cores in use
          notebook            state        memory     cpu    address
        ● notebook-mnist-ada  live 12 min  312Mi/4Gi  0.1/2  /notebook-mnist-ada/lab
        """,
    ),
    "one that is well, 60 columns": (
        status(notebook()),
        60,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/NAME/lab
            1 notebook, live   312Mi, 0.1 cores in use
          notebook            state        memory     cpu
        ● notebook-mnist-ada  live 12 min  312Mi/4Gi  0.1/2
        """,
    ),
    "one that is well, 30 columns": (
        status(notebook()),
        30,
        """\
        kaosd 0.1.0   up 3 d 2 h
            http://127.0.0.1:8890/NAME/lab
            1 notebook, live
                312Mi, 0.1 cores in
                use
          notebook   state
        ● notebook-mnist-ada
            live 12 min
        """,
    ),
    "problems first": (
        MANY,
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/
            4 notebooks: 1 failed, 1 held, 1 building, 1 live   4.5Gi, 2.2 cores in use
          notebook  state          memory     cpu                           address
        ✗ fraud     failed 30 s    312Mi/4Gi  0.1/2                         /fraud/lab
            model/requirements.txt:2: there is no shap-lite 9
            still serving fraud:1f3c9aa   on disk fraud:c04d2e1
            logs: kaosctl logs fraud --stage build   go back: kaosctl rollback fraud
        ‖ mnist     paused 12 min  3.8Gi/4Gi  2.0/2                         /mnist/lab
            paused by you
            resume: kaosctl resume mnist
        ◐ churn     building 38 s  312Mi/4Gi  0.1/2                         /churn/lab
            change: a.txt, b.py (+1)
            38 s of about 2 min   step 2 of 4: fetch: 3 of 9 downloads, 120 of 812 MB
        ● 日本語    live 12 min    70Mi/4Gi   0.0/2  3 edited here, 1 kept  /日本語/lab
        """,
    ),
    "problems first, 60 columns": (
        status(EDITED, FAILED),
        60,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/NAME/lab
            2 notebooks: 1 failed, 1 live   382Mi, 0.1 cores in use
          notebook  state        memory     cpu
        ✗ fraud     failed 30 s  312Mi/4Gi  0.1/2
            model/requirements.txt:2: there is no shap-lite 9
            still serving fraud:1f3c9aa   on disk fraud:c04d2e1
            logs: kaosctl logs fraud --stage build
                go back: kaosctl rollback fraud
        ● 日本語    live 12 min  70Mi/4Gi   0.0/2
            3 edited here, 1 kept
        """,
    ),
    "a name of the greatest length": (
        status(OLD, notebook()),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/NAME/lab
            2 notebooks: 2 live   624Mi, 0.3 cores in use
          notebook                                      state        memory     cpu
        ● notebook-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx  live 12 min  312Mi/4Gi  0.1/2
            1 old kernel
        ● notebook-mnist-ada                            live 12 min  312Mi/4Gi  0.1/2
        """,
    ),
    "a host that is dead, with the last lines of its log": (
        status(DIED),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/
            1 notebook, failed
          notebook  state          address
        ✗ dead      failed 12 min  http://127.0.0.1:8890/dead/lab
            the host ended: exit status 1
            ImportError: tornado
            nothing is served
            ! its limits are not enforced: kaosctl doctor says why
        """,
    ),
    "a warning of several notebooks is shown once": (
        status(*(notebook(name, warnings=[UNLIMITED]) for name in "abc"), notebook("d", refused=["s: a socket"])),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/
            4 notebooks: 4 live   1.2Gi, 0.5 cores in use
        ! a, b (+1): its limits are not enforced: kaosctl doctor says why
          notebook  state        memory     cpu    address
        ● a         live 12 min  312Mi/4Gi  0.1/2  http://127.0.0.1:8890/a/lab
        ● b         live 12 min  312Mi/4Gi  0.1/2  http://127.0.0.1:8890/b/lab
        ● c         live 12 min  312Mi/4Gi  0.1/2  http://127.0.0.1:8890/c/lab
        ● d         live 12 min  312Mi/4Gi  0.1/2  http://127.0.0.1:8890/d/lab
            left out: s: a socket
        """,
    ),
    "no notebook": (
        status(),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/
          no notebook yet   kaosctl up DIR
        """,
    ),
    "a problem of the daemon": (
        status(problems=(WATCH,)),
        80,
        """\
        kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/
        ! the limit of inotify watches is reached (65536)   for 6 min
            sudo sysctl fs.inotify.max_user_watches=524288
          no notebook yet   kaosctl up DIR
        """,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_status_as_text(case: str) -> None:
    given, width, expected = CASES[case]
    assert draw(given, NOW, Screen(width)) == dedent(expected).splitlines()


def test_one_notebook_has_its_details() -> None:
    by_hand = [{"name": "shap", "version": "0.4", "requested": True}]
    one = {**EDITED, "environment": {"file": "model/requirements.txt", "by_hand": by_hand}}
    assert draw(status(one), NOW, Screen(80), detail=True) == [
        "kaosd 0.1.0   up 3 d 2 h   http://127.0.0.1:8890/",
        "    watching 214 files in 2 directories (inotify)",
        "● 日本語   live 12 min   http://127.0.0.1:8890/日本語/lab",
        "    source      /home/ada/example   example:1f3c9aa = on disk",
        "    data        /home/ada/data   data:77ab01c = on disk",
        "    needs       model/requirements.txt",
        "    engine      process",
        "    limits      cpu 2, memory 4Gi",
        "    in use      memory 70Mi   cpu 0.0",
        "    kernels     2, 0 busy",
        "    edits       2 edited, 1 new here   kaosctl diff 日本語",
        "    kept        1 edited file   kaosctl recovered 日本語",
        "    by hand     shap 0.4, not in model/requirements.txt   kaosctl env 日本語",
        "    deployed    7   sync in 0.3 s, 12 min ago   model/train.py",
        "    build       built in 41 s",
        "    host        running 59 min",
    ]


def test_only_verbose_shows_states_and_ids_of_the_api() -> None:
    usual = draw(MANY, NOW, Screen(100)) + draw(MANY, NOW, Screen(100), detail=True)
    assert not [line for line in usual if "PIPELINE_" in line or "JOB_" in line or "3f3f3f" in line]
    verbose = "\n".join(draw(status(FAILED), NOW, Screen(100), verbose=True))
    assert "    build       JOB_SUCCESS 41 s   " + "3f" * 16 in verbose
    assert "    host        PIPELINE_RUNNING 59 min" in verbose


@pytest.mark.parametrize("width", [60, 80, 120])
def test_thirty_notebooks_that_are_well_take_a_line_each(width: int) -> None:
    names = [f"notebook-{number}-{'x' * number}" for number in range(30)]
    lines = draw(status(*map(notebook, names)), NOW, Screen(width))
    assert len(lines) <= 33
    assert all(columns(line) <= width for line in lines)
    assert all(sum(f"{name}  " in line for line in lines) == 1 for name in names)


def test_columns_are_aligned_for_wide_characters() -> None:
    lines = draw(status(notebook("日本語"), notebook("plain-name")), NOW, Screen(80))
    starts = {columns(line[: line.index("live 12 min")]) for line in lines if "live 12 min" in line}
    assert len(starts) == 1


def test_no_line_is_wider_than_the_screen_but_addresses_and_commands() -> None:
    for given, _, _ in CASES.values():
        for detail in (False, True):
            for line in draw(given, NOW, Screen(50), detail=detail):
                assert columns(line) <= 50 or "http://" in line or "kaosctl" in line or "sysctl" in line


def test_colour_marks_states_and_nothing_else_changes() -> None:
    plain = draw(MANY, NOW, Screen(100))
    coloured = draw(MANY, NOW, Screen(100, colour=True))
    text = "\n".join(coloured)
    assert "\x1b[31m✗\x1b[0m fraud" in text
    assert "\x1b[31mfailed 30 s\x1b[0m" in text
    assert "\x1b[32mlive 12 min\x1b[0m" in text
    assert "\x1b[33m3.8Gi/4Gi\x1b[0m" in text  # nearly at its limit
    for code in ("0", "1", "2", "32", "33", "31", "36"):
        text = text.replace(f"\x1b[{code}m", "")
    assert text.split("\n") == plain


def test_strings_of_the_daemon_cannot_steer_the_terminal() -> None:
    evil = notebook("a\x1b[2J", state="failed", tone="bad", reason="\x1b[2Jgone\u202e", url="http://x/\x07")
    for detail in (False, True):
        shown = "\n".join(draw(status(evil), NOW, Screen(100), detail=detail))
        assert "    \\x1b[2Jgone\\u202e" in shown
        assert "\x1b" not in shown
        assert "\x07" not in shown


def test_the_next_commands_are_those_of_the_daemon() -> None:
    steps = [step("resume", "kaosctl resume n"), step("logs", "kaosctl logs n")]
    assert next_commands(notebook(next=steps)) == ["resume: kaosctl resume n", "logs: kaosctl logs n"]


def test_what_comes_and_what_was_lost_is_shown() -> None:
    swap = {"busy": 1, "until": "2026-11-18T10:36:20.000Z", "why": "the packages changed"}
    held = notebook("n", state="held", reason="1 kernel is busy", swap=swap)
    assert "    stops 1 busy kernel in 9 min at the latest" in draw(status(held), NOW, Screen(80))
    notices = [
        {"id": "lost", "tone": "bad", "text": "The variables of a kernel were lost: no memory"},
        {"id": "by hand x==1", "tone": "warn", "text": "x is installed by hand."},
        {"id": "environment 1f3c9aa", "tone": "ok", "text": "The environment was updated."},
    ]
    lines = draw(status(notebook("n", notices=notices)), NOW, Screen(80))
    assert lines[4:] == ["    The variables of a kernel were lost: no memory"]
    lines = draw(status(notebook("n", notices=notices)), NOW, Screen(80), detail=True)
    assert lines[-1] == "    note        The environment was updated."


def test_details_are_set_in_below_their_label() -> None:
    lines = draw(status(notebook("n")), NOW, Screen(50), detail=True)
    at = lines.index("    source      /home/ada/example")
    assert lines[at + 1] == "                example:1f3c9aa = on disk"


def test_a_step_that_takes_longer_than_usual_says_so() -> None:
    late = {**BUILDING, "progress": {**BUILDING["progress"], "seconds": 130}}
    lines = draw(status(late), NOW, Screen(100))
    assert lines[5] == "    2 min, usually about 2 min   step 2 of 4: fetch: 3 of 9 downloads, 120 of 812 MB"


def test_a_stopped_notebook_is_a_line_and_alone_it_says_how_to_start_it() -> None:
    host = {**notebook()["host"], "state": "PIPELINE_STANDBY"}
    one = notebook("n", state="stopped", tone="ok", reason="stopped by you", usage=None, host=host,
                   next=[step("start", "kaosctl start n")])  # fmt: skip
    lines = draw(status(one), NOW, Screen(80))
    assert lines[2:] == [
        "  notebook  state           address",
        "○ n         stopped 12 min  http://127.0.0.1:8890/n/lab",
    ]
    lines = draw(status(one), NOW, Screen(80), detail=True)
    assert lines[3:6] == ["    stopped by you", "    nothing is served", "    start: kaosctl start n"]


def test_keepsakes_of_a_live_notebook_are_counted_and_not_listed() -> None:
    lines = draw(status(notebook("n", recovered=2, next=[step("kept copies", "kaosctl recovered n")])), NOW, Screen(80))
    assert lines[3:] == ["● n         live 12 min  312Mi/4Gi  0.1/2  2 kept  http://127.0.0.1:8890/n/lab"]


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0Mi"), (312 * 2**20, "312Mi"), (999 * 2**20, "999Mi"), (1.24 * 2**30, "1.2Gi"), (12 * 2**30, "12Gi"),
     (1.5 * 2**40, "1.5Ti")],
)  # fmt: skip
def test_amounts_of_memory(size: float, text: str) -> None:
    assert quantity(size) == text


@pytest.mark.parametrize(("text", "size"), [("4Gi", 4 * 2**30), ("500M", 5e8), ("1024", 1024), ("", 0), ("x", 0)])
def test_limits_as_bytes(text: str, size: float) -> None:
    assert size_of(text) == size

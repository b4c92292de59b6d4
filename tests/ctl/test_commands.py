"""Every command as a process: what it asks, what it prints, how it exits."""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kaosd import __version__
from kaosd.ctl import templates
from kaosd.ctl.failure import Failure
from kaosd.ctl.notebooks import listed
from kaosd.ctl.usage import all_commands
from tests.ctl.standin import NOW, Daemon, notebook, status

NAME = "notebook-mnist-ada"
JOB = "3f" * 16
TIMES = {"started_at": "2026-11-18T10:26:02.000Z", "finished_at": "2026-11-18T10:26:10.000Z"}
FAILED = {"action": "build", "seconds": 8.1, "outcome": "failed", "error": "no matching distribution: shap-lite==9"}
LIVE = {"action": "sync", "seconds": 0.3, "outcome": "live", "error": None}
PACKAGES = {
    "name": NAME,
    "file": "model/requirements.txt",
    "python": "3.12",
    "packages": [{"name": "numpy", "version": "2.1"}, {"name": "six", "version": "1.17.0"}],
    "by_hand": [
        {"name": "cowsay", "version": "6.1", "requested": True, "instead_of": None,
         "keep": "add the line cowsay==6.1 to model/requirements.txt"},
        {"name": "six", "version": "1.15.0", "requested": False, "instead_of": "1.17.0", "keep": None},
    ],
    "unused": {"3.11": ["jinja2 3.1"]},
}  # fmt: skip
HISTORY = {
    "pinned": "example:1f3c9aa until the files change",
    "deployments": [
        {**TIMES, **FAILED, "number": 8, "cause": ["a.txt"], "source": "example:c04d2e1", "data": None, "jobs": []},
        {
            **TIMES,
            **LIVE,
            "number": 7,
            "cause": ["a", "b", "c"],
            "source": "x:1f3c9aa",
            "data": "d:77ab01c",
            "jobs": [],
        },
    ],
}
RECOVERED = {
    "recovered": [
        {
            "path": "model/a.ipynb",
            "saved_at": "2026-11-18T10:14:39.000Z",
            "deployment": 7,
            "reason": "overwritten",
            "file": "/s/recovered/7/model/a.ipynb",
            "size": 12345,
        }
    ]
}
RULE = {"rule": "*.tmp", "origin": ".kaosignore", "line": 3}
WHY = {
    **RULE,
    "path": "/p/model/x.tmp",
    "notebook": NAME,
    "kind": "source",
    "counts": False,
    "costs": "nothing",
    "text": "ignored by .kaosignore",
}
DOCTOR = {
    "checks": [
        {"code": "clock", "severity": "ok", "text": "the clock is fine", "mend": ""},
        {"code": "watches", "severity": "error", "text": "too few watches", "mend": "sudo sysctl x=1"},
    ]
}


KILLED = {
    "killed": NAME,
    "engine": "pachyderm",
    "kept": ["/s/recovered"],
    "recovered": 2,
    "repos": {"deleted": [], "kept": ["source-x", "data-x"]},
}


def live(**changes: Any) -> dict[str, Any]:
    data = {"outcome": "live", "state": "live", "reason": None, "source": "example:1f3c9aa", "data": "data:77ab01c"}
    return {**data, "seconds": 0.3, **changes}


@pytest.fixture
def full(daemon: Daemon) -> Daemon:
    """A daemon that answers everything for one notebook."""
    one = notebook()
    daemon.serves(one)
    daemon.token(NAME)
    daemon.log(NAME, 7, "build", "resolved", job=JOB)
    path = f"/v1/notebooks/{NAME}"
    daemon.answers |= {
        f"POST {path}/{what}": one for what in ("redeploy", "pause", "resume", "cancel", "rollback", "start")
    }
    daemon.answers |= {
        "POST /v1/notebooks": {**one, "after": 0},
        f"POST {path}/stop": {**one, "state": "stopped", "reason": "stopped by you"},
        f"POST {path}/restart": {**one, "restarted": 2},
        f"POST {path}/add": {"file": "requirements.txt", "added": ["scipy"], "changed": [], "there": ["rich"]},
        f"POST {path}/wait": live(),
        f"GET {path}/history": HISTORY,
        f"GET {path}/environment": PACKAGES,
        f"GET {path}/recovered": RECOVERED,
        f"GET {path}": {**one, "repos": ["source-x", "data-x"]},
        f"DELETE {path}": KILLED,
        f"DELETE {path}?repos=all": KILLED | {"repos": {"deleted": ["source-x", "data-x"], "kept": []}},
        f"DELETE {path}?repos=source": KILLED | {"engine": "process", "repos": None},
        "GET /v1/why": WHY,
        "GET /v1/doctor": DOCTOR,
        "GET /v1/version": {"version": __version__, "schema": 1},
        "POST /v1/reload": {"changed": [NAME]},
        "POST /v1/stop": {},
    }
    return daemon


COMMANDS = {
    "status": 0,
    f"status {NAME}": 0,
    f"logs {NAME}": 0,
    "notebook list": 0,
    "notebook deploy": 0,
    "notebook deploy --detach": 0,
    f"notebook kill {NAME} -y --all": 0,
    f"notebook kill -n {NAME} -y": 0,
    f"notebook build-logs -j {JOB}": 0,
    f"wait {NAME}": 0,
    f"redeploy {NAME}": 0,
    "deploy --detach": 0,
    "ls": 0,
    "ps": 0,
    f"rm {NAME} -y": 0,
    f"start {NAME}": 0,
    "start": 0,
    f"stop {NAME}": 0,
    f"restart {NAME}": 0,
    f"restart {NAME} --kernels": 0,
    f"pause {NAME}": 0,
    f"resume {NAME}": 0,
    f"cancel {NAME}": 0,
    f"history {NAME}": 0,
    f"env {NAME}": 0,
    f"env {NAME} --lock": 0,
    f"add {NAME} scipy rich": 0,
    f"rollback {NAME} 5": 0,
    f"recovered {NAME}": 0,
    f"open {NAME} --print": 0,
    "why model/x.tmp": 0,
    "template list": 0,
    "doctor": 1,
    "reload": 0,
    "stop": 0,
    "version": 0,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_json(full: Daemon, command: str) -> None:
    done = full.run(*command.split(), "--json")
    assert (done.returncode, done.stderr) == (COMMANDS[command], "")
    values = [json.loads(line) for line in done.stdout.splitlines()] if "logs" in command else [json.loads(done.stdout)]
    assert all(isinstance(value, dict) for value in values)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_prints_text_without_escapes_into_a_pipe(full: Daemon, command: str) -> None:
    done = full.run(*command.split())
    assert (done.returncode, done.stderr) == (COMMANDS[command], "")
    assert done.stdout.strip()
    assert "\x1b" not in done.stdout


def pages() -> dict[str, argparse.ArgumentParser]:
    """The parser of each command, by its words."""
    found, groups = {}, [((), all_commands())]
    while groups:
        words, group = groups.pop()
        for name in group.summaries():
            if name in group.groups:
                groups.append(((*words, name), group.groups[name]))
            else:
                parser = group.find([name])
                assert parser is not None
                found[" ".join((*words, name))] = parser
    return found


@pytest.mark.parametrize("command", pages())
def test_every_command_has_a_page_of_help(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parser = pages()[command]
    for columns in (50, 80):
        monkeypatch.setenv("COLUMNS", str(columns))
        page = parser.format_help()
        assert re.search(rf"(?m)^examples?:\n  .*kaosctl {command}", page), page
        assert re.search(r"(?m)^exit codes:\n  0    fine\n", page)
        wide = [line for line in page.splitlines() if len(line) > columns]
        assert all("kaosctl " in line or "/" in line or " | " in line for line in wide), wide  # argparse breaks none
    assert all(action.help for action in parser._actions)


def test_help_is_a_command_too(stopped: Daemon) -> None:
    for command in ("notebook deploy", "status", "notebook"):
        asked, told = stopped.run("help", *command.split()), stopped.run(*command.split(), "--help")
        assert (asked.returncode, asked.stdout) == (0, told.stdout)
    done = stopped.run("help", "deplyo")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no command or topic 'deplyo'" in done.stderr


def test_the_help_lists_the_commands_and_exit_codes(stopped: Daemon) -> None:
    done = stopped.run("--help")
    assert done.returncode == 0
    assert "rollback" in done.stdout
    assert "3    the daemon is not running" in done.stdout
    assert re.search(r"(?m)^    completion  prints the script", done.stdout)
    assert stopped.run("status", "--help").returncode == 0


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("stauts", "did you mean `kaosctl status`?"),
        ("strat", "did you mean `kaosctl start`?"),
        ("delete x", "did you mean `kaosctl rm`?"),
        ("depoly", "did you mean `kaosctl deploy`?"),
        ("execute x y", "did you mean `kaosctl run`?"),
        ("notebook deplyo", "did you mean `kaosctl notebook deploy`?"),
        ("template fetch x", "`kaosctl template --help` lists the commands"),
        ("frobnicate", "`kaosctl --help` lists the commands"),
        ("notebook", "usage: kaosctl notebook"),
        ("status a b", "unrecognized arguments: b"),
        ("status --jsn", "unrecognized arguments: --jsn"),
        ("notebook deploy --cpu 0", "'0' is not a number of cores"),
        ("notebook deploy --gpu some", "'some' is not a whole number"),
        ("logs --since then", "'then' is not a time"),
        ("logs --grep (", "'(' is not a regular expression"),
        (f"notebook kill -n {NAME}", "add -y to agree"),
        (f"notebook kill {NAME} --all", "add -y to agree"),
        (f"notebook kill {NAME} --all --keep-data -y", "not allowed with argument --all"),
        ("notebook kill -y", "name the notebook that is to be killed"),
        ("notebook kill a -n b -y", "one at a time: a, or b"),
    ],
)
def test_wrong_usage_is_told_with_a_way_on(stopped: Daemon, command: str, told: str) -> None:
    done = stopped.run(*command.split())
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "command", [c for c in COMMANDS if not c.startswith(("start", "version", "template", "logs", "notebook b"))]
)
def test_without_a_daemon_there_is_one_sentence_and_the_way_to_start_it(stopped: Daemon, command: str) -> None:
    done = stopped.run(*command.split())
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        f"kaosctl: kaosd is not running (nothing listens at {stopped.socket})\n  start it with `kaosctl start`\n"
    )


def test_a_failure_is_json_too(stopped: Daemon) -> None:
    done = stopped.run("status", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["code"] == "not_running"


@pytest.mark.parametrize(
    ("states", "code"),
    [(("live",), 0), (("live", "building", "held"), 0), (("live", "stale"), 1), (("failed", "live"), 1), ((), 0)],
)
def test_status_exits_with_1_when_a_notebook_is_failed_or_stale(
    daemon: Daemon, states: tuple[str, ...], code: int
) -> None:
    daemon.serves(*(notebook(f"n{i}", state=state, reason="because") for i, state in enumerate(states)))
    assert daemon.run("status").returncode == code
    assert daemon.run("status", "--json").returncode == code


def test_status_of_one_notebook_judges_that_one_alone(daemon: Daemon) -> None:
    daemon.serves(notebook("good"), notebook("bad", state="failed", reason="because"))
    assert daemon.run("status", "good").returncode == 0
    done = daemon.run("status", "bad", "--json")
    assert done.returncode == 1
    assert [one["name"] for one in json.loads(done.stdout)["notebooks"]] == ["bad"]


def test_an_unknown_notebook_is_4_with_the_nearest_name(full: Daemon) -> None:
    done = full.run("status", "notebook-mnist-adam")
    assert done.returncode == 4
    assert f"did you mean {NAME}?" in done.stderr


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        (f"redeploy {NAME} --force --now", ("POST", f"/v1/notebooks/{NAME}/redeploy", {"force": True, "now": True})),
        (f"redeploy {NAME} --when-idle", ("POST", f"/v1/notebooks/{NAME}/redeploy", {"when_idle": True})),
        (f"redeploy {NAME}", ("POST", f"/v1/notebooks/{NAME}/redeploy", {"force": False, "now": False})),
        (f"rollback {NAME}", ("POST", f"/v1/notebooks/{NAME}/rollback", {"to": None})),
        (f"rollback {NAME} 5", ("POST", f"/v1/notebooks/{NAME}/rollback", {"to": "5"})),
        (f"wait {NAME} --timeout 1m", ("POST", f"/v1/notebooks/{NAME}/wait", {"timeout": 60.0})),
        ("pause a/../b", ("POST", "/v1/notebooks/a%2F..%2Fb/pause", {})),
        (f"notebook kill -n {NAME} -y", ("DELETE", f"/v1/notebooks/{NAME}", None)),
        (f"notebook kill {NAME} -y --all", ("DELETE", f"/v1/notebooks/{NAME}?repos=all", None)),
        (f"notebook kill {NAME} -y --keep-data", ("DELETE", f"/v1/notebooks/{NAME}?repos=source", None)),
    ],
)
def test_commands_ask_for_what_was_said(
    full: Daemon, command: str, request_: tuple[str, str, dict[str, Any] | None]
) -> None:
    full.run(*command.split())
    assert full.requests[-1] == request_


@pytest.mark.parametrize(
    ("outcome", "code", "told"),
    [
        (live(), 0, f"● {NAME} live   example:1f3c9aa   data:77ab01c   0.3 s\n"),
        (live(data=None), 0, f"● {NAME} live   example:1f3c9aa   0.3 s\n"),
        (
            live(outcome="failed", state="failed", reason="no such package"),
            1,
            f"✗ {NAME} failed\n    no such package\n",
        ),
        (live(outcome="held", state="held", reason="paused by you"), 1, f"‖ {NAME} held\n    paused by you\n"),
        (live(outcome="timeout", state="building", seconds=30), 5, f"✗ {NAME} is not live after 30 s, but building\n"),
    ],
)
def test_wait_tells_the_outcome(full: Daemon, outcome: dict[str, Any], code: int, told: str) -> None:
    full.answers[f"POST /v1/notebooks/{NAME}/wait"] = outcome
    done = full.run("wait", NAME)
    assert (done.returncode, done.stdout[: len(told)]) == (code, told)


def test_env_shows_what_was_installed_by_hand_and_how_to_keep_it(full: Daemon) -> None:
    assert full.run("env", NAME, COLUMNS="100").stdout.splitlines() == [
        "installed by hand, not in model/requirements.txt:",
        "    cowsay 6.1   keep it: add the line cowsay==6.1 to model/requirements.txt",
        "    six 1.15.0   instead of 1.17.0   came with another",
        "installed by hand for Python 3.11, not used with 3.12: jinja2 3.1",
        "Python 3.12, 2 packages:",
        "    numpy 2.1",
        "    six 1.17.0",
    ]


def test_the_lock_of_env_is_what_a_kernel_finds(full: Daemon) -> None:
    assert full.run("env", NAME, "--lock").stdout == "cowsay==6.1\nnumpy==2.1\nsix==1.15.0\n"


def test_env_names_the_packages_that_are_old(full: Daemon) -> None:
    old = {"name": "numpy", "version": "2.1", "latest": "2.2"}
    answer = {"name": NAME, "file": "requirements.txt", "outdated": [old]}
    full.answers[f"GET /v1/notebooks/{NAME}/outdated"] = answer
    assert full.run("env", NAME, "--outdated", COLUMNS="100").stdout.splitlines() == [
        "1 package is older than in the package index:",
        "    numpy 2.1 → 2.2",
        f"to ask for one in requirements.txt:   kaosctl add {NAME} 'PACKAGE==VERSION'",
    ]
    assert json.loads(full.run("env", NAME, "--outdated", "--json").stdout) == answer
    full.answers[f"GET /v1/notebooks/{NAME}/outdated"] = {**answer, "outdated": []}
    assert full.run("env", NAME, "--outdated").stdout == "● every package is the newest one of its index\n"


def test_env_prints_the_dockerfile_that_is_made_as_it_can_be_saved(full: Daemon) -> None:
    made = {"name": NAME, "made_from": ["apt.txt"], "dockerfile": f"FROM python:3.11\nRUN {'x' * 200} \\\n        y\n"}
    full.answers[f"GET /v1/notebooks/{NAME}/dockerfile"] = made
    assert full.run("env", NAME, "--dockerfile", COLUMNS="40").stdout == made["dockerfile"]
    assert json.loads(full.run("env", NAME, "--dockerfile", "--json").stdout) == made
    assert full.run("env", NAME, "--dockerfile", "--lock").returncode == 2
    refused = {"detail": "the source has a Dockerfile of its own: Dockerfile", "code": "conflict"}
    full.answers[f"GET /v1/notebooks/{NAME}/dockerfile"] = (409, refused)
    done = full.run("env", NAME, "--dockerfile")
    assert (done.returncode, done.stderr) == (1, "kaosctl: the source has a Dockerfile of its own: Dockerfile\n")


def test_status_tells_of_what_was_installed_by_hand(daemon: Daemon) -> None:
    by_hand = [
        {"name": "cowsay", "version": "6.1", "requested": True},
        {"name": "a", "version": "1", "requested": False},
    ]
    packages = {"label": "packages", "command": f"kaosctl env {NAME}", "action": None}
    daemon.serves(notebook(environment={"file": "pyproject.toml", "by_hand": by_hand}, next=[packages]))
    printed = " ".join(daemon.run("status", NAME).stdout.split())
    assert "by hand cowsay 6.1, not in pyproject.toml" in printed
    assert f"kaosctl env {NAME}" in printed
    assert " a 1" not in printed


def test_history_is_a_table_and_the_error_below(full: Daemon) -> None:
    assert full.run("history", NAME, COLUMNS="80").stdout.splitlines() == [
        "pinned: example:1f3c9aa until the files change",
        "  N  started      result  cost         source   data     cause",
        "  8  11-18 10:26  failed  build 8.1 s  c04d2e1           a.txt",
        "      no matching distribution: shap-lite==9",
        "  7  11-18 10:26  live    sync 0.3 s   1f3c9aa  77ab01c  a, b (+1)",
    ]


def test_recovered_files_are_a_table(full: Daemon) -> None:
    assert full.run("recovered", NAME).stdout.splitlines() == [
        "path            saved at              reason        size       file",
        "model/a.ipynb   2026-11-18 10:14:39   overwritten   12,345 B   /s/recovered/7/model/a.ipynb",
        f"bring the newest copy back:   kaosctl recovered {NAME} --restore model/a.ipynb",
        f"all of them:   kaosctl recovered {NAME} --restore --all",
    ]
    full.answers[f"GET /v1/notebooks/{NAME}/recovered"] = {"recovered": []}
    assert full.run("recovered", NAME).stdout == "nothing had to be recovered\n"


def test_why_names_rule_place_and_cost(full: Daemon, tmp_path: Path) -> None:
    done = full.run("why", str(tmp_path / "ä b"))
    assert full.requests[-1][1] == f"/v1/why?path={tmp_path}/%C3%A4%20b"
    assert done.stdout.splitlines() == [
        f"/p/model/x.tmp   does not count   {NAME}",
        "    ignored by .kaosignore",
        "    rule *.tmp   .kaosignore:3",
        "    a change of it costs nothing",
    ]


def test_why_resolves_the_path_against_the_working_directory(full: Daemon) -> None:
    full.run("why", "x.tmp")
    assert full.requests[-1][1] == f"/v1/why?path={os.getcwd()}/x.tmp"
    full.run("why", "~/x.tmp")
    assert full.requests[-1][1] == f"/v1/why?path={full.root}/x.tmp"


def test_doctor_says_the_mend_and_exits_with_1_for_an_error(full: Daemon) -> None:
    done = full.run("doctor")
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "✗ error   watches       too few watches",
        "    sudo sysctl x=1",
        "● ok      clock         the clock is fine",
    ]


def test_findings_stay_beside_what_they_are_about(full: Daemon) -> None:
    text = "the state directory /home/somebody/.local/state/kaosd is private"
    full.answers["GET /v1/doctor"] = {"checks": [{"code": "places", "severity": "ok", "text": text}]}
    assert full.run("doctor", COLUMNS="70").stdout.splitlines() == [
        "● ok      places        the state directory",
        "                        /home/somebody/.local/state/kaosd is private",
    ]
    assert full.run("doctor", COLUMNS="50").stdout.splitlines() == [
        "● ok      places        the state directory",
        "    /home/somebody/.local/state/kaosd is private",
    ]


def test_the_list_has_two_tables(full: Daemon) -> None:
    build = {**notebook()["build"], "state": "JOB_RUNNING", "started_at": "2026-11-18T10:26:02.000Z"}
    host = {**notebook()["host"], "state": "PIPELINE_STANDBY"}
    full.serves(notebook("old"), notebook("new", state="building", build=build, host=host))
    assert full.run("notebook", "list").stdout.splitlines() == [
        "BUILDING",
        "created_at            name   state      url                             user   job",
        f"2026-11-18 10:26:02   new    building   http://127.0.0.1:8890/new/lab   ada    {JOB[:8]}",
        "",
        "RUNNING",
        "created_at            name   state     url                             user",
        "2026-11-18 09:27:40   old    running   http://127.0.0.1:8890/old/lab   ada",
    ]
    verbose = full.run("notebook", "list", "-v").stdout
    assert all(word in verbose for word in ("JOB_RUNNING", JOB, "PIPELINE_RUNNING"))


@pytest.mark.parametrize(
    ("build", "host", "tables"),
    [
        ("JOB_SUCCESS", "PIPELINE_RUNNING", "running"),
        ("JOB_SUCCESS", "PIPELINE_STANDBY", "running"),
        (None, "PIPELINE_STANDBY", "running"),
        ("JOB_RUNNING", "PIPELINE_STANDBY", "building"),
        ("JOB_FAILURE", "PIPELINE_STANDBY", "building"),
        ("JOB_FAILURE", "PIPELINE_RUNNING", "building running"),
    ],
)
def test_every_notebook_is_in_a_table(build: str | None, host: str, tables: str) -> None:
    job = build and {**notebook()["build"], "state": build}
    one = notebook(state="failed", build=job, host={**notebook()["host"], "state": host})
    found = listed(status(one))
    assert " ".join(name for name in found if found[name]) == tables


def test_a_build_that_failed_is_history_once_the_notebook_is_live() -> None:
    found = listed(status(notebook(build={**notebook()["build"], "state": "JOB_FAILURE"})))
    assert (found["building"], len(found["running"])) == ([], 1)


def test_version_without_a_daemon(stopped: Daemon) -> None:
    done = stopped.run("version")
    assert (done.returncode, done.stdout) == (0, f"kaosctl {__version__}\nkaosd is not running\n")
    done = stopped.run("--version")
    assert (done.returncode, done.stdout) == (0, f"kaosctl {__version__}\n")


def test_open_without_a_name_prints_the_address_of_the_list(full: Daemon) -> None:
    (full.state / "token").write_text("daemons")
    assert full.run("open", "--print").stdout == "http://127.0.0.1:8890/?token=daemons\n"


def test_open_prints_the_address_with_the_token(full: Daemon) -> None:
    assert full.run("open", NAME, "--print").stdout == f"http://127.0.0.1:8890/{NAME}/lab?token=s3cret\n"


@pytest.mark.parametrize(("name", "path"), [((NAME,), f"/v1/notebooks/{NAME}/open"), ((), "/v1/open")])
def test_the_browser_gets_a_one_time_address_and_no_token(full: Daemon, name: tuple[str, ...], path: str) -> None:
    (full.state / "token").write_text("s3cret")
    once = "http://127.0.0.1:8890/kaosd/once/c0de"
    full.answers[f"POST {path}"] = {"url": once, "seconds": 120.0}
    browser, seen = full.root / "browser", full.root / "seen"
    browser.write_text(f'#!/bin/sh\nprintf "%s " "$@" > {seen}\n')
    browser.chmod(0o755)
    done = full.run("open", *name, BROWSER=f"{browser} %s", SSH_CONNECTION="192.0.2.1 5 192.0.2.2 22")
    assert done.returncode == 0
    assert seen.read_text().split() == [once]
    lines = done.stdout.splitlines()
    assert lines[0] == f"http://127.0.0.1:8890/{f'{NAME}/lab' if name else ''}?token=s3cret"
    assert lines[1] == "opened in the browser"
    assert "ssh -N -L 8890:127.0.0.1:8890" in lines[3]


def test_without_a_browser_the_address_is_printed(full: Daemon) -> None:
    full.answers[f"POST /v1/notebooks/{NAME}/open"] = {"url": "http://127.0.0.1:8890/x", "seconds": 120.0}
    done = full.run("open", NAME, BROWSER="", PATH="/nonexistent")
    address = f"http://127.0.0.1:8890/{NAME}/lab?token=s3cret"
    assert done.stdout.splitlines() == [address, "no browser here: open this address in one"]


def test_in_a_session_by_ssh_no_browser_is_looked_for(full: Daemon) -> None:
    browser = full.root / "bin" / "w3m"
    browser.parent.mkdir()
    browser.write_text(f"#!/bin/sh\ntouch {full.root}/opened\n")
    browser.chmod(0o755)
    session = {"SSH_CONNECTION": "192.0.2.1 5 192.0.2.2 2222", "DISPLAY": "", "WAYLAND_DISPLAY": "", "BROWSER": ""}
    done = full.run("open", NAME, PATH=f"{browser.parent}:/usr/bin:/bin", **session)
    assert "ssh -p 2222 -N -L 8890:127.0.0.1:8890" in done.stdout
    assert not (full.root / "opened").exists()
    assert [one[:2] for one in full.requests if one[0] == "POST"] == []


def test_open_prints_what_vs_code_takes(full: Daemon) -> None:
    done = full.run("open", NAME, "--vscode")
    assert done.stdout.splitlines()[0] == f"http://127.0.0.1:8890/{NAME}/?token=s3cret"
    assert "Existing Jupyter Server" in done.stdout
    assert full.run("open", "--vscode").returncode == 2


def test_build_logs_of_a_job(full: Daemon, tmp_path: Path) -> None:
    assert "resolved" in full.run("notebook", "build-logs", "-j", JOB[:4]).stdout
    done = full.run("notebook", "build-logs", "-j", JOB, "-o", str(tmp_path / "new"))
    assert done.stdout == f"{tmp_path}/new/{JOB}.log\n"
    assert (tmp_path / "new" / f"{JOB}.log").read_text() == "2026-11-18T10:26:40.000Z resolved\n"
    assert full.run("notebook", "build-logs", "-j", "0000").returncode == 4


def test_several_jobs_with_the_same_beginning_are_named(full: Daemon) -> None:
    full.log(NAME, 8, "build", "x", job="3f" + "00" * 15)
    done = full.run("notebook", "build-logs", "-j", "3f")
    assert done.returncode == 2
    assert "2 jobs start with 3f" in done.stderr


BOTH = "the repos source-x and data-x, with all that was ever deployed"


@pytest.mark.parametrize(
    ("options", "typed", "asked", "deleted"),
    [
        ((), "n", [f"Stop '{NAME}' and forget it?"], None),
        ((), "y n", [f"Stop '{NAME}' and forget it?", f"Delete {BOTH} too?"], ""),
        ((), "y y", [f"Stop '{NAME}' and forget it?", f"Delete {BOTH} too?"], "?repos=all"),
        (("--all",), "y", [f"Stop '{NAME}', forget it and delete {BOTH}?"], "?repos=all"),
        (("--all",), "n", [f"Stop '{NAME}', forget it and delete {BOTH}?"], None),
        (("--keep-data",), "y", ["forget it and delete the repo source-x, with all"], "?repos=source"),
    ],
)
def test_kill_asks_on_a_terminal_before_it_stops_and_before_repos_go(
    full: Daemon, options: tuple[str, ...], typed: str, asked: list[str], deleted: str | None
) -> None:
    master, slave = pty.openpty()
    os.write(master, typed.replace(" ", "\n").encode() + b"\n")
    command = [sys.executable, "-m", "kaosd.ctl", "notebook", "kill", NAME, *options]
    done = subprocess.run(command, stdin=slave, env=full.environment, capture_output=True, text=True, check=False)
    os.close(master)
    os.close(slave)
    assert done.stderr.count("[y/N]") == len(asked)
    assert all(question in done.stderr for question in asked)
    assert done.returncode == (1 if deleted is None else 0)
    killed = [request[1] for request in full.requests if request[0] == "DELETE"]
    assert killed == ([] if deleted is None else [f"/v1/notebooks/{NAME}{deleted}"])


def test_kill_says_what_is_kept_and_what_is_gone(full: Daemon) -> None:
    kept = full.run("notebook", "kill", NAME, "-y").stdout
    assert f"kept: 2 edited files   kaosctl recovered {NAME}" in kept
    assert "kept: the repo data-x (pachctl delete repo data-x)" in kept
    assert "deleted: the repo source-x" in full.run("notebook", "kill", NAME, "-y", "--all").stdout
    assert "the engine process has no repos" in full.run("notebook", "kill", NAME, "-y", "--keep-data").stdout


def test_templates_are_copied_and_never_over_anything(
    stopped: Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "shipped" / "notebook" / "model").mkdir(parents=True)
    (tmp_path / "shipped" / "notebook" / "model" / "requirements.txt").write_text("pandas\n")
    (tmp_path / "shipped" / "notebook" / "Dockerfile").write_text("FROM x\n")
    (tmp_path / "shipped" / "__pycache__").mkdir()
    monkeypatch.setattr(templates, "ROOT", str(tmp_path / "shipped"))
    assert templates.names() == ["notebook"]
    target = tmp_path / "mine"
    assert templates.get("notebook", str(target)) == 0
    assert (target / "model" / "requirements.txt").read_text() == "pandas\n"
    (target / "Dockerfile").unlink()
    (target / "model" / "requirements.txt").write_text("mine\n")
    with pytest.raises(Failure, match="is there already; nothing was copied"):
        templates.get("notebook", str(target))
    assert not (target / "Dockerfile").exists()
    assert (target / "model" / "requirements.txt").read_text() == "mine\n"
    with pytest.raises(Failure, match="no template 'x'") as caught:
        templates.get("x")
    assert caught.value.exit_code == 4
    capsys.readouterr()


def test_strings_of_the_daemon_are_made_safe(daemon: Daemon) -> None:
    daemon.answers["GET /v1/notebooks/n/history"] = (409, {"detail": "\x1b[2J\u202e", "hint": "\x07"})
    assert daemon.run("history", "n").stderr == "kaosctl: \\x1b[2J\\u202e\n  \\x07\n"


def test_a_closed_pipe_ends_quietly(daemon: Daemon) -> None:
    daemon.log(NAME, 1, "build", *("x" * 100 for _ in range(5000)), job=JOB, at=NOW)
    command = f"{sys.executable} -m kaosd.ctl logs | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], env=daemon.environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (141, "")

"""What a notebook says of itself at a glance, as a table: summary, tone, what to do next."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from kaosd.model import DeployCheck, Environment, Progress, Resources, Stage, Version
from kaosd.notebook import guidance
from kaosd.notebook.guidance import Known, Tone
from kaosd.notebook.standing import Standing, host_state, state
from kaosd.planner import (
    Attach,
    Attempt,
    FailedAttempt,
    Hold,
    HostFact,
    Plan,
    Renew,
    Served,
    Start,
    Stop,
    Swap,
    Target,
    Why,
)

ONE, TWO = Version("example", "1" * 64), Version("example", "2" * 64)
SERVED = Served(ONE, "e1", "server", None, Resources())
TARGET = Target(TWO, "e2", None, Resources())
ENVIRONMENT = Environment("e2", "", "server")
LIVE = Standing(Plan(target=TARGET), SERVED, HostFact.RUNNING, ONE, None)
BEHIND = replace(LIVE, source=TWO)
NEW = Standing(Plan(), None, HostFact.NONE, TWO, None)
BUILDING = replace(BEHIND, building=True)
STEP = Progress(Stage.BUILD, "resolve the requirements: 12 packages", 0.0, 2, 4, 30.0)
NO_STEP = Progress(Stage.BUILD, "prepare the build", 0.0)
NO_VERSION = "model/requirements.txt line 3: no such version: nunpy==9 (the newest is 2.2)"
DIED = FailedAttempt(Attempt.HOST, TARGET, "the host ended: out of memory", 10.0)


def held(kind: Why, text: str, now: Standing = BEHIND, **more: object) -> Standing:
    hold = Hold(kind, text, **more)  # type: ignore[arg-type]
    return replace(now, plan=Plan(None, hold, TARGET))


def known(standing: Standing, **facts: object) -> Known:
    word, reason = state(standing)
    return Known("n", standing, word, reason, host_state(standing), **facts)  # type: ignore[arg-type]


class Case(NamedTuple):
    name: str
    known: Known
    summary: str
    tone: Tone
    commands: tuple[str, ...] = ()


BUSY = held(
    Why.BUSY, "1 kernel is busy and the swap would end them; `kaosctl redeploy --now` does not wait",
    brief="1 busy kernel", until=1.0,
)  # fmt: skip
FAILED = held(Why.FAILED, NO_VERSION)
CASES = [
    Case("live", known(LIVE), "live", "ok"),
    Case("live, with a warning", known(LIVE, warnings=1), "live, 1 warning", "warn"),
    Case("live, and much to say", known(LIVE, warnings=2, refused=1, outdated=2),
         "live, 2 warnings, 1 path left out, 2 kernels on an older environment", "warn"),
    Case("live, and a notebook file failed after the deployment",
         known(LIVE, failed_checks=(DeployCheck("my smoke.ipynb", "failed", 3),)),
         "live, my smoke.ipynb failed in cell 3", "warn", ("run n 'my smoke.ipynb'",)),
    Case("live, and something happened", known(LIVE, notice="its memory limit of 4Gi has ended a process"),
         "live, its memory limit of 4Gi has ended a process", "warn"),
    Case("live, and its memory is nearly used up", known(LIVE, memory="memory 3.7 of 4.0 Gi"),
         "live, memory 3.7 of 4.0 Gi", "warn"),
    Case("live, with copies kept and packages by hand", known(LIVE, recovered=1, by_hand=1), "live", "ok",
         ("recovered n", "env n")),
    Case("live, paused", known(held(Why.PAUSED, "paused by you", replace(LIVE, paused=True))), "live, paused by you",
         "warn", ("resume n",)),
    Case("disk is newer", known(BEHIND), "stale: a change on disk is being applied", "busy", ("logs n",)),
    Case("a save is settling", known(held(Why.SETTLING, "waiting for the end of the save")),
         "stale: waiting for the end of the save", "busy", ("logs n",)),
    Case("a file is being written", known(replace(LIVE, unread="still being written: new.csv")),
         "stale: still being written: new.csv", "busy"),
    Case("the directories are being read", known(NEW, progress=Progress(Stage.WATCH, "reading /d: 9 files, 1 MB", 0.0)),
         "reading /d: 9 files, 1 MB", "busy", ("logs n",)),
    Case("not started yet", known(NEW), "stale: not started yet", "busy", ("logs n",)),
    Case("the host is gone", known(replace(LIVE, host=HostFact.NONE)), "stale: not started yet", "busy", ("logs n",)),
    Case("the environment is damaged", known(replace(LIVE, damage="numpy was removed from the environment")),
         "stale: numpy was removed from the environment", "busy", ("logs n",)),
    Case("the damage is being repaired", known(replace(BUILDING, source=ONE, damage="numpy was removed")),
         "building: the environment is being built again: numpy was removed", "busy"),
    Case("first build", known(replace(NEW, building=True), progress=NO_STEP), "building: prepare the build", "busy"),
    Case("build beside a host", known(BUILDING, progress=STEP),
         "building: step 2 of 4, resolve the requirements: 12 packages", "busy"),
    Case("build while a host starts", known(BUILDING, progress=replace(STEP, stage=Stage.HOST)),
         "building: the environment is being built", "busy"),
    Case("starting", known(replace(NEW, stepping=Start(TARGET, ENVIRONMENT))), "starting JupyterLab", "busy"),
    Case("swapping", known(replace(BEHIND, stepping=Swap(TARGET, ENVIRONMENT, True))),
         "taking the new environment into use", "busy"),
    Case("a new host", known(replace(LIVE, stepping=Renew(TARGET, ENVIRONMENT))),
         "starting another host for the new limits or data", "busy"),
    Case("busy kernels", known(BUSY, left=580.2, busy=1), "held: 1 busy kernel, 9:40 left", "warn",
         ("redeploy n --now", "redeploy n --when-idle")),
    Case("busy kernels, without limit", known(BUSY, busy=1), "held: 1 busy kernel", "warn", ("redeploy n --now",)),
    Case("paused, disk is newer", known(held(Why.PAUSED, "paused by you", replace(BEHIND, paused=True))),
         "held: paused by you", "warn", ("resume n",)),
    Case("rolled back", known(held(Why.PINNED, "rolled back to a; stays until the files change again",
         brief="rolled back to a")), "held: rolled back to a", "warn", ("redeploy n",)),
    Case("most files are gone", known(held(Why.MASS_CHANGE, "8 of 10 files are gone; bring them back", brief="8 gone")),
         "held: 8 gone", "warn", ("redeploy n --force",)),
    Case("the directory vanished", known(held(Why.PROBLEM, "/d is not there")), "held: /d is not there", "warn",
         ("logs n --stage watch",)),
    Case("an open document", known(held(Why.OPEN, "a.ipynb is open", tries=1)), "held: a.ipynb is open", "warn",
         ("logs n --stage watch",)),
    Case("the build failed", known(FAILED, build_failed=True), f"failed: {NO_VERSION}", "bad",
         ("logs n --stage build",)),
    Case("the build failed, and there is a way back", known(FAILED, build_failed=True, can_roll_back=True),
         f"failed: {NO_VERSION}", "bad", ("logs n --stage build", "rollback n")),
    Case("nothing else failed", known(FAILED), f"failed: {NO_VERSION}", "bad", ("logs n --deploy failed",)),
    Case("cancelled", known(held(Why.CANCELLED, "the build was cancelled by you")),
         "failed: the build was cancelled by you", "bad", ("redeploy n",)),
    Case("the host did not start", known(held(Why.BACKING_OFF, DIED.text, replace(NEW, failures=(DIED,)), until=9.0)),
         "failed: the host ended: out of memory", "bad", ("logs n --stage host", "redeploy n")),
    Case("it failed and nothing is planned", known(replace(NEW, failures=(DIED,))),
         "failed: the host ended: out of memory", "bad", ("logs n --stage host",)),
    Case("the host does not answer", known(held(Why.SILENT, "it hangs; `kaosctl redeploy --now` starts another one",
         replace(LIVE, host=HostFact.SILENT), brief="it hangs")), "failed: it hangs", "bad",
         ("logs n --stage host", "redeploy n --now")),
    Case("a reason of many lines", known(held(Why.FAILED, "the host ended: exit status 1\nImportError: tornado")),
         "failed: the host ended: exit status 1", "bad", ("logs n --deploy failed",)),
    Case("stopped", known(replace(LIVE, host=HostFact.NONE, stopped="stopped by you")), "stopped by you", "ok",
         ("start n",)),
    Case("being stopped", known(replace(LIVE, stopped="stopped by you", stepping=Stop())), "stopping JupyterLab",
         "busy"),
    Case("a reason with advice", known(held(Why.FAILED, "no such file (save it)", brief="no such file")),
         "failed: no such file", "bad", ("logs n --deploy failed",)),
    Case("an earlier reason with advice", known(replace(NEW, failures=(replace(DIED, text="it died (give it more)",
         brief="it died"),))), "failed: it died", "bad", ("logs n --stage host",)),
    Case("removed", known(held(Why.REMOVED, "the notebook was removed")), "removed", "ok"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_what_a_notebook_says_of_itself(case: Case) -> None:
    assert guidance.summary(case.known) == case.summary
    assert guidance.tone(case.known) == case.tone
    assert tuple(step.command.removeprefix("kaosctl ") for step in guidance.next_steps(case.known)) == case.commands


def test_a_summary_fits_a_line_whatever_the_reason() -> None:
    long = guidance.summary(known(held(Why.FAILED, "x" * 999 + "\ny")))
    assert len(long) == guidance.LONGEST
    assert long.endswith("…")
    assert guidance.summary(known(held(Why.FAILED, "\n\n"))) == "failed:"


def test_a_running_host_does_not_hide_that_the_last_change_failed() -> None:
    failed = known(FAILED, build_failed=True)
    assert failed.standing.serving
    assert guidance.tone(failed) == "bad"
    assert not guidance.summary(failed).startswith("live")


def test_an_action_is_the_request_that_the_command_makes() -> None:
    now, force, back = (
        guidance.next_steps(known(BUSY))[0],
        guidance.next_steps(known(held(Why.MASS_CHANGE, "gone")))[0],
        guidance.next_steps(known(FAILED, can_roll_back=True))[-1],
    )
    assert now.shown() == {
        "label": "redeploy now",
        "command": "kaosctl redeploy n --now",
        "action": {"verb": "redeploy", "body": {"force": False, "now": True}},
    }
    assert force.shown()["action"] == {"verb": "redeploy", "body": {"force": True, "now": False}}
    assert back.shown()["action"] == {"verb": "rollback", "body": {}}
    assert guidance.next_steps(known(FAILED))[0].shown()["action"] is None


def test_a_swap_that_is_being_done_is_announced_unless_it_keeps_the_kernels() -> None:
    renew, keeps = Renew(TARGET, ENVIRONMENT), Swap(TARGET, ENVIRONMENT, True)
    found = guidance.swap(known(replace(LIVE, stepping=renew), busy=1))
    assert found == (1, "kaosd is starting another host for the new limits or data")
    assert guidance.swap(known(replace(LIVE, stepping=keeps), busy=1)) is None
    assert guidance.swap(known(replace(LIVE, stepping=Swap(TARGET, ENVIRONMENT, False)))) is not None
    assert guidance.swap(known(replace(LIVE, stepping=Attach(None, restarts=True)))) == (0, guidance.DATA)
    assert guidance.swap(known(replace(LIVE, stepping=Attach(None)))) is None


def test_only_a_wait_for_busy_kernels_is_a_swap_that_is_coming() -> None:
    assert guidance.swap(known(BUSY, busy=2)) == (2, BUSY.plan.hold.text if BUSY.plan.hold else "")
    assert guidance.swap(known(FAILED, busy=2)) is None
    assert guidance.swap(known(LIVE, busy=2)) is None

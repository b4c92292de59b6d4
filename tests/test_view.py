"""A notebook's state in one word, as a table: the status never lies."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from kaosd.bundle import Verdict
from kaosd.engines.base import Contents
from kaosd.journal import Live
from kaosd.model import (
    ByHand,
    Environment,
    HostState,
    HostStatus,
    LostKernels,
    NotebookSpec,
    NotebookState,
    PackageChanges,
    Progress,
    Resources,
    Stage,
    Usage,
    Version,
)  # fmt: skip
from kaosd.notebook.resource_use import Sample
from kaosd.notebook.standing import Standing, final, host_state, state
from kaosd.notebook.view import Facts, contents, keep, notebook, why
from kaosd.planner import (
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
    Sync,
    Target,
    Why,
)

ONE, TWO = Version("example", "1" * 64), Version("example", "2" * 64)
SERVED = Served(ONE, "e1", "server", None, Resources())
TARGET = Target(ONE, "e1", None, Resources())
LIVE = Standing(Plan(target=TARGET), SERVED, HostFact.RUNNING, ONE, None)
NEW = Standing(Plan(), None, HostFact.NONE, ONE, None)
FAILURE = FailedAttempt(Attempt.HOST, TARGET, "it died", 10.0)
ENVIRONMENT = Environment("e1", "", "server")
RENEW = Renew(TARGET, ENVIRONMENT)
WAITS = FailedAttempt(Attempt.SYNC, TARGET, "its tab sleeps", 10.0, waits=True)
WAITS_HOST = replace(WAITS, attempt=Attempt.HOST)
OTHER = replace(WAITS, key=replace(TARGET, source=TWO))


def held(standing: Standing, kind: Why, text: str = "because") -> Standing:
    return replace(standing, plan=Plan(None, Hold(kind, text), TARGET))


class Case(NamedTuple):
    name: str
    standing: Standing
    state: NotebookState
    host: HostState


CASES = [
    Case("served as on disk", LIVE, NotebookState.LIVE, HostState.RUNNING),
    Case("disk is newer", replace(LIVE, source=TWO), NotebookState.STALE, HostState.RUNNING),
    Case("data is newer", replace(LIVE, data=TWO), NotebookState.STALE, HostState.RUNNING),
    Case("settling", held(replace(LIVE, source=TWO), Why.SETTLING), NotebookState.STALE, HostState.RUNNING),
    Case("building", replace(LIVE, source=TWO, building=True), NotebookState.BUILDING, HostState.RUNNING),
    Case("first build", replace(NEW, building=True), NotebookState.BUILDING, HostState.STANDBY),
    Case("build failed, old one serves", held(replace(LIVE, source=TWO), Why.FAILED), NotebookState.FAILED,
         HostState.RUNNING),
    Case("backing off", held(replace(LIVE, source=TWO), Why.BACKING_OFF), NotebookState.FAILED, HostState.RUNNING),
    Case("waiting for an open document", held(replace(LIVE, source=TWO), Why.OPEN), NotebookState.HELD,
         HostState.RUNNING),
    Case("asking the open document again", replace(LIVE, source=TWO, stepping=Sync(TARGET), failures=(WAITS,)),
         NotebookState.HELD, HostState.RUNNING),
    Case("asking it again before a swap", replace(LIVE, source=TWO, plan=Plan(RENEW), failures=(WAITS_HOST,)),
         NotebookState.HELD, HostState.RUNNING),
    Case("it let go, and the swap has begun", replace(LIVE, source=TWO, stepping=RENEW, failures=(WAITS_HOST,)),
         NotebookState.SWAPPING, HostState.RUNNING),
    Case("a sync that nothing waited for", replace(LIVE, source=TWO, stepping=Sync(TARGET), failures=(OTHER,)),
         NotebookState.STALE, HostState.RUNNING),
    Case("swapping", replace(LIVE, source=TWO, stepping=Swap(TARGET, ENVIRONMENT, True)), NotebookState.SWAPPING,
         HostState.RUNNING),
    Case("another host takes over", replace(LIVE, stepping=Renew(TARGET, ENVIRONMENT)), NotebookState.SWAPPING,
         HostState.RUNNING),
    Case("first start", replace(NEW, stepping=Start(TARGET, ENVIRONMENT)), NotebookState.SWAPPING, HostState.STARTING),
    Case("started again", replace(LIVE, host=HostFact.NONE, restarts=1, stepping=Start(TARGET, ENVIRONMENT)),
         NotebookState.SWAPPING, HostState.RESTARTING),
    Case("host ended", replace(LIVE, host=HostFact.NONE, restarts=1), NotebookState.STALE, HostState.RESTARTING),
    Case("host ended again and again", replace(held(LIVE, Why.BACKING_OFF), host=HostFact.NONE, failures=(FAILURE,)),
         NotebookState.FAILED, HostState.FAILURE),
    Case("content is right but nobody answers", replace(held(LIVE, Why.SILENT), host=HostFact.SILENT),
         NotebookState.FAILED, HostState.FAILURE),
    Case("paused, nothing changed", replace(held(LIVE, Why.PAUSED), paused=True), NotebookState.LIVE,
         HostState.RUNNING),
    Case("paused, disk is newer", replace(held(LIVE, Why.PAUSED), source=TWO, paused=True), NotebookState.HELD,
         HostState.RUNNING),
    Case("paused before the first start", replace(held(NEW, Why.PAUSED), paused=True), NotebookState.HELD,
         HostState.PAUSED),
    Case("rolled back", held(replace(LIVE, source=TWO), Why.PINNED), NotebookState.HELD, HostState.RUNNING),
    Case("most files are gone", held(replace(LIVE, source=TWO), Why.MASS_CHANGE), NotebookState.HELD,
         HostState.RUNNING),
    Case("directory vanished", held(replace(LIVE, source=None), Why.PROBLEM), NotebookState.HELD, HostState.RUNNING),
    Case("waits for a busy kernel", held(replace(LIVE, source=TWO), Why.BUSY), NotebookState.HELD, HostState.RUNNING),
    Case("stopped", replace(LIVE, host=HostFact.NONE, stopped="by you"), NotebookState.STOPPED, HostState.STANDBY),
    Case("stopped, and files were saved since", replace(LIVE, host=HostFact.NONE, source=TWO, stopped="by you"),
         NotebookState.STOPPED, HostState.STANDBY),
    Case("being stopped", replace(LIVE, stopped="by you", stepping=Stop()), NotebookState.SWAPPING,
         HostState.RUNNING),
    Case("removed", held(replace(LIVE, host=HostFact.NONE), Why.REMOVED), NotebookState.STOPPED, HostState.RESTARTING),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_state(case: Case) -> None:
    found, reason = state(case.standing)
    assert found is case.state
    assert host_state(case.standing) is case.host
    assert (reason is None) == (found is NotebookState.LIVE)


WHY = [
    ("source", b"model/requirements.txt", Verdict(ignored=False), "build"),
    ("source", b"model/train.py", Verdict(ignored=False), "sync"),
    ("source", b"README.md", Verdict(ignored=False), "nothing"),
    ("source", b"model/x.swp", Verdict(True, "*.swp", "built-in", None), "nothing"),
    ("data", b"features/a.csv", Verdict(ignored=False), "attach"),
]


@pytest.mark.parametrize(("kind", "path", "verdict", "costs"), WHY, ids=[case[1].decode() for case in WHY])
def test_why_says_what_a_change_costs(kind: str, path: bytes, verdict: Verdict, costs: str) -> None:
    found = why(kind, path, verdict, frozenset({b"model/requirements.txt"}))
    assert found["costs"] == costs
    assert path.decode() in found["text"]
    assert found["counts"] is not verdict.ignored


def test_why_names_a_directory_that_is_all_of_it() -> None:
    assert why("data", b".", Verdict(ignored=False), frozenset())["text"] == "the data directory itself is data"


KEEP = [
    (True, "model/requirements.txt", "kaosctl add n six==1.15"),
    (True, None, "kaosctl add n six==1.15"),
    (True, "pyproject.toml", "kaosctl add n six==1.15"),
    (True, "setup.py", "add six==1.15 to the dependencies in setup.py"),
    (False, "model/requirements.txt", None),
]


@pytest.mark.parametrize(("requested", "file", "said"), KEEP)
def test_the_step_that_keeps_a_package(requested: bool, file: str | None, said: str | None) -> None:
    assert keep("n", ByHand("six", "1.15", requested), file) == said


def test_contents_tell_what_lies_in_front_of_the_environment() -> None:
    found = Contents(
        "3.11", {"six": "1.17"}, (ByHand("six", "1.15", True), ByHand("new", "1", False)), {"3.10": ["a 1"]}
    )
    shown = contents("n", "requirements.txt", found)
    assert [(one["name"], one["instead_of"]) for one in shown["by_hand"]] == [("six", "1.17"), ("new", None)]
    assert shown["packages"] == [{"name": "six", "version": "1.17"}]
    assert (shown["python"], shown["unused"]) == ("3.11", {"3.10": ["a 1"]})


def test_a_damaged_environment_is_not_live() -> None:
    gone = "the environment was removed"
    now = LIVE
    assert state(now)[0] is NotebookState.LIVE
    assert state(replace(now, damage=gone)) == (NotebookState.STALE, gone)
    building = state(replace(now, damage=gone, building=True))
    assert building == (NotebookState.BUILDING, f"the environment is being built again: {gone}")
    paused = Hold(Why.PAUSED, "paused by you")
    assert state(replace(now, damage=gone, paused=True, plan=Plan(None, paused)))[0] is not NotebookState.LIVE


@pytest.mark.parametrize(
    ("hold", "tries", "outcome"),
    [
        (Hold(Why.BACKING_OFF, "away", 1.0, 2), 3, None),
        (Hold(Why.BACKING_OFF, "away", 1.0, 3), 3, "failed"),
        (Hold(Why.BACKING_OFF, "away", 1.0, 99), None, None),  # `kaosctl wait` waits for as long as it takes
        (Hold(Why.OPEN, "open", 1.0, 99), 3, None),
        (Hold(Why.FAILED, "no such package"), None, "failed"),
        (Hold(Why.PAUSED, "paused by you"), 3, "held"),
        (Hold(Why.BUILDING, "being built"), 1, None),
    ],
)
def test_a_wait_ends_for_what_does_not_pass_and_for_enough_failed_attempts(
    hold: Hold, tries: int | None, outcome: str | None
) -> None:
    assert final(Plan(None, hold), tries) == outcome


SPEC = NotebookSpec("n", "w", "ada", resources=Resources(memory="4Gi"))
STATUS = HostStatus(alive=True, answering=True, kernels=2, busy=1, outdated=("one",))


def shown(**facts: Any) -> dict[str, Any]:
    """The object of a notebook that is served as on disk."""
    known: dict[str, Any] = {
        "spec": SPEC, "url": "", "standing": LIVE, "since": 0.0, "enforced": True, "live": Live(), "host_since": 0.0,
        "status": STATUS, "deployment": None, "build": None, "refused": (), "warnings": (), "environment_file": None,
        "recovered": 0, "progress": None,
    }  # fmt: skip
    return notebook(Facts(**(known | facts)))


def test_the_object_tells_what_a_new_environment_changed_and_which_kernels_lack_it() -> None:
    change = PackageChanges(("scipy",), (), (("numpy", "2.1", "2.2"),))
    found = shown(live=Live(change=change))
    assert found["environment"]["change"] == {
        "added": ["scipy"],
        "removed": [],
        "changed": [("numpy", "2.1", "2.2")],
    }
    assert (found["host"]["outdated"], found["host"]["outdated_kernels"]) == (1, ["one"])
    assert found["summary"] == "live, 1 kernel on an older environment"
    assert shown()["environment"]["change"] is None


def test_the_object_tells_of_kernels_that_were_lost() -> None:
    lost = LostKernels(2, "JupyterLab was replaced for the new environment", 0.0)
    assert shown(live=Live(lost=lost))["host"]["lost"] == {
        "kernels": 2,
        "why": "JupyterLab was replaced for the new environment",
        "at": "1970-01-01T00:00:00.000Z",
    }
    assert shown()["host"]["lost"] is None


def test_the_object_tells_what_is_used_and_warns_before_the_limit() -> None:
    used = [Sample(at, Usage(int(3.9 * 2**30), 2 * at), {"one": Usage(2**20, at)}) for at in (0.0, 2.0)]
    found = shown(samples=used, gpu_memory=5, status=replace(STATUS, outdated=()))
    assert found["usage"] == {
        "memory": int(3.9 * 2**30),
        "cpu": 2.0,
        "gpu_memory": 5,
        "kernels": [{"id": "one", "memory": 2**20, "cpu": 1.0}],
    }
    assert found["warnings"] == ["memory 3.9 of 4.0 Gi"]
    assert (found["summary"], found["tone"]) == ("live, memory 3.9 of 4.0 Gi", "warn")
    assert shown()["usage"] is None


def test_the_object_announces_a_swap_with_the_time_that_is_left() -> None:
    hold = Hold(Why.BUSY, "1 kernel is busy", 99.0, brief="1 busy kernel")
    now = replace(LIVE, source=TWO, plan=Plan(None, hold, TARGET))
    found = shown(standing=now, until=time.time() + 580.4)
    assert found["summary"].startswith("held: 1 busy kernel, 9:")
    assert found["swap"]["busy"] == 1
    assert found["swap"]["until"].endswith("Z")
    assert shown()["swap"] is None


def test_the_object_tells_how_far_a_build_is() -> None:
    progress = Progress(Stage.BUILD, "install", time.time(), 4, 4, 30.0)
    found = shown(standing=replace(LIVE, building=True), progress=progress)["progress"]
    assert found.pop("seconds") >= 0
    assert found == {"stage": "build", "step": 4, "steps": 4, "text": "install", "expected": 30.0}

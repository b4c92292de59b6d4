"""The planner as a table of named cases: look in, step and hold out. No clock, no I/O."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pytest

from kaosd.model import Environment, Resources, Version
from kaosd.planner import (
    STOPPING,
    Apply,
    Attach,
    Attempt,
    Build,
    CancelBuild,
    DirectoryState,
    Disk,
    FailedAttempt,
    Hold,
    HostFact,
    Look,
    Plan,
    Renew,
    Served,
    Settle,
    Start,
    Step,
    Stop,
    Swap,
    Sync,
    Target,
    Why,
    about,
    ends_kernels,
    plan,
)

SMALL = Resources(2.0, "4Gi", 0)
LARGE = Resources(4.0, "8Gi", 0)
CODE1, CODE2 = Version("example", "a" * 64), Version("example", "b" * 64)
DATA1, DATA2 = Version("data", "c" * 64), Version("data", "d" * 64)
ENV1 = Environment("e1", "/environments/e1", "server-1")
ENV2 = Environment("e2", "/environments/e2", "server-1")  # other packages, the same server
ENV3 = Environment("e3", "/environments/e3", "server-2")  # the server's own packages differ

ONE = Target(CODE1, "e1", DATA1, SMALL)
CODE = replace(ONE, source=CODE2)
DATA = replace(ONE, data=DATA2)
MORE = replace(ONE, resources=LARGE)
REQS = replace(ONE, source=CODE2, environment="e2")
JLAB = replace(ONE, source=CODE2, environment="e3")
BOTH = replace(CODE, data=DATA2)
ALL = Target(CODE2, "e2", DATA2, LARGE)

BUILT = (ENV1, ENV2, ENV3)
NOW = 1000.0
QUIET = {"first": NOW - 1, "last": NOW - 1}
FRESH = {"first": NOW - 0.1, "last": NOW - 0.05}
SERVED = Served(CODE1, "e1", "server-1", DATA1, SMALL)


def disk(target: Target | None, facts: dict[str, object], **times: float) -> Disk:
    """What is on disk: the facts of a directory are of the source, with data_ in front of the data."""
    source = {key: facts.pop(key) for key in tuple(facts) if key in DirectoryState.__slots__}
    data = {key[5:]: facts.pop(key) for key in tuple(facts) if key.removeprefix("data_") in DirectoryState.__slots__}
    return Disk(target, DirectoryState(**(times | source)), DirectoryState(**(times | data)))


def up(target: Target = ONE, **facts: object) -> Look:
    """A look at a notebook whose host serves ONE, while *target* is on disk."""
    look = Look(NOW, disk(target, facts, **QUIET), SERVED, HostFact.RUNNING)
    return replace(look, **facts)


def down(target: Target | None = ONE, **facts: object) -> Look:
    """A look at a notebook that has never been served."""
    return replace(Look(NOW, disk(target, facts)), **facts)


def ended(target: Target = ONE, **facts: object) -> Look:
    """A look at a notebook whose host has ended, ONE having been served."""
    return up(target, host=HostFact.ENDED, **facts)


def off(target: Target = ONE, **facts: object) -> Look:
    """A look at a notebook without a host, ONE having been served."""
    return up(target, **{"host": HostFact.NONE, "built": BUILT} | facts)


def failed(attempt: Attempt, target: Target, retry_at: float | None = None) -> tuple[FailedAttempt, ...]:
    return (FailedAttempt(attempt, about(attempt, target), "it failed", retry_at),)


def waiting(attempt: Attempt, target: Target, retry_at: float) -> tuple[FailedAttempt, ...]:
    return (FailedAttempt(attempt, about(attempt, target), "it is open", retry_at, waits=True),)


def refused(attempt: Attempt, target: Target) -> frozenset[tuple[Attempt, object]]:
    return frozenset({(attempt, about(attempt, target))})


class Case(NamedTuple):
    name: str
    look: Look
    step: Step | None = None
    hold: Why | None = None
    until: float | None = None


GONE = "the environment was removed"
CASES = [
    # first start
    Case("first start, nothing scanned yet", down(None), None, Why.SCANNING),
    Case("first start builds at once, without settling", down(ONE, **FRESH), Build(ONE)),
    Case("first start while building", down(ONE, building="e1"), None, Why.BUILDING),
    Case("first start, environment exists", down(ONE, built=(ENV1,)), Start(ONE, ENV1)),
    Case("first start, directory missing", down(None, problem="x does not exist"), None, Why.PROBLEM),
    Case("first start, build failed", down(ONE, failures=failed(Attempt.BUILD, ONE)), None, Why.FAILED),
    Case("first start, host failed", down(ONE, built=BUILT, failures=failed(Attempt.HOST, ONE, NOW + 1)), None,
         Why.BACKING_OFF, NOW + 1),
    Case("first start, host failed, retry due", down(ONE, built=BUILT, failures=failed(Attempt.HOST, ONE, NOW - 1)),
         Start(ONE, ENV1)),
    Case("first start, host failed, then the code changed",
         down(CODE, built=BUILT, failures=failed(Attempt.HOST, ONE, NOW + 9)), Start(CODE, ENV1)),
    # nothing and each kind of change
    Case("nothing changed", up()),
    Case("nothing changed, and the environment was removed under us", up(built=())),
    Case("code changed", up(CODE, **FRESH), Sync(CODE)),
    Case("data changed", up(DATA, **FRESH), Attach(DATA2)),
    Case("data taken away", up(replace(ONE, data=None)), Attach(None)),
    Case("resources changed", up(MORE), Apply(LARGE)),
    Case("requirement changed, still being typed", up(REQS, **FRESH), None, Why.SETTLING, NOW + 0.35),
    Case("requirement changed, settled", up(REQS), Build(REQS)),
    Case("requirement changed again and again: the cap ends the wait", up(REQS, first=NOW - 6, last=NOW), Build(REQS)),
    Case("requirement changed, found at start without an event", up(REQS, first=None, last=None), Build(REQS)),
    Case("requirement changed back to one that is built", up(REQS, built=BUILT, **FRESH), Swap(REQS, ENV2, True)),
    Case("server's own packages changed", up(JLAB, built=BUILT), Swap(JLAB, ENV3, False)),
    # cut short
    Case("a sync was cut short and its files taken back", up(cut_short=frozenset({Attempt.SYNC})), Sync(ONE)),
    Case("an attach was cut short and its files taken back", up(cut_short=frozenset({Attempt.ATTACH})), Attach(DATA1)),
    Case("an apply was cut short and taken back", up(cut_short=frozenset({Attempt.APPLY})), Apply(SMALL)),
    Case("a sync was cut short, then paused", up(CODE, paused=True, cut_short=frozenset({Attempt.SYNC})), Sync(ONE),
         Why.PAUSED),
    Case("a sync was cut short, now another environment is to be built", up(REQS, cut_short=frozenset({Attempt.SYNC})),
         Build(REQS)),
    Case("a sync was cut short, another environment is being built: what is served is made whole",
         up(REQS, building="e2", cut_short=frozenset({Attempt.SYNC})), Sync(ONE), Why.BUILDING),
    Case("a sync was cut short, another environment does not build: what is served is made whole",
         up(REQS, failures=failed(Attempt.BUILD, REQS), cut_short=frozenset({Attempt.SYNC})), Sync(ONE), Why.FAILED),
    Case("a sync was cut short and cannot be taken back yet",
         up(failures=failed(Attempt.SYNC, ONE, NOW + 1), cut_short=frozenset({Attempt.SYNC})), None, Why.BACKING_OFF,
         NOW + 1),
    # together: cheap first
    Case("code and data changed", up(replace(CODE, data=DATA2)), Attach(DATA2)),
    Case("everything changed", up(ALL), Attach(DATA2)),
    Case("everything changed, data attached", up(ALL, served=replace(SERVED, data=DATA2)), Apply(LARGE)),
    Case("everything changed, only the build is left",
         up(ALL, served=replace(SERVED, data=DATA2, resources=LARGE)), Build(ALL)),
    Case("data changed while building", up(ALL, building="e2"), Attach(DATA2)),
    # change during build
    Case("building", up(REQS, building="e2"), None, Why.BUILDING),
    Case("code changed while building: the build goes on", up(replace(REQS, source=CODE1), building="e2"), None,
         Why.BUILDING),
    Case("requirement changed again while building", up(JLAB, building="e2"), CancelBuild("e2")),
    Case("requirement changed back while building", up(ONE, building="e2"), CancelBuild("e2")),
    Case("directory vanished while building: the build goes on", up(REQS, problem="gone", building="e2"), None,
         Why.PROBLEM),
    Case("a file is being written while building: the build continues", up(REQS, saving=("a",), building="e2"), None,
         Why.BUILDING),
    Case("a file is being written, and the build is out of date", up(JLAB, saving=("a",), building="e2"),
         CancelBuild("e2"), Why.SAVING),
    Case("a save in progress while building: the build continues",
         up(JLAB, saving=("a",), building="e2", first=NOW - 0.1, last=NOW), None, Why.SETTLING, NOW + 0.4),
    Case("paused while building", up(REQS, paused=True, building="e2"), CancelBuild("e2"), Why.PAUSED),
    # change during swap: a swap is one step, so the change is met by the next look
    Case("code changed during the swap", up(replace(REQS, source=CODE1), built=BUILT,
                                            served=Served(CODE2, "e2", "server-1", DATA1, SMALL)),
         Sync(replace(REQS, source=CODE1))),
    Case("requirement changed during the swap",
         up(JLAB, served=Served(CODE2, "e2", "server-1", DATA1, SMALL)), Build(JLAB)),
    # failed build, then fixed
    Case("build failed: the old one goes on serving", up(REQS, failures=failed(Attempt.BUILD, REQS)), None, Why.FAILED),
    Case("build failed, code changed: nothing to try", up(replace(REQS, source=CODE1),
                                                          failures=failed(Attempt.BUILD, REQS)), None, Why.FAILED),
    Case("build failed, data changed", up(replace(REQS, data=DATA2), failures=failed(Attempt.BUILD, REQS)),
         Attach(DATA2)),
    Case("build failed for want of a network: retried later", up(REQS, failures=failed(Attempt.BUILD, REQS, NOW + 3)),
         None, Why.BACKING_OFF, NOW + 3),
    Case("build failed for want of a network: retry due", up(REQS, failures=failed(Attempt.BUILD, REQS, NOW)),
         Build(REQS)),
    Case("build failed, then fixed", up(JLAB, failures=failed(Attempt.BUILD, REQS)), Build(JLAB)),
    Case("build failed, then taken back", up(CODE, failures=failed(Attempt.BUILD, REQS)), Sync(CODE)),
    Case("build cancelled by the person", up(REQS, failures=failed(Attempt.BUILD, REQS), building="e2"), None,
         Why.FAILED),
    # failed host
    Case("new host did not come up: backing off",
         up(JLAB, built=BUILT, failures=failed(Attempt.HOST, JLAB, NOW + 2)), None, Why.BACKING_OFF, NOW + 2),
    Case("new host did not come up: retry due", up(JLAB, built=BUILT, failures=failed(Attempt.HOST, JLAB, NOW)),
         Swap(JLAB, ENV3, False)),
    Case("host ended", ended(built=BUILT), Start(ONE, ENV1)),
    Case("host ended again: backing off", ended(built=BUILT, failures=failed(Attempt.HOST, ONE, NOW + 4)), None,
         Why.BACKING_OFF, NOW + 4),
    Case("host ended again, then the code changed",
         ended(CODE, built=BUILT, failures=failed(Attempt.HOST, ONE, NOW + 4)), Start(CODE, ENV1)),
    Case("host ended while the new environment is being built: the old one comes back",
         ended(REQS, built=(ENV1,), building="e2"), Start(ONE, ENV1)),
    Case("host ended, the build had failed: the old one comes back",
         ended(REQS, built=(ENV1,), failures=failed(Attempt.BUILD, REQS)), Start(ONE, ENV1), Why.FAILED),
    Case("host ended and its environment is gone", ended(), Build(ONE)),
    Case("host ended, the directory is missing", ended(problem="gone", built=BUILT), Start(ONE, ENV1), Why.PROBLEM),
    Case("host does not answer", up(CODE, host=HostFact.SILENT), None, Why.SILENT),
    Case("host never answers", up(CODE, host=HostFact.LOST), Stop(), Why.SILENT),
    Case("host never answers, its start failed", up(host=HostFact.LOST, failures=failed(Attempt.HOST, ONE, NOW + 1)),
         None, Why.BACKING_OFF),
    Case("host does not answer, the person says now", up(host=HostFact.SILENT, now_please=True), Stop(), Why.SILENT),
    Case("host does not answer and could not be stopped",
         up(host=HostFact.SILENT, now_please=True, failures=failed(Attempt.HOST, ONE, NOW + 1)), None, Why.BACKING_OFF,
         NOW + 1),
    Case("host does not answer and could not be stopped, retry due",
         up(host=HostFact.SILENT, now_please=True, failures=failed(Attempt.HOST, ONE, NOW - 1)), Stop(), Why.SILENT),
    Case("a swap that was begun waits for an open document: nothing is taken back under the tab",
         up(REQS, built=BUILT, failures=waiting(Attempt.HOST, REQS, NOW + 1), cut_short=frozenset({Attempt.SYNC})),
         None, Why.OPEN, NOW + 1),
    Case("sync failed", up(CODE, failures=failed(Attempt.SYNC, CODE, NOW + 1)), None, Why.BACKING_OFF, NOW + 1),
    Case("sync waits for an open document", up(CODE, failures=waiting(Attempt.SYNC, CODE, NOW + 1)), None, Why.OPEN,
         NOW + 1),
    Case("sync has waited long enough", up(CODE, failures=waiting(Attempt.SYNC, CODE, NOW - 1)), Sync(CODE)),
    Case("attach failed: code is still synced",
         up(replace(CODE, data=DATA2), failures=failed(Attempt.ATTACH, DATA, NOW + 1)),
         Sync(replace(CODE, data=DATA2)), Why.BACKING_OFF, NOW + 1),
    Case("resources refused: data is still attached, and it is said",
         up(MORE, failures=failed(Attempt.APPLY, MORE)), None, Why.FAILED),
    # paused
    Case("paused, nothing changed", up(paused=True), None, Why.PAUSED),
    Case("paused, code changed", up(CODE, paused=True), None, Why.PAUSED),
    Case("paused, resources changed: those are no content", up(MORE, paused=True), Apply(LARGE), Why.PAUSED),
    Case("paused, host ended", ended(CODE, built=BUILT, paused=True), Start(ONE, ENV1), Why.PAUSED),
    Case("paused before the first start", down(ONE, paused=True), None, Why.PAUSED),
    # pinned by rollback
    Case("rolled back", up(CODE, pinned=ONE), None, Why.PINNED),
    Case("rollback to older code", up(ONE, pinned=CODE), Sync(CODE), Why.PINNED),
    Case("rollback to an older environment, built", up(ONE, pinned=REQS, built=BUILT), Swap(REQS, ENV2, True),
         Why.PINNED),
    Case("rollback to an older environment, collected", up(ONE, pinned=REQS), Build(REQS), Why.PINNED),
    Case("rolled back, host ended", ended(CODE, pinned=ONE, built=BUILT), Start(ONE, ENV1), Why.PINNED),
    Case("rollback while building", up(REQS, pinned=ONE, building="e2"), CancelBuild("e2"), Why.PINNED),
    # mass-change guard
    Case("most files are gone", up(CODE, guard="lost 20 of 30 files"), None, Why.MASS_CHANGE),
    Case("most files are gone, and the person means it", up(CODE, guard="lost", accepted=True), Sync(CODE)),
    Case("directory vanished", up(ONE, problem="x does not exist"), None, Why.PROBLEM),
    Case("a file of the save is still being written", up(CODE, saving=("a.ipynb",), first=NOW - 0.1, last=NOW), None,
         Why.SETTLING, NOW + 0.4),
    Case("a file takes long to be written: the others do not wait",
         up(CODE, saving=("a.ipynb",), first=NOW - 0.5, last=NOW), Sync(CODE), Why.SAVING),
    Case("a file is being written since before the daemon started", up(CODE, saving=("a.csv",)), Sync(CODE),
         Why.SAVING),
    Case("a file is being written, and all else is served", up(ONE, saving=("a.csv",)), None, Why.SAVING),
    Case("a file is being written at the first start", down(ONE, saving=("a.csv",), built=BUILT), Start(ONE, ENV1),
         Why.SAVING),
    Case("git is at work", up(CODE, git_busy=True, **FRESH), None, Why.SETTLING, NOW - 0.05 + 2.0),
    Case("git stopped half-way long ago", up(CODE, git_busy=True, first=NOW - 60, last=NOW - 50), Sync(CODE)),
    # one directory is held: the other is deployed as usual
    Case("most data is gone: code is synced", up(BOTH, data_guard="lost"), Sync(CODE), Why.MASS_CHANGE),
    Case("most data is gone: code is synced although its save is fresh", up(BOTH, data_guard="lost", **FRESH),
         Sync(CODE), Why.MASS_CHANGE),
    Case("most data is gone, code is live", up(DATA, data_guard="lost"), None, Why.MASS_CHANGE),
    Case("most data is gone, and the person means it", up(DATA, data_guard="lost", data_accepted=True), Attach(DATA2)),
    Case("most data is gone: a requirement is built", up(replace(REQS, data=DATA2), data_guard="lost"), Build(REQS),
         Why.MASS_CHANGE),
    Case("most data is gone: the build that goes on is what is waited for",
         up(replace(REQS, data=DATA2), data_guard="lost", building="e2"), None, Why.BUILDING),
    Case("most data is gone: a build that nobody wants any more is cancelled",
         up(replace(JLAB, data=DATA2), data_guard="lost", building="e2"), CancelBuild("e2"), Why.MASS_CHANGE),
    Case("most data is gone: the new environment is taken into use",
         up(replace(REQS, data=DATA2), data_guard="lost", built=BUILT), Swap(REQS, ENV2, True), Why.MASS_CHANGE),
    Case("most data is gone, and the build fails: that is said",
         up(replace(REQS, data=DATA2), data_guard="lost", failures=failed(Attempt.BUILD, REQS)), None, Why.FAILED),
    Case("most data is gone: limits are changed", up(replace(DATA, resources=LARGE), data_guard="lost"), Apply(LARGE),
         Why.MASS_CHANGE),
    Case("most data is gone, and the host has ended: it comes back with the new code and the old data",
         ended(BOTH, built=BUILT, data_guard="lost"), Start(CODE, ENV1), Why.MASS_CHANGE),
    Case("the data cannot be read: code is synced", up(CODE, data_problem="not readable"), Sync(CODE), Why.PROBLEM),
    Case("the data is not read yet: code is synced", up(CODE, data_reading=True), Sync(CODE), Why.SCANNING),
    Case("the source is not read yet: data is attached", up(DATA, reading=True), Attach(DATA2), Why.SCANNING),
    Case("data of this save is still being written: code is synced",
         up(BOTH, data_saving=("x.csv",), data_first=NOW - 0.1, data_last=NOW), Sync(CODE), Why.SETTLING, NOW + 0.4),
    Case("data of this save is still being written, code is live",
         up(DATA, data_saving=("x.csv",), data_first=NOW - 0.1, data_last=NOW), None, Why.SETTLING, NOW + 0.4),
    Case("data takes long to be written: the rest of it is attached", up(BOTH, data_saving=("x.csv",)), Attach(DATA2),
         Why.SAVING),
    Case("data takes long to be written, and all else is served", up(ONE, data_saving=("x.csv",)), None, Why.SAVING),
    Case("git is at work in the data: code is synced",
         up(BOTH, data_git_busy=True, data_first=NOW - 0.1, data_last=NOW - 0.05), Sync(CODE), Why.SETTLING,
         NOW - 0.05 + 2.0),
    Case("most code is gone: data is attached", up(BOTH, guard="lost"), Attach(DATA2), Why.MASS_CHANGE),
    Case("most code is gone, and a requirement with it: nothing is built", up(REQS, guard="lost"), None,
         Why.MASS_CHANGE),
    Case("the source cannot be read: data is attached", up(DATA, problem="gone"), Attach(DATA2), Why.PROBLEM),
    Case("code of this save is still being written: data is attached",
         up(BOTH, saving=("a.py",), first=NOW - 0.1, last=NOW), Attach(DATA2), Why.SETTLING, NOW + 0.4),
    Case("both are held", up(BOTH, guard="lost", data_problem="gone"), None, Why.MASS_CHANGE),
    Case("a stream of data does not keep a requirement from settling",
         up(replace(REQS, data=DATA2), data_first=NOW - 0.1, data_last=NOW - 0.01,
            failures=failed(Attempt.ATTACH, DATA)), Build(replace(REQS, data=DATA2)), Why.FAILED),
    Case("first start, the data cannot be read: nothing is started without it", down(data_problem="gone"), None,
         Why.PROBLEM),
    Case("first start, data is still being written", down(data_saving=("x",)), Build(ONE), Why.SAVING),
    Case("first start while a save is in progress",
         down(data_saving=("x",), data_first=NOW - 0.1, data_last=NOW, building="e1"), None, Why.SETTLING, NOW + 0.4),
    Case("rolled back, and the data cannot be read", up(ONE, pinned=CODE, data_problem="gone"), Sync(CODE),
         Why.PROBLEM),
    # busy kernels
    Case("swap waits for a busy kernel", up(JLAB, built=BUILT, busy=1), None, Why.BUSY, NOW + 600),
    Case("swap waited long enough", up(JLAB, built=BUILT, busy=1, waiting_since=NOW - 600), Swap(JLAB, ENV3, False)),
    Case("swap waits without limit", up(JLAB, built=BUILT, busy=1, waiting_since=NOW - 900, when_idle=True), None,
         Why.BUSY),
    Case("swap that waits without limit, no kernel is busy", up(JLAB, built=BUILT, when_idle=True),
         Swap(JLAB, ENV3, False)),
    Case("swap waits on from when it began", up(JLAB, built=BUILT, busy=2, waiting_since=NOW - 500), None, Why.BUSY,
         NOW + 100),
    Case("swap now", up(JLAB, built=BUILT, busy=1, now_please=True), Swap(JLAB, ENV3, False)),
    Case("swap that keeps kernels does not wait", up(REQS, built=BUILT, busy=3), Swap(REQS, ENV2, True)),
    Case("sync does not wait", up(CODE, busy=3), Sync(CODE)),
    # data whose arrival restarts the host, and a host elsewhere that takes no code
    Case("data restarts the host", up(DATA, data_restarts=True), Attach(DATA2, restarts=True)),
    Case("data that restarts the host waits for a busy kernel", up(DATA, data_restarts=True, busy=1),
         None, Why.BUSY, NOW + 600),
    Case("data that restarts the host waited long enough",
         up(DATA, data_restarts=True, busy=1, waiting_since=NOW - 600), Attach(DATA2, restarts=True)),
    Case("data that restarts the host, now", up(DATA, data_restarts=True, busy=1, now_please=True),
         Attach(DATA2, restarts=True)),
    Case("code is synced while data waits", up(BOTH, data_restarts=True, busy=1), Sync(BOTH), Why.BUSY, NOW + 600),
    Case("a host that takes no code is renewed", up(CODE, built=BUILT, refused=refused(Attempt.SYNC, CODE)),
         Renew(CODE, ENV1)),
    Case("a host that takes no code, and a kernel is busy",
         up(CODE, built=BUILT, busy=1, refused=refused(Attempt.SYNC, CODE)), None, Why.BUSY, NOW + 600),
    Case("a host that took no code, and other code now", up(BOTH, refused=refused(Attempt.SYNC, CODE)),
         Attach(DATA2)),
    # what the running host cannot be given: a new one of the same environment
    Case("new limits take a new host", up(MORE, built=BUILT, refused=refused(Attempt.APPLY, MORE)), Renew(MORE, ENV1)),
    Case("new limits take a new host, and a kernel is busy",
         up(MORE, built=BUILT, busy=1, refused=refused(Attempt.APPLY, MORE)), None, Why.BUSY, NOW + 600),
    Case("new limits take a new host, waited long enough",
         up(MORE, built=BUILT, busy=1, waiting_since=NOW - 600, refused=refused(Attempt.APPLY, MORE)),
         Renew(MORE, ENV1)),
    Case("new limits take a new host, now",
         up(MORE, built=BUILT, busy=1, now_please=True, refused=refused(Attempt.APPLY, MORE)), Renew(MORE, ENV1)),
    Case("other limits than those that were refused", up(MORE, built=BUILT, refused=refused(Attempt.APPLY, ONE)),
         Apply(LARGE)),
    Case("limits that were refused and taken back", up(built=BUILT, refused=refused(Attempt.APPLY, MORE))),
    Case("other data takes a new host", up(DATA, built=BUILT, refused=refused(Attempt.ATTACH, DATA)),
         Renew(DATA, ENV1)),
    Case("other data takes a new host, and a kernel is busy: the limits are changed meanwhile",
         up(replace(DATA, resources=LARGE), built=BUILT, busy=1, refused=refused(Attempt.ATTACH, DATA)), Apply(LARGE)),
    Case("other data takes a new host, and a kernel is busy: code is synced meanwhile",
         up(replace(DATA, source=CODE2), built=BUILT, busy=1, refused=refused(Attempt.ATTACH, DATA)),
         Sync(replace(DATA, source=CODE2))),
    Case("data and limits take one new host",
         up(replace(DATA, resources=LARGE), built=BUILT,
            refused=refused(Attempt.ATTACH, DATA) | refused(Attempt.APPLY, MORE)),
         Renew(replace(DATA, resources=LARGE), ENV1)),
    Case("new limits take a new host, and another environment is being built: one swap for both",
         up(replace(JLAB, resources=LARGE), building="e3", refused=refused(Attempt.APPLY, MORE)), None, Why.BUILDING),
    Case("new limits take a new host, and another environment is there: one swap for both",
         up(replace(JLAB, resources=LARGE), built=BUILT, refused=refused(Attempt.APPLY, MORE)),
         Swap(replace(JLAB, resources=LARGE), ENV3, False)),
    Case("new limits take a new host, and another environment does not build",
         up(replace(JLAB, resources=LARGE), built=BUILT[:1], failures=failed(Attempt.BUILD, JLAB),
            refused=refused(Attempt.APPLY, MORE)),
         Renew(MORE, ENV1), Why.FAILED),
    Case("new limits take a new host, and its image is gone: it is built again",
         up(MORE, refused=refused(Attempt.APPLY, MORE)), Build(MORE)),
    Case("a new host with the new limits did not come up: the old one serves",
         up(MORE, built=BUILT, failures=failed(Attempt.HOST, MORE), refused=refused(Attempt.APPLY, MORE)), None,
         Why.FAILED),
    Case("a host with the new limits cannot be, and the old one has ended: it comes back with its own",
         ended(MORE, built=BUILT, failures=failed(Attempt.HOST, MORE)), Start(ONE, ENV1), Why.FAILED),
    # the environment that kernels start from is damaged
    Case("damaged: it is built again", up(damage=GONE), Build(ONE)),
    Case("damaged, being built again", up(damage=GONE, building="e1"), None, Why.BUILDING),
    Case("damaged, and what was saved is synced first", up(CODE, damage=GONE), Sync(CODE)),
    Case("damaged, and new data comes first", up(DATA, damage=GONE), Attach(DATA2)),
    Case("damaged, but there again: the server needs another host", up(damage=GONE, built=BUILT), Renew(ONE, ENV1)),
    Case("damaged, there again, a kernel is busy", up(damage=GONE, built=BUILT, busy=1), None, Why.BUSY, NOW + 600),
    Case("damaged, and it does not build", up(damage=GONE, failures=failed(Attempt.BUILD, ONE)), None, Why.FAILED),
    Case("damaged, not built, retry due", up(damage=GONE, failures=failed(Attempt.BUILD, ONE, NOW - 1)), Build(ONE)),
    Case("damaged, another one is wanted: that replaces it", up(REQS, damage=GONE), Build(REQS)),
    Case("damaged, another one is wanted and there", up(REQS, damage=GONE, built=(ENV2,)), Swap(REQS, ENV2, True)),
    Case("damaged, another one is wanted and does not build",
         up(REQS, damage=GONE, failures=failed(Attempt.BUILD, REQS)), Build(ONE), Why.FAILED),
    Case("damaged, being built again when another one is wanted: one after the other",
         up(REQS, damage=GONE, building="e1"), None, Why.BUILDING),
    Case("damaged while paused", up(REQS, damage=GONE, paused=True), Build(ONE), Why.PAUSED),
    Case("damaged while pinned", up(REQS, damage=GONE, pinned=ONE), Build(ONE), Why.PINNED),
    Case("damaged, pinned to another environment, which is there",
         up(damage=GONE, pinned=REQS, built=(ENV2,)), Swap(REQS, ENV2, True), Why.PINNED),
    Case("damaged while files are gone", up(CODE, damage=GONE, guard="3 of 4 files are gone"), Build(ONE),
         Why.MASS_CHANGE),
    Case("damaged before the first scan", up(None, damage=GONE), Build(ONE), Why.SCANNING),
    Case("damaged, and the host does not answer", up(damage=GONE, host=HostFact.SILENT), None, Why.SILENT),
    # removed from the configuration
    Case("removed", up(removed=True), Stop(), Why.REMOVED),
    Case("removed while building", up(REQS, removed=True, building="e2"), CancelBuild("e2"), Why.REMOVED),
    Case("removed and stopped", down(removed=True), None, Why.REMOVED),
    # stopped by a person
    Case("stopped", up(stopped="stopped by you"), Stop(), Why.STOPPED),
    Case("stopped, and the host is gone", off(stopped="stopped by you"), None,
         Why.STOPPED),
    Case("stopped, and code was saved meanwhile",
         off(CODE, stopped="stopped by you"), None, Why.STOPPED),
    Case("stopped, and requirements were saved meanwhile: nothing is built",
         off(REQS, built=(), stopped="stopped by you"), None, Why.STOPPED),
    Case("stopped while building", up(REQS, building="e2", stopped="stopped by you"), CancelBuild("e2"), Why.STOPPED),
    Case("stopped before the first start", down(building="e1", stopped="stopped by you"), CancelBuild("e1"),
         Why.STOPPED),
    Case("stopped while the directory is missing", up(problem="gone", stopped="stopped by you"), Stop(), Why.STOPPED),
    Case("stopped while a kernel is busy: the person was asked", up(busy=1, stopped="stopped by you"), Stop(),
         Why.STOPPED),
    Case("stopped, and the host does not answer", up(host=HostFact.SILENT, stopped="stopped by you"), Stop(),
         Why.STOPPED),
    Case("stopped while paused", up(paused=True, stopped="stopped by you"), Stop(), Why.STOPPED),
    Case("stopped, and its host ended by itself", ended(built=BUILT, stopped="stopped by you"), None, Why.STOPPED),
    Case("stopped, and then removed", up(stopped="stopped by you", removed=True), Stop(), Why.REMOVED),
    Case("stopped while the daemon stops: after its next start", up(stopped="stopped by you", draining=True), None,
         Why.DRAINING),
    Case("started again", off(CODE), Start(CODE, ENV1)),
    # restarted by a person
    Case("restart", up(restart=True, built=BUILT), Stop()),
    Case("restart, and the host is gone", off(restart=True), Start(ONE, ENV1)),
    Case("restart a host that does not answer", up(host=HostFact.SILENT, restart=True), Stop()),
    Case("restart while another environment is built: the build continues", up(REQS, restart=True, building="e2"),
         Stop()),
    Case("restart while paused", up(CODE, restart=True, paused=True, built=BUILT), Stop(), Why.PAUSED),
    # the daemon stops
    Case("draining", up(CODE, draining=True), None, Why.DRAINING),
    Case("draining, host ended", ended(built=BUILT, draining=True), None, Why.DRAINING),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_plan(case: Case) -> None:
    found = plan(case.look)
    assert found.step == case.step
    assert (found.hold.why if found.hold else None) == case.hold
    if case.until is not None:
        assert found.hold is not None
        assert found.hold.until == pytest.approx(case.until)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_busy_kernels_are_announced_before_a_step_of_kaosds_own_stops_them(case: Case) -> None:
    look = replace(case.look, busy=1, waiting_since=None, now_please=False, restart=False, stopped="")
    step = plan(look).step
    assert not ends_kernels(step)
    assert not (isinstance(step, Stop) and not look.removed and look.host is HostFact.RUNNING)


def test_case_names_are_unique() -> None:
    assert len({case.name for case in CASES}) == len(CASES)


def apply(look: Look, step: Step) -> Look:
    """The world after a step went well."""
    served, disk = look.served, look.disk
    match step:
        case Build(target):
            environment = Environment(target.environment, "", f"server-of-{target.environment}")
            again = look.served is not None and look.served.environment == target.environment
            return replace(look, built=(*look.built, environment), damage="" if again else look.damage)
        case CancelBuild():
            return replace(look, building=None)
        case Start(target, environment):
            content = (target.source, target.environment, environment.server, target.data, target.resources)
            return replace(look, served=Served(*content), host=HostFact.RUNNING)
        case Swap(target, environment):
            assert served is not None
            now = replace(served, source=target.source, environment=target.environment, server=environment.server)
            return replace(look, served=now, disk=disk, cut_short=look.cut_short - {Attempt.SYNC}, damage="")
        case Renew(target):
            assert served is not None
            now = replace(served, data=target.data, resources=target.resources)
            return replace(look, served=now, refused=frozenset(), damage="")
        case Sync(target):
            assert served is not None
            now = replace(served, source=target.source)
            return replace(look, served=now, cut_short=look.cut_short - {Attempt.SYNC})
        case Attach(data):
            assert served is not None
            return replace(look, served=replace(served, data=data), cut_short=look.cut_short - {Attempt.ATTACH})
        case Apply(resources):
            assert served is not None
            now = replace(served, resources=resources)
            return replace(look, served=now, cut_short=look.cut_short - {Attempt.APPLY})
        case Stop():
            return replace(look, host=HostFact.NONE, restart=False)


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_case_comes_to_rest(case: Case) -> None:
    """With every step going well, all cases end after a few steps: served, or held for a reason."""
    look, steps = case.look, 0
    found: Plan = plan(look)
    while found.step is not None:
        steps += 1
        assert steps < 10, found
        look = apply(look, found.step)
        found = plan(look)
    if found.hold is None:
        assert look.served is not None
        assert look.served.target == look.disk.target


def at_rest(found: DirectoryState) -> DirectoryState:
    """A directory without events."""
    return replace(found, first=None, last=None)


def test_both_holds_are_told() -> None:
    found = plan(up(BOTH, guard="code is gone", data_problem="data is unreadable"))
    assert [found.hold, found.source, found.data] == [
        Hold(Why.MASS_CHANGE, "code is gone"),
        Hold(Why.MASS_CHANGE, "code is gone"),
        Hold(Why.PROBLEM, "data is unreadable"),
    ]
    assert found.target == ONE


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_restarted_daemon_goes_on(case: Case) -> None:
    """After a restart there are no failures, no build in flight and no events: the same target is aimed at.

    (What was paused, pinned or removed is remembered; a wait for busy kernels begins anew.)
    """
    look = replace(
        case.look,
        failures=(),
        building=None,
        waiting_since=None,
        now_please=False,
        draining=False,
        disk=Disk(case.look.disk.target, *map(at_rest, (case.look.disk.source, case.look.disk.data))),
        built=BUILT,
    )
    found = plan(look)
    served = look.served.target if look.served else None
    aim = look.pinned or look.disk.target
    fine = found.step is not None or found.hold is not None or served == aim
    assert fine, found
    if found.hold is not None and found.step is None:
        assert found.hold.why not in (Why.BUILDING, Why.FAILED, Why.BACKING_OFF, Why.SETTLING, Why.DRAINING)


def test_a_host_that_cannot_be_ended_is_asked_again_after_a_while() -> None:
    gone = FailedAttempt(Attempt.HOST, STOPPING, "pachd cannot be reached", NOW + 5)
    look = replace(up(), removed=True, failures=(gone,))
    held = plan(look)
    assert held.step is None
    assert held.hold == Hold(Why.REMOVED, "pachd cannot be reached", NOW + 5)
    assert plan(replace(look, now=NOW + 5)).step == Stop()
    assert plan(replace(look, host=HostFact.NONE)).step is None


@pytest.mark.parametrize("wish", [{"stopped": "stopped by you"}, {"restart": True}])
def test_a_host_that_cannot_be_stopped_is_said_to_fail_and_tried_again(wish: dict[str, object]) -> None:
    gone = FailedAttempt(Attempt.HOST, STOPPING, "docker cannot be reached", NOW + 5, tries=2)
    look = replace(up(), failures=(gone,), **wish)
    held = plan(look)
    assert held.step is None
    assert held.hold == Hold(Why.BACKING_OFF, "docker cannot be reached", NOW + 5, 2)
    assert plan(replace(look, now=NOW + 5)).step == Stop()


def test_settle_times_are_those_of_the_look() -> None:
    look = up(REQS, first=NOW - 0.1, last=NOW - 0.1, settle=Settle(quiet=0.05))
    assert plan(look).step == Build(REQS)


@pytest.mark.parametrize(("one", "last", "step"), [(True, 0.04, Build(REQS)), (True, 0.03, None), (False, 0.04, None)])
def test_a_build_waits_for_a_part_of_the_quiet_time_when_one_file_was_saved_and_is_whole(one, last, step) -> None:
    found = plan(up(REQS, first=NOW - last, last=NOW - last, one=one))
    assert found.step == step
    assert (found.hold is None) == (step is not None)

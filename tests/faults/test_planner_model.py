"""Every state that the planner can be brought to by saves, kills and failures in a small world, one by one.

The world has three targets. A step consists of parts, as in kaosd/notebook/steps.py: what it writes down first, what
it changes (which is mixed in between), what it writes down at the end. After each part the daemon may be killed, or
the step may fail. From every state that is reachable so, the real `plan` is asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from kaosd.model import Environment, Resources, Version
from kaosd.planner import (
    Apply,
    Attach,
    Attempt,
    Build,
    CancelBuild,
    DirectoryState,
    Disk,
    FailedAttempt,
    HostFact,
    Look,
    Plan,
    Renew,
    Served,
    Start,
    Step,
    Stop,
    Swap,
    Sync,
    Target,
    Why,
    about,
    plan,
)  # fmt: skip

SERVERS = {"e1": "server-1", "e2": "server-1", "e3": "server-2"}
SMALL, LARGE = Resources(1.0), Resources(2.0)
DATA = Version("d", "1" * 64), Version("d", "2" * 64)
TARGETS = (
    Target(Version("s", "1" * 64), "e1", DATA[0], SMALL),
    Target(Version("s", "2" * 64), "e1", DATA[1], SMALL),
    Target(Version("s", "1" * 64), "e1", DATA[0], LARGE),
    Target(Version("s", "3" * 64), "e2", DATA[0], SMALL),
    Target(Version("s", "4" * 64), "e3", DATA[0], SMALL),
)
STIFF = ("limits by a new host", "limits by a new host, and the server's packages")
PAIRS = {
    "code and data": (0, 1), "code, data and limits": (1, 2), "packages": (0, 3), "the server's packages": (0, 4),
    "two environments": (3, 4), "limits and packages": (2, 3),
    STIFF[0]: (1, 2), STIFF[1]: (2, 4),
}  # fmt: skip
MIXED = "mixed"
AT_ONCE = 1  # failures that are remembered at the same time
LATER, NEVER = "later", "never"
ATTEMPTS: dict[type[Any], Attempt] = {
    Build: Attempt.BUILD, Sync: Attempt.SYNC, Attach: Attempt.ATTACH, Apply: Attempt.APPLY, Start: Attempt.HOST,
    Swap: Attempt.HOST, Renew: Attempt.HOST, Stop: Attempt.HOST,
}  # fmt: skip


@dataclass(frozen=True)
class World:
    """disk: the target on disk. code, data, limits, host: what is true of the host (host: its environment).

    served, begun: what the journal says. failures: kind, key, and whether time heals it.
    stiff: only a new host can have other limits; refused: which the present one could not be given.
    """

    disk: Target = TARGETS[0]
    code: object = None
    data: object = None
    limits: object = None
    host: str | None = None
    served: Served | None = None
    begun: frozenset[Attempt] = frozenset()
    built: frozenset[str] = frozenset()
    building: str | None = None
    failures: tuple[tuple[Attempt, object, str], ...] = ()
    paused: bool = False
    stiff: bool = False
    refused: frozenset[tuple[Attempt, object]] = frozenset()

    def look(self) -> Look:
        return Look(
            now=100.0,
            disk=Disk(self.disk),
            served=self.served,
            host=HostFact.NONE if self.host is None else HostFact.RUNNING,
            built=tuple(environment(digest) for digest in sorted(self.built)),
            building=self.building,
            failures=tuple(
                FailedAttempt(a, key, "no", 101.0 if when == LATER else None) for a, key, when in self.failures
            ),
            paused=self.paused,
            cut_short=self.begun,
            refused=self.refused,
        )

    def is_true(self, target: Target) -> bool:
        found = (self.code, self.data, self.limits, self.host)
        return found == (target.source, target.data, target.resources, target.environment)

    @property
    def is_whole(self) -> bool:
        return self.served is None or self.host is None or self.is_true(self.served.target)


@cache
def environment(digest: str) -> Environment:
    return Environment(digest, "", SERVERS[digest])


def parts(world: World, step: Step) -> list[World]:
    """The world after each part of a step; the last one is its end."""
    served = world.served
    match step:
        case Build(target):
            return [replace(world, building=target.environment)]
        case CancelBuild():
            return [replace(world, building=None)]
        case Stop():
            return [replace(world, host=None, refused=frozenset())]
        case Attach(data):
            assert served is not None
            return _changed(world, Attempt.ATTACH, "data", data, replace(served, data=data))
        case Apply(resources) if world.stiff:
            begun = replace(world, begun=world.begun | {Attempt.APPLY})
            refused = world.refused | {(Attempt.APPLY, resources)}
            return [begun, replace(world, begun=world.begun - {Attempt.APPLY}, refused=refused)]
        case Apply(resources):
            assert served is not None
            return _changed(world, Attempt.APPLY, "limits", resources, replace(served, resources=resources))
        case Sync(target):
            assert served is not None
            return _changed(world, Attempt.SYNC, "code", target.source, replace(served, source=target.source))
        case Start(target, made):
            attached = [replace(world, data=MIXED), replace(world, data=target.data)]
            synced = _synced(attached[-1], target)
            up = replace(synced[-1], host=target.environment, limits=target.resources)
            now = Served(target.source, made.digest, made.server, target.data, target.resources)
            return [*attached, *synced, replace(up, served=now, begun=frozenset(), refused=frozenset())]
        case Swap(target, made, keeps):
            assert served is not None
            now = replace(served, source=target.source, environment=made.digest, server=made.server)
            if keeps:
                switched = replace(world, host=made.digest)
                synced = _synced(seen(switched), target)
                left = synced[-1].begun - {Attempt.SYNC}
                return [switched, *synced, replace(synced[-1], served=now, begun=left, refused=frozenset())]
            return _beside(world, target, replace(now, resources=target.resources))
        case Renew(target):
            assert served is not None
            return _beside(world, target, replace(served, resources=target.resources))


def _beside(world: World, target: Target, now: Served) -> list[World]:
    synced = _synced(world, target)  # the new server is nobody's until it is written down
    left = synced[-1].begun - {Attempt.SYNC, Attempt.APPLY}
    end = replace(synced[-1], host=now.environment, limits=target.resources, served=now, begun=left)
    return [*synced, replace(end, refused=frozenset())]


def _changed(world: World, attempt: Attempt, field: str, value: object, served: Served) -> list[World]:
    begun = replace(world, begun=world.begun | {attempt})
    changing: dict[str, Any] = {field: MIXED}
    changed: dict[str, Any] = {field: value}
    end = replace(begun, **changed)
    return [begun, replace(begun, **changing), end, replace(end, served=served, begun=end.begun - {attempt})]


def _synced(world: World, target: Target) -> list[World]:
    begun = replace(world, begun=world.begun | {Attempt.SYNC})
    return [begun, replace(begun, code=MIXED), replace(begun, code=target.source)]


def seen(world: World) -> World:
    """A switch is written down at once, and seen by the next daemon where that was not possible."""
    if world.host is None or world.served is None:
        return world
    return replace(world, served=replace(world.served, environment=world.host, server=SERVERS[world.host]))


def restarted(world: World) -> World:
    """After kill -9 and a start: failures and the build are gone."""
    return replace(seen(world), building=None, failures=(), refused=frozenset())


def failed(world: World, found: Plan, when: str) -> World:
    """After a step that failed, as the actor writes it down."""
    step = found.step
    assert step is not None
    target = getattr(step, "target", found.target)
    if type(step) not in ATTEMPTS or target is None:
        return world
    attempt = ATTEMPTS[type(step)]
    return with_failure(seen(world), attempt, about(attempt, target), when)


def with_failure(world: World, attempt: Attempt, key: object, when: str) -> World:
    same = [one for one in world.failures if one[0] is attempt and one[1] != key][-1:]
    others = [one for one in world.failures if one[0] is not attempt]
    failures = sorted((*others, *same, (attempt, key, when)), key=lambda one: one[0])  # their order decides nothing
    return replace(world, failures=tuple(failures))


def healed(world: World) -> World:
    """After a while."""
    return replace(world, failures=tuple(one for one in world.failures if one[2] != LATER))


def finished(world: World) -> World:
    """After the build in flight went well."""
    if world.building is None:
        return world
    return replace(world, building=None, built=world.built | {world.building})


def after(world: World) -> Iterator[World]:
    """All that can come next."""
    for target in TARGETS:
        yield replace(world, disk=target)
    yield restarted(world)
    yield healed(world)
    if world.host is not None and world.served is not None:
        gone = replace(world, host=None, refused=frozenset())
        yield with_failure(gone, Attempt.HOST, world.served.target, LATER)
    if world.building is not None:
        yield finished(world)
        yield with_failure(replace(world, building=None), Attempt.BUILD, world.building, NEVER)
    found = plan(world.look())
    if found.step is None:
        return
    *middle, end = parts(world, found.step)
    yield end
    for one in (world, *middle):
        yield restarted(one)
        yield failed(one, found, LATER)


def reachable(targets: tuple[Target, ...], stiff: bool) -> set[World]:
    """All states, from a notebook that was never served."""
    first = World(disk=targets[0], stiff=stiff)
    known, pending = {first}, [first]
    while pending:
        for found in after(pending.pop()):
            if found.disk in targets and len(found.failures) <= AT_ONCE and found not in known:
                known.add(found)
                pending.append(found)
    return known


@pytest.fixture(scope="module", params=PAIRS)
def states(request: pytest.FixtureRequest) -> set[World]:
    one, two = PAIRS[request.param]
    stiff = request.param in STIFF
    found = reachable((TARGETS[one], TARGETS[two]), stiff) | reachable((TARGETS[two], TARGETS[one]), stiff)
    assert len(found) > 100
    return found


def test_nothing_planned_and_nothing_held_means_that_the_content_on_disk_is_served(states: set[World]) -> None:
    at_rest = 0
    for world in states:
        found = plan(world.look())
        if found.step is None and found.hold is None:
            at_rest += 1
            assert world.is_true(world.disk), world
    assert at_rest


def test_who_holds_serves_something_whole_unless_the_mending_itself_has_failed(states: set[World]) -> None:
    for world in states:
        found = plan(world.look())
        if found.step is None and found.hold is not None and not world.is_whole:
            kinds = {attempt for attempt, _, _ in world.failures}
            assert kinds & {Attempt.SYNC, Attempt.ATTACH, Attempt.APPLY, Attempt.HOST}, (world, found)


def test_a_pause_never_leaves_something_half_done(states: set[World]) -> None:
    for world in states:
        now, steps = replace(world, paused=True, failures=()), 0
        while (found := plan(now.look())).step is not None:
            now, steps = parts(now, found.step)[-1], steps + 1
            assert steps < 10, (world, found)
        assert now.is_whole, (world, now)


def test_when_the_faults_end_all_comes_to_rest_with_the_content_on_disk(states: set[World]) -> None:
    for world in states:
        now, steps = replace(world, failures=()), 0
        while True:
            found = plan(now.look())
            if found.step is not None:
                now = parts(now, found.step)[-1]
            elif found.hold is not None and found.hold.why is Why.BUILDING:
                now = finished(now)
            else:
                break
            steps += 1
            assert steps < 20, (world, found)
        assert found.hold is None, (world, found)
        assert now.is_true(world.disk), (world, now)


def test_nothing_is_tried_again_and_again_without_a_pause(states: set[World]) -> None:
    """If everything fails, and no time passes, the planner comes to rest."""
    for world in states:
        now, tried = world, 0
        while (found := plan(now.look())).step is not None:
            now = failed(now, found, LATER) if type(found.step) in ATTEMPTS else parts(now, found.step)[-1]
            tried += 1
            assert tried < 10, (world, found)


def test_directories_that_cannot_be_read_take_nothing_down_and_leave_nothing_half_done(states: set[World]) -> None:
    """A disk that fails or is not mounted: what is served stays, is mended where a step was cut short, and is told."""
    for world in states:
        now, steps = replace(world, failures=()), 0
        while (
            found := plan(replace(now.look(), disk=Disk(None, DirectoryState(problem="unreadable"))))
        ).step is not None:
            now, steps = parts(now, found.step)[-1], steps + 1
            assert steps < 10, (world, found)
        assert found.hold is not None, (world, now)
        assert now.is_whole, (world, now)
        if world.served is not None and world.served.environment in world.built | {world.host}:
            assert now.host is not None, (world, now)


@pytest.mark.parametrize("held", ["source", "data"])
def test_a_directory_that_is_held_keeps_its_part_and_the_other_is_deployed(states: set[World], held: str) -> None:
    for world in states:
        if world.served is None:
            continue
        now, steps = replace(world, failures=()), 0
        while True:
            disk = replace(Disk(world.disk), **{held: DirectoryState(guard="most is gone")})
            found = plan(replace(now.look(), disk=disk))
            if found.step is not None:
                now = parts(now, found.step)[-1]
            elif found.hold is not None and found.hold.why is Why.BUILDING:
                now = finished(now)
            else:
                break
            steps += 1
            assert steps < 20, (world, found)
        assert found.hold is not None, (world, now)
        assert found.hold.why is Why.MASS_CHANGE, (world, found)
        kept = world.served.target
        wanted = replace(world.disk, **{held: getattr(kept, held)})
        wanted = replace(wanted, environment=kept.environment) if held == "source" else wanted
        assert now.is_true(wanted), (world, now)


def test_a_stop_leads_to_no_host_from_everywhere_and_a_start_to_the_content_on_disk(states: set[World]) -> None:
    for world in states:
        now, steps = replace(world, failures=()), 0
        while (found := plan(replace(now.look(), stopped="stopped by you"))).step is not None:
            assert isinstance(found.step, Stop | CancelBuild), (world, found)
            now, steps = parts(now, found.step)[-1], steps + 1
            assert steps < 4, (world, found)
        assert found.hold is not None
        assert found.hold.why is Why.STOPPED, (world, found)
        assert (now.host, now.building) == (None, None), (world, now)
        while (found := plan(now.look())).step is not None:
            now, steps = finished(parts(now, found.step)[-1]), steps + 1
            assert steps < 20, (world, found)
        assert now.is_true(world.disk), (world, now)


def test_a_restart_replaces_the_host_once_and_loses_nothing(states: set[World]) -> None:
    for world in states:
        if world.host is None:
            continue
        found = plan(replace(world.look(), restart=True))
        assert found.step == Stop(), (world, found)
        now, steps = replace(finished(parts(world, found.step)[-1]), failures=()), 0
        while (found := plan(now.look())).step is not None:
            now, steps = finished(parts(now, found.step)[-1]), steps + 1
            assert steps < 20, (world, found)
        assert now.is_true(world.disk), (world, now)


def test_a_host_that_does_not_answer_is_left_alone_and_told(states: set[World]) -> None:
    asked = 0
    for world in states:
        if world.host is not None:
            found = plan(replace(world.look(), host=HostFact.SILENT))
            assert found.step is None or isinstance(found.step, CancelBuild), (world, found)
            assert found.hold is not None or found.step is not None, (world, found)
            asked += 1
    assert asked

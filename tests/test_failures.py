"""What a notebook remembers of its failures: each on its own clock, none in the way of another."""

from __future__ import annotations

from dataclasses import replace

from kaosd.errors import KaosError
from kaosd.model import Resources, Version
from kaosd.notebook.failures import Failures
from kaosd.planner import Attempt, Target

NEW = Target(Version("s", "a" * 64), "e1", None, Resources())
OLD = replace(NEW, source=Version("s", "b" * 64), environment="e0")
LATER = KaosError("no room", retryable=True)
NEVER = KaosError("no such package", retryable=False)


def due(failures: Failures) -> dict[object, float | None]:
    return {failure.key: failure.retry_at for failure in failures.known}


def test_the_wait_doubles_up_to_its_cap_and_a_success_ends_it() -> None:
    failures = Failures(4.0, jitter=lambda: 1.0)
    waits = []
    for _ in range(5):
        failures.add(Attempt.SYNC, NEW, LATER, 100.0)
        waits.append(due(failures)[NEW])
    assert waits == [100.5, 101.0, 102.0, 104.0, 104.0]
    failures.succeeded(Attempt.SYNC)
    assert failures.known == ()
    failures.add(Attempt.SYNC, NEW, LATER, 100.0)
    assert due(failures) == {NEW: 100.5}


def test_what_serves_meanwhile_fails_on_its_own_clock() -> None:
    """Else the two would take turns without a pause: each failure would let the other one be tried at once."""
    failures = Failures(60.0, jitter=lambda: 1.0)
    failures.add(Attempt.HOST, NEW, LATER, 100.0)
    failures.add(Attempt.HOST, OLD, LATER, 100.0)
    assert due(failures) == {NEW: 100.5, OLD: 101.0}


def test_a_host_that_starts_and_ends_again_and_again_waits_longer_each_time() -> None:
    failures = Failures(60.0, jitter=lambda: 1.0)
    failures.add(Attempt.HOST, NEW, LATER, 100.0)
    failures.succeeded(Attempt.HOST)
    failures.add(Attempt.HOST, NEW, LATER, 100.0)
    assert due(failures) == {NEW: 101.0}
    failures.steady()
    failures.add(Attempt.HOST, NEW, LATER, 100.0)
    assert due(failures) == {NEW: 100.5}


def test_what_was_refused_for_good_stays_refused_when_another_one_serves() -> None:
    """Else the refused one would be tried again as soon as the one before it serves, and end it each time."""
    failures = Failures(60.0, jitter=lambda: 1.0)
    failures.add(Attempt.HOST, NEW, NEVER, 100.0)
    failures.add(Attempt.HOST, OLD, LATER, 100.0)
    failures.succeeded(Attempt.HOST, OLD)
    assert due(failures) == {NEW: None}
    failures.succeeded(Attempt.HOST, NEW)
    assert due(failures) == {}
    failures.add(Attempt.HOST, NEW, LATER, 100.0)
    failures.succeeded(Attempt.HOST, OLD)
    assert due(failures) == {}  # a further try is due anyhow


def test_failures_of_a_thousand_versions_are_not_kept() -> None:
    failures = Failures(60.0)
    for number in range(1000):
        failures.add(Attempt.SYNC, replace(NEW, environment=str(number)), LATER, 100.0)
    failures.add(Attempt.ATTACH, NEW, LATER, 100.0)
    assert len(failures.known) == 3


def test_a_cancelled_build_is_not_tried_again_until_a_person_says_so() -> None:
    failures = Failures(60.0)
    failures.cancelled("e1")
    assert due(failures) == {"e1": None}
    assert failures.text(Attempt.BUILD, "e1") == "the build was cancelled by you"
    assert failures.text(Attempt.BUILD, "e2") is None
    failures.add(Attempt.BUILD, OLD, NEVER, 100.0)
    assert due(failures) == {"e1": None, "e0": None}
    failures.clear()
    assert failures.known == ()

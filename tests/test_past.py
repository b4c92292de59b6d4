"""What of the past is kept, what is one line of it, and what can be rolled back to: tables without a clock."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaosd.journal import Journal, KnownVersion, Live
from kaosd.model import Deployment, Version
from kaosd.notebook.past import DAY, HOUR, Past, kept_versions, one_line

NOW = 1000 * DAY + 13.5 * HOUR  # half past one in the afternoon


def versions(*ats: float) -> list[KnownVersion]:
    """Versions that were deployed at these times, each with its time as digest."""
    return [KnownVersion("n", "source", Version("x", f"{at}"), 1, 1, at) for at in sorted(ats, reverse=True)]


def kept(ats: list[float], newest: int = 3, protected: tuple[float, ...] = (), now: float = NOW) -> list[float]:
    """The times of those that stay, newest first."""
    stay = kept_versions(versions(*ats), now, newest, {f"{at}" for at in protected})
    return [at for at in sorted(ats, reverse=True) if f"{at}" in stay]


def ago(*seconds: float) -> list[float]:
    return [NOW - each for each in seconds]


KEPT = {
    "nothing": ([], ()),
    "fewer than are kept": (ago(1, 2), ago(1, 2)),
    "a flood: the newest": (ago(*range(1, 1000)), ago(1, 2, 3)),
    "beyond the newest the last of each hour": (
        ago(1, 2, 3, HOUR, HOUR + 1, HOUR + 60, 2 * HOUR), ago(1, 2, 3, HOUR, 2 * HOUR),
    ),
    "the hours are those of the clock": (ago(1, 2, 3, 29 * 60, 31 * 60, 32 * 60), ago(1, 2, 3, 31 * 60)),
    "a flood through the night, and yesterday": (
        [*ago(*range(1, 3600, 2)), *ago(22 * HOUR, 22 * HOUR + 1)], ago(1, 3, 5, 1801, 22 * HOUR),
    ),
    "after a day the last of each day": (
        ago(1, 2, 3, 2 * DAY, 2 * DAY + HOUR, 3 * DAY), ago(1, 2, 3, 2 * DAY, 3 * DAY),
    ),
    "after a month nothing": (ago(1, 2, 3, 30 * DAY, 32 * DAY, 400 * DAY), ago(1, 2, 3, 30 * DAY)),
    "the clock was set back": (ago(-5 * DAY, -2 * HOUR, -2 * HOUR - 1, 1), ago(-5 * DAY, -2 * HOUR - 1, -2 * HOUR, 1)),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_the_newest_stay_and_one_an_hour_and_one_a_day(case: str) -> None:
    ats, stay = KEPT[case]
    assert kept(ats) == sorted(stay, reverse=True)


def test_what_is_protected_stays_however_old() -> None:
    assert kept(ago(1, 2, 3, 4, 5, 900 * DAY), protected=(NOW - 5, NOW - 900 * DAY)) == ago(1, 2, 3, 5, 900 * DAY)


def test_it_comes_to_the_same_whenever_and_however_often_it_is_asked() -> None:
    """Pruned every ten minutes or once at the end: what stays beyond the newest is the same, and never much."""
    chance = random.Random(7)
    ats, left, now = [], [], NOW
    for _ in range(6 * 24 * 40):
        now += 600
        fresh = [now - chance.uniform(0, 600) for _ in range(chance.choice([0, 0, 1, 9]))]
        ats += fresh
        left = kept(left + fresh, now=now)
    assert left == kept(ats, now=now)
    assert len(left) <= 3 + 25 + 32


def deployment(
    path: str, start: float, end: float | None, *, action: str = "sync", outcome: str = "live"
) -> Deployment:
    return Deployment("n", 1, (path,), action, None, None, start, end, outcome)


A = deployment("a.log", 10.0, 10.1)


@pytest.mark.parametrize(
    ("before", "after", "grown", "one"),
    [
        (A, deployment("a.log", 10.4, 10.5), False, True),
        (A, deployment("a.log", 10.6, 10.7), False, False),  # quiet in between: a save of its own
        (A, deployment("a.log", 12.1, 12.2), True, True),  # a log is taken every two seconds
        (A, deployment("a.log", 12.1, 12.2), False, False),
        (A, deployment("a.log", 13.0, 13.2), True, False),
        (A, deployment("b.log", 10.2, 10.3), True, False),
        (A, deployment("a.log", 10.2, 10.3, outcome="failed"), True, False),
        (deployment("a.log", 10.0, 10.1, outcome="failed"), deployment("a.log", 10.2, 10.3), True, False),
        (deployment("a.log", 10.0, None), deployment("a.log", 10.2, 10.3), True, False),
        (A, deployment("a.log", 10.2, 10.3, action="build"), True, False),
        (deployment("a.log", 9.0, 10.1, action="start"), deployment("a.log", 10.2, 10.3), True, False),
        (deployment("[rollback]", 10.0, 10.1), deployment("[rollback]", 10.2, 10.3), False, False),
        (deployment("data: x", 10.0, 10.1, action="attach"), deployment("data: x", 10.2, 10.3, action="attach"), False,
         True),
        (Deployment("n", 1, ("a", "b"), "sync", None, None, 1.0, 1.1, "live"),
         Deployment("n", 2, ("a", "b"), "sync", None, None, 1.2, 1.3, "live"), False, False),
    ],
)  # fmt: skip
def test_saves_of_one_file_right_after_each_other_are_one_line(
    before: Deployment, after: Deployment, grown: bool, one: bool
) -> None:
    assert one_line(before, after, grown=grown, settle=0.4) is one


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite", 1.0) as found:
        yield found


def test_only_what_is_kept_can_be_returned_to(journal: Journal) -> None:
    """By number: 1 whole, 2 its source is gone, 3 its data is gone, 4 never served, 5 failed, 6 live now."""
    source, data = [Version("s", f"{n}" * 64) for n in range(7)], [Version("d", f"{n}" * 64) for n in range(7)]
    outcomes = ["live", "live", "live", "superseded", "failed", "live"]
    for number, outcome in enumerate(outcomes, 1):
        one = journal.begin_deployment("n", ("a",), source[number], data[number], "sync", float(number))
        journal.finish_deployment("n", one.number, outcome, None, number + 0.5)
    for number in (1, 3, 5, 6):
        journal.note_version("n", "source", source[number], 1, 1, 1.0)
    for number in (1, 2, 5, 6):
        journal.note_version("n", "data", data[number], 1, 1, 1.0)
    past = Past(journal, "n", Live(source=source[6], data=data[6]))
    assert [one.number for one in past.deployments()] == [6, 1]
    before = past.before()
    assert before is not None
    assert before.number == 1
    assert past.current() == 6
    assert Past(journal, "n", Live(source=source[4], data=data[4])).current() is None  # what failed is not served
    assert Past(journal, "n", Live()).current() is None
    assert Past(journal, "n", Live(source=source[1], data=data[1])).before() == journal.deployments("n", 1)[0]

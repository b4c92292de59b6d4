"""Collecting changes and deciding when to announce them: pure."""

from __future__ import annotations

import pytest

from kaosd.watch.dirty import MANY, Collected, Dirty
from kaosd.watch.saves import Fate

WRITTEN, WHOLE, GONE = Fate(now="written"), Fate(now="whole"), Fate(now="gone")


@pytest.mark.parametrize(
    ("events", "due"),
    [
        pytest.param([], None, id="nothing happened"),
        pytest.param([10.0], 10.05, id="one event waits for quiet"),
        pytest.param([10.0, 10.04], 10.09, id="another one prolongs the wait"),
        pytest.param([10.0 + i * 0.04 for i in range(20)], 10.5, id="but never beyond the cap"),
    ],
)
def test_announcement_comes_after_quiet_and_at_the_latest_at_the_cap(events, due):
    collected = Collected(quiet=0.05, cap=0.5)
    for at in events:
        collected.add({b"a"}, at)
    assert collected.due() == (None if due is None else pytest.approx(due))


def test_times_and_paths_are_kept_over_announcements_until_they_are_taken():
    collected = Collected(0.05, 0.5)
    collected.add({b"a"}, 1.0)
    collected.announced()
    assert collected.due() is None
    collected.add({b"b"}, 2.0)
    assert collected.due() == pytest.approx(2.05)
    assert collected.look() == collected.take() == Dirty(frozenset({b"a", b"b"}), 1.0, 2.0)
    assert collected.take() is None
    assert collected.due() is None


@pytest.mark.parametrize(
    ("events", "due"),
    [
        pytest.param([(10.0, b"log", WRITTEN)], 10.5, id="a write alone is told at the cap"),
        pytest.param([(10.0 + i * 0.02, b"log", WRITTEN) for i in range(30)], 10.5, id="so are many"),
        pytest.param([(10.0, b"%d" % i, WRITTEN) for i in range(30)], 10.5, id="so are writes to many files"),
        pytest.param([(10.0, b"log", WRITTEN), (10.1, b"log", WHOLE)], 10.1, id="its close is told at once"),
        pytest.param([(10.0, b"log", WRITTEN), (10.1, b"a", WHOLE)], 10.1, id="so is the save of another file"),
        pytest.param(
            [(10.0, b"log", WRITTEN), (10.1, b"a", WHOLE), (10.1, b"b", WHOLE), (10.12, b"log", WRITTEN)], 10.15,
            id="writes do not prolong the wait for others",
        ),
        pytest.param([(10.0, b"log", WRITTEN), (10.1, b"log", GONE)], 10.15, id="its removal waits as always"),
    ],
)  # fmt: skip
def test_a_file_that_is_being_written_holds_up_no_other(events, due):
    collected = Collected(quiet=0.05, cap=0.5)
    for at, path, fate in events:
        collected.add({path: fate}, at)
    assert collected.due() == pytest.approx(due)


def test_what_was_closed_last_is_told_and_what_was_written_since_is_not():
    collected = Collected(0.05, 0.5)
    collected.add({b"a": WHOLE, b"b": WRITTEN, b"c": WHOLE}, 1.0)
    collected.announced()
    collected.add({b"b": WHOLE, b"c": WRITTEN, b"a": Fate(now=None)}, 2.0)
    dirty = collected.take()
    assert (dirty.paths, dirty.closed) == ({b"a", b"b", b"c"}, {b"a", b"b"})
    collected.add({b"c": WHOLE}, 3.0)
    collected.add({b"c"}, 3.0)  # found by a look: nobody knows
    assert collected.take().closed == {b"c"}
    collected.add({b"d": WHOLE}, 4.0)
    collected.add(None, 4.0)
    assert collected.take() == Dirty(None, 4.0, 4.0)


def test_everything_swallows_paths_in_either_order():
    collected = Collected(0.05, 0.5)
    collected.add({b"a"}, 1.0)
    collected.add(None, 2.0)
    collected.add({b"b"}, 3.0)
    assert collected.take() == Dirty(None, 1.0, 3.0)
    collected.add({b"c"}, 4.0)
    assert collected.take() == Dirty(frozenset({b"c"}), 4.0, 4.0)


def test_a_root_that_nobody_takes_does_not_grow_without_end():
    collected = Collected(0.05, 0.5)
    collected.add([b"%d" % i for i in range(MANY)], 1.0)
    assert collected.look().paths is not None
    collected.add({b"one more"}, 2.0)
    assert collected.look() == Dirty(None, 1.0, 2.0)

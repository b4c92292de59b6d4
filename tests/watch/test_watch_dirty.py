"""Collecting changes and deciding when to announce them: pure."""

from __future__ import annotations

import pytest

from kaosd.watch.dirty import MANY, Collected, Dirty


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

"""Which bursts of events are one save that has ended: as a table, and from what the kernel tells of real saves."""

from __future__ import annotations

import os
import queue

import pytest
from test_watch_editors import SAVES, ignored
from watchdog.observers.inotify_c import InotifyConstants as Inotify

from kaosd.model import ONE_SAVE
from kaosd.watch.dirty import Collected
from kaosd.watch.file_systems import identify
from kaosd.watch.saves import Fate, fate, one_save
from kaosd.watch.trees import Changes, Tree, Watches

MADE, CLOSED, FROM, TO = Inotify.IN_CREATE, Inotify.IN_CLOSE_WRITE, Inotify.IN_MOVED_FROM, Inotify.IN_MOVED_TO
WRITTEN = Inotify.IN_MODIFY
DELETED, CHANGED, DIRECTORY = Inotify.IN_DELETE, Inotify.IN_ATTRIB, Inotify.IN_CREATE | Inotify.IN_ISDIR

CASES = {
    "in place": ([("f", CLOSED)], True),
    "in place, then permissions": ([("f", CLOSED), ("f", CHANGED)], True),
    "in place, twice": ([("f", CLOSED), ("f", CLOSED)], True),
    "permissions alone": ([("f", CHANGED)], True),
    "a new file": ([("f", MADE), ("f", CLOSED)], True),
    "a new file, not closed yet": ([("f", MADE)], False),
    "a new file, its times set before it is closed": ([("f", MADE), ("f", CHANGED)], False),
    "renamed over it": ([("t", MADE), ("t", CLOSED), ("t", FROM), ("f", TO)], True),
    "brought from elsewhere": ([("f", TO)], True),
    "the old one set aside, the new one not there yet": ([("f", FROM), ("f~", TO)], False),
    "the old one set aside, the new one open": ([("f", FROM), ("f~", TO), ("f", MADE)], False),
    "the old one set aside and kept": ([("f", FROM), ("f~", TO), ("f", MADE), ("f", CLOSED)], False),
    "the old one set aside and removed": (
        [("f", FROM), ("f~", TO), ("f", MADE), ("f", CLOSED), ("f~", DELETED)], True,
    ),
    "removed and made anew": ([("f", DELETED), ("f", MADE), ("f", CLOSED)], True),
    "removed": ([("f", DELETED)], False),
    "one saved, one removed": ([("f", CLOSED), ("g", DELETED)], False),
    "two saved": ([("f", CLOSED), ("g", CLOSED)], False),
    "one saved, one still open": ([("f", CLOSED), ("g", MADE)], False),
    "a temporary came and went": ([("t", MADE), ("t", CLOSED), ("t", DELETED)], False),
    "a directory": ([("d", DIRECTORY)], False),
    "renamed": ([("f", FROM), ("g", TO)], False),
    "in place, as writes and a close": ([("f", WRITTEN), ("f", WRITTEN), ("f", CLOSED)], True),
    "a new file as writes and a close": ([("f", MADE), ("f", WRITTEN), ("f", CLOSED)], True),
    "a new file, written and not closed yet": ([("f", MADE), ("f", WRITTEN)], False),
    "one saved while another one is written": ([("log", WRITTEN), ("f", CLOSED), ("log", WRITTEN)], True),
    "one saved while a new one is written": ([("new", MADE), ("new", WRITTEN), ("f", CLOSED)], False),
    "two saved while another one is written": ([("f", CLOSED), ("log", WRITTEN), ("g", CLOSED)], False),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_save_is_told_from_everything_else(name):
    events, expected = CASES[name]
    fates: dict[str, Fate] = {}
    for path, mask in events:
        fates[path] = fates[path].then(fate(mask)) if path in fates else fate(mask)
    assert one_save(fates.values()) is expected


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("alone", [True, False])
def test_a_finished_save_is_announced_at_once_or_soon_however_its_events_arrive(name, alone):
    events, expected = CASES[name]
    collected = Collected(quiet=0.05, cap=0.5)
    if not alone:
        collected.add({b"before": fate(CLOSED)}, 9.96)
        collected.announced()
    for path, mask in events:
        collected.add({path.encode(): fate(mask)}, 10.0)
    at_once = alone and not name.startswith("a new file")  # which may be a temporary that is to be renamed
    share = (0 if at_once else ONE_SAVE) if expected else 1
    assert collected.due() == pytest.approx(10.0 + 0.05 * share)
    assert collected.look().early is (expected and at_once)


def test_what_a_look_found_is_never_taken_for_a_finished_save():
    collected = Collected(quiet=0.05, cap=0.5)
    collected.add({b"f": fate(CLOSED)}, 10.0)
    collected.add({b"f"}, 10.0)
    assert collected.due() == pytest.approx(10.05)
    collected.announced()
    collected.add({b"f": fate(CLOSED)}, 11.0)
    assert collected.due() == pytest.approx(11.0)
    collected.add(None, 11.0)
    assert collected.due() == pytest.approx(11.05)


def test_of_many_saves_one_after_another_only_the_first_is_announced_at_once():
    collected, waits = Collected(quiet=0.05, cap=0.5), []
    for number in range(4):
        at = 10.0 + 0.01 * number
        collected.add({b"%d" % number: fate(CLOSED)}, at)
        waits.append(collected.due() - at)
        collected.announced()
    assert waits == pytest.approx([0, 0.005, 0.005, 0.005])


@pytest.mark.parametrize("name", SAVES)
def test_what_the_kernel_tells_of_each_way_to_save_is_one_save(tmp_path, name):
    file = tmp_path / "model/analysis.py"
    file.parent.mkdir()
    file.write_text("before")
    batches: queue.Queue[Changes] = queue.Queue()
    watches = Watches(batches.put, lambda: None)
    try:
        tree = Tree(watches, identify(os.fsencode(tmp_path)), ignored)
        tree.cover_all()
        SAVES[name](file)
        (tmp_path / "the end").mkdir()
        fates: dict[bytes, Fate] = {}
        while b"the end" not in fates:
            for path, new in (batches.get(timeout=30)[tree] or {}).items():
                fates[path] = fates[path].then(new) if path in fates else new
        del fates[b"the end"]
        assert one_save(fates.values()), fates
    finally:
        watches.finish()


@pytest.mark.parametrize("name", CASES)
def test_what_is_taken_says_whether_the_last_burst_was_one_save(name):
    events, expected = CASES[name]
    collected = Collected(quiet=0.05, cap=0.5)
    for path, mask in events:
        collected.add({path.encode(): fate(mask)}, 10.0)
    before = collected.look()
    collected.announced()
    taken = collected.take()
    assert before == taken
    assert taken is not None
    assert taken.one is expected

"""Roots that are missing, vanish, are replaced; the timer's duties; an orderly end."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from watching import eye, nothing_ignored

from kaosd.watch import Watcher, watcher
from kaosd.watch.dirty import Collected
from kaosd.watch.root import WatchedRoot, nothing_differs
from kaosd.watch.root_walk import RootWalk


@pytest.mark.parametrize("mode", ["auto", "poll"])
async def test_a_root_that_is_missing_at_start_is_picked_up_when_it_appears(tmp_path, mode):
    place = tmp_path / "not/yet"
    async with eye(mode=mode) as seen:
        await seen.watch(place)
        assert seen.watcher.stats().directories == 0
        place.mkdir(parents=True)
        await seen.everything()
        (place / "x").touch()
        await seen.covered(b"x")


@pytest.mark.parametrize("mode", ["auto", "poll"])
async def test_a_root_deleted_and_made_again_goes_on_being_watched(tmp_path, mode):
    place = tmp_path / "root"
    (place / "sub").mkdir(parents=True)
    async with eye(mode=mode) as seen:
        await seen.watch(place)
        for name in ("a", "b", "c"):
            shutil.rmtree(place)
            (place / "sub").mkdir(parents=True)
            (place / "sub" / name).touch()
            await seen.covered(b"sub/" + name.encode())
            seen.forget()


@pytest.mark.parametrize("mode", ["auto", "poll"])
async def test_a_root_that_vanishes_is_told_and_its_return_too(tmp_path, mode):
    place = tmp_path / "root"
    place.mkdir()
    async with eye(mode=mode) as seen:
        await seen.watch(place)
        place.rename(tmp_path / "away")
        await seen.everything()
        await seen.until(lambda: seen.watcher.stats().directories == 0)
        (tmp_path / "away/x").touch()
        (tmp_path / "away").rename(place)
        await seen.everything()
        (place / "y").touch()
        await seen.covered(b"y")


@pytest.mark.parametrize("mode", ["auto", "poll"])
async def test_a_root_renamed_away_and_replaced_is_watched_in_its_new_place(tmp_path, mode):
    place, new = tmp_path / "root", tmp_path / "new"
    place.mkdir()
    (new / "sub").mkdir(parents=True)
    async with eye(mode=mode) as seen:
        await seen.watch(place)
        place.rename(tmp_path / "old")
        new.rename(place)
        await seen.everything()
        await seen.until(lambda: seen.watcher.stats().directories == 2)
        seen.forget()
        (tmp_path / "old/stale").touch()
        (place / "sub/x").touch()
        await seen.covered(b"sub/x")
        assert b"stale" not in (seen.told() or ())


@pytest.mark.parametrize("mode", ["auto", "poll"])
async def test_a_root_that_is_a_link_is_followed_also_when_it_changes(tmp_path, mode):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    link = tmp_path / "current"
    link.symlink_to("one")
    async with eye(mode=mode) as seen:
        await seen.watch(link)
        (tmp_path / "one/directly").touch()
        await seen.covered(b"directly")
        seen.forget()
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(link)
        await seen.everything()
        (tmp_path / "two/x").touch()
        await seen.covered(b"x")


async def test_a_parent_that_moves_takes_the_root_with_it(tmp_path):
    place = tmp_path / "project/model"
    place.mkdir(parents=True)
    async with eye() as seen:
        await seen.watch(place)
        (tmp_path / "project").rename(tmp_path / "renamed")
        await seen.everything()
        place.mkdir(parents=True)
        await seen.everything()
        (place / "x").touch()
        await seen.covered(b"x")


async def test_a_root_that_becomes_a_file_and_a_directory_again(tmp_path):
    place = tmp_path / "root"
    place.mkdir()
    async with eye() as seen:
        await seen.watch(place)
        place.rmdir()
        place.touch()
        await seen.everything()
        place.unlink()
        place.mkdir()
        await seen.everything()
        (place / "x").touch()
        await seen.covered(b"x")


@pytest.mark.parametrize("mode", ["auto", "poll"])
async def test_what_a_comparison_finds_is_told_and_counted(tmp_path, mode):
    answers = [(frozenset(), True), (frozenset({b"a"}), False), (frozenset({b"b"}), True)]
    asked: list[bool] = []

    def compare(stopped: Callable[[], bool]) -> tuple[frozenset[bytes], bool]:
        asked.append(stopped())
        return answers.pop(0) if answers else (frozenset(), True)

    async with eye(mode=mode, rescan=0.1) as seen:
        seen.begin(tmp_path, nothing_ignored, compare)
        await seen.everything()
        await seen.covered(b"a", b"b")
        before = len(asked)
        await seen.until(lambda: len(asked) > before + 2, "more comparisons")
        assert seen.watcher.stats().rescans == 2
        assert not any(asked)


async def test_a_comparison_that_fails_is_tried_again(tmp_path):
    answers: list[object] = [OSError("broken"), (frozenset({b"a"}), True)]

    def compare(_: object) -> tuple[frozenset[bytes], bool]:
        answer = answers.pop(0) if answers else (frozenset(), True)
        if isinstance(answer, OSError):
            raise answer
        return answer

    async with eye(rescan=0.1) as seen:
        seen.begin(tmp_path, nothing_ignored, compare)
        await seen.everything()
        await seen.covered(b"a")


async def test_a_comparison_of_a_root_that_is_no_longer_watched_ends_and_tells_nothing(tmp_path):
    begun, ended = threading.Event(), threading.Event()

    def compare(stopped: Callable[[], bool]) -> tuple[frozenset[bytes], bool]:
        begun.set()
        while not stopped():
            time.sleep(0.001)
        ended.set()
        return frozenset({b"a"}), True

    async with eye(rescan=0.1) as seen:
        seen.begin(tmp_path, nothing_ignored, compare)
        await seen.until(begun.is_set, "the comparison")
        seen.watcher.unwatch(seen.roots["r"])
        seen.forget()
        await seen.until(ended.is_set, "its end")
    assert seen.pokes == []


def test_the_first_comparison_does_not_count_and_one_in_parts_counts_whole(tmp_path):
    root = WatchedRoot(tmp_path, nothing_ignored, lambda: None, Collected(0.05, 0.5), nothing_differs)
    assert not root.comparison_due(0.0, 1.0, 60.0)  # not looked at yet
    root.found = RootWalk()
    assert root.comparison_due(0.0, 1.0, 60.0)
    root.compared(5.0, complete=True, now=10.0)
    assert [root.comparison_due(at, 1.0, 60.0) for at in (10.4, 10.6)] == [False, True]
    root.compared(0.01, complete=False, now=11.0)
    assert [root.comparison_due(at, 1.0, 60.0) for at in (10.4, 10.6)] == [False, True]
    root.compared(0.01, complete=True, now=12.0)
    assert [root.comparison_due(at, 1.0, 60.0) for at in (21.4, 21.6)] == [False, True]


async def test_everything_is_looked_at_after_the_machine_slept(tmp_path, monkeypatch):
    async with eye() as seen:
        await seen.watch(tmp_path)
        monkeypatch.setattr(watcher, "suspended", lambda: 3600.0)
        await seen.everything()


def test_this_machine_tells_how_long_it_slept():
    assert watcher.suspended() > -1.0


def _threads() -> list[str]:
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("kaosd-"))


async def _until_no_threads() -> None:
    async with asyncio.timeout(30):
        while _threads():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("name", ["present", "absent"])
async def test_closing_gives_back_threads_and_descriptors(tmp_path, name):
    (tmp_path / "present/sub").mkdir(parents=True)
    async with eye():  # whatever is opened once per process is open now
        pass
    await _until_no_threads()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        async with eye() as seen:
            await seen.watch(tmp_path / name)
    await _until_no_threads()
    assert len(os.listdir("/proc/self/fd")) == descriptors


async def test_closing_in_the_middle_of_a_first_look_ends_it(tmp_path):
    for number in range(2000):
        (tmp_path / f"{number}").mkdir()
    async with eye() as seen:
        seen.begin(tmp_path, nothing_ignored)
    await _until_no_threads()
    assert seen.pokes == []


async def test_a_watcher_that_never_started_closes(tmp_path):
    made = Watcher()
    made.watch(tmp_path, nothing_ignored, lambda: None)
    await made.close()
    assert _threads() == []


async def test_one_thread_reads_for_all_roots_and_sleeps_while_nothing_happens(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    async with eye() as seen:
        for name in ("a", "b", "c"):
            await seen.watch(tmp_path / name, key=name)
        readers = [thread for thread in threading.enumerate() if thread.name == "kaosd-inotify"]
        assert len(readers) == 1
        status = Path(f"/proc/self/task/{readers[0].native_id}/status")

        def wakeups() -> str:
            return next(line for line in status.read_text().splitlines() if line.startswith("voluntary_ctxt"))

        before = wakeups()
        beat = seen.watcher._beating
        await seen.until(lambda: seen.watcher._beating is not beat, "two beats")
        beat = seen.watcher._beating
        await seen.until(lambda: seen.watcher._beating is not beat, "two beats")
        assert wakeups() == before


async def test_a_broken_rule_is_logged_and_tried_again(tmp_path):
    broken = True

    def ignored(path: bytes, is_directory: bool) -> bool:
        if broken:
            raise RuntimeError("broken on purpose")
        return False

    (tmp_path / "sub").mkdir()
    async with eye(rescan=0.1) as seen:
        seen.begin(tmp_path, ignored)
        await seen.until(lambda: seen.roots["r"].task is None, "the failed look")
        assert seen.pokes == []
        broken = False
        await seen.everything()
        (tmp_path / "sub/x").touch()
        await seen.covered(b"sub/x")

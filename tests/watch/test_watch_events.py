"""What happens below a root, by real inotify."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import shutil
import statistics
from pathlib import Path
from random import Random

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent
from watchdog.observers.inotify_move_event_grouper import InotifyMoveEventGrouper
from watching import covers, eye

from kaosd.watch.file_systems import identify
from kaosd.watch.trees import Changes, Tree, Watches

RENAME_EXCHANGE = 2
AT_FDCWD = -100


async def test_a_save_is_told_by_its_path(tmp_path):
    (tmp_path / "model").mkdir()
    async with eye() as seen:
        await seen.watch(tmp_path)
        (tmp_path / "model/train.py").write_text("x = 1")
        await seen.covered(b"model/train.py")
        assert seen.told() == {b"model/train.py"}
        assert seen.watcher.stats().mode == "inotify"
        assert seen.watcher.stats().directories == 2
        assert seen.watcher.stats().last_event_at is not None
        assert seen.watcher.problems() == ()


async def test_pending_looks_and_take_takes(tmp_path):
    async with eye(quiet=3600.0, cap=3600.0) as seen:
        seen.begin(tmp_path, lambda path, is_directory: False)
        await seen.until(seen.roots["r"].pending)
        dirty = seen.roots["r"].pending()
        assert dirty is not None
        assert dirty.paths is None
        assert seen.roots["r"].take() == dirty
        assert seen.roots["r"].pending() is None
        assert seen.roots["r"].take() is None
        (tmp_path / "a").touch()
        await seen.until(seen.roots["r"].pending)
        assert seen.roots["r"].take().paths == {b"a"}


async def test_our_own_reading_makes_no_events(tmp_path):
    for number in range(50):
        (tmp_path / f"{number}").write_text("text")
    (tmp_path / "sub").mkdir()
    async with eye() as seen:
        await seen.watch(tmp_path)
        for directory, _, files in os.walk(tmp_path):
            for file in files:
                Path(directory, file).read_text()
        assert await seen.only(tmp_path) == frozenset()


async def test_attributes_and_links_are_seen(tmp_path):
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    async with eye() as seen:
        await seen.watch(tmp_path)
        (tmp_path / "run.sh").chmod(0o755)
        await seen.covered(b"run.sh")
        (tmp_path / "latest").symlink_to("run.sh")
        await seen.covered(b"latest")


async def test_a_write_through_one_of_several_hard_links_means_all_of_them(tmp_path):
    (tmp_path / "one").write_text("1")
    os.link(tmp_path / "one", tmp_path / "two")
    async with eye() as seen:
        await seen.watch(tmp_path)
        (tmp_path / "one").write_text("2")
        await seen.covered(b"two")


def test_a_write_through_a_hard_link_that_was_made_just_before_means_all_of_them(tmp_path):
    (tmp_path / "one").write_text("1")
    os.link(tmp_path / "one", tmp_path / "two")
    told: list[Changes] = []
    watches = Watches(told.append, lambda: None)
    try:
        tree = Tree(watches, identify(os.fsencode(tmp_path)), lambda path, is_directory: False)
        tree.cover_all()
        descriptor, _ = tree.directories[b""]
        masks = (InotifyConstants.IN_CREATE, InotifyConstants.IN_CLOSE_WRITE)
        watches._deliver([InotifyEvent(descriptor, mask, 0, b"two") for mask in masks])  # both read at once
    finally:
        watches.finish()
    assert told == [{tree: None}]


async def test_names_that_are_not_text_arrive_as_bytes(tmp_path):
    directory = os.fsencode(tmp_path) + b"/\xff\xfe"
    os.mkdir(directory)
    async with eye() as seen:
        await seen.watch(tmp_path)
        with open(directory + b"/caf\xe9\n.py", "wb") as file:
            file.write(b"x")
        await seen.covered(b"\xff\xfe/caf\xe9\n.py")
        assert seen.told() == {b"\xff\xfe/caf\xe9\n.py"}


async def test_ignored_directories_are_not_watched_and_ignored_names_not_told(tmp_path):
    for name in ("node_modules/a/b", "model/.venv/lib", "model/code"):
        (tmp_path / name).mkdir(parents=True)

    def ignored(path: bytes, is_directory: bool) -> bool:
        parts = path.split(b"/")
        return b"node_modules" in parts or b".venv" in parts or (parts[-1] == b".git" and is_directory)

    async with eye() as seen:
        await seen.watch(tmp_path, ignored)
        assert seen.watched == {b"", b"model", b"model/code"}
        (tmp_path / ".git/objects").mkdir(parents=True)
        (tmp_path / "node_modules/a/x.js").touch()
        assert await seen.only(tmp_path) == frozenset()
        assert seen.watched == {b"", b"model", b"model/code"}


async def test_a_rename_of_an_ignored_name_onto_a_real_one_is_told(tmp_path):
    async with eye() as seen:
        await seen.watch(tmp_path, lambda path, is_directory: path.endswith(b".tmp"))
        (tmp_path / "a.tmp").write_text("new")
        (tmp_path / "a.tmp").rename(tmp_path / "a.py")
        assert await seen.only(tmp_path) == {b"a.py"}


async def test_new_rules_for_the_same_key_take_the_place_of_the_old(tmp_path):
    (tmp_path / "out").mkdir()
    async with eye() as seen:
        await seen.watch(tmp_path)
        assert seen.watched == {b"", b"out"}
        await seen.watch(tmp_path, lambda path, is_directory: path == b"out")
        assert seen.watched == {b""}
        (tmp_path / "out/x").touch()
        assert await seen.only(tmp_path) == frozenset()


async def test_directories_made_and_filled_at_once_are_covered(tmp_path):
    source, root = tmp_path / "source", tmp_path / "root"
    for directory in range(20):
        (source / f"d{directory}/deep/er").mkdir(parents=True)
        for file in range(50):
            (source / f"d{directory}/deep/er/{file}").write_text("text")
    root.mkdir()
    async with eye() as seen:
        await seen.watch(root)
        shutil.copytree(source, root / "copy")
        files = [b"copy/d%d/deep/er/%d" % (directory, file) for directory in range(20) for file in range(50)]
        await seen.covered(*files)
        await seen.until(lambda: len(seen.watched) == 62)
        (root / "end").touch()
        await seen.covered(b"end")  # and with it all events before
        seen.forget()
        (root / "copy/d7/deep/er/7").write_text("later")
        await seen.covered(b"copy/d7/deep/er/7")
        assert seen.told() == {b"copy/d7/deep/er/7"}


async def test_mkdir_and_write_at_once_is_never_missed(tmp_path):
    async with eye() as seen:
        await seen.watch(tmp_path)
        for number in range(300):
            (tmp_path / f"a{number}/b/c").mkdir(parents=True)
            (tmp_path / f"a{number}/b/c/file").write_text("text")
        await seen.covered(*(b"a%d/b/c/file" % number for number in range(300)))
        await seen.until(lambda: len(seen.watched) == 901)


async def test_a_tree_moved_in_is_watched_and_one_moved_out_is_silent(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    (outside / "sub").mkdir(parents=True)
    root.mkdir()
    async with eye() as seen:
        await seen.watch(root)
        outside.rename(root / "inside")
        await seen.covered(b"inside")
        assert seen.watched == {b"", b"inside", b"inside/sub"}
        (root / "inside/sub/x").touch()
        await seen.covered(b"inside/sub/x")
        seen.forget()
        (root / "inside").rename(outside)
        await seen.covered(b"inside")
        assert seen.watched == {b""}
        seen.forget()
        (outside / "sub/y").touch()
        (outside / "z").touch()
        assert await seen.only(root) == frozenset()


async def test_a_directory_renamed_in_the_tree_reports_under_its_new_name(tmp_path):
    (tmp_path / "old/sub").mkdir(parents=True)
    async with eye() as seen:
        await seen.watch(tmp_path)
        (tmp_path / "old").rename(tmp_path / "new")
        await seen.covered(b"old", b"new")
        await seen.until(lambda: seen.watched == {b"", b"new", b"new/sub"})
        seen.forget()
        (tmp_path / "new/sub/x").touch()
        assert await seen.only(tmp_path) == {b"new/sub/x"}


async def test_directories_that_change_places_stay_watched(tmp_path):
    (tmp_path / "a/only-a").mkdir(parents=True)
    (tmp_path / "b/only-b").mkdir(parents=True)
    libc = ctypes.CDLL(None, use_errno=True)
    async with eye() as seen:
        await seen.watch(tmp_path)
        names = (os.fsencode(tmp_path / "a"), os.fsencode(tmp_path / "b"))
        assert libc.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0, os.strerror(
            ctypes.get_errno()
        )
        await seen.covered(b"a", b"b")
        assert seen.watched == {b"", b"a", b"a/only-b", b"b", b"b/only-a"}
        seen.forget()
        (tmp_path / "a/only-b/x").touch()
        (tmp_path / "b/y").touch()
        assert await seen.only(tmp_path) == {b"a/only-b/x", b"b/y"}


def shuffle(root: Path, random: Random) -> None:
    """Change something below *root*, whatever comes of it."""
    directories = [Path(directory) for directory, _, _ in os.walk(root)]
    one, other, name = random.choice(directories), random.choice(directories), f"{random.randrange(6)}"
    with contextlib.suppress(OSError):
        match random.randrange(8):
            case 0 | 1:
                (one / name).mkdir()
            case 2:
                (one / name / "deep/er").mkdir(parents=True)
            case 3 | 4:
                (one / f"file{name}").write_text("text")
            case 5 | 6:
                one.rename(other / name)
            case 7:
                if one != root:
                    shutil.rmtree(one)


def kernel_watches() -> int:
    """How many inotify watches the kernel holds for this process."""
    infos = []
    for info in Path("/proc/self/fdinfo").iterdir():
        with contextlib.suppress(OSError):  # the one of the listing itself
            infos.append(info.read_text())
    return sum(info.count("inotify wd:") for info in infos)


@pytest.mark.parametrize("seed", range(8))
async def test_after_any_series_of_changes_all_directories_are_watched_and_no_others(tmp_path, seed):
    random, root = Random(seed), tmp_path / "root"
    root.mkdir()
    async with eye(rescan=3600.0) as seen:
        await seen.watch(root)
        for number in range(400):
            shuffle(root, random)
            if number % random.randrange(1, 20) == 0:
                await asyncio.sleep(0)
        directories = {os.fsencode(os.path.relpath(directory, root)) for directory, _, _ in os.walk(root)}
        directories = {b"" if directory == b"." else directory for directory in directories}
        await seen.only(root)
        assert seen.watched == directories
        assert kernel_watches() == len(directories)
        seen.forget()
        for directory in directories:
            (root / os.fsdecode(directory) / "probe").write_text("x")
        await seen.covered(*(os.path.join(directory, b"probe") for directory in directories))
        assert seen.told() is not None


async def test_a_directory_removed_and_made_again_is_watched_again(tmp_path):
    (tmp_path / "d").mkdir()
    async with eye() as seen:
        await seen.watch(tmp_path)
        for round_ in range(20):
            shutil.rmtree(tmp_path / "d")
            (tmp_path / "d").mkdir()
            await seen.covered(b"d")
            seen.forget()
            (tmp_path / f"d/{round_}").touch()
            await seen.covered(b"d/%d" % round_)
            seen.forget()


async def test_a_save_is_not_held_back_by_a_rename_out_of_the_tree(tmp_path):
    """The pairing of moves that watchdog does would hold each of these back for its delay; the machine does not."""
    root = tmp_path / "root"
    root.mkdir()
    async with eye(quiet=0.0) as seen:
        await seen.watch(root)
        waits = []
        for number in range(9):
            (root / "leaving").touch()
            await seen.covered(b"leaving")
            seen.forget()
            (root / "leaving").rename(tmp_path / f"left{number}")
            (root / "saved").write_text(f"{number}")
            saved_at = seen.watcher._loop.time()
            await seen.covered(b"saved")
            waits.append(next(d.first for d in seen.seen["r"] if covers(d, b"saved")) - saved_at)
            seen.forget()
        assert statistics.median(waits) < InotifyMoveEventGrouper.delay / 2


async def test_overlapping_roots_each_tell_their_own_paths(tmp_path):
    (tmp_path / "inner").mkdir()
    async with eye() as seen:
        await seen.watch(tmp_path, key="outer")
        await seen.watch(tmp_path / "inner", key="inner")
        (tmp_path / "inner/x").touch()
        await seen.covered(b"inner/x", key="outer")
        await seen.covered(b"x", key="inner")
        seen.watcher.unwatch(seen.roots["outer"])
        seen.forget()
        (tmp_path / "inner/y").touch()
        await seen.covered(b"y", key="inner")
        assert "outer" not in seen.seen


@pytest.mark.parametrize("mode", ["auto", "poll"])
async def test_ten_thousand_files_rewritten_at_once_make_few_pokes(tmp_path, mode):
    paths = [f"d{number % 100}/f{number}" for number in range(10_000)]
    for directory in range(100):
        (tmp_path / f"d{directory}").mkdir()
    for path in paths:
        (tmp_path / path).write_text("before")
    async with eye(mode=mode, quiet=0.05) as seen:
        await seen.watch(tmp_path)
        began = seen.watcher._loop.time()
        for number, path in enumerate(paths):
            (tmp_path / path).write_text("after it")
            if number % 500 == 0:
                await seen.covered()  # lets the loop run
        await seen.until(lambda: seen.told() is None or len(seen.told()) == 10_000, "all files")
        assert len(seen.pokes) <= 2 + (seen.watcher._loop.time() - began) / 0.05  # a poke needs that much quiet

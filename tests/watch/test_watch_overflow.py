"""Events that the kernel dropped, and a reading thread that failed: nothing stays unknown."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from watching import Eye, eye

from kaosd.watch import advice, instance

QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


@contextlib.contextmanager
def short_queue() -> Iterator[None]:
    """An inotify instance opened inside has a short queue, where we may set that; the others keep theirs."""
    before = QUEUE.read_text()
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            QUEUE.write_text("512\n")
            stack.callback(QUEUE.write_text, before)
        yield


async def overflow(seen: Eye, directory: Path, lost: Callable[[], object] = lambda: None) -> None:
    """Make more events than the queue holds while the reading thread is held up, the last of them by *lost*.

    Returns when the watcher has noticed.
    """
    count = seen.watcher.stats().overflows
    watches = seen.watcher._instance.watches
    assert watches is not None
    here, there = directory / "here", directory / "there"
    here.touch()
    with watches.lock:  # the thread blocks with the first batch in its hands
        for old, new in itertools.islice(itertools.cycle([(here, there), (there, here)]), advice.limit("events") + 999):
            old.rename(new)
        lost()
    await seen.until(lambda: seen.watcher.stats().overflows > count, "the overflow")


async def test_an_overflow_leads_to_a_look_at_everything_and_new_directories_are_found(tmp_path):
    (tmp_path / "old").mkdir()
    async with eye() as seen:
        await seen.watch(tmp_path)
        await overflow(seen, tmp_path / "old", lost=lambda: (tmp_path / "new/deep").mkdir(parents=True))
        await seen.everything()
        await seen.until(lambda: b"new/deep" in seen.watched)
        assert seen.watcher.stats().overflows >= 1
        assert seen.watcher.stats().rescans >= 1
        seen.forget()
        (tmp_path / "new/deep/x").touch()
        await seen.covered(b"new/deep/x")


async def test_many_directories_and_a_short_queue_come_to_rest_after_an_overflow(tmp_path):
    """A watcher that removes and adds its watches then fills the queue by itself, again and again."""
    for number in range(2000):
        (tmp_path / f"{number}").mkdir()
    async with eye(short_queue()) as seen:
        await seen.watch(tmp_path)
        await overflow(seen, tmp_path / "7")
        await seen.until(lambda: seen.roots["r"].task is None, "the end of the walk")
        (tmp_path / "1999/x").write_text("later")
        await seen.covered(b"1999/x")
        count = seen.watcher.stats().overflows
        beat = seen.watcher._beating
        await seen.until(lambda: seen.watcher._beating is not beat, "a beat")
        assert seen.watcher.stats().overflows == count
        assert seen.watcher._instance.trouble is None
        seen.forget()
        (tmp_path / "1998/x").write_text("later")
        await seen.covered(b"1998/x")
        assert len(seen.watched) == 2001


async def test_overflows_without_end_lead_to_polling_for_a_while(tmp_path, monkeypatch):
    monkeypatch.setattr(advice, "STORM_TIME", 3600.0)
    monkeypatch.setattr(instance, "REST", 3600.0)
    async with eye(short_queue()) as seen:
        await seen.watch(tmp_path)
        while not seen.watcher.problems():
            await overflow(seen, tmp_path)
        assert [problem.code for problem in seen.watcher.problems()] == ["watch_overflow"]
        assert seen.watcher.stats().mode == "poll"
        await seen.until(lambda: seen.roots["r"].polled, "polling")
        seen.forget()
        (tmp_path / "x").write_text("found by polling")
        await seen.covered(b"x")
        seen.watcher._instance._retry_at = 0.0  # the rest is over
        await seen.until(lambda: seen.watcher.stats().mode == "inotify", "inotify again")
        seen.forget()
        assert seen.watcher.problems() == ()
        (tmp_path / "y").touch()
        await seen.covered(b"y")


async def test_a_reading_thread_that_failed_is_replaced(tmp_path):
    broken = False

    def ignored(path: bytes, is_directory: bool) -> bool:
        if broken and threading.current_thread().name == "kaosd-inotify":
            raise RuntimeError("broken on purpose")
        return False

    async with eye() as seen:
        await seen.watch(tmp_path, ignored)
        broken = True
        (tmp_path / "x").touch()
        await seen.until(seen.watcher.problems, "the problem")
        assert [problem.code for problem in seen.watcher.problems()] == ["watch_failed"]
        await seen.everything()
        broken = False
        seen.watcher._instance._retry_at = 0.0
        await seen.until(lambda: seen.watcher.stats().mode == "inotify", "inotify again")
        seen.forget()
        (tmp_path / "y").touch()
        await seen.covered(b"y")

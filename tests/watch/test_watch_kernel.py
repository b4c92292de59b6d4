"""What we take from watchdog's internals. When this fails, a new watchdog changed them: see kaosd/watch/kernel.py."""

from __future__ import annotations

import inspect
import os
import queue
import struct
import subprocess
import threading

import pytest
from watchdog.observers.inotify_c import InotifyConstants, InotifyEvent, InotifyFD

from kaosd.watch.kernel import MASK, InotifyReader, parse, pause


@pytest.fixture
def events():
    return queue.Queue()


@pytest.fixture
def kernel(events):
    made = InotifyReader(lambda batch: [events.put(event) for event in batch])
    made.start()
    yield made
    made.finish()


def test_watchdog_still_has_the_parts_we_build_on():
    assert {"add_callback", "_read_event_buffer", "run", "close", "stop"} <= set(dir(InotifyFD))
    source = inspect.getsource(InotifyFD)
    for part in ("self._inotify_fd", "self._is_reading", "self._lock", "self._close_resources()"):
        assert part in source, part
    for part in ("wd", "mask", "name", "is_ignored", "is_queue_overflow"):
        assert hasattr(InotifyEvent(1, 0, 0, b""), part), part


def test_mask_has_what_counts_and_nothing_that_reading_makes():
    for name in (
        "CREATE",
        "CLOSE_WRITE",
        "MOVED_FROM",
        "MOVED_TO",
        "DELETE",
        "ATTRIB",
        "MODIFY",
        "DELETE_SELF",
        "MOVE_SELF",
    ):
        assert MASK & getattr(InotifyConstants, f"IN_{name}"), name
    for name in ("ACCESS", "OPEN", "CLOSE_NOWRITE"):
        assert not MASK & getattr(InotifyConstants, f"IN_{name}"), name


def test_events_arrive_with_descriptor_and_name_in_bytes(kernel, events, tmp_path):
    descriptor = kernel.add(os.fsencode(tmp_path))
    assert descriptor is not None
    with open(os.fsencode(tmp_path) + b"/caf\xe9", "wb"):
        pass
    event = events.get(timeout=30)
    assert (event.wd, event.name) == (descriptor, b"caf\xe9")


@pytest.mark.parametrize(
    ("writes", "seconds"), [(0, 0.0), (1, 0.0), (4, 0.0), (5, 0.001), (7, 0.004), (10, 0.02), (10_000, 0.02)]
)
def test_the_reading_of_writes_without_end_takes_pauses_that_grow(writes, seconds):
    assert pause(writes) == pytest.approx(seconds)


def test_of_writes_that_follow_each_other_one_of_each_file_is_told():
    def event(mask: int, name: bytes, descriptor: int = 1) -> bytes:
        padded = name + b"\0" * (16 - len(name))
        return struct.pack("iIII", descriptor, mask, 0, len(padded)) + padded

    write, close = InotifyConstants.IN_MODIFY, InotifyConstants.IN_CLOSE_WRITE
    told = parse(
        event(write, b"a") * 2
        + event(write, b"b")
        + event(write, b"a")
        + event(write, b"a", 2)
        + event(close, b"a")
        + event(write, b"b")
        + event(write, b"a")
        + event(close, b"b") * 2
        + struct.pack("iIII", -1, InotifyConstants.IN_Q_OVERFLOW, 0, 0)
    )
    assert [(event.wd, event.mask, event.name) for event in told] == [
        (1, write, b"a"), (1, write, b"b"), (2, write, b"a"), (1, close, b"a"), (1, write, b"b"), (1, write, b"a"),
        (1, close, b"b"), (1, close, b"b"), (-1, InotifyConstants.IN_Q_OVERFLOW, b""),
    ]  # fmt: skip
    assert parse(b"") == []


def test_a_flood_of_small_writes_makes_few_reads_and_the_close_is_told(tmp_path):
    reads: list[int] = []
    closed = threading.Event()

    def deliver(events: list[InotifyEvent]) -> None:
        reads.append(len(events))
        if any(event.mask & told for event in events):
            closed.set()

    # where this process got too little of the processor the kernel drops events, and tells that instead
    told = InotifyConstants.IN_CLOSE_WRITE | InotifyConstants.IN_Q_OVERFLOW
    kernel = InotifyReader(deliver)
    kernel.start()
    kernel.add(os.fsencode(tmp_path))
    with (tmp_path / "log").open("wb", buffering=0) as file, (tmp_path / "other").open("wb", buffering=0) as other:
        for _ in range(25_000):
            file.write(b"x")
            other.write(b"x")
    assert closed.wait(30)
    kernel.finish()
    assert sum(reads) < 5_000


def test_what_cannot_be_watched_has_no_descriptor(kernel, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("absent", "file", "link"):
        assert kernel.add(os.fsencode(tmp_path / name)) is None, name


def test_removing_a_watch_twice_is_fine(kernel, events, tmp_path):
    descriptor = kernel.add(os.fsencode(tmp_path))
    kernel.remove(descriptor)
    kernel.remove(descriptor)
    assert events.get(timeout=30).is_ignored


def test_children_do_not_inherit_the_descriptor(kernel):
    own = os.listdir("/proc/self/fd")
    assert any("inotify" in target for target in _targets(os.getpid(), own))
    sleeping = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        inherited = os.listdir(f"/proc/{sleeping.pid}/fd")
        assert not any("inotify" in target for target in _targets(sleeping.pid, inherited))
    finally:
        sleeping.kill()
        sleeping.wait()


def _targets(pid: int, descriptors: list[str]) -> list[str]:
    """What the descriptors of a process are open on; without those that were closed meanwhile."""
    files = [f"/proc/{pid}/fd/{name}" for name in descriptors]
    return [os.readlink(file) for file in files if os.path.lexists(file)]


def test_closing_leaves_no_thread_and_no_descriptor():
    threads, descriptors = threading.active_count(), len(os.listdir("/proc/self/fd"))
    for _ in range(50):  # at once, so that some are closed before their first read
        kernel = InotifyReader(lambda batch: None)
        kernel.start()
        kernel.finish()
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/fd")) == descriptors


def test_a_failing_receiver_ends_the_thread_and_closing_still_frees_everything(tmp_path):
    descriptors = len(os.listdir("/proc/self/fd"))

    def fail(batch: list[InotifyEvent]) -> None:
        raise RuntimeError("broken on purpose")

    kernel = InotifyReader(fail)
    kernel.start()
    kernel.add(os.fsencode(tmp_path))
    (tmp_path / "x").touch()
    kernel.join(30)
    assert not kernel.is_alive()
    kernel.finish()
    assert len(os.listdir("/proc/self/fd")) == descriptors

"""What needs a machine of its own: run by test_watch_namespaces.py, each in new user and mount namespaces.

In there the limits of the user namespace count our own watches only, and nobody else sees the mounts.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from watching import eye

from kaosd.bundle import Scanner, Store
from kaosd.watch import polling, watcher

WATCHES = Path("/proc/sys/user/max_inotify_watches")
INSTANCES = Path("/proc/sys/user/max_inotify_instances")


def make_directories(root: Path, count: int) -> None:
    for number in range(count):
        (root / f"d{number}").mkdir()


def mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def unmount(place: Path) -> None:
    subprocess.run(["umount", "--lazy", str(place)], check=True)


async def watch_limit_at_start(root: Path) -> None:
    """Too few watches for a tree: it is polled, the problem says what helps, and when it has helped it goes."""
    make_directories(root, 100)
    WATCHES.write_text("60")
    async with eye() as seen:
        await seen.watch(root)
        assert seen.watcher.stats().mode == "poll"
        (problem,) = seen.watcher.problems()
        assert problem.code == "watch_limit"
        assert "60" in problem.text
        assert "fs.inotify.max_user_watches=524288" in problem.mend
        for number in range(100):
            (root / f"d{number}/x").touch()
        await seen.covered(*(b"d%d/x" % number for number in range(100)))
        WATCHES.write_text("1000")
        await seen.until(lambda: seen.watcher.stats().mode == "inotify", "inotify")
        assert seen.watcher.problems() == ()
        seen.forget()
        (root / "d77/y").touch()
        await seen.covered(b"d77/y")


async def watch_limit_leaves_small_roots_alone(root: Path) -> None:
    """One tree is too large; the watches it cannot use are given back, and the others are watched."""
    for name, count in (("small", 5), ("large", 100), ("late", 5)):
        (root / name).mkdir()
        make_directories(root / name, count)
    WATCHES.write_text("60")
    async with eye() as seen:
        for name in ("small", "large", "late"):
            await seen.watch(root / name, key=name)
        roots = seen.roots
        assert {name: roots[name].polled for name in roots} == {"small": False, "large": True, "late": False}
        assert [str(root / "large") in problem.text for problem in seen.watcher.problems()] == [True]


async def watch_limit_reached_later(root: Path) -> None:
    """A watched tree grows beyond the limit: what is missing is noticed, and found by polling."""
    make_directories(root, 10)
    WATCHES.write_text("60")
    async with eye() as seen:
        await seen.watch(root)
        assert seen.watcher.stats().mode == "inotify"
        (root / "grown").mkdir()
        make_directories(root / "grown", 100)
        await seen.until(seen.watcher.problems, "the problem")
        await seen.until(lambda: seen.watcher.stats().mode == "poll", "polling")
        await seen.everything()
        (root / "grown/d99/x").touch()
        await seen.covered(b"grown/d99/x")


async def no_watch_at_all(root: Path) -> None:
    """Not even the root can be watched (watchdog: OSError 28)."""
    WATCHES.write_text("0")
    async with eye() as seen:
        await seen.watch(root)
        assert [problem.code for problem in seen.watcher.problems()] == ["watch_limit"]
        (root / "x").touch()
        await seen.covered(b"x")


async def no_instance_at_all(root: Path) -> None:
    """The kernel gives no inotify instance: polling, until it does."""
    INSTANCES.write_text("0")
    async with eye() as seen:
        await seen.watch(root)
        (problem,) = seen.watcher.problems()
        assert problem.code == "watch_instances"
        (root / "x").touch()
        await seen.covered(b"x")
        INSTANCES.write_text("10")
        seen.watcher._instance._retry_at = 0.0
        await seen.until(lambda: seen.watcher.stats().mode == "inotify", "inotify")
        assert seen.watcher.problems() == ()
        seen.forget()
        (root / "y").touch()
        await seen.covered(b"y")


async def bound_over_and_unmounted(root: Path) -> None:
    """Another directory is mounted over the root, and taken away again."""
    place, other = root / "root", root / "other"
    (place / "mine").mkdir(parents=True)
    (other / "yours").mkdir(parents=True)
    async with eye() as seen:
        await seen.watch(place)
        mount("--bind", str(other), str(place))
        await seen.everything()
        (other / "yours/x").touch()  # through the other name of the mount
        await seen.covered(b"yours/x")
        seen.forget()
        unmount(place)
        await seen.everything()
        (place / "mine/y").touch()
        await seen.covered(b"mine/y")


async def file_system_mounted_and_unmounted(root: Path) -> None:
    """The same with a file system of its own."""
    place = root / "root"
    place.mkdir()
    async with eye() as seen:
        await seen.watch(place)
        mount("-t", "tmpfs", "none", str(place))
        await seen.everything()
        (place / "x").touch()
        await seen.covered(b"x")
        seen.forget()
        unmount(place)
        await seen.everything()
        (place / "y").touch()
        await seen.covered(b"y")


async def mounted_inside(root: Path) -> None:
    """A mount below the root makes no event: the safety rescan watches what it brought."""
    (root / "sub").mkdir()
    async with eye(rescan=0.1) as seen:
        await seen.watch(root)
        mount("-t", "tmpfs", "none", str(root / "sub"))
        (root / "sub/new").mkdir()
        await seen.until(lambda: b"sub/new" in seen.watched, "the rescan")


async def compared_with_what_was_there_before_a_mount(root: Path) -> None:
    """A mount that is looked at and goes again leaves the directory exactly as it was compared long ago."""
    (root / "sub").mkdir()
    (root / "sub/own").touch()
    other = root.parent / "other"
    other.mkdir()
    (other / "theirs").touch()
    store = Store(root.parent / "store")
    scanner = Scanner(root, store, kind="data")
    first = scanner.scan().version
    while scanner.compare()[0]:  # files that were written just now are read once more
        scanner.scan()
    mount("--bind", str(other), str(root / "sub"))
    found, _ = scanner.compare()
    assert found
    assert scanner.scan(found).version != first
    unmount(root / "sub")
    found, _ = scanner.compare()
    assert found
    assert scanner.scan(found).version == first
    store.close()


async def unreadable_directory_becomes_readable(root: Path) -> None:
    """Left out while it cannot be read, and watched as soon as it can."""
    (root / "closed/inner").mkdir(parents=True)
    (root / "closed").chmod(0)
    async with eye() as seen:
        await seen.watch(root)
        assert seen.watched == {b""}
        (root / "closed").chmod(0o755)
        await seen.covered(b"closed")
        assert seen.watched == {b"", b"closed", b"closed/inner"}
        seen.forget()
        (root / "closed/inner/x").touch()
        await seen.covered(b"closed/inner/x")


async def unreadable_root_becomes_readable(root: Path) -> None:
    """The same for the root itself."""
    place = root / "closed"
    (place / "inner").mkdir(parents=True)
    place.chmod(0)
    async with eye() as seen:
        await seen.watch(place)
        assert seen.watched == set()
        place.chmod(0o755)
        await seen.until(lambda: seen.watched == {b"", b"inner"}, "watches")
        seen.forget()
        (place / "inner/x").touch()
        await seen.covered(b"inner/x")


if __name__ == "__main__":
    watcher.BEAT = polling.SHORTEST = 0.1
    asyncio.run(globals()[sys.argv[1]](Path(sys.argv[2])))

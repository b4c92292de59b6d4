"""Faults of what is around the daemon: limits, mounts, memory, disks, files of another version, a host gone strange.

Generators as in strikes.py. Limits are lowered in a user namespace of the daemon's own, so that nobody else feels
them and nothing is left to restore, whatever happens.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.daemon import until
from tests.faults.editor import read_tree

if TYPE_CHECKING:
    from tests.faults.rounds import World

LIMIT = 'echo "$0" > /proc/sys/user/max_inotify_watches && exec "$@"'
STUTTER = """
import os, signal, sys, time
while True:
    os.kill(int(sys.argv[1]), signal.SIGSTOP)
    time.sleep(0.15)
    os.kill(int(sys.argv[1]), signal.SIGCONT)
    time.sleep(0.01)
"""


def watch_limit(world: World, chance: random.Random) -> Iterator[None]:
    """No watches for the directories, or too few: what is polled must come to rest as well."""
    host = world.host()
    world.daemon.kill()
    os.kill(host, signal.SIGKILL)  # one of the outer namespace is none of those that this daemon may see
    watches = str(chance.choice([0, 1, 4]))
    world.daemon.before = ["unshare", "--user", "--map-root-user", "sh", "-c", LIMIT, watches]
    try:
        world.daemon.start()
        yield
        world.settle()
        yield
    finally:
        world.daemon.before = []
    world.daemon.kill()
    world.daemon.start()


def unmount_root(world: World, chance: random.Random) -> Iterator[None]:
    """The source (or the data) is a disk of its own that is taken away, and comes back."""
    root = chance.choice([world.editor.source, world.editor.data])
    bare, side = root.with_name(root.name + "-bare"), root.with_name(root.name + "-side")
    side.mkdir()
    root.rename(bare)
    root.mkdir()
    _mount(bare, side, root)
    yield
    subprocess.run(["cp", "-a", f"{root}/.", f"{bare}-2"], check=True)
    subprocess.run(["umount", "--lazy", root], check=True)
    time.sleep(chance.choice([0.0, 0.5, 1.5]))
    if chance.random() < 0.5:
        _mount(Path(f"{bare}-2"), side, root)
        yield
        shutil.rmtree(f"{bare}-2")
        subprocess.run(["cp", "-a", f"{root}/.", f"{bare}-2"], check=True)
        subprocess.run(["umount", "--lazy", root], check=True)
    root.rmdir()
    Path(f"{bare}-2").rename(root)
    shutil.rmtree(bare)
    side.rmdir()
    yield


def slow_host(world: World, chance: random.Random) -> Iterator[None]:
    """JupyterLab gets a fraction of the time that it needs."""
    host = world.host()
    with subprocess.Popen([sys.executable, "-c", STUTTER, str(host)], stderr=subprocess.DEVNULL) as stutter:
        yield
        yield
        time.sleep(chance.random())
        stutter.kill()
    with contextlib.suppress(ProcessLookupError):
        os.kill(host, signal.SIGCONT)


def host_that_hangs_for_long(world: World, chance: random.Random) -> Iterator[None]:
    """JupyterLab takes what it is asked and answers only after the daemon has given up."""
    host = world.host()
    os.kill(host, signal.SIGSTOP)
    yield
    time.sleep(chance.choice([2, 12]))
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(host, signal.SIGCONT)


def host_that_lies(world: World, chance: random.Random) -> Iterator[None]:
    """Other content stands in the host than was synced, with the size and the times of what was synced."""
    yield
    world.editor.forge()
    yield
    world.editor.forge()


def failing_disk(world: World, chance: random.Random) -> Iterator[None]:
    """One file of the source cannot be read for a while."""
    path = chance.choice([path for path, file in read_tree(world.editor.model).items() if file.kind != "l"])
    world.daemon.plan(do="unreadable", name=os.path.basename(path))
    yield
    yield
    time.sleep(chance.choice([0.0, 0.7]))
    world.daemon.plan()


def state_of_the_future(world: World, chance: random.Random) -> Iterator[None]:
    """A newer kaosd has been here: this one says so, and touches nothing."""
    world.daemon.kill()
    yield
    journal, layout = world.daemon.state / "journal.sqlite", world.daemon.state / "schema"
    if chance.random() < 0.5:
        with contextlib.closing(sqlite3.connect(journal, isolation_level=None)) as db:
            (before,) = db.execute("PRAGMA user_version").fetchone()
            db.execute("PRAGMA user_version = 99")
            _refused(world)
            db.execute(f"PRAGMA user_version = {before}")
    else:
        text = layout.read_text()
        layout.write_text("99\n")
        _refused(world)
        layout.write_text(text)
    world.daemon.start()
    yield


def _refused(world: World) -> None:
    world.daemon.launch()
    process = world.daemon.process
    assert process is not None
    assert until(lambda: process.poll() is not None, "the refusal")
    assert "newer kaosd" in world.daemon.output()


def _mount(content: Path, side: Path, root: Path) -> None:
    """A new file system with *content* at *root*, whole from the first moment."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "kaosd-faults", side], check=True)
    subprocess.run(["cp", "-a", f"{content}/.", side], check=True)
    subprocess.run(["mount", "--bind", side, root], check=True)
    subprocess.run(["umount", side], check=True)


# How often each is drawn, beside those of strikes.py.
SURROUNDINGS = {
    watch_limit: 2, unmount_root: 4, slow_host: 3, host_that_hangs_for_long: 1,
    host_that_lies: 4, failing_disk: 4, state_of_the_future: 1,
}  # fmt: skip

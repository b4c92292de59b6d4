"""The faults. Each is a generator: it strikes, lets the person go on working at each yield, and puts right what it did.

What a strike takes away it gives back; what it kills stays dead, since bringing it back is kaosd's work (or
systemd's, for the daemon itself).
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import resource
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.e2e.daemon import until

if TYPE_CHECKING:
    from tests.faults.rounds import World

Strike = Callable[["World", random.Random], Iterator[None]]
NEAR = (10, 30, 100)  # points within which one of them is struck
EVENTS = 20_000  # more than the kernel's queue of 16384 holds
FULL = ("write", "open", "mkdir", "rename", "replace", "symlink", "link", "posix_fallocate", "copy_file_range",
        "sqlite commit", "renameat2")  # fmt: skip


def nothing(world: World, chance: random.Random) -> Iterator[None]:
    """No fault: the person's own race against the daemon."""
    yield


def kill_daemon(world: World, chance: random.Random) -> Iterator[None]:
    """At any moment, and it stays away for a while."""
    yield
    time.sleep(chance.random() * 0.3)
    world.daemon.kill()
    yield
    world.daemon.start()


def kill_at_point(world: World, chance: random.Random) -> Iterator[None]:
    """Before or after any call that changes something."""
    world.daemon.plan(do="kill", at=chance.randint(1, chance.choice(NEAR)), after=chance.random() < 0.5)
    yield
    yield
    world.met_point()


def kill_at_named_call(world: World, chance: random.Random) -> Iterator[None]:
    """As kill_at_point, but between write and rename, rename and fsync, host and record: calls that matter most."""
    only = chance.choice([["fsync"], ["rename", "replace", "renameat2"], ["sqlite commit"], ["unlink", "rmdir"],
                          ["start"], ["mkdir", "symlink"]])  # fmt: skip
    world.daemon.plan(do="kill", only=only, at=chance.randint(1, 12), after=chance.random() < 0.5)
    if only == ["start"]:
        os.kill(world.host(), signal.SIGKILL)
    yield
    yield
    world.met_point()


def kill_while_starting(world: World, chance: random.Random) -> Iterator[None]:
    """While it takes up what an earlier daemon left."""
    world.daemon.kill()
    yield
    world.daemon.plan(do="kill", at=chance.randint(1, chance.choice(NEAR)), after=chance.random() < 0.5)
    world.daemon.start()
    yield
    world.met_point()


def error_at_point(world: World, chance: random.Random) -> Iterator[None]:
    """Any call fails once, or some calls in a row."""
    number = chance.choice([errno.EIO, errno.ENOSPC, errno.EACCES])
    world.daemon.plan(do="error", errno=number, at=chance.randint(1, 60), **{"for": chance.choice([1, 1, 5])})
    yield
    yield
    world.met_point()


def no_room_at_any_write(world: World, chance: random.Random) -> Iterator[None]:
    """From some write on, everything that needs room fails for a while."""
    plan = {"do": "error", "errno": errno.ENOSPC, "only": FULL, "at": chance.randint(1, 40), "for": 10**6}
    world.daemon.plan(**plan)
    yield
    yield
    time.sleep(chance.random())
    world.met_point()


def full_disk(world: World, chance: random.Random) -> Iterator[None]:
    """The file system of the state directory has no block left."""
    ballast = world.daemon.state / "ballast"
    spare = chance.choice([0, 0, 4096, 65536])
    with open(ballast, "wb") as file:
        for size in (1 << 26, 1 << 20, 1 << 16, 1 << 12):
            with contextlib.suppress(OSError):
                while True:
                    os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)
        file.truncate(max(0, os.fstat(file.fileno()).st_size - spare))
    yield
    yield
    time.sleep(chance.random())
    ballast.unlink()


def kill_host(world: World, chance: random.Random) -> Iterator[None]:
    """JupyterLab dies under the person's hands."""
    yield
    os.kill(world.host(), signal.SIGKILL)
    yield


def kill_both(world: World, chance: random.Random) -> Iterator[None]:
    """Host and daemon die together."""
    host = world.host()
    yield
    world.daemon.kill()
    os.kill(host, signal.SIGKILL)
    yield
    world.daemon.start()


def hang_host(world: World, chance: random.Random) -> Iterator[None]:
    """JupyterLab does not answer for a while."""
    host = world.host()
    os.kill(host, signal.SIGSTOP)
    yield
    time.sleep(chance.random())
    yield
    with contextlib.suppress(ProcessLookupError):
        os.kill(host, signal.SIGCONT)


def hang_daemon(world: World, chance: random.Random) -> Iterator[None]:
    """The daemon stands still while much happens."""
    os.kill(world.daemon.pid, signal.SIGSTOP)
    yield
    yield
    os.kill(world.daemon.pid, signal.SIGCONT)


def overflow(world: World, chance: random.Random) -> Iterator[None]:
    """More events than the kernel's queue holds, those of real saves among the lost ones."""
    os.kill(world.daemon.pid, signal.SIGSTOP)
    one, other = world.editor.model / "over1.part", world.editor.data / "over2.part"
    one.touch()
    other.touch()
    for _ in range(EVENTS // 2):
        os.utime(one)
        os.utime(other)
    yield
    one.unlink(missing_ok=True)
    other.unlink(missing_ok=True)
    yield
    os.kill(world.daemon.pid, signal.SIGCONT)


def kill_build(world: World, chance: random.Random) -> Iterator[None]:
    """A new environment, whose builders are killed, and now and then the daemon too; then it is asked for once more."""
    yield from build_under(world, chance, "slay")


def no_memory_in_build(world: World, chance: random.Random) -> Iterator[None]:
    """A new environment, whose builders get no memory; after that it is asked for once more."""
    yield from build_under(world, chance, "starve")


def build_under(world: World, chance: random.Random, what: str) -> Iterator[None]:
    """See struck.py for *what*."""
    struck = world.struck()
    world.daemon.plan(do=what, **{"for": chance.randint(1, 3)})
    world.editor.number += 1
    (world.editor.model / "requirements.txt").write_text(f"# {world.editor.number}\n")
    yield

    def met() -> bool:
        if world.struck() > struck or not world.daemon.running:
            return True
        # The editor may have deleted most of the files; or taken the change back, and then there is nothing to build.
        return world.accept().get("state") == "live" and not world.compare()

    assert until(met, "a builder")
    if chance.random() < 0.5:
        world.daemon.kill()
        world.daemon.start()
    world.met_point()
    yield
    world.redeploy()


def move_root(world: World, chance: random.Random) -> Iterator[None]:
    """The source (or the data) is moved away and back, or a copy takes its place."""
    root = chance.choice([world.editor.source, world.editor.data])
    away = root.with_name(root.name + "-away")
    yield
    if chance.random() < 0.5:
        root.rename(away)
        time.sleep(chance.random() * 0.2)
        away.rename(root)
    else:
        subprocess.run(["cp", "-a", root, away], check=True)
        root.rename(root.with_name("old"))
        away.rename(root)
        subprocess.run(["rm", "-rf", root.with_name("old")], check=True)
    yield


def delete_socket(world: World, chance: random.Random) -> Iterator[None]:
    """The socket is deleted, and something else stands there when the next daemon comes."""
    path = Path(world.daemon.environ["KAOSD_SOCKET"])
    path.unlink()
    yield
    world.daemon.kill()
    if chance.random() < 0.5:
        with socket.socket(socket.AF_UNIX) as stale:
            stale.bind(str(path))
    world.daemon.start()
    yield


def second_daemon(world: World, chance: random.Random) -> Iterator[None]:
    """Somebody starts another daemon for the same state."""
    yield
    done = world.daemon.run_to_end()
    assert done.returncode == 1, done
    assert "already runs" in done.stderr, done
    yield


def lock_journal(world: World, chance: random.Random) -> Iterator[None]:
    """Another program holds the journal's write lock, longer than the daemon waits for it."""
    with contextlib.closing(sqlite3.connect(world.daemon.state / "journal.sqlite", isolation_level=None)) as other:
        while True:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                continue
            break
        yield
        time.sleep(chance.choice([0.1, 2.5]))
        other.execute("ROLLBACK")
    yield


def no_descriptors(world: World, chance: random.Random) -> Iterator[None]:
    """The daemon cannot open any more files for a while."""
    pid = world.daemon.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (world.daemon.descriptors() + chance.choice([0, 1, 3]), before[1]))
    yield
    yield
    time.sleep(chance.random())
    if world.daemon.running and world.daemon.pid == pid:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def slow_disk(world: World, chance: random.Random) -> Iterator[None]:
    """Every wait for the disk takes long."""
    world.daemon.plan(do="slow", seconds=chance.choice([0.05, 0.3]))
    yield
    yield
    world.daemon.plan()


def set_clock(world: World, chance: random.Random) -> Iterator[None]:
    """The daemon's clock jumps by an hour or a year, and back."""
    world.daemon.plan(do="clock", seconds=chance.choice([-1, 1]) * chance.choice([3600, 365 * 86400]))
    yield
    yield
    world.daemon.plan()


def take_front_port(world: World, chance: random.Random) -> Iterator[None]:
    """Somebody has the front's port when the daemon starts: it says so, and starts later."""
    world.daemon.kill()
    yield
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", world.daemon.port))
        other.listen()
        world.daemon.launch()
        process = world.daemon.process
        assert process is not None
        assert until(lambda: process.poll() is not None, "the refusal")
        assert f"{world.daemon.port}" in world.daemon.output()
    world.daemon.start()
    yield


def damage_state(world: World, chance: random.Random) -> Iterator[None]:
    """A file of the state directory is damaged while no daemon runs."""
    world.daemon.kill()
    yield
    state, home = world.daemon.state, world.daemon.home(world.name)
    victim = chance.choice([state / "journal.sqlite", state / "store" / "index.db", *_stored(world, chance), *(
        path for path in (home / "jupyter" / "host.json", home / "token", home / "deployed", state / "token")
        if path.exists()
    ), *sorted((home / "data-versions").glob("*.tree"))])  # fmt: skip
    _damage(world, victim, chance)
    world.daemon.start()
    yield


def damage_running(world: World, chance: random.Random) -> Iterator[None]:
    """A file of the store is damaged while the daemon uses it; often so that what it held is wanted next."""
    world.editor.change(2)
    _damage(world, chance.choice([world.daemon.state / "store" / "index.db", *_stored(world, chance) * 3]), chance)
    yield
    if chance.random() < 0.5:
        _damage(world, chance.choice(_stored(world, chance)), chance)
        yield
    if chance.random() < 0.3:
        world.daemon.kill()
        world.daemon.start()
        yield


def _stored(world: World, chance: random.Random) -> list[Path]:
    """The last pack, another one, and a large content if there is one."""
    store = world.daemon.state / "store"
    packs = sorted((store / "packs").glob("*.pack"), key=lambda path: int(path.stem))
    large = [path for path in sorted((store / "large").iterdir()) if path.name.isalnum()]
    return [*packs[-1:], *chance.sample(packs, min(1, len(packs))), *chance.sample(large, min(1, len(large)))]


def _damage(world: World, victim: Path, chance: random.Random) -> None:
    """Flip bits, zero a part, cut it, empty it, put something else in its place, or take it away."""
    world.damaged, world.amnesia = victim.name, world.amnesia or victim.name == "journal.sqlite"
    with contextlib.suppress(FileNotFoundError):  # swept meanwhile
        _spoil(victim, chance)


def _spoil(victim: Path, chance: random.Random) -> None:
    content = bytearray(victim.read_bytes())
    way = chance.choice(["flip", "flip", "flip many", "zero", "cut", "empty", "garbage", "remove"])
    start = chance.randrange(len(content) or 1)
    if way == "remove":
        victim.unlink()
        return
    with victim.open("r+b") as file:  # in place, as a disk does
        if way in ("cut", "empty"):
            file.truncate(start if way == "cut" else 0)
        elif way in ("zero", "garbage"):
            length = min(len(content) - start, chance.choice([100, 4096, 100_000]))
            file.seek(start)
            file.write(bytes(length) if way == "zero" else chance.randbytes(length))
        else:
            for _ in range(8 if way == "flip" else 200):
                at = chance.randrange(len(content) or 1)
                file.seek(at)
                file.write(bytes([content[at] ^ 1 << chance.randrange(8)] if content else []))


# How often each is drawn.
STRIKES: dict[Strike, int] = {
    nothing: 4, kill_daemon: 6, kill_at_point: 16, kill_at_named_call: 12, kill_while_starting: 8, error_at_point: 8,
    no_room_at_any_write: 4, full_disk: 4, kill_host: 3, kill_both: 2, hang_host: 2, hang_daemon: 3, overflow: 2,
    kill_build: 2, no_memory_in_build: 2, move_root: 5,
    delete_socket: 2, second_daemon: 1, lock_journal: 3, no_descriptors: 3, slow_disk: 3,
    set_clock: 3, take_front_port: 1, damage_state: 8, damage_running: 8,
}  # fmt: skip

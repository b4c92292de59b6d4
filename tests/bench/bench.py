"""What all sections share: the place they work in, how much they do, and a daemon of their own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tests.e2e.daemon import Daemon

CACHE = "kaosd-bench"  # below the user's cache: peers that are built once, see .ci/bench-peers
PYTHON = str(Path(sys.prefix) / "runtime" / "bin" / "python")  # kaosd with what it needs, and nothing else
_ATTEMPTS = 20  # of removing a tree, half a second apart
Choice = TypeVar("Choice")


@dataclass(frozen=True, slots=True)
class Bench:
    """place: an empty directory for what a section makes. quick: small trees and few rounds."""

    place: Path
    quick: bool

    @contextlib.contextmanager
    def directory(self) -> Iterator[Path]:
        """An empty directory for a while."""
        path = Path(tempfile.mkdtemp(dir=self.place))
        try:
            yield path
        finally:
            remove(path)

    def choose(self, quick: Choice, full: Choice) -> Choice:
        """One of two sizes of the same thing."""
        return quick if self.quick else full

    @contextlib.contextmanager
    def daemon(self, **environ: str) -> Iterator[Daemon]:
        """A running daemon with a state directory of its own; the path is short, for its sockets.

        It is installed as people have it, without what tests need: some libraries load more when there is more.
        """
        daemon = Daemon(Path(tempfile.mkdtemp(prefix="kb")), **environ)
        daemon.python = PYTHON
        try:
            yield daemon.start()
        finally:
            daemon.close()


def at_leisure(daemon: Daemon) -> None:
    """Return when *daemon* has done what nobody waits for, such as compiling a new environment: only hosts are left."""
    assert daemon.process is not None
    threads = Path(f"/proc/{daemon.process.pid}/task")
    while True:
        children = {int(pid) for thread in threads.iterdir() for pid in (thread / "children").read_text().split()}
        if all(_is_host(pid) for pid in children):
            return
        time.sleep(0.1)


def _is_host(pid: int) -> bool:
    try:
        return b"launch.py" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return True


def remove(path: Path) -> None:
    """Take a large tree away; a program of its own is much quicker at it than this interpreter.

    What a peer has started may outlive it for a moment, and still write here.
    """
    for _ in range(_ATTEMPTS):
        if subprocess.run(["rm", "-rf", str(path)], check=False, stderr=subprocess.DEVNULL).returncode == 0:
            return
        time.sleep(0.5)
    subprocess.run(["rm", "-rf", str(path)], check=True)


def timed(work: Callable[[], object]) -> float:
    """Seconds that *work* takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def absent(programs: Sequence[str]) -> str:
    """Which of *programs* this machine lacks, in words; "" when it has them all."""
    lacking = [program for program in programs if shutil.which(program) is None]
    return f"there is no {' and no '.join(lacking)}" if lacking else ""


def checked(argv: Sequence[str], accepted: Sequence[int] = (0,), **options: object) -> None:
    """Run a command that is measured. RuntimeError with its last words when its exit code is none of *accepted*."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]
    if done.returncode not in accepted:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}: {' '.join(said)}")

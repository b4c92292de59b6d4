"""One subprocess, and what /proc says of processes: who they are, whose children, by which mark.

Nothing here knows of engines. A process is named by its identity (pid, start time, boot), never by its pid alone,
because pids are used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from kaosd.model import Usage

HOST_MARK = "KAOS_HOST"  # in the environment of a host and of all that it starts: which one
BUILD_MARK = "KAOS_BUILD"  # in the environment of all processes of a build: the directory that they make
LINE_MAX = 64 * 1024  # bytes; a longer line is handed on in pieces
OUTPUT_MAX = 4 * 2**20  # characters
_AT_ONCE = 200  # lines
_LEFT_OPEN = 1.0  # s; how long one who left the process group may hold the output open after its end
_ENDED = frozenset(b"ZX")
_PAGE, _TICKS = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for all time: pid, start time in clock ticks since boot, id of that boot."""

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its exit code (negative: the signal) and what it wrote, the last OUTPUT_MAX characters."""

    code: int
    output: str


async def run(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], line: Callable[[str], None] | None = None
) -> Finished:
    """Run a program in a session of its own and hand each line of its output (both streams) to *line*.

    When it ends, or this call is cancelled, what is left of its process group is killed, so nothing of it
    survives. Raises OSError when the program cannot be started.
    """
    reading, writing = os.pipe()  # our own: asyncio's would keep wait() waiting for all who hold its other end
    spawning = asyncio.ensure_future(_spawn(argv, cwd, env, writing))
    try:
        process = await asyncio.shield(spawning)
    except BaseException as error:
        os.close(reading)
        if isinstance(error, asyncio.CancelledError):
            await _put_down(await spawning)
        raise
    lines = OutputLines(line)
    listening = asyncio.ensure_future(_listen(process, reading, lines))
    try:
        code = await process.wait()
    finally:
        await _put_down(process)
        await asyncio.wait({listening}, timeout=_LEFT_OPEN)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
    if not listening.cancelled():
        listening.result()
    return Finished(code, "\n".join(lines.kept))


async def _spawn(argv: Sequence[str], cwd: Path, env: Mapping[str, str], output: int) -> asyncio.subprocess.Process:
    """Start the program with its output going to the descriptor *output*, which is closed here."""
    try:
        return await asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    finally:
        os.close(output)


async def _listen(process: asyncio.subprocess.Process, reading: int, lines: OutputLines) -> None:
    """Collect the lines that *process* writes into the pipe *reading*, until no process can write any more."""
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb")
    )
    rest = b""
    try:
        while chunk := await stream.read(LINE_MAX):
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) >= LINE_MAX:
                whole, rest = [*whole, rest], b""
            for number, raw in enumerate(whole):
                lines.take(raw)
                if number % _AT_ONCE == _AT_ONCE - 1:
                    await asyncio.sleep(0)  # a program that prints without end must not keep the loop for itself
        if rest:
            lines.take(rest)
    except BaseException:
        _kill_group(process.pid)  # nobody empties its pipe any more
        raise
    finally:
        transport.close()


class OutputLines:
    """The lines that a program has written. hear: called with each. kept: the newest of them."""

    def __init__(self, hear: Callable[[str], None] | None) -> None:
        self.kept: deque[str] = deque()
        self._size = 0
        self._hear = hear

    def take(self, raw: bytes) -> None:
        """The next line, without its line break."""
        text = raw.decode("utf-8", "replace").rstrip("\r")
        self.kept.append(text)
        self._size += len(text) + 1
        while self._size > OUTPUT_MAX:
            self._size -= len(self.kept.popleft()) + 1
        if self._hear is not None:
            self._hear(text)


async def _put_down(process: asyncio.subprocess.Process) -> None:
    """Kill the whole process group and reap its leader."""
    _kill_group(process.pid)
    await process.wait()


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


@cache
def boot_id() -> str:
    """The id of this boot of the machine."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int) -> Identity | None:
    """The identity of the process that has *pid* now; None when there is none, or only its zombie."""
    fields = _stat(pid)
    if fields is None or fields[0][0] in _ENDED:
        return None
    return Identity(pid, int(fields[19]), boot_id())


def alive(identity: Identity) -> bool:
    """Whether exactly this process still runs (a zombie does not)."""
    return identify(identity.pid) == identity


def _stat(pid: int) -> list[bytes] | None:
    """Fields of /proc/PID/stat from the third (state) on; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return text[text.rindex(b")") + 2 :].split()


def pids() -> list[int]:
    """All processes that exist now."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def command_bytes(pid: int) -> bytes:
    """The arguments of a process, each ended by a zero byte; empty when it is gone."""
    return _read(pid, "cmdline")


def environ_bytes(pid: int) -> bytes:
    """The environment that a process was started with, as command_bytes; empty when it is gone or not ours."""
    return _read(pid, "environ")


def command_line(pid: int) -> list[str]:
    """The arguments of a process; empty when it is gone or shows none."""
    return [os.fsdecode(part) for part in command_bytes(pid).split(b"\0")[:-1]]


def environ_value(pid: int, name: str) -> str | None:
    """The value of *name* in the environment that a process was started with; None when not there or not readable."""
    prefix = os.fsencode(name) + b"="
    for entry in environ_bytes(pid).split(b"\0"):
        if entry.startswith(prefix):
            return os.fsdecode(entry[len(prefix) :])
    return None


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return b""


def unmarked() -> None:
    """Execute this program again without the marks that its environment carries, if it does.

    A daemon that was started in a notebook's terminal would otherwise count as a process of that host, and end itself
    with it. The system shows the environment that a program was started with, so only an exec removes a mark.
    """
    if HOST_MARK in os.environ or BUILD_MARK in os.environ:
        kept = {name: value for name, value in os.environ.items() if name not in (HOST_MARK, BUILD_MARK)}
        os.execve(sys.executable, sys.orig_argv, kept)  # noqa: S606


def family(*roots: int) -> set[int]:
    """The *roots*, the members of the sessions that they lead, and the descendants of all of these.

    Never this process and what it started, even if it was itself started by one of them.
    """
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for pid in pids():
        if pid != os.getpid() and (fields := _stat(pid)) is not None:
            children.setdefault(int(fields[1]), []).append(pid)
            if pid in roots or int(fields[3]) in roots:
                found.add(pid)
    queue = list(found)
    while queue:
        fresh = [child for child in children.get(queue.pop(), ()) if child not in found]
        found.update(fresh)
        queue.extend(fresh)
    return found


def descendants(root: int) -> set[int]:
    """*root* and all that descends from it, without reading the other processes of the machine; none when gone."""
    found: set[int] = set()
    queue = [root]
    while queue:
        pid = queue.pop()
        found.add(pid)
        queue += [child for child in children(pid) if child not in found]
    return {pid for pid in found if _stat(pid) is not None}


def children(pid: int) -> list[int]:
    """The processes that the main thread or another one of *pid* has started, or adopted."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []
    return [int(child) for thread in threads for child in _read(pid, f"task/{thread}/children").split()]


def used(processes: Iterable[int]) -> Usage:
    """What *processes* have used, with those of their children that have ended. Memory that they share counts once."""
    memory = largest = ticks = 0
    for pid in processes:
        fields, pages = _stat(pid), _read(pid, "statm").split()
        if fields is not None and len(pages) > 2:
            resident, shared = int(pages[1]), int(pages[2])
            memory += resident - shared
            largest = max(largest, shared)
            ticks += sum(map(int, fields[11:15]))
    return Usage((memory + largest) * _PAGE, ticks / _TICKS)


LOOKS = 2  # looks in a row that must find nothing
EXECUTING = 0.02  # seconds between them: a process in the middle of an exec shows no environment to know it by


async def kill_all(collect: Callable[[], Iterable[int]], *, deadline: float = 10.0) -> bool:
    """Kill every process that *collect* names, and again until it names none; False when some outlived *deadline* s.

    Looking again catches what was forked between the reading and the signal. A zombie of ours is reaped. This very
    process is never killed, whatever *collect* names.
    """
    loop = asyncio.get_running_loop()
    end, clean = loop.time() + deadline, 0
    while clean < LOOKS:
        named = await asyncio.to_thread(collect)
        left = [pid for pid in named if pid != os.getpid() and identify(pid) is not None]
        clean = 0 if left else clean + 1
        if not left:
            await asyncio.sleep(EXECUTING)
            continue
        if loop.time() > end:
            return False
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.gather(*(ended(pid, timeout=1.0) for pid in left))
    return True


async def ended(pid: int, *, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - a wait by nature
    """Wait until the process, child or not, has ended, and reap it when it is our child; False after *timeout* s."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(timeout):
            await gone.wait()
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
    reap(pid)
    return True


def reap(pid: int) -> None:
    """Take a zombie child of ours away; nothing when it is none."""
    if pid <= 0:  # to the system that is any child
        return
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LINE_MAX = 64 * 1024  # bytes; a longer line is handed on in pieces
_ENDED = frozenset(b"ZX")


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for all time: pid, start time in clock ticks since boot, id of that boot."""

    pid: int
    started: int
    boot: str


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its exit code (negative: the signal) and all that it wrote."""

    code: int
    output: str


async def run(
    argv: Sequence[str], *, cwd: Path, env: Mapping[str, str], line: Callable[[str], None] | None = None
) -> Finished:
    """Run a program in a session of its own and hand each line of its output (both streams) to *line*.

    When it ends, or this call is cancelled, what is left of its process group is killed, so nothing of it
    survives. Raises OSError when the program cannot be started.
    """
    spawning = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *argv,
            cwd=cwd,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    )
    try:
        process = await asyncio.shield(spawning)
    except asyncio.CancelledError:
        await _put_down(await spawning)
        raise
    lines: list[str] = []
    reading = asyncio.ensure_future(_read_lines(process, lines, line))
    try:
        code = await process.wait()
    finally:
        await _put_down(process)
        await reading
    return Finished(code, "\n".join(lines))


async def _read_lines(
    process: asyncio.subprocess.Process, lines: list[str], line: Callable[[str], None] | None
) -> None:
    """Collect the lines of *process* until all who hold the other end of its pipe are gone."""
    assert process.stdout is not None  # noqa: S101 - opened as a pipe above
    rest = b""
    try:
        while chunk := await process.stdout.read(LINE_MAX):
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) >= LINE_MAX:
                whole, rest = [*whole, rest], b""
            for raw in whole:
                _take(raw, lines, line)
        if rest:
            _take(rest, lines, line)
    except BaseException:
        _kill_group(process.pid)  # nobody would empty its pipe any more
        raise


def _take(raw: bytes, lines: list[str], line: Callable[[str], None] | None) -> None:
    text = raw.decode("utf-8", "replace").rstrip("\r")
    lines.append(text)
    if line is not None:
        line(text)


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


def family(root: int) -> set[int]:
    """*root*, the members of the session that it leads, and the descendants of all of these."""
    children: dict[int, list[int]] = {}
    found: set[int] = set()
    for pid in pids():
        if (fields := _stat(pid)) is not None:
            children.setdefault(int(fields[1]), []).append(pid)
            if pid == root or int(fields[3]) == root:
                found.add(pid)
    queue = list(found)
    while queue:
        fresh = [child for child in children.get(queue.pop(), ()) if child not in found]
        found.update(fresh)
        queue.extend(fresh)
    return found


async def kill_all(collect: Callable[[], Iterable[int]], *, deadline: float = 10.0) -> bool:
    """Kill every process that *collect* names, and again until it names none; False when some outlived *deadline* s.

    Looking again catches what was forked between the look and the signal. A zombie of ours is reaped.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline
    while left := [pid for pid in await asyncio.to_thread(collect) if identify(pid) is not None]:
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
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)

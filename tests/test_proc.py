"""One subprocess: its lines, its end, and that nothing of it survives; identities; who is whose child."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kaosd import proc

# starts a child that ignores SIGTERM in the same group, tells its pid, and waits
PARENT = "import subprocess, time; p = subprocess.Popen(['sleep', '600']); print(p.pid, flush=True); time.sleep(600)"


async def run(code: str, lines: list[str] | None = None) -> proc.Finished:
    line = lines.append if lines is not None else None
    return await proc.run([sys.executable, "-c", code], cwd=Path("/"), env=dict(os.environ), line=line)


async def test_lines_of_both_streams_come_in_order_with_the_exit_code() -> None:
    lines: list[str] = []
    code = "import os; os.write(1, b'a\\n'); os.write(2, b'b\\r\\n'); os.write(1, b'c'); os._exit(3)"
    assert await run(code, lines) == proc.Finished(3, "a\nb\nc")
    assert lines == ["a", "b", "c"]


async def test_a_line_without_end_comes_in_pieces() -> None:
    lines: list[str] = []
    await run("print('x' * 300_000)", lines)
    assert len(lines) > 1
    assert "".join(lines) == "x" * 300_000


async def test_of_endless_output_the_newest_is_kept_and_the_loop_turns_meanwhile() -> None:
    heard, turns = 0, 0

    def hear(_: str) -> None:
        nonlocal heard
        heard += 1

    async def turn() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    turning = asyncio.ensure_future(turn())
    code = "import os\nfor _ in range(60): os.write(1, b'y\\n' * 50_000)\nos.write(1, b'the end')"
    done = await proc.run([sys.executable, "-c", code], cwd=Path("/"), env=dict(os.environ), line=hear)
    turning.cancel()
    assert heard == 3_000_001
    assert len(done.output) <= proc.OUTPUT_MAX
    assert done.output.endswith("y\nthe end")
    assert turns > heard / 400


async def test_bytes_that_are_not_utf8_are_replaced() -> None:
    assert (await run("import os; os.write(1, b'\\xff\\n')")).output == "\ufffd"


async def test_a_program_that_is_not_there_is_an_oserror() -> None:
    with pytest.raises(FileNotFoundError):
        await proc.run(["/nowhere"], cwd=Path("/"), env={})


async def test_cancellation_kills_the_whole_group() -> None:
    lines: list[str] = []
    running = asyncio.ensure_future(run(PARENT, lines))
    async with asyncio.timeout(30):
        while not lines:
            await asyncio.sleep(0.01)
    child = proc.identify(int(lines[0]))
    assert child is not None
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await proc.ended(child.pid, timeout=10)


async def test_a_child_left_behind_does_not_keep_the_call_waiting() -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
    async with asyncio.timeout(30):
        finished = await run(code)
    assert await proc.ended(int(finished.output), timeout=10)


async def test_one_that_left_the_session_does_not_keep_the_call_waiting_either() -> None:
    code = "import subprocess; print(subprocess.Popen(['sleep', '600'], start_new_session=True).pid, flush=True)"
    async with asyncio.timeout(30):
        finished = await run(code)
    assert await proc.kill_all(lambda: [int(finished.output)])


async def test_an_error_of_the_listener_ends_the_program() -> None:
    def refuse(_text: str) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        async with asyncio.timeout(30):
            await proc.run(["yes"], cwd=Path("/"), env=dict(os.environ), line=refuse)


def test_identity_tells_a_process_from_a_later_one_of_the_same_pid() -> None:
    own = proc.identify(os.getpid())
    assert own is not None
    assert proc.alive(own)
    assert not proc.alive(proc.Identity(own.pid, own.started - 1, own.boot))
    assert not proc.alive(proc.Identity(own.pid, own.started, "another boot"))


async def test_a_zombie_is_not_alive_and_its_end_is_awaited() -> None:
    process = subprocess.Popen(["sleep", "600"])
    identity = proc.identify(process.pid)
    assert identity is not None
    waiting = asyncio.ensure_future(proc.ended(process.pid))
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert not proc.alive(identity)
    assert await waiting
    process.wait()


async def test_waiting_for_an_end_can_time_out() -> None:
    assert not await proc.ended(os.getpid(), timeout=0.01)


async def test_kill_all_takes_those_that_are_started_meanwhile() -> None:
    code = "import subprocess, time\nwhile True:\n  subprocess.Popen(['sleep', '600'])\n  time.sleep(0.005)\n"
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "KAOS_TEST_MARK": str(os.getpid())})

    def marked() -> list[int]:
        return [pid for pid in proc.pids() if proc.environ_value(pid, "KAOS_TEST_MARK") == str(os.getpid())]

    async with asyncio.timeout(30):
        while len(marked()) < 5:
            await asyncio.sleep(0.01)
    assert await proc.kill_all(marked)
    assert marked() == []
    process.returncode = 0  # reaped by kill_all


async def test_the_family_has_descendants_in_sessions_of_their_own() -> None:
    code = (
        "import subprocess, time; p = subprocess.Popen(['sleep', '600'], start_new_session=True);"
        "print(p.pid, flush=True); time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        child = int(process.stdout.readline())
        family = proc.family(process.pid)
        assert family == {process.pid, child}
        await proc.kill_all(lambda: family)
        process.returncode = 0


async def test_the_family_of_one_that_started_us_has_neither_us_nor_what_we_started() -> None:
    code = (
        "import os, subprocess; from kaosd import proc\n"
        "child = subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
        "family = proc.family(os.getppid()); child.kill()\n"
        "print(os.getppid() in family, os.getpid() in family, child.pid in family)"
    )
    # a shell between us, as that of a terminal
    finished = await proc.run(
        ["sh", "-c", f'"{sys.executable}" -c "$1"; true', "sh", code], cwd=Path.cwd(), env=dict(os.environ)
    )
    assert finished.output == "True False False"


async def test_kill_all_spares_us() -> None:
    process = subprocess.Popen(["sleep", "600"])
    assert await proc.kill_all(lambda: [os.getpid(), process.pid])
    process.returncode = 0
    assert proc.identify(process.pid) is None


@pytest.mark.parametrize(
    "marks", [{}, {"KAOS_HOST": "/home:1"}, {"KAOS_BUILD": "/e"}, {"KAOS_HOST": "", "KAOS_BUILD": ""}]
)
async def test_a_program_without_marks_is_the_same_process(marks: dict[str, str]) -> None:
    code = (
        "import os, sys; from kaosd import proc; before = len(sys.argv)\n"
        "proc.unmarked(); environ = proc.environ_bytes(os.getpid())\n"
        "print(b'KAOS_' in environ, b'OTHER=x y' in environ, sys.argv[1:], os.getpid())"
    )
    variables = {**os.environ, **marks, "OTHER": "x y"}
    argv = [sys.executable, "-c", code, "a b", "$HOME"]
    process = subprocess.Popen(argv, env=variables, stdout=subprocess.PIPE, text=True)
    printed, _ = process.communicate(timeout=60)
    assert printed == f"False True ['a b', '$HOME'] {process.pid}\n"

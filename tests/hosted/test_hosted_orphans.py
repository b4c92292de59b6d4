"""What a host's programs leave behind: it stays below the host, is ended with it, and leaves no zombies."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kaosd import proc
from kaosd.engines.process import host as hosts
from kaosd.engines.process.host import RunningServer

ROOT = Path(__file__).parents[2]
HOST = """
import subprocess, sys, time
sys.path.insert(0, {root!r})
from kaosd.hosted import orphans
orphans._LOOKS_EVERY = 0.05
orphans.adopt()
for line in sys.stdin:
    subprocess.run(["/bin/sh", "-c", line])
    print("done", flush=True)
"""
HIDING = {
    "a session of its own": "setsid sleep 987654 &",
    "without environment": "env -i setsid -f sleep 987654",
    "twice": "env -i setsid -f /bin/sh -c 'setsid -f sleep 987654; exit' &",
    "behind a subshell": "(env -i /bin/sh -c 'sleep 987654 & exit' &)",
}


@pytest.fixture
def host() -> Iterator[subprocess.Popen[str]]:
    code = HOST.format(root=str(ROOT))
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    yield process
    process.kill()
    process.communicate()


def run(host: subprocess.Popen[str], line: str) -> None:
    """Have the host run a line in a shell, and wait for that shell."""
    assert host.stdin is not None
    assert host.stdout is not None
    host.stdin.write(f"{line}\n")
    host.stdin.flush()
    assert host.stdout.readline() == "done\n"


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sleepers(host: subprocess.Popen[str]) -> set[int]:
    return {pid for pid in proc.family(host.pid) if proc.command_line(pid)[:1] == ["sleep"]}


def handle(host: subprocess.Popen[str], tmp_path: Path) -> RunningServer:
    found = proc.identify(host.pid)
    assert found is not None
    text = str(tmp_path / "x")
    return RunningServer(
        found.pid, found.started, found.boot, [], "no such mark", text, "/n/", text, text, 0, text, text, "e", "s", 0.0
    )


@pytest.mark.parametrize("line", HIDING.values(), ids=HIDING)
async def test_a_process_that_hides_ends_with_its_host(host: subprocess.Popen[str], tmp_path: Path, line: str) -> None:
    run(host, line)
    until(lambda: len(sleepers(host)) == 1)
    (pid,) = sleepers(host)
    hidden = proc.identify(pid)
    assert hidden is not None
    await hosts.stop(handle(host, tmp_path), 5)
    assert not proc.alive(hidden)
    assert proc.identify(host.pid) is None


def test_no_zombies_stay(host: subprocess.Popen[str]) -> None:
    for _ in range(20):
        run(host, "setsid -f true")
    until(lambda: Path(f"/proc/{host.pid}/task/{host.pid}/children").read_text().split() == [])


def test_a_child_of_the_host_s_own_is_left_to_the_one_who_waits_for_it() -> None:
    code = f"""
import subprocess, sys, time
sys.path.insert(0, {str(ROOT)!r})
from kaosd.hosted import orphans
one = subprocess.Popen(["/bin/sh", "-c", "exit 7"])
while not orphans._has_ended(one.pid): time.sleep(0.01)
seen = orphans.reap(set())
assert seen == {{one.pid}}, seen
print(one.wait(), orphans.reap(seen))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "7 set()\n"

"""The process engine's hosts: what all engines do, and what is its own, on a real JupyterLab."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conformance import *  # noqa: F403 - its tests run here
from conformance import IMPORT_EXTRA, VERSION, stored
from conftest import Lines, make_home
from lab import lab

from kaosd import proc
from kaosd.engines.base import Order
from kaosd.engines.jupyter import last_words, meaningful
from kaosd.engines.process import ProcessEngine
from kaosd.errors import StartFailed
from kaosd.model import Environment, Resources

# starts a host as a daemon would, tells its handle, and waits to be killed
DAEMON = """
import asyncio, json, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
from conftest import SPEC, Home, Lines, Order
from kaosd.engines.process import ProcessEngine
from kaosd.model import Environment

async def main():
    root, environments = Path(sys.argv[2]), Path(sys.argv[3])
    home = Home(root, *(root / name for name in ("work", "data", "jupyter", "logs", "token", "run")))
    order = Order(SPEC, home, Environment(*sys.argv[4:7]), f"/{SPEC.name}/", home.logs / "host.log", ())
    host = await ProcessEngine(environments).start(order, Lines(root))
    print(json.dumps(host.handle), flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


def everything_of(order: Order) -> list[int]:
    """All processes that carry a mark of the order's home."""
    mark = os.fsencode(f"KAOS_HOST={order.home.root}:")
    return [pid for pid in proc.pids() if mark in proc.environ_bytes(pid)]


async def test_switch_gives_new_kernels_the_new_package_and_running_ones_keep_theirs(
    engine: ProcessEngine, order_for: Callable[..., Order], base: Environment, extended: Environment, log: Lines
) -> None:
    assert base.server == extended.server
    order = order_for(base)
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        old = await there.new_kernel()
        await there.run(old, "kept = 41")
        assert "ModuleNotFoundError" in await there.run(old, IMPORT_EXTRA)
        switched = await engine.switch(host, order_for(extended))
        assert switched is not None
        assert (switched.environment, switched.upstream) == (extended.digest, host.upstream)
        assert await there.run(await there.new_kernel(), IMPORT_EXTRA) == VERSION
        assert await there.run(old, "print(kept + 1)") == "42"
        assert "ModuleNotFoundError" in await there.run(old, IMPORT_EXTRA)
        assert (await there.request("POST", f"api/kernels/{old}/restart"))[0] == 200
        assert await there.run(old, IMPORT_EXTRA) == VERSION


HOME_OF = "import importlib.metadata as m; print(m.version('{0}'), __import__('{0}').__file__)"


WAYS_TO_INSTALL = (
    "%pip install -q --no-deps humanize==4.8.0",
    "!pip install -q --no-deps humanize==4.8.0",
    "!uv pip install -q --no-deps humanize==4.8.0",
    "!python -m pip install -q --no-deps humanize==4.8.0",
    "import subprocess; subprocess.run([sys.executable, '-m', 'pip', 'install', '-q', 'humanize==4.8.0'])",
    "!uv pip install -q --python {sys.executable} humanize==4.8.0",
    "!VIRTUAL_ENV= pip install -q humanize==4.8.0",
)


async def test_what_a_cell_installs_is_there_at_once_and_in_this_notebook_alone(
    engine: ProcessEngine, order_for: Callable[..., Order], extended: Environment, log: Lines, short: Path
) -> None:
    order = order_for(extended)
    other = dataclasses.replace(order, home=make_home(short / "o"))
    one, two = await asyncio.gather(engine.start(order, log), engine.start(other, log))
    own = f"{order.home.root}/environments/"
    try:
        async with lab(one, order) as here, lab(two, other) as there:
            for install in WAYS_TO_INSTALL:
                kernel = await here.new_kernel()
                printed = await here.run(kernel, f"import sys\n{install}")
                assert "rror" not in printed, (install, printed)
                assert (await here.run(kernel, HOME_OF.format("humanize"))).startswith(f"4.8.0 {own}"), install
                await here.run(kernel, "!pip uninstall -q -y humanize")
                assert VERSION in await here.run(await here.new_kernel(), HOME_OF.format("humanize")), install
            await here.run(kernel, WAYS_TO_INSTALL[0])
            shared = await there.run(await there.new_kernel(), HOME_OF.format("humanize"))
            assert shared.startswith(f"{VERSION} {extended.handle}/")
    finally:
        await engine.stop(two, 0)
    assert await engine.built(extended.digest) == extended


async def test_what_was_installed_by_hand_outlives_hosts_and_environments(
    engine: ProcessEngine, order_for: Callable[..., Order], base: Environment, extended: Environment, log: Lines
) -> None:
    host = await engine.start(order_for(base), log)
    async with lab(host, order_for(base)) as here:
        old = await here.new_kernel()
        await here.run(old, "%pip install -q --no-deps humanize==4.8.0 iniconfig")
        switched = await engine.switch(host, order_for(extended))
        assert switched is not None
        new = await here.new_kernel()
        assert (await here.run(new, HOME_OF.format("humanize"))).startswith(f"{VERSION} {extended.handle}")
        assert "/environments/" in await here.run(new, HOME_OF.format("iniconfig"))
        assert (await here.run(old, HOME_OF.format("humanize"))).startswith("4.8.0")
    await engine.stop(switched, 0)
    host = await engine.start(order_for(extended), log)
    async with lab(host, order_for(extended)) as here:
        assert "/environments/" in await here.run(await here.new_kernel(), HOME_OF.format("iniconfig"))
    await engine.forget(order_for(base).home)
    assert not (order_for(base).home.root / "environments").exists()


async def test_no_program_of_the_daemon_and_none_of_the_environment_itself_is_found(
    environments: Path, order: Order, log: Lines
) -> None:
    own = {**os.environ, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}", "VIRTUAL_ENV": sys.prefix}
    engine = ProcessEngine(environments, variables=own)
    host = await engine.start(order, log)
    try:
        async with lab(host, order) as here:
            kernel = await here.new_kernel()
            path = (await here.run(kernel, "import os; print(os.environ['PATH'])")).split(":")
            assert path[0].startswith(f"{order.home.root}/environments/")
            assert not [one for one in path if one.startswith((f"{sys.prefix}/", order.environment.handle))]
            for program in ("python", "pip", "jupyter", "ipython", "uv"):
                assert str(order.home.root) in await here.run(kernel, f"!command -v {program}"), program
            assert "jupyter core" in (await here.run(kernel, "!jupyter --version")).lower().replace("_", " ")
            code = "import sys; print(sys.prefix)"
            assert str(order.home.root) in await here.run(kernel, f"!ipython -c '{code}'")
    finally:
        await engine.stop(host, 0)
        await engine.close()


async def test_the_token_and_the_secrets_are_in_no_process(engine: ProcessEngine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        await there.run(await there.new_kernel(), "import subprocess; child = subprocess.Popen(['sleep', '600'])")
        seen = everything_of(order)
        assert len(seen) >= 3  # server, kernel, the kernel's child
        token = order.home.token_file.read_bytes()
        for pid in seen:
            told = proc.command_bytes(pid) + proc.environ_bytes(pid)
            assert token not in told
            assert b"s3cret" not in told
    assert token not in order.log.read_bytes()


async def test_variables_named_by_the_person_are_passed(
    environments: Path, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    variables = {**os.environ, "AWS_REGION": "eu-1", "AWS_PROFILE": "ada", "KAOSD_STATE_DIR": "/x"}
    engine = ProcessEngine(environments, variables=variables, pass_environment=("AWS_*", "KAOSD_*"))
    host = await engine.start(order_for(base), log)
    pid = int(host.handle["pid"])
    assert proc.environ_value(pid, "AWS_REGION") == "eu-1"
    assert proc.environ_value(pid, "AWS_PROFILE") == "ada"
    assert proc.environ_value(pid, "KAOSD_STATE_DIR") is None
    await engine.close()


async def test_no_descriptor_is_inherited(engine: ProcessEngine, order: Order, log: Lines, short: Path) -> None:
    with (short / "inheritable").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        host = await engine.start(order, log)
    descriptors = Path(f"/proc/{host.handle['pid']}/fd")
    assert os.readlink(descriptors / "0") == "/dev/null"
    for one in descriptors.iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            assert os.readlink(one) != str(short / "inheritable")


async def test_directories_and_files_of_a_host_are_private(engine: ProcessEngine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    for name in ("config", "data", "runtime", "ipython"):
        assert (order.home.jupyter / name).stat().st_mode & 0o777 == 0o700
    for path in (order.home.jupyter / "host.json", order.log, Path(host.upstream.removeprefix("unix:"))):
        assert path.stat().st_mode & 0o777 == 0o600


async def test_stop_leaves_no_process_not_even_one_that_hid(engine: ProcessEngine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    hidden = "import subprocess; p = subprocess.Popen(['sleep', '600'], start_new_session=True, env={}); print(p.pid)"
    orphan = "import os; print(os.popen('env -i setsid sh -c \"sleep 600 >/dev/null 2>&1 & echo \\$!\"').read())"
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        found = [proc.identify(int(await there.run(kernel, cell))) for cell in (hidden, orphan)]
    children = [one for one in found if one is not None]
    assert len(children) == 2
    await engine.stop(host, 10)
    assert everything_of(order) == []
    assert not any(proc.alive(child) for child in children)
    assert not Path(host.upstream.removeprefix("unix:")).exists()


async def test_stop_after_the_server_was_killed_ends_its_kernels(
    engine: ProcessEngine, order: Order, log: Lines
) -> None:
    host = await engine.start(order, log)
    async with lab(host, order) as there:
        await there.run(await there.new_kernel(), "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)")
    os.kill(host.handle["pid"], signal.SIGKILL)
    async with asyncio.timeout(10):
        await engine.ended(host)
    assert not (await engine.probe(host)).alive
    await engine.stop(host, 10)
    assert everything_of(order) == []


async def test_a_stopped_host_is_alive_but_does_not_answer(engine: ProcessEngine, order: Order, log: Lines) -> None:
    host = await engine.start(order, log)
    os.kill(host.handle["pid"], signal.SIGSTOP)
    status = await engine.probe(host)
    assert (status.alive, status.answering) == (True, False)
    assert status.reason == "JupyterLab runs, but does not answer within 5 s"  # its log tells of no trouble
    await engine.stop(host, 0.1)
    assert everything_of(order) == []


async def test_a_host_that_dies_at_start_tells_its_last_lines(engine: ProcessEngine, order: Order, log: Lines) -> None:
    order.log.write_text("words of an earlier host\n")
    order.home.token_file.write_text("")
    with pytest.raises(StartFailed, match=r"ended while it started: .*token is empty") as failed:
        await engine.start(order, log)
    assert "earlier" not in failed.value.text
    assert everything_of(order) == []
    assert not (order.home.root / "environment").is_symlink()


async def test_a_failed_start_leaves_the_running_host_its_environment(
    engine: ProcessEngine, order: Order, base: Environment, log: Lines, short: Path
) -> None:
    host = await engine.start(order, log)
    (short / "broken" / "bin").mkdir(parents=True)
    (short / "broken" / "bin" / "python").symlink_to("/bin/false")
    broken = dataclasses.replace(order, environment=Environment("b" * 64, str(short / "broken"), "c" * 64))
    with pytest.raises(StartFailed):
        await engine.start(broken, log)
    assert os.readlink(order.home.root / "environment") == base.handle
    async with lab(host, order) as there:
        assert await there.run(await there.new_kernel(), "print(1)") == "1"


async def test_an_environment_without_python_cannot_start(engine: ProcessEngine, order: Order, log: Lines) -> None:
    missing = dataclasses.replace(order, environment=Environment("b" * 64, "/nowhere", "c" * 64))
    with pytest.raises(StartFailed, match=r"cannot be started: .*/nowhere/bin/python"):
        await engine.start(missing, log)


async def test_a_host_that_does_not_answer_in_time_is_ended(
    environments: Path, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    order = order_for(base)
    with pytest.raises(StartFailed, match=r"did not answer within 0\.05 s"):
        await ProcessEngine(environments, start_within=0.05).start(order, log)
    assert everything_of(order) == []


async def test_a_cancelled_start_leaves_no_process(engine: ProcessEngine, order: Order, log: Lines) -> None:
    starting = asyncio.ensure_future(engine.start(order, log))
    async with asyncio.timeout(30):
        while not log.lines:
            await asyncio.sleep(0.01)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert everything_of(order) == []


async def test_a_socket_path_that_is_too_long_is_a_sentence(
    engine: ProcessEngine, order: Order, log: Lines, short: Path
) -> None:
    home = dataclasses.replace(order.home, run=short / ("r" * 100))
    with pytest.raises(StartFailed, match=r"the path of the host's socket has 1[0-9][0-9] bytes"):
        await engine.start(dataclasses.replace(order, home=home), log)


async def test_a_host_outlives_its_daemon_and_is_adopted(
    engine: ProcessEngine, order: Order, environments: Path, log: Lines
) -> None:
    environment = order.environment
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    told = [path, str(order.home.root), str(environments), environment.digest, environment.handle, environment.server]
    with subprocess.Popen([sys.executable, "-c", DAEMON, *told], stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        handle = json.loads(daemon.stdout.readline())
        daemon.kill()
    host = await engine.adopt(handle)
    assert host is not None
    async with lab(host, order) as there:
        assert (await there.request("GET", "api/status"))[0] == 200
        assert await there.run(await there.new_kernel(), "print(6 * 7)") == "42"
    ending = asyncio.ensure_future(engine.ended(host))
    await engine.stop(host, 10)
    async with asyncio.timeout(10):
        await ending
    assert everything_of(order) == []


FORGED: dict[str, dict[str, object]] = {
    "pid of another process": {"pid": os.getpid()},
    "pid of no process": {"pid": 2**22},
    "pid was used again": {"started": 1},
    "machine was started again": {"boot": "an earlier one"},
    "other command line": {"argv": ["python"]},
    "other mark": {"mark": "/elsewhere:00"},
    "handle of another version": {"unknown": 1},
}


async def test_a_process_that_is_not_ours_is_not_adopted(engine: ProcessEngine, order: Order, log: Lines) -> None:
    handle = stored(await engine.start(order, log))
    adopted = {case: await engine.adopt({**handle, **forged}) for case, forged in FORGED.items()}
    assert adopted == dict.fromkeys(FORGED)
    assert await engine.adopt({}) is None
    assert await engine.adopt(handle) is not None


async def test_a_switch_that_was_not_written_down_is_seen_at_adoption(
    engine: ProcessEngine, order: Order, order_for: Callable[..., Order], extended: Environment, log: Lines
) -> None:
    host = await engine.start(order, log)
    switched = await engine.switch(host, order_for(extended))
    assert await engine.adopt(stored(host)) == switched


async def test_limits_hold_for_server_and_kernels_and_can_be_changed(
    engine: ProcessEngine, order_for: Callable[..., Order], base: Environment, log: Lines
) -> None:
    order = order_for(base, Resources(cpu=1, memory="8Gi"))
    host = await engine.start(order, log)
    assert engine.enforced(host) is False
    hog = "len(bytearray(9 * 2**30))"
    async with lab(host, order) as there:
        kernel = await there.new_kernel()
        assert await there.run(kernel, "import os; print(len(os.sched_getaffinity(0)))") == "1"
        assert "MemoryError" in await there.run(kernel, hog)
        assert await engine.apply(host, Resources())
        assert await there.run(kernel, "print(len(os.sched_getaffinity(0)))") == str(len(os.sched_getaffinity(0)))
        unlimited = "import resource; print(resource.getrlimit(resource.RLIMIT_DATA)[0])"
        assert await there.run(kernel, unlimited) == str(resource.RLIM_INFINITY)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("2026-11-23T20:20:53.902Z I ServerApp fine\n\n", ["I ServerApp fine"]),
        ('Traceback (most recent call last):\n  File "x", line 1\n    boom()\nValueError: no\n', ["ValueError: no"]),
        ("", []),
    ],
)
def test_meaningful_lines_of_a_log(text: str, lines: list[str]) -> None:
    assert meaningful(text) == lines


def test_the_last_words_of_a_log_are_few_and_of_a_running_host_only_trouble(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\nE ServerApp %s\nI LabApp Skipped\nJupyterLab answers\n" % ("no room " * 50))
    cut = ("E ServerApp " + "no room " * 50)[:199] + "…"
    assert last_words(str(log), 0) == f": {cut} | I LabApp Skipped | JupyterLab answers"
    assert last_words(str(log), 0, running=True) == f": one | {cut}"
    assert last_words(str(log), log.stat().st_size) == last_words(str(tmp_path / "absent"), 0) == ""

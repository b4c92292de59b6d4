"""Environments of the process engine: built once, complete or not there, with real uv and real packages."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import stat
import subprocess
import sys
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uv
from conftest import EXTRA, SPEC, Files, Lines

from kaosd import proc
from kaosd.engines.process import ProcessEngine
from kaosd.engines.process import environment as environment_module
from kaosd.engines.process.environment import Environments, _try_lock
from kaosd.errors import BuildFailed, EngineUnavailable
from kaosd.model import Environment, NotebookSpec

# says that it is being built, and goes on when the file "go" is there
SLOW = """
import os, sys, time
from setuptools import setup
if "bdist_wheel" in sys.argv or "editable_wheel" in sys.argv:
    open({reached!r}, "a").write(f"{{os.getpid()}}\\n")
    while not os.path.exists({go!r}):
        time.sleep(0.02)
setup(name="slow", version="1.0", py_modules=[])
"""
# builds as a daemon would until it is killed
DAEMON = """
import asyncio, sys
from pathlib import Path
sys.path[:0] = sys.argv[1].split(":")
from conftest import SPEC, Files, Lines
from kaosd.engines.process import ProcessEngine

inputs = Files({"model/requirements.txt": "./slow\\n", "model/slow/setup.py": sys.argv[3]})
asyncio.run(ProcessEngine(Path(sys.argv[2])).build(SPEC, inputs, Lines(Path(sys.argv[2]))))
"""


@pytest.fixture
async def own(short: Path) -> AsyncIterator[ProcessEngine]:
    """An engine whose environments are this test's alone."""
    engine = ProcessEngine(short / "e")
    yield engine
    await engine.close()


@pytest.fixture
def uv_calls(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with a line for each start of uv."""
    calls, real, counting = short / "uv-calls", uv.find_uv_bin(), short / "uv"
    calls.touch()
    counting.write_text(f'#!/bin/sh\necho "$1 $2" >> {calls}\nexec {real} "$@"\n')
    counting.chmod(0o755)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(counting))
    return calls


def slow_inputs(short: Path) -> Files:
    setup = SLOW.format(reached=str(short / "reached"), go=str(short / "go"))
    return Files({"model/requirements.txt": "./slow\n", "model/slow/setup.py": setup})


async def reached(short: Path) -> None:
    """Return when the slow package is being built."""
    async with asyncio.timeout(120):
        while not (short / "reached").exists():
            await asyncio.sleep(0.02)


async def test_a_directory_that_its_server_makes_again_is_cleared_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one does that imports a module while the directory moves away: Python makes what it caches bytecode in."""
    environments, moved = Environments(tmp_path, uv.find_uv_bin(), sys.executable, {}), environment_module._trashed
    target, times = environments.path("0" * 64), iter(range(3))

    def comes_back(path: Path) -> Path | None:
        trash = moved(path)
        for _ in itertools.islice(times, 1):
            (path / "lib" / "__pycache__").mkdir(parents=True)
        return trash

    monkeypatch.setattr(environment_module, "_trashed", comes_back)
    (target / "lib").mkdir(parents=True)
    await environments._empty(target)
    assert list(target.iterdir()) == []
    await environments.close()


def builders(environments: Path) -> list[int]:
    """Processes of a build, of whatever daemon."""
    mark = os.fsencode(f"KAOS_BUILD={environments}/")
    return [pid for pid in proc.pids() if mark in proc.environ_bytes(pid)]


def left_in(environments: Path) -> list[str]:
    """What an aborted build left behind, but for its lock."""
    return [name for name in os.listdir(environments) if name != "last" and not name.endswith(".lock")]


async def test_a_complete_environment_is_taken_without_starting_uv(
    environments: Path, base: Environment, log: Lines, uv_calls: Path
) -> None:
    engine = ProcessEngine(environments)
    assert await engine.build(SPEC, Files.of(""), log) == base
    assert uv_calls.read_text() == ""
    assert log.lines == [f"environment {base.digest[:7]} is there already"]


async def test_builds_of_one_digest_at_once_build_once(short: Path, uv_calls: Path, log: Lines) -> None:
    first, second = ProcessEngine(short / "e"), ProcessEngine(short / "e")  # as of two daemons
    inputs = Files.of("")
    found = await asyncio.gather(*(engine.build(SPEC, inputs, log) for engine in (first, first, second)))
    assert len(set(found)) == 1
    assert uv_calls.read_text().split("\n")[:-1] == ["pip compile", "venv --allow-existing", "pip install"]


@pytest.fixture
def changing_index(short: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file: for each of its lines uv finds once that a version of the lock is not there."""
    left, real, wrapped = short / "left", uv.find_uv_bin(), short / "uv"
    install = (
        f"""if [ "$1 $2" = "pip install" ] && [ -s {left} ]; then sed -i 1d {left}; set -- "$@" iniconfig==999; fi"""
    )
    wrapped.write_text(f'#!/bin/sh\n{install}\nexec {real} "$@"\n')
    wrapped.chmod(0o755)
    monkeypatch.setattr(uv, "find_uv_bin", lambda: str(wrapped))
    return left


async def test_an_index_that_changes_between_resolving_and_installing_is_asked_anew(
    short: Path, changing_index: Path, log: Lines
) -> None:
    changing_index.write_text("once\n")
    await ProcessEngine(short / "e").build(SPEC, Files.of(f"{EXTRA}\n"), log)
    assert "the package index does not have what it has just named; it is asked again" in log.lines


async def test_an_index_that_goes_on_changing_is_nobody_s_fault_and_tried_again(
    short: Path, changing_index: Path, log: Lines
) -> None:
    engine, inputs = ProcessEngine(short / "e"), Files.of(f"{EXTRA}\n")
    changing_index.write_text("once\nonce more\n")
    with pytest.raises(EngineUnavailable, match="names versions that it does not have: no version satisfies iniconfig"):
        await engine.build(SPEC, inputs, log)
    await engine.build(SPEC, inputs, log)


async def test_each_step_is_a_line_of_the_log_and_the_lock_tells_what_is_installed(
    own: ProcessEngine, log: Lines
) -> None:
    inputs = Files.of(f"{EXTRA}\n", **{"model/apt.txt": "curl\n"})
    environment = await own.build(SPEC, inputs, log)
    steps = [line for line in log.lines if line.startswith("step ")]
    assert steps == [
        "step 1/4 read the environment inputs",
        "step 2/4 resolve the requirements",
        "step 3/4 create the virtual environment",
        "step 4/4 install",
    ]
    assert any(line.startswith("warning: model/apt.txt: its packages are not installed (curl)") for line in log.lines)
    assert re.match(r"[0-9]+ packages($|;)", log.far[0])
    assert re.match(r"[0-9]+ packages installed($|;)", log.far[-1])
    lock = Path(environment.handle, "kaosd-lock.txt").read_text()
    assert {EXTRA, "jupyterlab", "jupyter-collaboration", "ipykernel"} <= {
        line if line == EXTRA else line.partition("==")[0] for line in lock.split("\n")
    }
    assert stat.S_IMODE(os.stat(environment.handle).st_mode) == 0o700


async def test_an_added_requirement_does_not_move_the_packages_of_the_server(own: ProcessEngine, log: Lines) -> None:
    pinned = "anyio==4.9.0\n"  # an older version, which only the memory of the last lock keeps
    before = await own.build(SPEC, Files.of(pinned), log)
    after = await own.build(SPEC, Files.of(f"{EXTRA}\n"), log)
    assert after.server == before.server
    other = NotebookSpec("notebook-other-ada", "other", "ada")
    fresh = await own.build(other, Files.of(f"{EXTRA}\n\n"), log)
    assert fresh.server != before.server


async def test_without_collaboration_where_the_requirements_exclude_it(own: ProcessEngine, log: Lines) -> None:
    environment = await own.build(SPEC, Files.of("jupyterlab==4.1.8\njupyter-server==2.14.2\n"), log)
    lock = Path(environment.handle, "kaosd-lock.txt").read_text()
    assert "jupyterlab==4.1.8\n" in lock
    assert "jupyter-collaboration" not in lock
    assert environment.notes[0].startswith("jupyter-collaboration is left out: model/requirements.txt excludes ")
    assert environment.notes[0] in log.lines
    assert await own.built(environment.digest) == environment


@pytest.mark.parametrize(
    ("requirements", "sentence"),
    [
        ("six\n\nsix==99.0\n", "model/requirements.txt:3: no version satisfies six==99.0"),
        ("six\nnumpy=>1\n", "model/requirements.txt:2: 'numpy=>1' cannot be read: no such comparison operator"),
        ("# x\nno-such-package-of-kaosd\n", "model/requirements.txt:2: there is no package no-such-package-of-kaosd"),
        ("six==1.16.0\nsix==1.17.0\n", "model/requirements.txt:2: six==1.17.0 contradicts six==1.16.0 of line 1"),
        ("tornado<6\n", "model/requirements.txt:1: tornado<6 contradicts jupyterlab>=4, which the host itself needs"),
    ],
)
async def test_a_bad_requirement_is_a_sentence_with_its_line(
    own: ProcessEngine, log: Lines, short: Path, requirements: str, sentence: str
) -> None:
    inputs = Files.of(requirements)
    with pytest.raises(BuildFailed) as failed:
        await own.build(SPEC, inputs, log)
    assert failed.value.text.startswith(sentence)
    assert await own.built(inputs.digest) is None
    await own.close()
    assert left_in(short / "e") == []
    assert any("error: " in line for line in log.lines)


async def test_a_path_that_is_not_there_is_said_before_uv_is_asked(
    own: ProcessEngine, log: Lines, uv_calls: Path
) -> None:
    with pytest.raises(BuildFailed, match=r"^model/requirements\.txt:2: there is no model/absent \(correct the path"):
        await own.build(SPEC, Files.of("six\n./absent\n"), log)
    assert uv_calls.read_text() == ""


def wheel(index: Path, name: str, version: str) -> None:
    """Put an empty package into a package index of files."""
    (index / name).mkdir(parents=True, exist_ok=True)
    facts = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(index / name / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{facts}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{facts}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{facts}/RECORD", "")
    links = (f'<a href="{one.name}">{one.name}</a>' for one in (index / name).glob("*.whl"))
    (index / name / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links))


async def test_packages_that_are_old_are_named_with_what_the_index_has(short: Path) -> None:
    index, digest = short / "index", "a" * 64
    for name in ("first", "second"):
        wheel(index, name, "1.0")
    variables = {**os.environ, "UV_CACHE_DIR": str(short / "cache"), "PIP_INDEX_URL": index.as_uri()}
    variables.pop("UV_DEFAULT_INDEX", None)
    environments = Environments(short / "e", uv.find_uv_bin(), sys.executable, variables)
    python = environments.path(digest) / "bin" / "python"
    for words in (["venv", str(python.parents[1])], ["pip", "install", "--python", str(python), "first", "second"]):
        command = [uv.find_uv_bin(), *words, *(["--default-index", index.as_uri()] if "pip" in words else [])]
        subprocess.run(command, env=variables, check=True, capture_output=True)
    assert await environments.outdated(digest) == {}
    wheel(index, "second", "1.1")
    assert await environments.outdated(digest) == {"second": "1.1"}


async def test_old_packages_are_not_named_where_the_index_cannot_be_asked(short: Path) -> None:
    variables = {**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/index", "UV_HTTP_RETRIES": "0"}
    environments = Environments(short / "e", uv.find_uv_bin(), sys.executable, variables)
    subprocess.run([uv.find_uv_bin(), "venv", "--seed", str(environments.path("a" * 64))], check=True)
    with pytest.raises(EngineUnavailable, match=r"the package index cannot be asked: .*127\.0\.0\.1:9"):
        await environments.outdated("a" * 64)


async def test_an_unreachable_index_is_not_the_fault_of_the_requirements(short: Path, log: Lines) -> None:
    variables = {**os.environ, "PIP_INDEX_URL": "http://127.0.0.1:9/index", "UV_CACHE_DIR": str(short / "cache")}
    engine = ProcessEngine(short / "e", variables={**variables, "UV_HTTP_RETRIES": "0"})
    with pytest.raises(EngineUnavailable, match=r"127\.0\.0\.1:9 cannot be reached: Connection refused"):
        await engine.build(SPEC, Files.of("six\n"), log)


@pytest.mark.parametrize(
    ("runtime", "sentence"),
    [
        ("python-2.6", "model/runtime.txt:1: there is no Python 2.6 on this machine (there is "),
        ("python-2.6.1", "model/runtime.txt:1: there is no Python 2.6.1 on this machine (there is "),
        ("the latest", "model/runtime.txt:1: 'the latest' names no Python"),
    ],
)
async def test_a_python_that_is_not_there_is_a_sentence(
    own: ProcessEngine, log: Lines, runtime: str, sentence: str
) -> None:
    with pytest.raises(BuildFailed) as failed:
        await own.build(SPEC, Files.of("", **{"model/runtime.txt": f"{runtime}\n"}), log)
    assert failed.value.text.startswith(sentence)


async def test_the_python_of_runtime_txt_is_taken(own: ProcessEngine, log: Lines) -> None:
    asked = ".".join(map(str, sys.version_info[:3]))
    environment = await own.build(SPEC, Files.of("", **{"model/runtime.txt": f"python-{asked}\n"}), log)
    told = subprocess.check_output([f"{environment.handle}/bin/python", "-V"], text=True)
    assert told == f"Python {asked}\n"


async def test_a_cancelled_build_leaves_nothing_and_no_process(own: ProcessEngine, log: Lines, short: Path) -> None:
    inputs = slow_inputs(short)
    building = asyncio.ensure_future(own.build(SPEC, inputs, log))
    await reached(short)
    assert len(builders(short / "e")) >= 2  # uv and the build backend
    building.cancel()
    with pytest.raises(asyncio.CancelledError):
        await building
    assert builders(short / "e") == []
    assert await own.built(inputs.digest) is None
    await own.close()
    assert left_in(short / "e") == []
    (short / "go").touch()
    assert (await own.build(SPEC, inputs, log)).digest == inputs.digest


async def test_a_build_whose_daemon_was_killed_is_made_anew(own: ProcessEngine, log: Lines, short: Path) -> None:
    inputs = slow_inputs(short)
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[2])])
    told = [path, str(short / "e"), inputs.files["model/slow/setup.py"]]
    with subprocess.Popen([sys.executable, "-c", DAEMON, *told]) as daemon:
        await reached(short)
        daemon.kill()
    orphans = builders(short / "e")
    assert orphans
    assert await own.built(inputs.digest) is None
    (short / "go").touch()
    environment = await own.build(SPEC, inputs, log)
    assert await own.built(inputs.digest) == environment
    assert not set(orphans) & set(builders(short / "e"))


async def test_an_environment_without_its_marker_is_not_taken(own: ProcessEngine, log: Lines, short: Path) -> None:
    inputs = Files.of("")
    environment = await own.build(SPEC, inputs, log)
    os.unlink(Path(environment.handle, "kaosd-environment.json"))
    Path(environment.handle, "half-made").touch()
    assert await own.built(inputs.digest) is None
    assert await own.build(SPEC, inputs, log) == environment
    assert not Path(environment.handle, "half-made").exists()


async def test_collect_removes_what_is_neither_kept_nor_used(own: ProcessEngine, log: Lines, short: Path) -> None:
    unused = await own.build(SPEC, Files.of(""), log)
    half = short / "e" / ("f" * 64)
    half.mkdir()
    trash = short / "e" / f"{'d' * 64}.trash-x"
    trash.mkdir()
    with subprocess.Popen([f"{unused.handle}/bin/python", "-c", "input()"], stdin=subprocess.PIPE) as using:
        await own.collect(frozenset())
        assert await own.built(unused.digest) == unused
        using.kill()
    await asyncio.gather(*own._examining.values())  # the look at every file uses it too
    await own._environments._spares.close()  # and so does the copy that is made of it at leisure
    await own.collect(frozenset())
    await own.close()
    assert left_in(short / "e") == []


async def test_collect_leaves_what_another_daemon_builds(own: ProcessEngine, short: Path) -> None:
    half = short / "e" / ("f" * 64)
    half.mkdir()
    lock = _try_lock(half.with_suffix(".lock"))
    assert lock is not None
    await own.collect(frozenset())
    assert half.exists()
    os.close(lock)

"""An environment that is no longer what was built: seen by a probe, built again, whatever happened to it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uv
from conftest import SPEC, Files, Lines, make_home
from lab import lab

from kaosd.engines.base import Order
from kaosd.engines.process import ProcessEngine
from kaosd.engines.process.intact import damage, seal


def site_packages(environment: Path) -> Path:
    return next(environment.glob("lib/python3*/site-packages"))


def remove(environment: Path) -> None:
    """Away at once, though bytecode may be written there meanwhile."""
    gone = environment.with_name("gone")
    environment.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


@pytest.fixture
async def own(short: Path) -> AsyncIterator[ProcessEngine]:
    """An engine whose environments are this test's alone."""
    engine = ProcessEngine(short / "e")
    yield engine
    await engine.close()


async def test_an_environment_that_vanishes_below_its_host_is_there_again(
    own: ProcessEngine, short: Path, log: Lines
) -> None:
    inputs = Files.of("")
    environment = await own.build(SPEC, inputs, log)
    home = make_home(short / "n")
    order = Order(SPEC, home, environment, "/n/", home.logs / "host.log", ())
    host = await own.start(order, log)
    try:
        assert (await own.probe(host)).damage == ""
        remove(Path(environment.handle))
        status = await own.probe(host)
        assert status.answering
        # what compiles its bytecode may write there again
        assert status.damage in ("the environment was removed", "the environment has lost its Python")
        assert await own.built(environment.digest) is None
        async with lab(host, order) as here:
            assert (await here.request("POST", "api/kernels", json={"name": "python3"}))[0] == 500
        assert await own.build(SPEC, inputs, log) == environment
        # it has loaded parts of what was not there, and says so of itself
        assert (await own.probe(host)).damage.startswith("JupyterLab cannot start kernels")
        another = await own.start(order, log)
        assert (await own.probe(another)).damage == ""
        async with lab(another, order) as here:
            assert await here.run(await here.new_kernel(), "print(6 * 7)") == "42"
        await own.stop(another, 0)
    finally:
        await own.stop(host, 0)


async def test_a_host_that_can_start_kernels_stays_when_its_environment_was_built_again(
    own: ProcessEngine, short: Path, log: Lines
) -> None:
    inputs = Files.of("")
    environment = await own.build(SPEC, inputs, log)
    home = make_home(short / "n")
    order = Order(SPEC, home, environment, "/n/", home.logs / "host.log", ())
    host = await own.start(order, log)
    try:
        async with lab(host, order) as here:
            kernel = await here.new_kernel()
            await here.run(kernel, "kept = 41")
            (site_packages(Path(environment.handle)) / "added.pth").touch()
            assert "added.pth of the environment was added" in (await own.probe(host)).damage
            assert await own.built(environment.digest) is None
            assert await own.build(SPEC, inputs, log) == environment
            status = await own.probe(host)
            assert (status.damage, status.answering) == ("", True)
            assert (await here.request("GET", "api/kernels"))[1][0]["id"] == kernel
            assert await here.run(kernel, "print(kept + 1)") == "42"
            assert await here.run(await here.new_kernel(), "print(6 * 7)") == "42"
            (home.root / "environment").unlink()  # a person tidies up
            assert (await own.probe(host)).damage == ""
            assert await here.run(await here.new_kernel(), "print(6 * 7)") == "42"
    finally:
        await own.stop(host, 0)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with two packages, one of them a directory."""
    path = tmp_path_factory.mktemp("small") / "e"
    subprocess.run([uv.find_uv_bin(), "-q", "venv", path], check=True)
    python = f"{path}/bin/python"
    # copies: what is changed here must not change in uv's cache
    install = ["pip", "install", "--link-mode=copy", "--python", python, "six", "pygments"]
    subprocess.run([uv.find_uv_bin(), "-q", *install], check=True)
    return path


@pytest.fixture
def environment(small: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test to damage."""
    return Path(shutil.copytree(small, tmp_path / "e", symlinks=True))


def change(path: Path) -> None:
    path.write_text(f"{path.read_text()}# changed")


DAMAGE: dict[str, tuple[Callable[[Path, Path], object], str]] = {
    "all": (lambda e, s: shutil.rmtree(e), "the environment was removed"),
    "its packages": (lambda e, s: shutil.rmtree(s), "the environment cannot be read"),
    "its library": (lambda e, s: shutil.rmtree(e / "lib"), "the environment cannot be read"),
    "its Python": (lambda e, s: (e / "bin/python").unlink(), "lost its Python"),
    "where its Python leads": (lambda e, s: replace(e / "bin/python", "/nonexistent/python"), "lost its Python"),
    "another Python": (lambda e, s: replace(e / "bin/python", "/bin/sh"), "bin/python of the environment was changed"),
    "its programs": (lambda e, s: shutil.rmtree(e / "bin"), "lost its Python"),
    "a program": (lambda e, s: (e / "bin/pygmentize").unlink(), "bin/pygmentize of the environment was removed"),
    "a changed program": (lambda e, s: change(e / "bin/pygmentize"), "bin/pygmentize of the environment was changed"),
    "its configuration": (lambda e, s: change(e / "pyvenv.cfg"), "pyvenv.cfg of the environment was changed"),
    "a module": (lambda e, s: (s / "six.py").unlink(), "six.py of the environment was removed"),
    "a changed module": (lambda e, s: change(s / "six.py"), "six.py of the environment was changed"),
    "an emptied module": (lambda e, s: os.truncate(s / "six.py", 0), "six.py of the environment was changed"),
    "a package": (lambda e, s: shutil.rmtree(s / "pygments"), "pygments of the environment was removed"),
    "a description": (
        lambda e, s: shutil.rmtree(next(s.glob("six-*.dist-info"))),
        "dist-info of the environment was removed",
    ),
    "a package more": (lambda e, s: (s / "more-1.dist-info").mkdir(), "more-1.dist-info of the environment was added"),
    "a module more": (lambda e, s: (s / "sitecustomize.py").touch(), "sitecustomize.py of the environment was added"),
}


def replace(link: Path, target: str) -> None:
    link.unlink()
    link.symlink_to(target)


@pytest.mark.parametrize("case", DAMAGE)
def test_damage_that_is_seen_from_the_top(environment: Path, case: str) -> None:
    do, said = DAMAGE[case]
    sealed = seal(environment)
    assert damage(environment, sealed) == ""
    do(environment, site_packages(environment))
    assert said in damage(environment, sealed)


def test_what_is_not_damage(environment: Path) -> None:
    sealed, packages = seal(environment), site_packages(environment)
    (packages / "__pycache__").mkdir(exist_ok=True)
    (packages / "__pycache__" / "six.cpython-311.pyc").touch()
    (packages / "pygments" / "__pycache__").mkdir(exist_ok=True)
    (packages / "pygments" / "cache.bin").touch()
    (packages / ".nfs0001").touch()
    (environment / "kaosd-bytecode").touch()
    assert damage(environment, sealed) == ""


def test_an_environment_of_an_older_kaosd_is_damaged_only_when_it_is_gone(environment: Path) -> None:
    assert damage(environment, {}) == ""
    (environment / "bin/python").unlink()
    assert "lost its Python" in damage(environment, {})


DEEP: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda s: None, ""),
    "a file more": (lambda s: (s / "pygments/more.py").touch(), ""),
    "bytecode": (lambda s: (s / "pygments/__pycache__").mkdir(exist_ok=True), ""),
    "a file": (lambda s: (s / "pygments/lexers/python.py").unlink(), "pygments/lexers/python.py of the env"),
    "a directory": (lambda s: shutil.rmtree(s / "pygments/styles"), "pygments/styles/"),
    "an edited file": (lambda s: change(s / "pygments/util.py"), "pygments/util.py of the environment was changed"),
    "an edit of the same size": (
        lambda s: (s / "pygments/util.py").write_bytes((s / "pygments/util.py").read_bytes().swapcase()),
        "pygments/util.py of the environment was changed",
    ),
    "a cut file": (lambda s: os.truncate(s / "pygments/util.py", 10), "pygments/util.py of the environment was"),
}


@pytest.mark.parametrize("case", DEEP)
async def test_damage_that_only_a_look_at_every_file_sees(own: ProcessEngine, environment: Path, case: str) -> None:
    do, said = DEEP[case]
    there = own._environments.path("d" * 64)
    environment.rename(there)
    (there / "kaosd-environment.json").write_text('{"server": "s"}')
    packages = site_packages(there)
    (packages / "pygments/console.py").unlink()  # as some packages are from the start
    assert await own._environments.examine("d" * 64) == ""
    assert own._environments.damage("d" * 64, "s") == ""
    do(packages)
    assert (await own._environments.examine("d" * 64)).startswith(said)
    assert own._environments.damage("d" * 64, "s").startswith(said)
    assert bool(own._environments.complete("d" * 64)) == (not said)


async def test_an_environment_that_was_built_with_other_packages_of_the_server_is_told(
    own: ProcessEngine, environment: Path
) -> None:
    environment.rename(own._environments.path("d" * 64))
    (own._environments.path("d" * 64) / "kaosd-environment.json").write_text('{"server": "s"}')
    assert "other packages of JupyterLab" in own._environments.damage("d" * 64, "another")


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", "null"])
async def test_a_marker_that_cannot_be_read_is_none(own: ProcessEngine, environment: Path, text: str) -> None:
    environment.rename(own._environments.path("d" * 64))
    (own._environments.path("d" * 64) / "kaosd-environment.json").write_text(text)
    assert own._environments.complete("d" * 64) is None
    assert own._environments.damage("d" * 64, "s") == "the environment is not complete"

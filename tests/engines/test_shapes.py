"""Repositories as they are: for each shape what the process engine honours, warns of or refuses, proved by importing.

The shapes are those of the tests of repo2docker (venv, conda, pipfile, pyproject, setup-py, binder-dir, postBuild, apt,
start, runtime), written anew with packages so small that each test makes them itself.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import uv
from conftest import SPEC, Lines
from wheels import wheel

from kaosd import proc
from kaosd.bundle import Scanner, Store, StoredInputs, export_tree, model_tree
from kaosd.declared import Choice, PythonWanted, warnings
from kaosd.engines.process import ProcessEngine
from kaosd.engines.process.interpreters import check_python, choose
from kaosd.errors import BuildFailed

SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
PROJECT = f'{SETUPTOOLS}[project]\nname = "tinyproject"\nversion = "1.0"\n'
SETUP_PY = "from setuptools import setup\nsetup(name='tinysetup', version='1.0', packages=['tinysetup'], %s)\n"


@dataclass
class Repository:
    """A source directory, and what is deployed of it. says: warnings of its files."""

    top: Path
    work: Path
    store: Store
    engine: ProcessEngine
    log: Lines
    variables: Mapping[str, str]
    says: tuple[str, ...] = ()
    tree: str = ""

    def write(self, files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def inputs(self, choice: Choice | None = None) -> StoredInputs:
        scan = Scanner(self.top, self.store, kind="source").scan()
        assert scan.problem is None
        assert scan.version is not None
        self.tree = scan.version.digest
        return StoredInputs(self.store, self.tree, choice=choice, work=self.work)

    async def build(self, choice: Choice | None = None) -> Callable[[str], str]:
        """Build it, and return what runs code in its environment, in the notebook's root."""
        inputs = self.inputs(choice)
        self.says = warnings(inputs.declared, "process")
        environment = await self.engine.build(SPEC, inputs, self.log)
        self.says += environment.notes
        export_tree(self.store, model_tree(self.store, self.tree), self.work)  # as a sync does

        def run(code: str) -> str:
            argv = [f"{environment.handle}/bin/python", "-I", "-c", code]
            done = subprocess.run(argv, cwd="/", capture_output=True, text=True, check=False)
            return done.stdout.strip() or done.stderr.strip().splitlines()[-1]

        return run


@pytest.fixture
async def repository(short: Path) -> AsyncIterator[Repository]:
    (short / "r").mkdir()
    (short / "w").mkdir()
    store = Store(short / "s")
    wheels = short / "wheels"
    for name, version in (("tinyone", "1.0"), ("tinyone", "2.0"), ("tinytwo", "1.0")):
        wheel(wheels, name, version)
    wheel(wheels, "tinyneeds", needs="Requires-Dist: tinytwo\n")
    variables = {**os.environ, "UV_FIND_LINKS": str(wheels)}
    engine = ProcessEngine(short / "e", variables=variables)
    yield Repository(short / "r", short / "w", store, engine, Lines(short / "job.log"), variables)
    await engine.close()
    store.close()


ONE = "import tinyone; print(tinyone.VERSION)"
TWO = "import tinytwo; print(tinytwo.VERSION)"
HONOURED: dict[str, tuple[dict[str, str | bytes], dict[str, str]]] = {
    "venv: requirements.txt at the top": ({"requirements.txt": "tinyone\n"}, {ONE: "2.0"}),
    "venv: a version": ({"requirements.txt": "tinyone==1.0\n"}, {ONE: "1.0"}),
    "venv: in model/, as kaos": ({"model/requirements.txt": "tinyone==1.0\n"}, {ONE: "1.0"}),
    "venv: in a sub-directory, as kaos": ({"nb/model/requirements.txt": "tinyone==1.0\n", "x.md": "#"}, {ONE: "1.0"}),
    "venv: -r and -c in directories": (
        {"requirements.txt": "-r req/a.txt\n", "req/a.txt": "-c b.txt\ntinyone\n", "req/b.txt": "tinyone<2\n"},
        {ONE: "1.0"},
    ),
    "venv: -r of a file above model/": (
        {"model/requirements.txt": "-r ../common.txt\n", "common.txt": "tinyone==1.0\n"},
        {ONE: "1.0"},
    ),
    "binder-dir: requirements.txt": (
        {
            "binder/requirements.txt": "tinyone==1.0\n-e .\n",
            "pyproject.toml": PROJECT,
            "src/tinyproject/__init__.py": "A = 1",
        },
        {ONE: "1.0", "import tinyproject; print(tinyproject.A)": "1"},
    ),
    "binder-dir: hidden": ({".binder/requirements.txt": "tinyone==1.0\n"}, {ONE: "1.0"}),
    "pyproject: with a package": (
        {"pyproject.toml": f'{PROJECT}dependencies = ["tinyone<2"]\n', "src/tinyproject/__init__.py": "A = 1"},
        {ONE: "1.0", "import tinyproject; print(tinyproject.A)": "1"},
    ),
    "pyproject: dependencies alone": (
        {"pyproject.toml": '[project]\nname = "x"\nversion = "1"\ndependencies = ["tinyone<2"]\n'},
        {ONE: "1.0"},
    ),
    "setup-py": (
        {"setup.py": SETUP_PY % "install_requires=['tinyone<2']", "tinysetup/__init__.py": "A = 1"},
        {ONE: "1.0", "import tinysetup; print(tinysetup.A)": "1"},
    ),
    "setup-py: setup.cfg alone": (
        {
            "setup.cfg": "[metadata]\nname = tinycfg\nversion = 1\n[options]\npy_modules = tinycfg\n",
            "tinycfg.py": "A = 1",
            "pyproject.toml": SETUPTOOLS,
        },
        {"import tinycfg; print(tinycfg.A)": "1"},
    ),
    "setup-py: -e . of requirements.txt": (
        {"requirements.txt": "-e .\n", "setup.py": SETUP_PY % "", "tinysetup/__init__.py": "A = 1"},
        {"import tinysetup; print(tinysetup.A)": "1"},
    ),
    "pipfile: locked": (
        {
            "Pipfile": "[packages]\ntinyone = '*'\n",
            "Pipfile.lock": json.dumps({"_meta": {}, "default": {"tinyone": {"version": "==1.0"}}}),
        },
        {ONE: "1.0"},
    ),
    "pipfile: editable": (
        {
            "Pipfile.lock": json.dumps({"default": {"tinysetup": {"editable": True, "path": "."}}}),
            "setup.py": SETUP_PY % "",
            "tinysetup/__init__.py": "A = 1",
        },
        {"import tinysetup; print(tinysetup.A)": "1"},
    ),
    "nothing at all": ({"a.py": "1"}, {"import jupyterlab; print(1)": "1"}),
}


@pytest.mark.parametrize(("files", "expected"), HONOURED.values(), ids=HONOURED)
async def test_what_is_asked_for_is_there_without_a_word(
    repository: Repository, files: dict[str, str | bytes], expected: dict[str, str]
) -> None:
    repository.write(files)
    run = await repository.build()
    assert {code: run(code) for code in expected} == expected
    assert repository.says == ()
    assert run("import jupyterlab, ipykernel, jupyter_collaboration; print('served')") == "served"


WARNED: dict[str, tuple[dict[str, str | bytes], str, str]] = {
    "apt": ({"requirements.txt": "tinyone\n", "apt.txt": "graphviz\n"}, "process", "apt.txt: its packages"),
    "postBuild": (
        {"requirements.txt": "tinyone\n", "postBuild": "true\n"},
        "process",
        "postBuild: it is not run",
    ),
    "start": (
        {"binder/requirements.txt": "tinyone\n", "binder/start": "x"},
        "process",
        "binder/start: it is not",
    ),
    "another environment file": (
        {"requirements.txt": "tinyone\n", "environment.yml": "dependencies: [gdal]"},
        "process docker",
        "environment.yml is not used, because requirements.txt is: it asks for gdal",
    ),
    "a Dockerfile": (
        {"requirements.txt": "tinyone\n", "Dockerfile": "FROM a\nRUN apt-get install -y graphviz\n"},
        "process",
        "Dockerfile is not used by the process engine: it has RUN apt-get install -y graphviz",
    ),
}


@pytest.mark.parametrize(("files", "engines", "sentence"), WARNED.values(), ids=WARNED)
def test_what_an_engine_does_not_honour_is_said(
    repository: Repository, files: dict[str, str | bytes], engines: str, sentence: str
) -> None:
    repository.write(files)
    declared = repository.inputs().declared
    said = [
        engine for engine in ("process", "docker") if any(t.startswith(sentence) for t in warnings(declared, engine))
    ]
    assert said == engines.split()


REFUSED: dict[str, tuple[dict[str, str | bytes], str]] = {
    "runtime: not a Python": ({"runtime.txt": "latest"}, "runtime.txt:1: 'latest' names no Python"),
    "runtime: one that is not here": ({"runtime.txt": "python-3.99"}, "runtime.txt:1: there is no Python 3.99 on this"),
    "venv: -r of no file": (
        {"requirements.txt": "-r a.txt"},
        "requirements.txt:1: --requirement a.txt: there is no file",
    ),
    "venv: a bad version": (
        {"requirements.txt": "\ntinyone==9\n"},
        "requirements.txt:2: no version satisfies tinyone==9",
    ),
    "pyproject: no such package": (
        {"pyproject.toml": '[project]\nname = "x"\nversion = "1"\ndependencies = [\n  "tinynothing",\n]\n'},
        "pyproject.toml:5: there is no package tinynothing",
    ),
    "pyproject: not TOML": ({"pyproject.toml": "[project]\nname = x\n"}, "pyproject.toml:2: it is not TOML"),
    "pipfile: not JSON": ({"Pipfile.lock": "{"}, "Pipfile.lock is not JSON"),
    "an old JupyterLab": (
        {"requirements.txt": "jupyterlab==3.5.3\n"},
        "requirements.txt asks for JupyterLab 3.5.3, and a",
    ),
}


@pytest.mark.parametrize(("files", "sentence"), REFUSED.values(), ids=REFUSED)
async def test_what_cannot_be_honoured_is_a_sentence(
    repository: Repository, files: dict[str, str | bytes], sentence: str
) -> None:
    repository.write(files)
    with pytest.raises(BuildFailed) as failed:
        await repository.build()
    assert str(failed.value).startswith(sentence), str(failed.value)


async def test_the_code_of_a_local_project_is_read_in_the_notebook(repository: Repository) -> None:
    repository.write({"pyproject.toml": PROJECT, "src/tinyproject/__init__.py": "A = 1\n"})
    run = await repository.build()
    before = repository.inputs().digest
    where = "import tinyproject; print(tinyproject.A, tinyproject.__file__)"
    assert run(where) == f"1 {repository.work}/src/tinyproject/__init__.py"
    (repository.work / "src/tinyproject/__init__.py").write_text("A = 22\n")  # as a sync does
    assert run(where) == f"22 {repository.work}/src/tinyproject/__init__.py"
    repository.write({"src/tinyproject/__init__.py": "A = 22\n", "src/tinyproject/more.py": ""})
    assert repository.inputs().digest == before  # so a save of it builds nothing
    repository.write({"src/another/__init__.py": ""})
    assert repository.inputs().digest != before


async def test_extras_and_groups_are_installed_where_the_settings_say_so(repository: Repository) -> None:
    text = '[project]\nname = "x"\nversion = "1"\n[project.optional-dependencies]\nplot = ["tinyone"]\n'
    repository.write({"pyproject.toml": f'{text}[dependency-groups]\ndev = ["tinytwo"]\n'})
    run = await repository.build(Choice(extras=("plot",), groups=("dev",)))
    assert [run(ONE), run(TWO)] == ["2.0", "1.0"]


async def test_a_uv_lock_is_installed_as_locked_or_refused(repository: Repository) -> None:
    text = '[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["tinyone<2"]\n'
    repository.write({"pyproject.toml": text})
    lock = [uv.find_uv_bin(), "lock", "--project", str(repository.top)]
    subprocess.run(lock, check=True, env=repository.variables, capture_output=True)
    repository.write({"pyproject.toml": text.replace("tinyone<2", "tinyone")})  # and the lock is older
    with pytest.raises(
        BuildFailed, match=r"^uv.lock does not fit pyproject.toml any more \(bring it up to date: uv lock"
    ):
        await repository.build()
    repository.write({"pyproject.toml": text})
    run = await repository.build()
    assert run(ONE) == "1.0"
    assert run("import jupyterlab; print('served')") == "served"
    assert repository.says == ()


@pytest.mark.parametrize("request_", [f"{sys.version_info[0]}.{sys.version_info[1]}", ">=3.11"])
async def test_the_python_that_is_asked_for_is_found_where_pyenv_keeps_it(short: Path, request_: str) -> None:
    minor = f"{sys.version_info[0]}.{sys.version_info[1]}"
    there = short / "pyenv/versions/x/bin"
    there.mkdir(parents=True)
    (there / f"python{minor}").symlink_to(f"{sys.base_prefix}/bin/python{minor}")
    older = short / "older"
    older.write_text("#!/bin/sh\necho 3.10.1\n")
    older.chmod(0o755)
    variables = {"PYENV_ROOT": str(short / "pyenv"), "PATH": str(short), "HOME": str(short)}

    async def run(*arguments: str, variables: Mapping[str, str]) -> proc.Finished:
        argv = [uv.find_uv_bin(), *arguments, "--no-python-downloads", "--color", "never"]
        return await proc.run(argv, cwd=short, env={"HOME": str(short), **variables})

    wanted = PythonWanted(request_, request_, "runtime.txt", 1)
    found = await choose(run, str(older), wanted, variables, downloads=False)
    assert found.path == str(there / f"python{minor}")
    assert (await choose(run, str(older), None, variables, downloads=False)).path == str(older)
    assert (await choose(run, str(older), replace(wanted, request="3.10"), variables, downloads=False)).path == str(
        older
    )
    with pytest.raises(BuildFailed, match=r"there is no Python 3\.99 on this machine \(there is \d"):
        await choose(run, str(older), replace(wanted, request="3.99"), variables, downloads=False)


async def test_a_python_that_is_too_old_is_refused_before_anything_is_built(short: Path) -> None:
    (short / "old").write_text("#!/bin/sh\necho 3.7.16\n")
    (short / "old").chmod(0o755)
    with pytest.raises(
        BuildFailed, match=r"^runtime.txt:1 asks for Python 3\.7\.16, and .* hosted from Python 3\.9 on"
    ):
        await check_python(str(short / "old"), "runtime.txt:1")

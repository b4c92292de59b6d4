"""Repositories as they are: for each shape what the process engine honours, warns of or refuses, proved by importing.

The shapes are those of the tests of repo2docker (venv, conda, pipfile, pyproject, setup-py, binder-dir, postBuild, apt,
start, runtime), written anew with packages so small that each test makes them itself.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import SPEC, Lines

from kaosd.bundle import Inputs, Scanner, Store, export_tree, model_tree
from kaosd.declared import Choice, warnings
from kaosd.engines.process import ProcessEngine

SETUPTOOLS = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
PROJECT = f'{SETUPTOOLS}[project]\nname = "tinyproject"\nversion = "1.0"\n'
SETUP_PY = "from setuptools import setup\nsetup(name='tinysetup', version='1.0', packages=['tinysetup'], %s)\n"


def wheel(directory: Path, name: str, version: str = "1.0", needs: str = "") -> Path:
    """Make a wheel with one module that knows its version."""
    directory.mkdir(parents=True, exist_ok=True)
    path, info = directory / f"{name}-{version}-py3-none-any.whl", f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{file},sha256={digest(text)},{len(text)}" for file, text in files.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
        archive.writestr(f"{info}/RECORD", "\n".join([*record, f"{info}/RECORD,,", ""]))
    return path


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


@dataclass
class Repository:
    """A source directory, and what is deployed of it. says: warnings of its files."""

    top: Path
    work: Path
    store: Store
    engine: ProcessEngine
    log: Lines
    says: tuple[str, ...] = ()
    tree: str = ""

    def write(self, files: dict[str, str | bytes]) -> None:
        for name, content in files.items():
            path = self.top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def inputs(self, choice: Choice | None = None) -> Inputs:
        scan = Scanner(self.top, self.store, kind="source").scan()
        assert scan.problem is None
        assert scan.version is not None
        self.tree = scan.version.digest
        return Inputs(self.store, self.tree, choice=choice, work=self.work)

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
    engine = ProcessEngine(short / "e", variables={**os.environ, "UV_FIND_LINKS": str(wheels)})
    yield Repository(short / "r", short / "w", store, engine, Lines(short / "job.log"))
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

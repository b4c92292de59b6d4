"""A repository as it is, through the daemon: its project is read in the notebook, and what is not honoured is said."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.daemon import Daemon
from tests.e2e.lab import Lab

PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "own"
version = "1.0"
"""
SHOWN = "import own; print(own.A, own.__file__)"


def write(top: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


async def test_a_repository_is_hosted_and_its_code_is_synced(daemon: Daemon, tmp_path: Path) -> None:
    top = tmp_path / "repository"
    write(top, {"requirements.txt": "-e .\n", "pyproject.toml": PROJECT, "src/own/__init__.py": "A = 1\n"})
    write(top, {"README.md": "hello\n", "apt.txt": "graphviz\n"})
    said = daemon.deploy("whole", top)
    warning = "apt.txt: its packages are not installed (graphviz)"
    (told,) = daemon.notebook("whole")["warnings"]
    assert told.startswith(warning)
    assert warning in " ".join(said.split())
    assert warning in " ".join(daemon.ctl("status", "whole").stdout.split())
    work = daemon.home("whole") / "work"
    async with Lab(daemon.url("whole"), daemon.token("whole")) as lab:
        assert await lab.read("README.md") == "hello\n"
        kernel = await lab.kernel()
        assert await kernel.run(SHOWN) == f"1 {work}/src/own/__init__.py\n"
        write(top, {"src/own/__init__.py": "A = 22\n"})
        (top / "apt.txt").unlink()
        shown = daemon.live("whole")
        assert shown["deployment"]["action"] == "sync"
        assert shown["warnings"] == []
        assert await kernel.run("print(1)") == "1\n"  # it was not restarted
        assert await (await lab.kernel()).run(SHOWN) == f"22 {work}/src/own/__init__.py\n"
    assert daemon.json("why", str(top / "src/own/__init__.py"))["costs"] == "sync"
    assert daemon.json("why", str(top / "README.md"))["costs"] == "sync"
    assert daemon.json("why", str(top / "pyproject.toml"))["costs"] == "build"


def test_the_file_in_use_and_the_one_that_is_not_are_told(daemon: Daemon, tmp_path: Path) -> None:
    top = tmp_path / "two"
    write(top, {"requirements.txt": "", "Pipfile": "x"})
    daemon.deploy("two", top)
    assert daemon.notebook("two")["warnings"] == ["Pipfile is not used without a Pipfile.lock: run pipenv lock"]
    assert "environment file: requirements.txt" in daemon.ctl("logs", "two", "--stage", "build").stdout
    assert daemon.notebook("two")["environment"]["file"] == "requirements.txt"
    assert ["needs", "requirements.txt"] in [line.split() for line in daemon.ctl("status", "two").stdout.splitlines()]
    write(top, {"envs/small.txt": "# nothing more\n"})
    daemon.deploy("two", None, None, "--environment", "envs/small.txt")
    assert "environment file: envs/small.txt" in daemon.ctl("logs", "two", "--stage", "build").stdout
    said = daemon.ctl("notebook", "deploy", "--name", "two", "--environment", "envs/none.txt", check=False)
    assert "the setting environment names envs/none.txt, and there is no such file" in " ".join(said.stdout.split())
    assert daemon.notebook("two")["host"]["state"] == "PIPELINE_RUNNING"

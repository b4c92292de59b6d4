"""What is installed by hand: it goes to the notebook's own environment, whoever installs it, and stays there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import uv

from kaosd.hosted import overlay

pytestmark = pytest.mark.not_quick

UV = uv.find_uv_bin()
SHOW = "import iniconfig, importlib.metadata as m; print(m.version('iniconfig'), iniconfig.__file__)"
NO_VARIABLES = {"PATH": os.defpath, "HOME": "/nonexistent"}


def install(environment, *packages, **variables):
    command = [UV, "-q", "pip", "install", "--python", f"{environment}/bin/python", *packages]
    subprocess.run(command, check=True, env={**os.environ, **variables})


def make(path, *packages):
    subprocess.run([UV, "-q", "venv", "--python", sys.executable, path], check=True)
    if packages:
        install(path, *packages)
    return str(path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Two environments that notebooks share: with an older and with a newer package, and pip."""
    top = tmp_path_factory.mktemp("shared")
    return {
        "old": make(top / "old", "iniconfig==2.0.0", "pip"),
        "same": make(top / "same", "iniconfig==2.0.0", "humanize==4.9.0"),
        "new": make(top / "new", "iniconfig==2.1.0"),
    }


@pytest.fixture
def own(tmp_path):
    return str(tmp_path / "own")


class Shell:
    """What a kernel of a notebook can run, started as `start.py` starts it."""

    def __init__(self, own, environment):
        self.prefix, self.scripts = overlay.ready(own, environment)
        self.variables = {
            **os.environ,
            "PATH": overlay.path(own, self.prefix, self.scripts, os.defpath),
            "VIRTUAL_ENV": self.prefix,
            overlay.VARIABLE: environment,
        }

    def run(self, *argv):
        return subprocess.run(argv, env=self.variables, check=True, text=True, capture_output=True).stdout.strip()

    def python(self, code):
        return self.run("python", "-c", code)


def content(environment):
    """Every file of an environment but bytecode, with its time."""
    files = (path for path in Path(environment).rglob("*") if "__pycache__" not in path.parts)
    return {str(path): path.lstat().st_mtime_ns for path in files if not path.is_dir()}


def names(own, environment):
    return [f"{one['name']} {one['version']}" for one in overlay.installed_by_hand(own, environment)]


def test_the_packages_of_the_shared_environment_are_there(own, shared):
    shell = Shell(own, shared["old"])
    assert shell.python("import sys; print(sys.prefix)") == shell.prefix
    assert shell.python(SHOW).startswith(f"2.0.0 {shared['old']}/")
    assert names(own, shared["old"]) == []


WAYS = {
    "pip": ["pip", "install", "-q", "iniconfig==1.1.1"],
    "python -m pip": ["python", "-m", "pip", "install", "-q", "iniconfig==1.1.1"],
    "uv": [UV, "pip", "install", "-q", "iniconfig==1.1.1"],
    "uv with the python of the kernel": [UV, "pip", "install", "-q", "--python", "python", "iniconfig==1.1.1"],
    "uv that copies": [UV, "pip", "install", "-q", "--link-mode=copy", "iniconfig==1.1.1"],
}


@pytest.mark.parametrize("way", WAYS)
def test_whoever_installs_reaches_this_notebook_alone(own, tmp_path, shared, way):
    before = content(shared["old"])
    shell, other = Shell(own, shared["old"]), Shell(str(tmp_path / "other"), shared["old"])
    shell.run(*WAYS[way])
    assert shell.python(SHOW).startswith(f"1.1.1 {shell.prefix}/")
    assert other.python(SHOW).startswith("2.0.0 ")
    assert content(shared["old"]) == before
    assert names(own, shared["old"]) == ["iniconfig 1.1.1"]
    assert overlay.installed_by_hand(own, shared["old"])[0]["requested"] is True


def test_what_was_installed_can_be_uninstalled_and_what_is_shared_cannot(own, shared):
    before, shell = content(shared["old"]), Shell(own, shared["old"])
    shell.run("pip", "install", "-q", "iniconfig==1.1.1")
    shell.run("pip", "uninstall", "-q", "-y", "iniconfig")
    assert shell.python(SHOW).startswith(f"2.0.0 {shared['old']}/")
    shell.run("pip", "uninstall", "-y", "iniconfig")
    assert shell.python(SHOW).startswith(f"2.0.0 {shared['old']}/")
    assert content(shared["old"]) == before


def test_what_came_along_was_not_asked_for(own, shared):
    shell = Shell(own, shared["old"])
    shell.run("pip", "install", "-q", "jinja2")
    found = {one["name"]: one["requested"] for one in overlay.installed_by_hand(own, shared["old"])}
    assert found == {"jinja2": True, "markupsafe": False}


def test_programs_of_both_run_with_the_packages_of_both(own, shared, tmp_path):
    (tmp_path / "wheel").mkdir()
    (tmp_path / "wheel" / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='tool', version='1', py_modules=['tool'],"
        " entry_points={'console_scripts': ['show-tool = tool:main']})\n"
    )
    (tmp_path / "wheel" / "tool.py").write_text("def main():\n    import sys, iniconfig\n    print(sys.prefix)\n")
    by_tool = make(tmp_path / "by-tool", "iniconfig==2.0.0", str(tmp_path / "wheel"))
    shell = Shell(own, by_tool)
    assert shell.run("show-tool") == shell.prefix
    assert shell.run("sh", "-c", "command -v show-tool").startswith(shell.scripts)
    other = Shell(str(tmp_path / "o"), shared["old"])
    other.run(UV, "pip", "install", "-q", str(tmp_path / "wheel"))
    assert other.run("show-tool") == other.prefix


def test_no_directory_of_the_shared_environment_is_on_path(own, shared):
    shell = Shell(own, shared["old"])
    assert not [one for one in shell.variables["PATH"].split(":") if Path(one).is_relative_to(shared["old"])]
    for program in ("python", "python3", "pip", "pip3"):
        assert shell.run("sh", "-c", f"command -v {program}").startswith(f"{shell.prefix}/")


def test_a_kernel_keeps_its_environment_when_the_notebook_gets_another(own, shared):
    old = Shell(own, shared["old"])
    overlay.settle(own, shared["old"], {})
    old.run("pip", "install", "-q", "humanize==4.9.0")
    assert overlay.settle(own, shared["new"], {}) == []
    new = Shell(own, shared["new"])
    assert (old.python(SHOW).split()[0], new.python(SHOW).split()[0]) == ("2.0.0", "2.1.0")
    assert new.python("import humanize; print(humanize.__version__)") == "4.9.0"
    del new.variables[overlay.VARIABLE]
    assert new.python(SHOW).startswith("2.1.0")


def test_a_package_that_the_environment_now_brings_gives_way_for_new_kernels_only(own, shared):
    overlay.settle(own, shared["old"], {"uv": UV})
    old = Shell(own, shared["old"])
    old.run("pip", "install", "-q", "iniconfig==1.1.1", "humanize==4.8.0", "six")
    assert overlay.settle(own, shared["same"], {"uv": UV}) == ["humanize"]  # iniconfig is as it was: the choice stands
    same = Shell(own, shared["same"])
    assert same.python("import humanize; print(humanize.__version__)") == "4.9.0"
    assert same.python(SHOW).startswith("1.1.1")
    assert old.python("import humanize; print(humanize.__version__)") == "4.8.0"
    assert overlay.settle(own, shared["new"], {"uv": UV}) == ["iniconfig"]
    assert Shell(own, shared["new"]).python("import six; print(six.__name__)") == "six"
    assert names(own, shared["new"])[0].startswith("six ")
    assert old.python(SHOW).startswith("1.1.1")


def test_programs_installed_by_hand_move_with_a_copy(own, shared):
    overlay.settle(own, shared["old"], {})
    Shell(own, shared["old"]).run("pip", "install", "-q", "humanize==4.8.0", "pygments")
    assert overlay.settle(own, shared["same"], {}) == ["humanize"]
    shell = Shell(own, shared["same"])
    program = Path(shell.prefix, "bin", "pygmentize")
    assert program.read_text().startswith(f"#!{shell.prefix}/bin/python")
    assert "Pygments version" in shell.run("pygmentize", "-V")


SUPERSEDED = [
    ({}, {}, {"a": "1"}, []),
    ({"a": "1"}, {}, {}, []),
    ({"a": "1"}, {}, {"a": "1"}, ["a"]),
    ({"a": "1"}, {"a": "2"}, {"a": "2"}, []),
    ({"a": "1"}, {"a": "2"}, {"a": "3"}, ["a"]),
    ({"a": "1"}, {"a": "2"}, {}, []),
    ({"a": "1", "b": "1"}, None, {"b": "2"}, ["b"]),
]


@pytest.mark.parametrize(("by_hand", "before", "now", "gone"), SUPERSEDED)
def test_what_gives_way(by_hand, before, now, gone):
    assert overlay.superseded(by_hand, before, now) == gone


DAMAGE = {
    "all of it": lambda own, prefix: shutil.rmtree(own),
    "the link": lambda own, prefix: Path(own, overlay.python_of(prefix)).unlink(),
    "where it leads": lambda own, prefix: shutil.rmtree(prefix),
    "its python": lambda own, prefix: Path(prefix, "bin", "python").unlink(),
    "its configuration": lambda own, prefix: Path(prefix, "pyvenv.cfg").write_text("home = /nonexistent\n"),
    "what adds the shared packages": lambda own, prefix: next(Path(prefix, "lib").rglob("*.pth")).unlink(),
    "its programs": lambda own, prefix: shutil.rmtree(Path(prefix, "scripts")),
    "half made programs": lambda own, prefix: next(Path(prefix, "scripts").glob("*/.of")).unlink(),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_missing_is_made_again(own, shared, damage):
    DAMAGE[damage](own, Shell(own, shared["old"]).prefix)
    shell = Shell(own, shared["old"])
    assert shell.python(SHOW).startswith("2.0.0")
    assert "iniconfig" in shell.run("pip", "list")


def test_nothing_is_written_when_all_is_there(own, shared, monkeypatch):
    overlay.ready(own, shared["old"])
    for name in ("replace", "rename", "mkdir", "symlink"):
        monkeypatch.delattr(os, name)
    assert overlay.ready(own, shared["old"])


def test_programs_of_environments_that_are_gone_go(own, tmp_path):
    gone = make(tmp_path / "gone")
    scripts = Path(Shell(own, gone).scripts)
    shutil.rmtree(gone)
    Shell(own, make(tmp_path / "there"))
    assert not scripts.exists()


def test_another_python_does_not_get_packages_of_this_one(own, shared, tmp_path):
    Shell(own, shared["old"]).run("pip", "install", "-q", "six")
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "bin").mkdir(parents=True)
    (elsewhere / "bin" / "python").symlink_to("/usr/bin/python3")
    (elsewhere / "lib" / "python3.99" / "site-packages").mkdir(parents=True)
    (elsewhere / "pyvenv.cfg").write_text("home = /usr/bin\n")
    overlay.settle(own, str(elsewhere), {})
    version = overlay.python_of(shared["old"]).removeprefix("python")
    assert names(own, str(elsewhere)) == []
    assert [one.partition(" ")[0] for one in overlay.of_other_pythons(own, str(elsewhere))[version]] == ["six"]
    assert names(own, shared["old"])[0].startswith("six ")


@pytest.mark.parametrize("name", ["a b", "a:b", "a%b", "a$HOME", "a'b", 'a"b', "a;b", "ä", "a\\b", "n" * 130, "#a"])
def test_any_path_will_do(tmp_path, shared, name):
    own = str(tmp_path / name / "own")
    os.makedirs(own)
    shell = Shell(own, shared["old"])
    assert [one for one in shell.variables["PATH"].split(":") if not one.startswith("/")] == []
    assert shell.run("sh", "-c", "command -v python; command -v pip").count("\n") == 1
    assert os.path.realpath(shell.python("import sys; print(sys.prefix)")) == shell.prefix
    assert shell.run("pip", "--version").startswith("pip ")
    shell.run("pip", "install", "-q", "six")
    assert os.path.realpath(shell.python("import six; print(six.__file__)")).startswith(shell.prefix)


def test_scripts_that_name_no_python_of_the_environment_are_left_alone():
    assert overlay.body_of(b"#!/bin/sh\necho\n", "/e") is None
    assert overlay.body_of(b"#!/usr/bin/python3\npass\n", "/e") is None
    assert overlay.body_of(b"#!/e/bin/python\npass\n", "/e") == b"pass\n"
    assert overlay.body_of(b"#!/e/bin/python3\npass\n", "/e") == b"pass\n"
    script = overlay.header("/e e/bin/python") + b"pass\n"
    assert overlay.body_of(script, "/e e") == b"pass\n"

"""kaosd installed from its wheel as people do it, as a service, upgraded under a running daemon, and removed again."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kaosd import __version__
from tests.e2e.daemon import free_port
from tests.systemd.machine import CHECKOUT, Machine

pytestmark = pytest.mark.timeout(900)
NEXT = "9.9.9"


def wheel(place: Path, version: str) -> Path:
    """A wheel of this checkout, as of *version*."""
    tree = place / f"tree-{version}"
    tree.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, tree / name)
    for name in ("kaosd", "systemd", ".ci"):
        shutil.copytree(CHECKOUT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path, pattern in (("pyproject.toml", r'^version = "[^"]+"'), ("kaosd/__init__.py", r'^__version__ = "[^"]+"')):
        text, count = re.subn(pattern, lambda found: re.sub('"[^"]+"', f'"{version}"', found[0]),
                              (tree / path).read_text(), flags=re.MULTILINE)  # fmt: skip
        assert count == 1
        (tree / path).write_text(text)
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)], cwd=tree, check=True,
                   capture_output=True)  # fmt: skip
    [made] = place.glob(f"kaosd-{version}-*.whl")
    made.chmod(0o644)
    return made


@dataclass(frozen=True)
class Way:
    """A way to install it. where: the environment that it makes below the home, by a pattern of its path."""

    install: tuple[str, ...]
    uninstall: tuple[str, ...]
    where: str
    programs: str


WAYS = {
    "pip": Way(
        ("{venv}/bin/python", "-m", "pip", "install", "--quiet", "--force-reinstall", "{wheel}"),
        ("{venv}/bin/python", "-m", "pip", "uninstall", "--quiet", "--yes", "kaosd"), r"venv/bin/python3?", "venv/bin",
    ),
    "pipx": Way(("pipx", "install", "{wheel}"), ("pipx", "uninstall", "kaosd"),
                r"\.local/.*pipx/venvs/kaosd/bin/python3?", ".local/bin"),
    "uv": Way(("uv", "tool", "install", "--quiet", "{wheel}"), ("uv", "tool", "uninstall", "kaosd"),
              r"\.local/share/uv/tools/kaosd/bin/python3?", ".local/bin"),
}  # fmt: skip


class Installed:
    """kaosd in the person's home, installed one of these ways. Programs are those that this has put there."""

    def __init__(self, machine: Machine, way: Way) -> None:
        self.machine = machine
        self.way = way
        self.venv = str(machine.home / "venv")

    def install(self, of: Path) -> None:
        if "{venv}" in self.way.install[0]:
            self.machine.run("/usr/bin/python3", "-m", "venv", self.venv)
        self.machine.run(*(word.format(venv=self.venv, wheel=of) for word in self.way.install))

    def uninstall(self) -> None:
        self.machine.run(*(word.format(venv=self.venv) for word in self.way.uninstall))

    def program(self, name: str) -> str:
        return str(self.machine.home / self.way.programs / name)

    def run(self, name: str, *arguments: str, check: bool = True) -> str:
        return self.machine.run(self.program(name), *arguments, check=check)

    def doctor(self) -> dict[str, list[str]]:
        """What doctor finds wrong, as texts by code."""
        told = self.run("kaosctl", "doctor", "--json", check=False)
        checks = json.loads(told[told.index("{") :])["checks"]
        found: dict[str, list[str]] = {}
        for check in checks:
            if check["severity"] != "ok":
                found.setdefault(check["code"], []).append(f"{check['text']}; {check['mend']}")
        return found


@pytest.fixture(scope="module")
def wheels(machine: Machine) -> tuple[Path, Path]:
    """Of this version, and of the next; and a configuration whose port is free."""
    config = machine.home / ".config" / "kaosd"
    machine.run("mkdir", "-p", str(config))
    (config / "kaosd.toml").write_text(f"[front]\nport = {free_port()}\n")
    return wheel(machine.place, __version__), wheel(machine.place, NEXT)


@pytest.fixture
def unserved(machine: Machine) -> Iterator[Machine]:
    """The guest, in which nothing of kaosd runs before and after."""
    yield machine
    machine.systemctl("stop", "kaosd.socket", "kaosd-front.socket", "kaosd.service", check=False)


@pytest.mark.parametrize("name", WAYS)
def test_a_wheel_becomes_a_service_with_its_own_interpreter_and_goes_again(
    unserved: Machine, wheels: tuple[Path, Path], name: str
) -> None:
    machine, there = unserved, Installed(unserved, WAYS[name])
    there.install(wheels[0])
    assert there.run("kaosd", "--version").strip() == f"kaosd {__version__}"
    there.run("kaosd", "install-service", "--now")
    unit = (machine.home / ".config" / "systemd" / "user" / "kaosd.service").read_text()
    [program] = re.findall(r'^ExecStart="([^"]+)" -m kaosd run$', unit, re.MULTILINE)
    assert re.fullmatch(f"{re.escape(str(machine.home))}/{there.way.where}", program), program
    assert machine.property("kaosd.service", "ActiveState") == "active"
    assert f"path={program} ;" in machine.property("kaosd.service", "ExecStart")
    assert json.loads(there.run("kaosctl", "version", "--json"))["daemon"] == __version__
    assert "unit" not in there.doctor()
    there.run("kaosd", "uninstall-service")
    assert machine.systemctl("is-active", "kaosd.service", "kaosd.socket", check=False).split() == ["inactive"] * 2
    there.uninstall()
    assert not Path(there.program("kaosd")).exists()


def test_an_upgrade_under_a_running_daemon_is_seen_told_and_ended_by_a_restart(
    unserved: Machine, wheels: tuple[Path, Path]
) -> None:
    there = Installed(unserved, WAYS["pip"])
    there.install(wheels[0])
    there.run("kaosd", "install-service", "--now")
    there.install(wheels[1])

    # client and daemon are of two versions: said once, and everything goes on
    told = there.run("kaosctl", "status")
    assert f"kaosctl: this is {NEXT}, the daemon is {__version__}; restart the older one" in told
    assert f"kaosd {__version__}" in told
    [half] = there.doctor()["upgrade"]
    assert half == f"kaosd {__version__} runs, and {NEXT} is installed in its place; systemctl --user restart kaosd"

    unserved.systemctl("restart", "kaosd")
    assert json.loads(there.run("kaosctl", "version", "--json"))["daemon"] == NEXT
    found = there.doctor()
    assert "upgrade" not in found
    assert all(
        f"is of kaosd {__version__}, this is {NEXT}; kaosd install-service --now" in one for one in found["unit"]
    )
    there.run("kaosd", "install-service", "--now")
    assert "unit" not in there.doctor()

    # the way back: an older client asks a newer daemon, whose package is gone from the disk then
    there.install(wheels[0])
    assert f"kaosctl: this is {__version__}, the daemon is {NEXT}" in there.run("kaosctl", "status")
    there.uninstall()
    told = unserved.run("kaosctl", "doctor", check=False)
    assert f"kaosd {NEXT} runs, and nothing is installed in its place" in told

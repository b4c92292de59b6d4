"""The wheel: it installs at the first attempt, and brings what the programs need."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kaosd.ctl import man_pages

pytestmark = pytest.mark.not_quick

ROOT = Path(__file__).parents[1]


def run(*command: str | Path) -> str:
    """The output of a program that must succeed."""
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout


def test_pip_installs_the_wheel_into_an_empty_environment_without_trying_versions(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    run(sys.executable, "-m", "venv", tmp_path / "empty")
    said = run(tmp_path / "empty/bin/python", "-m", "pip", "install", "--disable-pip-version-check", wheel)
    files = re.findall(r"(?:Downloading|Using cached) (?:\S*/)?([A-Za-z0-9_.]+)-[0-9]\S*?\.(?:whl|tar\.gz)\b", said)
    assert len(set(files)) > 20
    assert [name for name, times in Counter(files).items() if times > 2] == []  # its metadata, and the file itself
    programs = {"kaosd": "--version", "kaosctl": "--version"}
    assert {name for name, ask in programs.items() if name in run(tmp_path / "empty/bin" / name, ask)} == set(programs)
    site = next((tmp_path / "empty/lib").glob("python3.*/site-packages/kaosd"))
    assert {"templates", "systemd", "front", "hosted"} <= {path.name for path in site.iterdir()}
    manuals = tmp_path / "empty/share/man/man1"
    assert {path.name: path.read_text() for path in manuals.iterdir()} == man_pages.pages()
    pages = {path.name for path in (ROOT / "kaosd/docs").iterdir()}
    assert {path.name for path in (site / "docs").iterdir()} == pages

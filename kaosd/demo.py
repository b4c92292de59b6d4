"""`kaosd demo`: the shipped example with the shipped data, hosted by a daemon in the background."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from kaosd import ctl

TEMPLATES = Path(__file__).parent / "templates"
NAME = "demo"


def run(directory: Path) -> int:
    """Put the example below *directory* (what is there stays), deploy it and print its address; the exit code."""
    source, data = directory / "notebook", directory / "data"
    for template, target in (("notebook", source), ("mnist", data)):
        if not target.exists():
            shutil.copytree(TEMPLATES / template, target)
    code = ctl.main(["up", str(source), "-d", str(data), "--name", NAME])
    if code == 0:
        beside = os.path.join(os.path.dirname(sys.executable), "kaosctl")
        near = os.path.relpath(beside)
        command = "kaosctl" if shutil.which("kaosctl") else beside if near.startswith("..") else near
        _say(
            "",
            "Open the address, run example.ipynb, then change this file in your editor and save:",
            f"  {source}/model/digits.py",
            "",
            f"  {command} open {NAME}             opens the notebook in the browser",
            f"  {command} status                what is live, and what is being done",
            f"  {command} logs {NAME} -f          follows every stage",
            f"  {command} notebook kill {NAME}    removes the notebook",
            f"  {command} stop                  stops kaosd",
        )
    return code


def _say(*lines: str) -> None:
    print("\n".join(lines))  # noqa: T201

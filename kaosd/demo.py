"""`kaosd demo`: the shipped example with the shipped data, hosted by a daemon in the background."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from kaosd import ctl
from kaosd.errors import KaosError
from kaosd.settings import Settings, load, prepare

TEMPLATES = Path(__file__).parent / "templates"
NAME = "demo"
PATIENCE = 30.0  # seconds for the daemon to answer


def run(directory: Path) -> int:
    """Put the example below *directory* (what is there stays), deploy it and print its address; the exit code."""
    settings = load()
    source, data = directory / "notebook", directory / "data"
    for template, target in (("notebook", source), ("mnist", data)):
        if not target.exists():
            shutil.copytree(TEMPLATES / template, target)
    _start_daemon(settings)
    code = ctl.main(["notebook", "deploy", "-s", str(source), "-d", str(data), "--name", NAME])
    if code == 0:
        beside = os.path.join(os.path.dirname(sys.executable), "kaosctl")
        near = os.path.relpath(beside)
        command = "kaosctl" if shutil.which("kaosctl") else beside if near.startswith("..") else near
        _say(
            "",
            f"Edit {source}/model/digits.py or example.ipynb in your editor: a save is live in the notebook.",
            f"  {command} status          what is live, and what is being done",
            f"  {command} logs {NAME} -f    every stage, live",
            f"  {command} open {NAME}       open it in the browser",
            f"  {command} notebook kill -n {NAME} && {command} stop    end it all",
        )
    return code


def _start_daemon(settings: Settings) -> None:
    """Start a daemon in the background unless one answers already."""
    if _answers():
        return
    prepare(settings)
    logs = settings.state_dir / "logs"
    logs.mkdir(mode=0o700, exist_ok=True)
    with open(logs / "demo.log", "ab") as output:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "kaosd", "run"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + PATIENCE
    while not _answers():
        if daemon.poll() is not None:
            last = (logs / "demo.log").read_text(errors="replace").strip().splitlines()[-1:]
            raise KaosError(f"the daemon did not start: {' '.join(last) or f'exit code {daemon.returncode}'}")
        if time.monotonic() > deadline:
            raise KaosError(f"the daemon did not answer within {PATIENCE:.0f} s", hint=f"see {logs / 'demo.log'}")
        time.sleep(0.05)


def _answers() -> bool:
    """Whether a daemon answers on the socket that kaosctl uses."""
    with open(os.devnull, "w") as nothing:
        done = subprocess.run(
            [sys.executable, "-m", "kaosd.ctl", "status"], stdout=nothing, stderr=nothing, check=False
        )
    return done.returncode in (0, 1)  # 1: it answers, and a notebook has failed


def _say(*lines: str) -> None:
    print("\n".join(lines))  # noqa: T201

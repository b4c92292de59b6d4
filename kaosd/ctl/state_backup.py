"""`kaosctl backup, restore`: all that cannot be made again, in one file, and back."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from kaosd.ctl import command_output, failure, places
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

LONG = 3600.0  # seconds that the daemon may take


def backup(file: str, *, as_json: bool = False) -> int:
    """Write a backup to *file*; by the daemon where one runs."""
    path = places.absolute(file)
    try:
        answer = Client().post("/v1/backup", {"file": path}, timeout=LONG)
    except Failure as error:
        if error.exit_code != failure.NOT_RUNNING or error.code != "not_running":
            raise
        answer = _kaosd("backup", path)
    where = command_output.here()
    counts = [f"{answer[what]} {what}" for what in ("notebooks", "copies", "edits") if answer.get(what)]
    size = f"{answer['bytes']:,} B"
    lines = where.flow([("good", f"● {file} written"), ("", size), ("", ", ".join(counts))], 4)
    command_output.tell(answer, lines, as_json=as_json)
    return 0


def restore(file: str, *, force: bool = False, as_json: bool = False) -> int:
    """Make the state directory out of *file*; no daemon may run."""
    answer = _kaosd("restore", places.absolute(file), *(["--force"] if force else []))
    where = command_output.here()
    lines = where.flow([("good", f"● {answer['state_dir']} restored")], 4)
    if answer["aside"]:
        lines += where.flow([("dim", "    the state before it is kept:"), ("", answer["aside"])], 4)
    lines += where.flow([("dim", "    to have the notebooks built and started:"), ("strong", "kaosctl start")], 4)
    command_output.tell(answer, lines, as_json=as_json)
    return 0


def _kaosd(*arguments: str) -> dict[str, Any]:
    """What `kaosd` answers in a process of its own, since it needs more than the standard library. Failure."""
    command = [sys.executable, "-m", "kaosd", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = done.stderr.strip().splitlines() or [f"kaosd ended with exit code {done.returncode}"]
        text, _, hint = "\n".join(said).removeprefix("kaosd: ").partition("\n")
        raise Failure(text, hint=hint.strip())
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer

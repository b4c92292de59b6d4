"""What happens while the user waits: on a terminal as the last line, in a pipe a line for each step."""

from __future__ import annotations

import sys
import time
from typing import Any

from kaosd.ctl.picture import doing_now
from kaosd.ctl.screen import Screen, columns, cut, span
from kaosd.stage_logs import LogLine

REPEAT = 60.0  # seconds after which a pipe gets another line although the step is the same
_ROUTINE = (
    *("+ ", "- ", "~ ", "Using ", "Creating ", "Activate "),
    *("Downloading ", "Downloaded ", "Building ", "Built ", "Resolved ", "Prepared ", "Installed ", "Audited "),
)


def routine(entry: LogLine) -> bool:
    """Whether a line is of no use while waiting: packages one by one, JupyterLab's own greetings, what uv counts.

    The last are in the progress.
    """
    if entry.log.stage == "build":
        return entry.text.strip().startswith(_ROUTINE)
    return entry.log.stage == "host" and entry.text.startswith(("I ", "D "))


class ProgressLine:
    """Log lines as they come and what is being done: on a terminal as the last line, in a pipe a line for each step."""

    def __init__(self, screen: Screen, *, silent: bool) -> None:
        self._screen = screen
        self._silent = silent
        self._terminal = sys.stdout.isatty()
        self._began = time.monotonic()
        self._step: object = None
        self._told = 0.0
        self._line = ""

    def lines(self, entries: list[LogLine]) -> None:
        """Show log lines; on a terminal dimmed, and one row each."""
        shown = [entry for entry in entries if not routine(entry)]
        if self._silent or not shown:
            return
        self._wipe()
        for entry in shown:
            sys.stdout.write(self._screen.paint("dim", self._cut(f"{entry.log.stage:<6} {entry.text}")) + "\n")
        sys.stdout.write(self._line)
        sys.stdout.flush()

    def now(self, notebook: dict[str, Any]) -> None:
        """Show what is being done."""
        if self._silent:
            return
        took = time.monotonic() - self._began
        text = going_on(notebook, took)
        if self._terminal and columns(text) >= self._screen.width:
            text = shortly(notebook) or text
        progress = notebook.get("progress") or {}
        step = (notebook["state"], progress.get("stage"), progress.get("step"))
        if self._terminal:
            self._wipe()
            self._line = self._screen.paint("busy", self._cut(text))
            sys.stdout.write(self._line)
        elif step != self._step or took - self._told > REPEAT:
            self._step, self._told = step, took
            sys.stdout.write(self._screen.paint("", text) + "\n")
        sys.stdout.flush()

    def clear(self) -> None:
        """Take the last line away."""
        self._wipe()
        self._line = ""
        sys.stdout.flush()

    def _cut(self, text: str) -> str:
        return cut(self._screen.safe(text), self._screen.width - 1)

    def _wipe(self) -> None:
        if self._line:
            sys.stdout.write("\r\x1b[K")


def shortly(notebook: dict[str, Any]) -> str:
    """The same in as few columns as possible, "" where there is no progress: 0:38 of 2:05  2/4 resolve."""
    progress = notebook.get("progress")
    if not progress:
        return ""
    step = f"{progress['step']}/{progress['steps']} " if progress["step"] is not None else ""
    seconds, expected = progress.get("seconds"), progress.get("expected")
    took = "" if seconds is None else clock(seconds) + (f" of {clock(expected)}" if expected else "")
    return f"{took}  {step}{progress['text']}".strip()


def clock(seconds: float) -> str:
    """Minutes and seconds: 2:05."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def going_on(notebook: dict[str, Any], seconds: float = 0.0) -> str:
    """What is being done in one line: building  38 s of about 2 min  step 2 of 4: resolve. seconds: waited so far."""
    if doing := [text for _, text in doing_now(notebook) if text]:
        return "  ".join([notebook["state"], *doing])
    return f"{notebook['summary']}  {span(seconds)}"

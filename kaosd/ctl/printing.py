"""Log lines on the screen: time, stage and text, with a line at the seam between two deployments."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator

from kaosd.ctl.screen import Screen
from kaosd.logs import Entry, StageLog, note
from kaosd.text import rfc3339

_TROUBLE = re.compile(r"\b(error|ERROR|Error):|\bERROR\b|^Traceback |^\s*\u00d7 |^\[?[CE] [A-Z]")
ENDS = {"live": "good", "failed": "badly"}


class Printer:
    """Prints entries as they come. names: whether several notebooks are mixed, so that each line tells its own."""

    def __init__(self, screen: Screen, *, as_json: bool = False, names: bool = False) -> None:
        self.screen = screen
        self.as_json = as_json
        self.names = names
        self._shown: dict[str, int] = {}

    def show(self, entries: Iterable[Entry]) -> None:
        """Print entries, at once."""
        for entry in entries:
            for line in self.lines(entry):
                sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def seam(self, text: str, at: float) -> None:
        """Print a line of our own among those of the files; JSON has none."""
        if not self.as_json:
            clock = time.strftime("%H:%M:%S", time.localtime(at))
            sys.stdout.write(self.screen.paint("dim", f"── {clock}  {text}") + "\n")
            sys.stdout.flush()

    def lines(self, entry: Entry) -> Iterator[str]:
        """The lines to print for one entry: itself, with a seam before it where a deployment begins."""
        if self.as_json:
            yield as_object(entry)
            return
        log, told = entry.log, note(entry)
        ended = told is not None and told.outcome != ""
        begins = log.stage != "daemon" and log.number > self._shown.get(log.notebook, -1)
        if begins:
            self._shown[log.notebook] = log.number
        if begins and not ended:
            yield self._heading(log, entry.time, told.text if told else "")
        if told is None or not (begins or ended):
            yield self._line(entry)
        elif ended:
            role = ENDS.get(told.outcome, "dim")
            yield self.screen.paint(role, f"── {self._name(log)}deployment {told.number} {told.text}")

    def _heading(self, log: StageLog, at: float, cause: str) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""
        text = f"── {self._name(log)}deployment {log.number}  {began}  {cause}"
        return self.screen.paint("strong", text.rstrip())

    def _line(self, entry: Entry) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(entry.time)) if entry.time else " " * 8
        role = "bad" if _TROUBLE.search(entry.text) else ""
        left = self.screen.paint("dim", f"{clock} {self._name(entry.log)}{entry.log.stage:<6}")
        return f"{left} {self.screen.paint(role, entry.text)}".rstrip()

    def _name(self, log: StageLog) -> str:
        return f"{log.notebook} " if self.names and log.notebook else ""


def as_object(entry: Entry) -> str:
    """One entry as a JSON line."""
    return json.dumps(
        {
            "time": rfc3339(entry.time) if entry.time else None,
            "notebook": entry.log.notebook or None,
            "deployment": entry.log.number or None,
            "stage": entry.log.stage,
            "job": entry.log.job or None,
            "text": entry.text,
        }
    )

"""Log lines on the screen: time, stage and text, with a line at the seam between two deployments."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator

from kaosd.ctl import levels
from kaosd.ctl.screen import Screen
from kaosd.ctl.searching import Hit
from kaosd.display import rfc3339
from kaosd.stage_logs import LogLine, StageLog, note

ENDS = {"live": "good", "failed": "badly"}
ROLES = {levels.ERROR: "bad", levels.WARNING: "busy", levels.DEBUG: "dim", levels.OTHER: ""}


class Printer:
    """Prints entries as they come. names: whether several notebooks are mixed, so that each line tells its own.

    searched: what is searched for, to be marked where it is found.
    """

    def __init__(
        self, screen: Screen, *, as_json: bool = False, names: bool = False, searched: re.Pattern[str] | None = None
    ) -> None:
        self.screen = screen
        self.as_json = as_json
        self.names = names
        self.searched = searched
        self._shown: dict[str, int] = {}

    def show(self, entries: Iterable[LogLine]) -> None:
        """Print entries, at once."""
        for entry in entries:
            for line in self.lines(entry):
                sys.stdout.write(line + "\n")
        sys.stdout.flush()

    def show_found(self, found: Iterable[Hit]) -> None:
        """Print matches with the lines around them, at once; as JSON the matches alone."""
        if self.as_json:
            self.show(one.entry for one in found if one.matches)
            return
        for one in found:
            if self._begins(one.entry.log):
                sys.stdout.write(self._heading(one.entry.log, one.entry.time, "") + "\n")
            elif one.gap:
                sys.stdout.write(self.screen.paint("dim", "--") + "\n")
            sys.stdout.write(f"{'>' if one.matches else ' '} {self._line(one.entry, matches=one.matches)}\n")
        sys.stdout.flush()

    def seam(self, text: str, at: float) -> None:
        """Print a line of our own among those of the files; JSON has none."""
        if not self.as_json:
            clock = time.strftime("%H:%M:%S", time.localtime(at))
            sys.stdout.write(self.screen.paint("dim", f"── {clock}  {text}") + "\n")
            sys.stdout.flush()

    def lines(self, entry: LogLine) -> Iterator[str]:
        """The lines to print for one entry: itself, with a seam before it where a deployment starts."""
        if self.as_json:
            yield as_object(entry)
            return
        log, told = entry.log, note(entry)
        ended = told is not None and told.outcome != ""
        begins = self._begins(log)
        if begins and not ended:
            yield self._heading(log, entry.time, told.text if told else "")
        if told is None or not (begins or ended):
            yield self._line(entry)
        elif ended:
            role = ENDS.get(told.outcome, "dim")
            yield self.screen.paint(role, f"── {self._name(log)}deployment {told.number} {told.text}")

    def _begins(self, log: StageLog) -> bool:
        """Whether this is the first line of a deployment, which from now on counts as shown."""
        if log.stage == "daemon" or log.number <= self._shown.get(log.notebook, -1):
            return False
        self._shown[log.notebook] = log.number
        return True

    def _heading(self, log: StageLog, at: float, cause: str) -> str:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at)) if at else ""
        text = f"── {self._name(log)}deployment {log.number}  {began}  {cause}"
        return self.screen.paint("strong", text.rstrip())

    def _line(self, entry: LogLine, *, matches: bool | None = None) -> str:
        """One line. matches: whether it is what is searched for; None where nothing is."""
        clock = time.strftime("%H:%M:%S", time.localtime(entry.time)) if entry.time else " " * 8
        role = "dim" if matches is False else ROLES[levels.level(entry.text)]
        left = self.screen.paint("dim", f"{clock} {self._name(entry.log)}{entry.log.stage:<6}")
        text = self._marked(entry.text, role) if matches else self.screen.paint(role, entry.text)
        return f"{left} {text}".rstrip()

    def _marked(self, text: str, role: str) -> str:
        """*text* with each match of what is searched for marked."""
        parts, end = [], 0
        for match in self.searched.finditer(text) if self.searched is not None else ():
            parts += [self.screen.paint(role, text[end : match.start()]), self.screen.paint("found", match[0])]
            end = match.end()
        return "".join([*parts, self.screen.paint(role, text[end:])])

    def _name(self, log: StageLog) -> str:
        return f"{log.notebook} " if self.names and log.notebook else ""


def as_object(entry: LogLine) -> str:
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

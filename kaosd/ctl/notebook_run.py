"""`kaosctl run`: a notebook from its first cell to its last, in the hosted environment with a kernel of its own."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from kaosd.ctl import command_output, failure, places
from kaosd.ctl.client import Client, notebook_path
from kaosd.ctl.failure import Failure
from kaosd.ctl.screen import Screen, span
from kaosd.display import printable

EXITS = {"passed": 0, "failed": failure.FAILED, "timeout": failure.TIMED_OUT}
WORDS = {"true": True, "false": False, "none": None, "null": None}


def run(
    name: str,
    notebook: str,
    *,
    target: str | None = None,
    timeout: float | None = None,
    parameters: list[str] | None = None,
    as_json: bool = False,
) -> int:
    """Run *notebook*, show each cell as it finishes, and write the executed copy to *target*."""
    if target is not None:
        _check_target(target)
    asked = {
        "notebook": notebook,
        "file": places.absolute(notebook),
        "parameters": dict(parameter(one) for one in parameters or ()),
        "timeout": timeout,
        "keep": target is not None,
    }
    report = Report(command_output.here(), silent=as_json)
    try:
        for event in Client().lines(notebook_path(name, "run"), asked):
            report.take(event)
    except KeyboardInterrupt:
        sys.stderr.write("\nthe kernel was interrupted and stopped\n")
        return failure.INTERRUPTED
    if report.end is None:
        raise Failure("kaosd did not say how the run ended", hint=f"kaosctl status {name}")
    if target is not None:
        _write(target, "".join(report.parts))
    command_output.tell(
        {**report.end, "cells": report.cells, "output": target}, report.closing(target), as_json=as_json
    )
    return EXITS.get(report.end["outcome"], failure.FAILED)


def parameter(text: str) -> tuple[str, object]:
    """KEY=VALUE as papermill reads it: true, false, none and numbers are that, everything else is text."""
    key, sign, value = text.partition("=")
    if not sign or not key.isidentifier():
        hint = "write it as KEY=VALUE, for example -p alpha=0.5"
        raise Failure(f"{text!r} is not a parameter", hint=hint, exit_code=failure.USAGE, code="usage")
    if value.lower() in WORDS:
        return key, WORDS[value.lower()]
    for kind in (int, float):
        try:
            found = kind(value)
        except ValueError:
            continue
        if value.isascii() and "_" not in value and abs(found) != float("inf") and found == found:  # noqa: PLR0124
            return key, found
    return key, value


class Report:
    """What a run tells, drawn as it comes. end: its last event. cells, parts: those with results, and of the copy."""

    def __init__(self, screen: Screen, *, silent: bool) -> None:
        self.end: dict[str, Any] | None = None
        self.cells: list[dict[str, Any]] = []
        self.parts: list[str] = []
        self._screen = screen
        self._silent = silent
        self._count = 0

    def take(self, event: dict[str, Any]) -> None:
        """One event."""
        match event.get("event"):
            case "started":
                self._count = event["cells"]
            case "waiting" | "warning" if not self._silent:
                sys.stderr.write(f"kaosctl: {printable(event['text'])}\n")
            case "cell":
                self.cells.append({key: event.get(key) for key in ("number", "seconds", "text", "output")})
                number, took = self._number(event["number"]), span(event["seconds"])
                head = self._screen.flow([("good", number), ("", took), ("dim", event["text"])], 4)
                self._say([*head, *_indented(event.get("output"))])
            case "notebook":
                self.parts.append(event["part"])
            case "end":
                self.end = event
            case "error":
                raise Failure(event["detail"], hint=event.get("hint", ""), code=event.get("code", "error"))

    def closing(self, target: str | None) -> list[str]:
        """The last lines: how it ended, with the traceback of a cell that failed."""
        end = self.end or {}
        where, error, took = self._screen, end.get("error"), span(end.get("seconds", 0.0))
        kept = where.flow([("dim", f"    the executed copy: {target}")], 4) if target is not None else []
        if end.get("outcome") == "passed":
            count = len(self.cells)
            head = f"● {count} cell{'' if count == 1 else 's'} passed"
            return [*where.flow([("good", head), ("dim", took)], 4), *kept]
        at = f" in cell {self._number(end['cell'])}" if end.get("cell") else ""
        if end.get("outcome") == "timeout":
            return [*where.flow([("bad", f"✗ time is up{at}"), ("dim", took)], 4), *kept]
        lines = _indented((error or {}).get("output"))
        lines += [printable(line) for line in ((error or {}).get("traceback") or "").splitlines()]
        what = f"{error['name']}: {error['value']}" if error else ""
        return [*lines, *where.flow([("bad", f"✗ failed{at}"), ("", what), ("dim", took)], 4), *kept]

    def _number(self, number: int) -> str:
        return f"[{number}/{self._count}]"

    def _say(self, lines: list[str]) -> None:
        if not self._silent:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()


def _indented(text: str | None) -> list[str]:
    """The output of a cell below its line."""
    return [f"    {printable(line)}" for line in (text or "").splitlines()]


def _check_target(target: str) -> None:
    """Failure where the executed copy could not be written, before anything is run."""
    directory = os.path.dirname(places.absolute(target))
    if os.path.isdir(target) or not os.access(directory, os.W_OK | os.X_OK):
        what = "is a directory" if os.path.isdir(target) else f"cannot be written to: see `ls -ld {directory}`"
        raise Failure(f"{target} {what}", hint="name a file for the executed copy", exit_code=failure.USAGE)


def _write(target: str, text: str) -> None:
    """Write the executed copy atomically."""
    path = places.absolute(target)
    try:
        descriptor, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".~")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(file.fileno(), 0o666 & ~mask)
        os.replace(new, path)
    except OSError as error:
        raise Failure(f"the executed copy cannot be written to {target}: {error.strerror}") from None

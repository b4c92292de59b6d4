"""Notebook files that are run after each deployment (run_on_deploy), and how that went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from kaosd.errors import KaosError
from kaosd.model import DeployCheck, Deployment

WITHIN = 1800.0  # seconds that one file may run
ERROR = 1000  # characters of an error that are kept in the history

Run = Callable[[str], AsyncGenerator[dict[str, Any]]]  # a file of the notebook's root; see hosted/execution.py
Told = Callable[[int, tuple[DeployCheck, ...]], None]  # the deployment's number, and what is known of its files by now


class Checks:
    """Of one notebook. told: called whenever something is known. Owned by the actor."""

    def __init__(self, told: Told) -> None:
        self._told = told
        self._number = 0  # of the deployment that was looked at last
        self._final = True
        self._task: asyncio.Task[None] | None = None

    def look(self, deployment: Deployment | None, files: tuple[str, ...], run: Run) -> None:
        """Run *files* if this deployment went live and that was not started, or did not end with an earlier daemon."""
        if deployment is None or deployment.outcome != "live" or deployment.number == self._number:
            return
        self._number = deployment.number
        if files and is_due(deployment.checks):
            name = f"checks of {deployment.notebook}"
            self._task = asyncio.get_running_loop().create_task(self._all(deployment.number, files, run), name=name)

    async def cancel(self, *, final: bool = True) -> None:
        """Stop what runs, because something newer comes. final: it is not run again after a start of the daemon."""
        if self._task is None or self._task.done():
            return
        self._final = final
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _all(self, number: int, files: tuple[str, ...], run: Run) -> None:
        found = [DeployCheck(file) for file in files]
        self._told(number, tuple(found))
        try:
            for place, file in enumerate(files):
                found[place] = await _one(file, run)
                self._told(number, tuple(found))
        except asyncio.CancelledError:
            if self._final:
                done = [replace(one, outcome="cancelled") if one.outcome == "running" else one for one in found]
                self._told(number, tuple(done))
            raise


def is_due(checks: tuple[DeployCheck, ...]) -> bool:
    """Whether the files of a deployment are to be run, by what is known of them."""
    return not checks or any(one.outcome == "running" for one in checks)


async def _one(file: str, run: Run) -> DeployCheck:
    """Run one file; never raises but when it is cancelled."""
    begun, end = time.monotonic(), dict[str, Any]()
    try:
        async with aclosing(run(file)) as events:
            async for event in events:
                end = event
    except KaosError as error:
        return DeployCheck(file, "failed", None, str(error), round(time.monotonic() - begun, 3))
    return outcome_of(file, end)


def outcome_of(file: str, end: dict[str, Any]) -> DeployCheck:
    """What the last event of a run says."""
    outcome, failed = end.get("outcome"), end.get("error") or {}
    error = f"{failed.get('name')}: {failed.get('value')}"[:ERROR] if failed else None
    if outcome == "timeout":
        error = f"it did not end within {WITHIN / 60:g} min"
    return DeployCheck(
        file, "passed" if outcome == "passed" else "failed", end.get("cell"), error, end.get("seconds", 0.0)
    )

"""Notebook files that are run after a deployment: when, how it went, and that a newer deployment ends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any

import pytest

from kaosd.errors import NotFoundError
from kaosd.model import DeployCheck, Deployment
from kaosd.notebook.checks import ERROR, Checks, is_due, outcome_of

LIVE = Deployment("n", 7, ("a.py",), "sync", None, None, 1.0, 2.0, "live")
PASSED = {"event": "end", "outcome": "passed", "seconds": 1.5, "cell": None, "error": None}
FAILED = {"event": "end", "outcome": "failed", "seconds": 1.5, "cell": 3, "error": {"name": "KeyError", "value": "'a'"}}


class World:
    """Files that can be run, and what was told."""

    def __init__(self) -> None:
        self.told: list[tuple[int, list[str]]] = []
        self.last: tuple[DeployCheck, ...] = ()
        self.ended = asyncio.Event()
        self.hold = asyncio.Event()
        self.left: list[str] = []
        self.checks = Checks(self.take)

    def take(self, number: int, checks: tuple[DeployCheck, ...]) -> None:
        self.told.append((number, [one.outcome for one in checks]))
        self.last = checks
        if all(one.outcome != "running" for one in checks):
            self.ended.set()

    async def run(self, file: str) -> AsyncGenerator[dict[str, Any]]:
        try:
            yield {"event": "started", "cells": 1}
            if file == "hangs.ipynb":
                await self.hold.wait()
            if file == "gone.ipynb":
                raise NotFoundError("gone.ipynb is not a file of n")
            yield FAILED if file == "fails.ipynb" else PASSED
        finally:
            self.left.append(file)


async def test_files_are_run_in_order_once_for_a_deployment() -> None:
    world = World()
    for _ in range(3):
        world.checks.look(LIVE, ("a.ipynb", "fails.ipynb", "gone.ipynb"), world.run)
    await world.ended.wait()
    assert [outcomes for _, outcomes in world.told] == [
        ["running", "running", "running"],
        ["passed", "running", "running"],
        ["passed", "failed", "running"],
        ["passed", "failed", "failed"],
    ]
    assert world.last[1] == DeployCheck("fails.ipynb", "failed", 3, "KeyError: 'a'", 1.5)
    assert world.last[2].error == "gone.ipynb is not a file of n"


@pytest.mark.parametrize(("final", "outcome"), [(True, "cancelled"), (False, "running")])
async def test_a_newer_deployment_cancels_and_a_daemon_that_stops_has_it_run_again(final: bool, outcome: str) -> None:
    world = World()
    world.checks.look(LIVE, ("hangs.ipynb",), world.run)
    while not world.told:
        await asyncio.sleep(0)
    await world.checks.cancel(final=final)
    assert (world.left, world.told[-1]) == (["hangs.ipynb"], (7, [outcome]))
    again = World()
    again.checks.look(replace(LIVE, checks=(DeployCheck("hangs.ipynb", outcome),)), ("a.ipynb",), again.run)
    await asyncio.sleep(0)
    await again.checks.cancel()
    assert bool(again.told) is not final


DUE = {
    "never run": ((), True),
    "half run": ((DeployCheck("a", "passed"), DeployCheck("b")), True),
    "all run": ((DeployCheck("a", "passed"), DeployCheck("b", "failed")), False),
    "cancelled": ((DeployCheck("a", "cancelled"),), False),
}


@pytest.mark.parametrize(("checks", "due"), DUE.values(), ids=DUE.keys())
def test_what_is_due(checks: tuple[DeployCheck, ...], due: bool) -> None:
    assert is_due(checks) is due


@pytest.mark.parametrize("deployment", [None, replace(LIVE, outcome="failed"), replace(LIVE, outcome="running")])
async def test_only_what_went_live_is_checked(deployment: Deployment | None) -> None:
    world = World()
    world.checks.look(deployment, ("a.ipynb",), world.run)
    await asyncio.sleep(0)
    assert world.told == []


def test_a_run_that_does_not_end_has_failed() -> None:
    late = {"event": "end", "outcome": "timeout", "seconds": 1800.0, "cell": 2, "error": None}
    assert outcome_of("a", late) == DeployCheck("a", "failed", 2, "it did not end within 30 min", 1800.0)


def test_an_error_without_end_is_kept_as_its_start() -> None:
    failed = FAILED | {"error": {"name": "KeyError", "value": "a" * 100_000}}
    assert outcome_of("a", failed).error == f"KeyError: {'a' * (ERROR - 10)}"

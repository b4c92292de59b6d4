"""The table of attacks, each with what must come of it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.abuse import CASES, outcome
from tests.faults.prey import Case, Prey


@pytest.fixture(scope="module")
def prey() -> Iterator[Prey]:
    """A daemon that was started with no umask at all."""
    before = os.umask(0)
    try:
        found = Prey(Path(tempfile.mkdtemp(prefix="ka")))
    finally:
        os.umask(before)
    yield found
    found.daemon.close()


@pytest.mark.parametrize("case", CASES, ids=[f"{case.where}-{case.name}" for case in CASES])
def test_nothing_comes_of(prey: Prey, case: Case) -> None:
    assert outcome(prey, case) in case.expected


def test_the_table_is_long_enough_and_names_each_attack_once() -> None:
    assert len(CASES) >= 40
    assert len({(case.where, case.name) for case in CASES}) == len(CASES)

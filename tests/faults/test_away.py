"""Engines that go away and come back, a few rounds for every commit; away.py makes more of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.faults import away

CHOSEN: list[Callable[..., Iterator[None]]] = [
    away.away_at_a_step, away.away_and_killed, away.killed_at_a_step, away.away_from_the_start, away.away_at_a_step,
]  # fmt: skip
SEED = 21


@pytest.mark.timeout(1800)  # images are built, and each start of a notebook takes seconds
@pytest.mark.parametrize("engine", ["docker", "pachyderm"])
def test_nothing_is_lost_when_the_engine_goes_away(engine: str) -> None:
    with away.world(engine, SEED) as made:
        try:
            made.first()
            for strike in CHOSEN + ([away.ended_and_started] if engine == "docker" else []):
                made.round(strike)
            made.look_at_all()
        except Exception as error:
            raise AssertionError(f"seed {SEED}: {error}\n{made.table()}\n{made.daemon.output()}") from error

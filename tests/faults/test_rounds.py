"""A bounded number of rounds for every commit; `make faults ROUNDS=1000` makes more of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults import strikes, surroundings
from tests.faults.rounds import World, world

# One of each but the slowest, in this order; each begins where the one before it came to rest.
CHOSEN = [
    strikes.nothing, strikes.kill_at_point, strikes.kill_at_named_call, strikes.error_at_point, strikes.kill_daemon,
    strikes.no_room_at_any_write, strikes.kill_while_starting, strikes.full_disk, strikes.hang_daemon,
    strikes.move_root, strikes.kill_both, strikes.no_descriptors, strikes.lock_journal, strikes.delete_socket,
    strikes.kill_at_point, strikes.kill_at_named_call, strikes.set_clock, strikes.slow_disk, strikes.overflow,
    strikes.take_front_port, strikes.damage_state, strikes.damage_running, strikes.hang_host,
    strikes.kill_host, strikes.second_daemon,
    surroundings.failing_disk, surroundings.host_that_lies, surroundings.unmount_root, surroundings.slow_host,
    strikes.kill_build, strikes.no_memory_in_build, surroundings.state_of_the_future, surroundings.watch_limit,
]  # fmt: skip
SEED = 21  # the same for every commit; by hand each run draws another


@pytest.fixture(scope="module")
def made() -> Iterator[World]:
    """A world after its first deployment."""
    with world(SEED) as found:
        found.first()
        yield found


@pytest.mark.parametrize("number", range(len(CHOSEN)), ids=[f"{n}-{one.__name__}" for n, one in enumerate(CHOSEN)])
def test_nothing_is_lost(made: World, number: int) -> None:
    try:
        made.round(CHOSEN[number])
        made.look_at_all()
    except Exception as error:
        raise AssertionError(f"seed {SEED}: {error}\n{made.table()}\n{made.daemon.output()}") from error

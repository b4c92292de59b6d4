"""How long to wait before a stream is opened again: so that a thousand daemons do not come back in one second. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator

FIRST, LAST = 1.0, 60.0  # seconds


def waits(draw: Callable[[float, float], float], first: float = FIRST, last: float = LAST) -> Iterator[float]:
    """Seconds to wait before each further try: anywhere up to a bound that doubles. draw: random.uniform.

    The whole range is drawn from: daemons that lost the same pachd at the same moment spread over it.
    """
    bound = first
    while True:
        yield draw(0.0, bound)
        bound = min(2 * bound, last)

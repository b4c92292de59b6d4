"""What a notebook has lately tried in vain, and when it may be tried again."""

from __future__ import annotations

import random
from collections.abc import Callable

from kaosd.errors import KaosError
from kaosd.planner import STOPPING, Attempt, FailedAttempt, Target, about

FIRST = 0.5  # seconds before the second try
KEPT = 2  # failures of one kind: of what is wanted, and of what is to serve meanwhile


class Failures:
    """Failures by what they were about, with back-off. cap: the longest wait in seconds.

    jitter: a factor for each wait. known: the newest last; for the planner.
    """

    def __init__(self, cap: float, jitter: Callable[[], float] = lambda: random.uniform(0.8, 1.2)) -> None:  # noqa: S311
        self._cap = cap
        self._jitter = jitter
        self._tries: dict[Attempt, int] = {}
        self.known: tuple[FailedAttempt, ...] = ()

    def add(self, attempt: Attempt, target: Target | None, error: KaosError, now: float) -> int:
        """Write down that *attempt* failed for *target*, at loop time *now*; how many have in a row.

        target: None for the stop of a host that a person wants, which is tried until it succeeds.
        """
        tries = self._tries[attempt] = self._tries.get(attempt, 0) + 1
        delay = min(FIRST * 2 ** min(tries - 1, 32), self._cap) * self._jitter()
        retry_at = now + delay if error.retryable or target is None else None
        self._put(
            FailedAttempt(
                attempt,
                about(attempt, target) if target else STOPPING,
                str(error),
                retry_at,
                tries=tries,
                brief=error.text,
            )
        )
        return tries

    def cancelled(self, environment: str) -> None:
        """A person does not want this environment to be built."""
        self._put(FailedAttempt(Attempt.BUILD, environment, "the build was cancelled by you", None, cancelled=True))

    def wait(self, attempt: Attempt, target: Target, text: str, retry_at: float) -> None:
        """Nothing went wrong, but *attempt* has to wait for a person until loop time *retry_at*."""
        self._put(FailedAttempt(attempt, about(attempt, target), text, retry_at, waits=True))

    def text(self, attempt: Attempt, key: object) -> str | None:
        """Why this very attempt failed, if it did."""
        return next((one.text for one in self.known if (one.attempt, one.key) == (attempt, key)), None)

    def succeeded(self, attempt: Attempt, target: Target | None = None) -> None:
        """Forget earlier failures of this kind.

        With a *target* what was refused for good stays refused for others: else a host that serves an earlier version
        again would have the refused one tried again, and end for it, without end.
        """
        key = about(attempt, target) if target is not None else None
        self.known = tuple(
            one
            for one in self.known
            if one.attempt is not attempt or (target is not None and one.key != key and one.retry_at is None)
        )
        if attempt is not Attempt.HOST:  # a host that ends again and again is backed off although it starts
            self._tries.pop(attempt, None)

    def steady(self) -> None:
        """The host that has ended had run for long: its end counts as the first one."""
        self._tries.pop(Attempt.HOST, None)

    def clear(self) -> None:
        """Forget everything: a person wants it tried again."""
        self.known = ()
        self._tries.clear()

    def _put(self, new: FailedAttempt) -> None:
        same = [one for one in self.known if one.attempt is new.attempt and one.key != new.key]
        others = [one for one in self.known if one.attempt is not new.attempt]
        self.known = (*others, *same[-(KEPT - 1) :], new)

"""Why a command of the client ends without having done its work: the error with its exit code."""

from __future__ import annotations

from kaosd.errors import KaosError

FAILED = 1  # also: a notebook is failed or stale
USAGE = 2
NOT_RUNNING = 3
NOT_FOUND = 4
TIMED_OUT = 5
BROKEN_PIPE = 141  # what a shell reports for a program that a closed pipe ended
INTERRUPTED = 130


class Failure(KaosError):
    """A sentence for the person, and the exit code; manual.EXIT_CODES says what each means."""

    def __init__(self, text: str, *, hint: str = "", exit_code: int = FAILED, code: str = "failed") -> None:
        super().__init__(text, hint=hint)
        self.exit_code = exit_code
        self.code = code

"""Long text on a terminal goes through the user's pager; everywhere else it is written as it is."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence

_LESS = "FRX"  # as git sets it: leave at once when all fits, show colours, keep the text on the screen


def show(lines: Sequence[str]) -> None:
    """Write *lines* to the standard output, through $PAGER (default: less) when the terminal has fewer rows."""
    text = "".join(f"{line}\n" for line in lines)
    if not (_is_too_long(lines) and _paged(text)):
        sys.stdout.write(text)
        sys.stdout.flush()


def _is_too_long(lines: Sequence[str]) -> bool:
    """Whether the standard output is a terminal that cannot show all *lines* at once."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return False
    try:
        return len(lines) >= os.get_terminal_size(sys.stdout.fileno()).lines
    except OSError:
        return False


def _paged(text: str) -> bool:
    """Show *text* in the pager; False when there is none that can be run."""
    command = shlex.split(os.environ.get("PAGER", "less"))
    if not command or os.environ.get("TERM") == "dumb":
        return False
    surroundings = {"LESS": _LESS, **os.environ}
    try:
        pager = subprocess.Popen(command, stdin=subprocess.PIPE, env=surroundings, encoding=sys.stdout.encoding)
    except OSError:
        return False
    try:
        pager.communicate(text)
    except KeyboardInterrupt:  # less stays, as its user may only have ended a search
        pager.wait()
    return True

"""What commands print: lines for a person, or the same facts as JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable

from kaosd.ctl import screen
from kaosd.display import epoch


def tell(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Print *value* as JSON, or else *lines* (safe for a terminal already)."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n" if as_json else "".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def here() -> screen.Screen:
    """The screen behind the standard output."""
    return screen.of(sys.stdout)


def moment(text: str | None) -> str:
    """A time of the API as the person's clock shows it, to the second; "-" when there is none."""
    at = epoch(text)
    return "-" if at is None else time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def agreed(question: str, more: str = "") -> bool:
    """Ask the person at the terminal; whether the answer is yes."""
    sys.stderr.write(f"{question} {more}[y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")

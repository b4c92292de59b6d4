"""How strings and times look to the outside. Standard library only, and cheap to import: the client's fast path."""

from __future__ import annotations

import time
from datetime import datetime

# Harmless, though str.isprintable() says no: tab, the spaces of other scripts, the joiner inside emoji.
_KEPT = frozenset("\t\u00a0\u202f\u3000\u200d")


def printable(text: str) -> str:
    r"""*text* as it may be sent to a terminal.

    Control characters, terminal escapes, changes of writing direction and bytes that were not text are written
    as \x1b or \u202e; everything else stays. A line break counts as a control character.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() or char in _KEPT else _escaped(ord(char)) for char in text)


def _escaped(code: int) -> str:
    if 0xDC80 <= code <= 0xDCFF:  # a byte that os.fsdecode could not decode
        code -= 0xDC00
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def rfc3339(at: float) -> str:
    """A time (seconds since the epoch) as text, in UTC with milliseconds: 2026-11-18T10:26:40.250Z."""
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(at))}.{int(at * 1000) % 1000:03d}Z"


def epoch(text: str | None) -> float | None:
    """The reverse of `rfc3339`; None when *text* is not a time in UTC."""
    if not text or text[10:11] != "T" or text[16:17] != ":" or text[-1] != "Z":
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return None

"""How strings and times look to the outside. Standard library only, and cheap to import: the client's fast path."""

from __future__ import annotations

from datetime import UTC, datetime

# Harmless, though str.isprintable() says no: tab, the spaces of other scripts, the joiner inside emoji.
_KEPT = frozenset("\t\u00a0\u202f\u3000\u200d")


def printable(text: str) -> str:
    r"""*text* as it may be sent to a terminal.

    Control characters, terminal escapes, changes of writing direction and bytes that were no text are written
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
    """A time (seconds since the epoch) as text, in UTC with milliseconds."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def epoch(text: str | None) -> float | None:
    """The reverse of `rfc3339`, for any offset (none: UTC); None when *text* is no time."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()

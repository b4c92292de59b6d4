"""What a person typed is kept by the daemon before a change from outside may touch it.

The caller that asks for a change names the texts that it has kept, by digest. A document that holds edits is changed
only if its text of that very moment is among them; else its text is the answer, to be kept before the change is asked
for again.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Optional

if TYPE_CHECKING:
    from collections.abc import Collection

Kept = Optional["Collection[str]"]  # None: the caller keeps nothing, and is told the text with the answer


class Unkept(Exception):
    """Nothing was changed: *before* is not kept yet."""

    def __init__(self, before: str) -> None:
        super().__init__("its text is not kept yet")
        self.before = before


def digest(text: str) -> str:
    """What a kept text is named by: the SHA-256 of its UTF-8, in hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def require(before: str | None, kept: Kept) -> None:
    """Raise Unkept when a text that is about to change is not kept. before: None when nothing of it is a person's."""
    if before is not None and kept is not None and digest(before) not in kept:
        raise Unkept(before)

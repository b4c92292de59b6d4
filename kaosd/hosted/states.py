"""What is at a path of a notebook's directory, in a form that two machines can compare."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    """What is at a path: its kind (f file, x executable, l link, d directory, ? others), and a digest of its content.

    Which digest is a matter of those who compare: the store's on this machine, SHA-256 with a pod.
    """

    kind: str
    digest: str = ""


def alike(one: State | None, other: State | None) -> bool:
    """Whether two states have the same content; the executable bit alone is not an edit."""
    if one is None or other is None:
        return one is other
    return one.digest == other.digest and (one.kind == other.kind or {one.kind, other.kind} == {"f", "x"})

"""Names of notebooks that were not given one: made from the directory, unique, and the same for the same directory."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections.abc import Callable, Mapping

from kaosd.model import NAME_MAX, RESERVED

NAMELESS = "notebook"  # of a directory whose name has no letter or digit that a notebook's name may have
EARLIER = "notebook-default-{user}"  # what versions before this one called it
_DIGITS = (4, 8, 16)  # of the path's digest, which keep directories of the same name apart
_ROOM = NAME_MAX - max(_DIGITS) - 1


def base_name(directory: str) -> str:
    """A valid name that is near to the last part of the path *directory*."""
    plain = unicodedata.normalize("NFKD", os.path.basename(os.path.normpath(directory)))
    ascii_only = "".join(character for character in plain if not unicodedata.combining(character))
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", ascii_only).strip("-_")
    name = name[:_ROOM].rstrip("-_") or NAMELESS
    return f"{name}-{NAMELESS}" if name in RESERVED else name


def candidates(directory: str) -> tuple[str, ...]:
    """The names that a notebook of *directory* may get, the best first."""
    base, path = base_name(directory), os.fsencode(os.path.realpath(directory))
    digest = hashlib.sha256(path).hexdigest()
    return (base, *(f"{base}-{digest[:digits]}" for digits in _DIGITS))


def choose(
    directory: str, earlier: str, taken: Mapping[str, str | None], known: Callable[[str], bool] = lambda _: False
) -> str:
    """The name of the notebook of *directory*: the one that it has, else the first that is free.

    earlier: the name that versions before this one gave it. taken: the notebooks that there are, each with its
    directory if that is known. known: whether there was a notebook of this name once; one with the digest of the
    directory can only have been this directory's.
    """
    names = candidates(directory)
    for name in (earlier, *names):
        owner = taken.get(name)
        if owner is not None and same(owner, directory):
            return name
    free = [name for name in names if name not in taken]
    again = [name for name in free if name != names[0] and known(name)]
    return next(iter((*again, *free, names[-1])))


def same(one: str, other: str) -> bool:
    """Whether two paths lead to the same directory, links followed."""
    return os.path.realpath(one) == os.path.realpath(other)

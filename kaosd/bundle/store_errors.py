"""The one module that turns what the operating system and sqlite raise into a sentence about a path on disk."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from kaosd.errors import StoreError

_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def store_errors(doing: str, place: Path) -> Iterator[None]:
    """Raise a StoreError for an OSError or sqlite error: *doing* is a phrase such as "write to"."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        raise store_error(doing, place, error) from error


def store_error(doing: str, place: Path, error: OSError | sqlite3.Error) -> StoreError:
    """The sentence for *error*, to be raised from it."""
    if isinstance(error, OSError):
        full, reason = error.errno in _FULL, error.strerror or str(error)
    else:
        full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or _no_space(place)
        reason = str(error)
    return _full(place) if full else StoreError(f"cannot {doing} {place}: {reason}", hint="kaosd tries again")


def _full(place: Path) -> StoreError:
    return StoreError(
        f"the disk that holds {place} is full", hint="free some space there; kaosd then continues by itself"
    )


def _no_space(place: Path) -> bool:
    """Whether sqlite's unspecific I/O error is a full disk in truth."""
    try:
        status = os.statvfs(place)
    except OSError:
        return False
    return status.f_bavail * status.f_frsize < 64 * 1024

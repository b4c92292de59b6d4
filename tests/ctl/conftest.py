"""A daemon to talk to: one that runs, and one that does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ctl.standin import Daemon, listening


@pytest.fixture
def stopped(short: Path) -> Daemon:
    """Places for a daemon that does not run."""
    (short / "state").mkdir()
    return Daemon(short)


@pytest.fixture
def daemon(stopped: Daemon) -> Iterator[Daemon]:
    """A daemon that answers."""
    with listening(stopped):
        yield stopped

"""A booted guest that the tests of a module share."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.systemd.machine import Machine


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine of its own, with a person who has used no kaosd yet."""
    found = Machine(Path(tempfile.mkdtemp(prefix="ks")))
    yield found
    found.close()

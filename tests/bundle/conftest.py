"""What the tests of bundles share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kaosd.bundle import Scanner, Store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "store")
    yield opened
    opened.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    made = tmp_path / "root"
    made.mkdir()
    return made


@pytest.fixture
def data(root: Path, store: Store) -> Scanner:
    return Scanner(root, store, kind="data")

"""A browser and a daemon per module of tests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.tab import PATIENCE, chromium
from tests.e2e.conftest import daemon, make_bundle

__all__ = ["daemon"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A running Chromium."""
    with chromium() as found:
        yield found


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A tab without cookies."""
    context = browser.new_context(viewport={"width": 1100, "height": 720})
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A small source bundle without requirements of its own."""
    return make_bundle(tmp_path / "example")


@pytest.fixture
def meanwhile() -> Iterator[ThreadPoolExecutor]:
    """For what happens while a person types; playwright belongs to the test's own thread."""
    with ThreadPoolExecutor() as pool:
        yield pool

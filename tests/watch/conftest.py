"""Shared by the tests of watching."""

from __future__ import annotations

import pytest

from kaosd.watch import polling, watcher


@pytest.fixture(autouse=True)
def _quick_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the timer does in seconds need not take seconds here."""
    monkeypatch.setattr(watcher, "BEAT", 0.1)
    monkeypatch.setattr(polling, "SHORTEST", 0.1)

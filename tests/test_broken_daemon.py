"""A daemon that ends by a fault of its own leaves the cause where `kaosctl logs --stage daemon` shows it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kaosd import __main__ as program
from kaosd.errors import KaosError


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ZeroDivisionError("of our own"), "ZeroDivisionError: of our own"),
        (KaosError("the port 8890 is taken"), "the port 8890 is taken"),
    ],
)
def test_the_cause_is_in_the_daemons_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    async def serve(*_: object) -> int:
        async with asyncio.TaskGroup():
            raise error

    monkeypatch.setattr("kaosd.daemon.serve", serve)
    monkeypatch.setenv("KAOSD_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("KAOSD_SOCKET", str(tmp_path / "state/s"))
    if isinstance(error, KaosError):
        assert program.main(["run"]) == 1
    else:
        with pytest.raises(BaseExceptionGroup):
            program.main(["run"])
    log = (tmp_path / "state/logs/daemon.log").read_text()
    assert "daemon_broke" in log
    assert line in log

"""How a JupyterLab is asked, by a server that answers as one would; the real one is asked in the conformance suite."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from aiohttp import web

from kaosd.engines import jupyter
from kaosd.engines.jupyter import Door


class Server:
    """A server in the same loop, which stands still at each request that is late.

    late: by how many seconds each is, by the clock of the daemon.
    """

    def __init__(self) -> None:
        self.late: list[float] = []
        self.clock = 0.0

    async def answer(self, request: web.Request) -> web.Response:
        if self.late:
            self.clock += self.late.pop(0)
            time.sleep(0.6)  # as SIGSTOP does
        return web.json_response([] if request.path.endswith("kernels") else {})


@pytest.fixture
async def server(short: Path) -> AsyncIterator[Server]:
    found, app = Server(), web.Application()
    app.router.add_get("/n/api/{_:.*}", found.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, str(short / "s")).start()
    yield found
    await runner.cleanup()


@pytest.mark.parametrize(
    ("late", "answering"),
    [([], True), ([0.6], False), ([1.5], True), ([1.5, 0.6], False), ([1.5, 1.5], False)],
    ids=["well", "slow", "stopped", "stopped and slow", "stopped twice"],
)
async def test_a_time_in_which_the_daemon_was_stopped_says_nothing_of_the_host(
    server: Server, short: Path, monkeypatch: pytest.MonkeyPatch, late: list[float], answering: bool
) -> None:
    monkeypatch.setattr(jupyter, "PROBE", 0.3)
    monkeypatch.setattr(jupyter, "time", SimpleNamespace(monotonic=lambda: server.clock))
    (short / "token").write_text("secret")
    server.late = late
    status = await Door(str(short / "s"), "/n/", str(short / "token")).probe(lambda: "")
    assert (status.alive, status.answering, server.late) == (True, answering, [])

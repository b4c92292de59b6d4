"""A notebook that is open in a tab while saves strike: nothing that is typed is lost, every save shows."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab

PEER = Path(__file__).parent.parent / "hosted" / "peer.py"
TYPED = "# typed by a person, one key after the other, while the files are saved again and again"
SAVES = 3  # at least, while it is typed


def notebook(first: str, second: str) -> str:
    """A notebook of two cells."""
    cells = [
        {"id": name, "cell_type": "code", "source": source, "metadata": {}, "outputs": [], "execution_count": None}
        for name, source in (("one", first), ("two", second))
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5})


class Tab:
    """A second editor of the shared document, as a tab is one."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def order(self, do: str, **details: object) -> None:
        """Tell it to do something."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **details}).encode() + b"\n")
        await self.process.stdin.drain()

    async def answer(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self.process.stdout.readline(), 60))
        return found

    async def cells(self) -> dict[str, str]:
        """The cells as the tab shows them."""
        await self.order("synchronise")
        assert await self.answer() == {"synchronised": True}
        await self.order("read")
        return {cell["id"]: cell["source"] for cell in (await self.answer())["content"]["cells"]}


@asynccontextmanager
async def opened(daemon: Daemon, name: str, lab: Lab, path: str, python: Path | None = None) -> AsyncIterator[Tab]:
    """Open a notebook in a tab: at the front with another environment's *python*, else at the host with its own."""
    async with lab.session.put(
        f"{lab.url}/api/collaboration/session/{path}", json={"format": "json", "type": "notebook"}
    ) as answer:
        session = await answer.json()
    host = {} if python else json.loads((daemon.home(name) / "jupyter" / "host.json").read_text())
    at = f"127.0.0.1:{daemon.port}" if python else "localhost"
    room = f"json:notebook:{session['fileId']}?sessionId={session['sessionId']}&token={daemon.token(name)}"
    process = await asyncio.create_subprocess_exec(
        python or daemon.home(name) / "environment" / "bin" / "python",
        PEER,
        host.get("socket", ""),
        f"ws://{at}/{name}/api/collaboration/room/{room}",
        "notebook",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        limit=2**24,
    )
    try:
        tab = Tab(process)
        assert await tab.answer() == {"synchronised": True}
        yield tab
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
        process._transport.close()  # type: ignore[attr-defined]


async def typed_while_saves_strike(daemon: Daemon, name: str, tab: Tab, file: Path) -> tuple[str, int]:
    """Type into one cell while *file* is saved with another second cell again and again. What was typed, and how often
    it was saved.
    """
    number, text = 0, "one = 0"
    while number <= SAVES:  # on a slow machine one line is typed before so many saves have come
        await tab.order("type", cell="one", after=text, text=TYPED, pause=0.05)
        text += TYPED
        typing = asyncio.create_task(tab.answer())
        while not typing.done():
            number += 1
            file.write_text(notebook("one = 0", f"two = {number}"))
            await asyncio.to_thread(daemon.live, name)
        assert await typing == {"typed": text}
        assert await tab.cells() == {"one": text, "two": f"two = {number}"}
    return text, number


async def test_no_keystroke_is_lost_while_saves_strike(daemon: Daemon, bundle: Path) -> None:
    file = bundle / "model" / "n.ipynb"
    file.write_text(notebook("one = 0", "two = 0"))
    daemon.deploy("typing", bundle)
    async with (
        Lab(daemon.url("typing"), daemon.token("typing")) as lab,
        opened(daemon, "typing", lab, "n.ipynb") as tab,
    ):
        text, number = await typed_while_saves_strike(daemon, "typing", tab, file)
        work = daemon.home("typing") / "work" / "n.ipynb"

        def saved() -> bool:
            try:
                found = json.loads(work.read_text())
            except ValueError:  # JupyterLab empties a file before it writes it
                return False
            cells = {cell["id"]: "".join(cell["source"]) for cell in found["cells"]}
            return cells == {"one": text, "two": f"two = {number}"}

        await asyncio.to_thread(until, saved, "the document to be saved")
    assert daemon.notebook("typing")["state"] == "live"


async def clashed(daemon: Daemon, name: str, tab: Tab, file: Path) -> None:
    """Type 123 into the first cell, and save *file* with something else in that place."""
    await tab.order("type", cell="one", after="one = 0", text="123", pause=0)
    assert await tab.answer() == {"typed": "one = 0123"}
    await tab.cells()
    file.write_text(notebook("one = 9", "two = 0"))
    await asyncio.to_thread(daemon.live, name)


async def test_an_edit_of_the_same_place_is_kept_as_a_copy(daemon: Daemon, bundle: Path) -> None:
    file = bundle / "model" / "n.ipynb"
    file.write_text(notebook("one = 0", "two = 0"))
    daemon.deploy("clash", bundle)
    lab = Lab(daemon.url("clash"), daemon.token("clash"))
    async with lab, opened(daemon, "clash", lab, "n.ipynb") as tab:
        await clashed(daemon, "clash", tab, file)
        assert (await tab.cells())["one"].startswith("one = 9")
    kept = [Path(one["file"]) for one in daemon.json("recovered", "clash")["recovered"]]
    assert any("one = 0123" in path.read_text() for path in kept)
    assert {os.stat(path).st_mode & 0o077 for path in kept} == {0}


@asynccontextmanager
async def page(lab: Lab, *documents: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    """A page of JupyterLab that has documents open without sharing them; it hears, and says only what a test says."""
    async with lab.session.ws_connect(f"{lab.url}/kaosd/desk".replace("http://", "ws://")) as socket:
        assert (await socket.receive_json())["do"] == "hello"
        await socket.send_json({"open": documents})
        while not {one["path"] for one in (await lab.get("kaosd/documents"))["documents"]} >= set(documents):
            await asyncio.sleep(0.02)
        yield socket


async def test_a_tab_that_sleeps_holds_a_swap_without_a_server_for_each_try(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("asleep", bundle)
    pid = daemon.host_pid("asleep")
    async with Lab(daemon.url("asleep"), daemon.token("asleep")) as lab:
        async with page(lab, "train.py") as tab:
            (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
            (bundle / "model" / "requirements.txt").write_text("jupyterlab<4.6\n")
            for _ in range(3):  # asked again and again what it holds; it does not answer
                while (await tab.receive_json())["do"] != "read":
                    pass
            shown = await asyncio.to_thread(
                until, lambda: (one := daemon.notebook("asleep"))["state"] == "held" and one, "the hold"
            )
            assert "train.py: its tab does not answer; look at the tab, or close it" in shown["reason"]
            assert await lab.read("train.py") == "ANSWER = 1\n"
            assert daemon.host_pid("asleep") == pid
            for _ in range(3):  # while it is being asked the screen stays calm
                while (await tab.receive_json())["do"] != "read":
                    pass
                assert (await asyncio.to_thread(daemon.notebook, "asleep"))["state"] == "held"
        await asyncio.to_thread(daemon.live, "asleep")
        assert daemon.host_pid("asleep") != pid
        assert await lab.read("train.py") == "ANSWER = 2\n"
    swapped = daemon.history("asleep")[0]
    assert [job["stage"] for job in swapped["jobs"]].count("host") == 1

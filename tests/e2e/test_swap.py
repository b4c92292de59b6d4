"""The server's own packages change: a new server beside the old one, busy kernels waited for, no request failed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp

from tests.e2e.daemon import Daemon, until
from tests.e2e.lab import Lab

OLDER = "jupyterlab<4.6\n"


async def test_swap_waits_for_a_busy_kernel_and_fails_no_request(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("swap", bundle)
    pid, token = daemon.host_pid("swap"), daemon.token("swap")
    async with Lab(daemon.url("swap"), token) as lab:
        kernel = await lab.kernel()
        gate = bundle.parent / "gate"
        busy = asyncio.create_task(
            kernel.run(f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.05)\nprint('done')")
        )
        await kernel.busy()
        (bundle / "model" / "requirements.txt").write_text(OLDER)
        shown = await asyncio.to_thread(
            until, lambda: (one := daemon.notebook("swap"))["state"] == "held" and one, "the wait for the kernel"
        )
        assert "busy" in shown["reason"]
        assert shown["summary"].startswith("held: 1 busy kernel, ")
        assert shown["swap"] == {"busy": 1, "until": shown["swap"]["until"], "why": shown["reason"]}
        assert shown["next"][0]["action"] == {"verb": "redeploy", "body": {"force": False, "now": True}}
        assert shown["swap"]["until"]
        assert daemon.ctl("redeploy", "other", "--when-idle", check=False).returncode == 4
        daemon.ctl("redeploy", "swap", "--when-idle")
        await asyncio.to_thread(
            until, lambda: daemon.notebook("swap")["swap"]["until"] is None, "the wait to have no end but the cell's"
        )
        assert daemon.host_pid("swap") == pid
        gate.touch()
        assert await busy == "done\n"
        failed, asked = [], 0
        while daemon.notebook("swap")["state"] != "live" or daemon.host_pid("swap") == pid:
            async with lab.session.get(f"{lab.url}/api/status") as answer:
                asked += 1
                if answer.status != 200:
                    failed.append(answer.status)
        assert asked
        assert not failed
        version = (await lab.get("api/status")) and (await lab.session.get(f"{lab.url}/lab"))
        assert version.status == 200
        assert daemon.token("swap") == token
        assert await (await lab.kernel()).run("import jupyterlab; print(jupyterlab.__version__)") < "4.6"
    assert daemon.history("swap")[0]["outcome"] == "live"
    lost = daemon.notebook("swap")["host"]["lost"]
    assert (lost["kernels"], lost["why"]) == (1, "JupyterLab was replaced for the new environment")


async def test_now_ends_the_wait(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("now", bundle)
    pid = daemon.host_pid("now")
    async with Lab(daemon.url("now"), daemon.token("now")) as lab:
        kernel = await lab.kernel()
        endless = asyncio.create_task(kernel.run("import time\nwhile True: time.sleep(0.1)"))
        await kernel.busy()
        (bundle / "model" / "requirements.txt").write_text(OLDER)
        await asyncio.to_thread(until, lambda: daemon.notebook("now")["state"] == "held", "the wait for the kernel")
        daemon.ctl("redeploy", "now", "--now")
        await asyncio.to_thread(until, lambda: daemon.notebook("now")["state"] == "live", "the swap")
        assert daemon.host_pid("now") != pid
        await asyncio.wait([endless])
        assert isinstance(endless.exception(), (AssertionError, aiohttp.ClientError))


async def test_code_saved_during_the_wait_comes_with_the_swap(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("both", bundle)
    before = len(daemon.history("both"))
    async with Lab(daemon.url("both"), daemon.token("both")) as lab:
        (bundle / "model" / "requirements.txt").write_text(OLDER)
        await asyncio.to_thread(until, lambda: len(daemon.history("both")) > before, "the change to be seen")
        (bundle / "model" / "train.py").write_text("ANSWER = 7\n")
        await asyncio.to_thread(daemon.live, "both")
        assert await lab.read("train.py") == "ANSWER = 7\n"

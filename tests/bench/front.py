"""What the front costs: the same JupyterLab asked through it and straight at its socket, in turn."""

from __future__ import annotations

import asyncio
import json
import os
import time
import uuid

import aiohttp

from tests.bench.bench import Bench
from tests.bench.report import BOUND, OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon

THROUGH, STRAIGHT = OWN, f"{BOUND}straight to the host"
SMALL, TURN = "small request", "websocket: kernel_info and its reply"


def measure(bench: Bench, report: Report) -> None:
    """Small requests, messages to a kernel and back, a large download."""
    with bench.daemon() as daemon:
        daemon.deploy("front", make_bundle(bench.place / "front"))
        asyncio.run(_both(bench, report, daemon))


async def _both(bench: Bench, report: Report, daemon: Daemon) -> None:
    socket = next((daemon.state / "run").glob("*.sock"))
    headers = {"Authorization": f"token {daemon.token('front')}"}
    async with (
        aiohttp.ClientSession(headers=headers) as front,
        aiohttp.ClientSession(headers=headers, connector=aiohttp.UnixConnector(str(socket))) as host,
    ):
        ways = {THROUGH: (front, daemon.url("front")), STRAIGHT: (host, "http://host/front")}
        requests: dict[str, list[float]] = {who: [] for who in ways}
        for _ in range(bench.choose(100, 1_000)):
            for who, (session, url) in ways.items():
                requests[who].append(await _get(session, f"{url}/api/status"))
        turns = await _messages(ways, bench.choose(50, 300))
        megabytes = bench.choose(50, 500)
        large = daemon.home("front") / "work" / "large.bin"
        large.write_bytes(os.urandom(1 << 20) * megabytes)
        downloads: dict[str, list[float]] = {who: [] for who in ways}
        for _ in range(3):
            for who, (session, url) in ways.items():
                downloads[who].append(await _get(session, f"{url}/files/large.bin"))
    for what, size, times in (
        (SMALL, 0, requests), (TURN, 0, turns), ("download (MB)", megabytes, downloads),
    ):  # fmt: skip
        for who, seconds in times.items():
            report.add(what, size, who, seconds)
        added = report.median(what, size, THROUGH) - report.median(what, size, STRAIGHT)
        times_as = report.median(what, size, THROUGH) / report.median(what, size, STRAIGHT)
        report.facts.append(f"{what}: the front adds {added * 1e3:.2f} ms ({times_as:.2f} times the direct way)")
    report.target("front, small request: of straight to the host", report.ratio(SMALL, 0, STRAIGHT), 1.5)
    rate = megabytes / report.median("download (MB)", megabytes, THROUGH)
    report.facts.append(f"download through the front: {rate:.0f} MB/s")


async def _get(session: aiohttp.ClientSession, url: str) -> float:
    began = time.perf_counter()
    async with session.get(url, raise_for_status=True) as answer:
        async for _ in answer.content.iter_chunked(1 << 20):
            pass
    return time.perf_counter() - began


async def _messages(ways: dict[str, tuple[aiohttp.ClientSession, str]], count: int) -> dict[str, list[float]]:
    """Each way has a websocket of its own to the same kernel."""
    session, url = ways[THROUGH]
    async with session.post(f"{url}/api/kernels", json={"name": "python3"}, raise_for_status=True) as answer:
        kernel = (await answer.json())["id"]
    sockets = {
        who: await session.ws_connect(f"{url}/api/kernels/{kernel}/channels".replace("http", "ws", 1), max_msg_size=0)
        for who, (session, url) in ways.items()
    }
    times: dict[str, list[float]] = {who: [] for who in ways}
    for number in range(count):
        for who, socket in sockets.items():
            seconds = await _turn(socket)
            if number:  # the first ones wait for the kernel to start
                times[who].append(seconds)
    for socket in sockets.values():
        await socket.close()
    return times


async def _turn(socket: aiohttp.ClientWebSocketResponse) -> float:
    message = uuid.uuid4().hex
    header = {"msg_id": message, "msg_type": "kernel_info_request", "username": "", "session": "s", "version": "5.3"}
    request = {"header": header, "parent_header": {}, "metadata": {}, "content": {}, "channel": "shell"}
    began = time.perf_counter()
    await socket.send_str(json.dumps(request))
    async for frame in socket:
        got = json.loads(frame.data)
        if got["msg_type"] == "kernel_info_reply" and got["parent_header"].get("msg_id") == message:
            return time.perf_counter() - began
    raise ConnectionError("the websocket was closed")

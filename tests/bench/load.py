"""`python -m tests.bench.load URL CLIENTS SOCKETS KERNELS`, the token on its standard input: load a notebook's front.

It prints "all answered" once every client had an answer, continues until its standard input is closed, and then prints
what it counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
import uuid
from collections import Counter

import aiohttp

_PRINT = "import time\nwhile True:\n    print('epoch', time.time())\n    time.sleep(0.1)\n"
_PATIENCE = 120.0  # seconds until every client must have been answered


class Clients:
    """Counts what all of them get. answered: the numbers of those that were answered already."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self.counted: Counter[str] = Counter()
        self.answered: set[int] = set()
        self.why = ""

    async def ask(self, number: int) -> None:
        """One client: asks again as soon as it was answered."""
        while True:
            try:
                async with self._session.get(f"{self._url}/api/status", raise_for_status=True) as answer:
                    await answer.read()
            except aiohttp.ClientError as error:
                self.counted["failed"] += 1
                self.why = f"{type(error).__name__}: {error}"
                await asyncio.sleep(0.1)
                continue
            self.counted["requests"] += 1
            self.answered.add(number)

    async def follow(self, number: int, kernel: str) -> None:
        """One client: reads what the kernel prints."""
        url = f"{self._url}/api/kernels/{kernel}/channels".replace("http", "ws", 1)
        async with self._session.ws_connect(url, max_msg_size=0) as end:
            await end.send_str(_printing())  # a kernel that prints already keeps it for later
            async for frame in end:
                self.counted["frames"] += 1
                if json.loads(frame.data)["msg_type"] == "stream":
                    self.answered.add(number)

    async def kernels(self, count: int) -> list[str]:
        """The ids of so many new kernels."""
        found = []
        for _ in range(count):
            async with self._session.post(
                f"{self._url}/api/kernels", json={"name": "python3"}, raise_for_status=True
            ) as answer:
                found.append((await answer.json())["id"])
        return found


def _printing() -> str:
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "username": "", "session": "s"}
    content = {"code": _PRINT, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    return json.dumps(
        {"header": {**header, "version": "5.3"}, "parent_header": {}, "metadata": {}, "content": content,
         "channel": "shell"}
    )  # fmt: skip


async def main(url: str, asking: int, following: int, count: int) -> None:
    """Load until the standard input is closed."""
    token = sys.stdin.readline().strip()
    async with aiohttp.ClientSession(
        headers={"Authorization": f"token {token}"},
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(_PATIENCE),
    ) as session:
        clients = Clients(session, url)
        kernels = await clients.kernels(count)
        works = [clients.follow(number, kernel) for number, kernel in zip(range(following), itertools.cycle(kernels))]
        works += [clients.ask(following + number) for number in range(asking)]
        tasks = [asyncio.create_task(work) for work in works]
        async with asyncio.timeout(_PATIENCE):
            while len(clients.answered) < len(tasks):
                await asyncio.sleep(0.05)
        clients.counted.clear()
        print("all answered", flush=True)
        began = time.perf_counter()
        await asyncio.to_thread(sys.stdin.read)
        seconds = time.perf_counter() - began
        for task in tasks:
            task.cancel()
        with contextlib.suppress(aiohttp.ClientError):
            await asyncio.gather(*tasks, return_exceptions=True)
    rates = {what: clients.counted[what] / seconds for what in ("requests", "frames")}
    print(json.dumps({**rates, "failed": clients.counted["failed"], "why": clients.why}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], *map(int, sys.argv[2:5])))

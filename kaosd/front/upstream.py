"""Connections to the hosts: one set per address, kept while it is its notebook's address or in use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterable

import aiohttp
from yarl import URL

_UNIX = "unix:"
AT_ONCE = 4  # requests that the front sends to a host at once; its server works on one at a time anyway
TURN = 0.05  # seconds after which a request waits for something else than the host's processor
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=None)


class Upstream:
    """One host's address.

    kept: a session whose connections are used again, for what can be asked twice. fresh: one connection for each
    request, because a host that goes away may close a kept one at the very moment in which a save is sent over it.
    """

    def __init__(self, address: str) -> None:
        self.users = 0
        self._free = asyncio.Semaphore(AT_ONCE)
        self._base = "http://localhost" if address.startswith(_UNIX) else address
        self.kept = _session(address, force_close=False)
        self.fresh = _session(address, force_close=True)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until fewer than AT_ONCE requests have their turn: it lasts until the answer, at most TURN seconds.

        A host answers in the order in which it was asked. The daemon asks it too, at a save and for a status: its
        questions wait behind AT_ONCE requests, not behind those of all clients.
        """
        await self._free.acquire()
        held = True

        def give_back() -> None:
            nonlocal held
            if held:
                held = False
                self._free.release()

        late = asyncio.get_running_loop().call_later(TURN, give_back)
        try:
            yield
        finally:
            late.cancel()
            give_back()

    def url(self, target: str) -> URL:
        """The address of a request target (path and query), which is passed on as it was encoded."""
        return URL(self._base + target, encoded=True)

    async def close(self) -> None:
        """Close what is left of the connections, also when the request that ended them is given up meanwhile."""
        await asyncio.shield(asyncio.gather(self.kept.close(), self.fresh.close()))


class Upstreams:
    """All hosts' addresses in use. current: tells the address of a notebook by its name, None when it has none."""

    def __init__(self, current: Callable[[str], str | None]) -> None:
        self._current = current
        self._open: dict[tuple[str, str], Upstream] = {}

    @contextlib.asynccontextmanager
    async def use(self, name: str, address: str) -> AsyncIterator[Upstream]:
        """The connections to *address* of notebook *name*; they stay open at least as long as this is used."""
        known = self._open.get((name, address))
        upstream = self._open[name, address] = known or Upstream(address)
        upstream.users += 1
        try:
            if known is None:  # only now is every address looked at: a request stays cheap
                await self._drop(list(self._open))
            yield upstream
        finally:
            upstream.users -= 1
            await self._drop([(name, address)])

    async def _drop(self, looked_at: Iterable[tuple[str, str]]) -> None:
        """Close those of *looked_at* that have no users, and are not their notebook's address any more."""
        unused = [key for key in looked_at if key in self._open and not self._open[key].users]
        closing = [self._open.pop(key) for key in unused if self._current(key[0]) != key[1]]
        if closing:
            await asyncio.gather(*(upstream.close() for upstream in closing))

    async def close(self) -> None:
        """Close all of them."""
        while self._open:
            await self._open.popitem()[1].close()


def _session(address: str, *, force_close: bool) -> aiohttp.ClientSession:
    connector: aiohttp.BaseConnector
    if address.startswith(_UNIX):
        connector = aiohttp.UnixConnector(address.removeprefix(_UNIX), limit=0, force_close=force_close)
    else:
        connector = aiohttp.TCPConnector(limit=0, force_close=force_close)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        timeout=_TIMEOUT,
        auto_decompress=False,
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        max_line_size=64 * 1024,
        max_field_size=64 * 1024,
    )


async def reachable(address: str) -> bool:
    """Whether something accepts connections at *address*."""
    try:
        async with asyncio.timeout(_TIMEOUT.sock_connect):
            if address.startswith(_UNIX):
                _, writer = await asyncio.open_unix_connection(address.removeprefix(_UNIX))
            else:
                place = URL(address)
                _, writer = await asyncio.open_connection(place.host, place.port)
    except OSError:  # TimeoutError is one
        return False
    writer.close()
    return True

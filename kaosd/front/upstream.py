"""Connections to the hosts: one set per address, kept while it is some notebook's address or in use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection

import aiohttp
from yarl import URL

_UNIX = "unix:"
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=None)


class Upstream:
    """One host's address.

    kept: a session whose connections are used again, for what can be asked twice. fresh: one connection for each
    request, because a host that goes away may close a kept one at the very moment in which a save is sent over it.
    """

    def __init__(self, address: str) -> None:
        self.users = 0
        self._base = "http://localhost" if address.startswith(_UNIX) else address
        self.kept = _session(address, force_close=False)
        self.fresh = _session(address, force_close=True)

    def url(self, target: str) -> URL:
        """The address of a request target (path and query), which is passed on as it was encoded."""
        return URL(self._base + target, encoded=True)

    async def close(self) -> None:
        """Close what is left of the connections, also when the request that ended them is given up meanwhile."""
        await asyncio.shield(asyncio.gather(self.kept.close(), self.fresh.close()))


class Upstreams:
    """All hosts' addresses in use. current: tells the addresses that are worth keeping connections to."""

    def __init__(self, current: Callable[[], Collection[str]]) -> None:
        self._current = current
        self._open: dict[str, Upstream] = {}

    @contextlib.asynccontextmanager
    async def use(self, address: str) -> AsyncIterator[Upstream]:
        """The connections to *address*; they stay open at least as long as this is used."""
        upstream = self._open.get(address)
        if upstream is None:
            upstream = self._open[address] = Upstream(address)
        upstream.users += 1
        try:
            yield upstream
        finally:
            upstream.users -= 1
            await self._drop_unused()

    async def _drop_unused(self) -> None:
        current = self._current()
        unused = [one for one, up in self._open.items() if not up.users and one not in current]
        closing = [self._open.pop(address) for address in unused]
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

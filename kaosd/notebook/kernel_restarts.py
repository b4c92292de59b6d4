"""Restarts the kernels of a running host, each of which then runs in the environment that is served now."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

import aiohttp

from kaosd import bounded
from kaosd.errors import EngineError

WITHIN = 60.0  # seconds that all kernels together may take


async def restart_kernels(upstream: str, base_url: str, token: str) -> int:
    """Restart every kernel of the host at *upstream* ("unix:/path" or "http://..."); how many there were.

    Raises EngineError when the host does not answer, or a kernel does not come up again.
    """
    unix = upstream.removeprefix("unix:") if upstream.startswith("unix:") else None
    address = "http://host" if unix else upstream.rstrip("/")
    connector = aiohttp.UnixConnector(unix) if unix else aiohttp.TCPConnector()
    kernels = f"{address}{base_url}api/kernels"
    try:
        async with asyncio.timeout(WITHIN), bounded.session(None, connector, token) as session:
            async with session.get(kernels) as answer:
                answer.raise_for_status()
                found = [str(one["id"]) for one in await bounded.json_of(answer)]
            for kernel in found:
                async with session.post(f"{kernels}/{quote(kernel, safe='')}/restart") as answer:
                    if answer.status != 404:  # it has ended meanwhile
                        answer.raise_for_status()
    except TimeoutError as error:
        raise EngineError(f"the kernels were not all restarted within {WITHIN:g} s") from error
    except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError) as error:
        raise EngineError(f"the kernels were not all restarted: {error}") from error
    return len(found)

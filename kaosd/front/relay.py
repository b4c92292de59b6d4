"""One HTTP exchange passed on to a host, streaming both ways, bytes untouched."""

from __future__ import annotations

import aiohttp
import structlog
from aiohttp import web
from multidict import CIMultiDict

from kaosd.front.headers import Back, to_client
from kaosd.front.upstream import Upstream

log = structlog.get_logger("kaosd.front")
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS"})


class HostAway(Exception):
    """The host did not take the request, and it is safe to send it again."""


class HostBroke(Exception):
    """The host went away with the request; it may or may not have acted on it."""


async def ask(
    upstream: Upstream, request: web.BaseRequest, target: str, headers: CIMultiDict[str]
) -> aiohttp.ClientResponse:
    """Send *request* on to the host and return when its answer starts.

    Raises HostAway when nothing of it was taken, or nothing was asked that cannot be asked twice; else HostBroke.
    """
    repeatable = request.method in _REPEATABLE and not request.body_exists
    session = upstream.kept if repeatable else upstream.fresh
    try:
        return await session.request(
            request.method,
            upstream.url(target),
            headers=headers,
            data=request.content if request.body_exists else None,
            allow_redirects=False,
        )
    except aiohttp.ClientConnectorError as error:  # no connection, so nothing was sent
        raise HostAway from error
    except (aiohttp.ClientError, OSError) as error:
        raise (HostAway if repeatable else HostBroke) from error


async def pass_back(answer: aiohttp.ClientResponse, request: web.BaseRequest, back: Back) -> web.StreamResponse:
    """Stream the host's answer to the client.

    When the host breaks off in the middle the client's connection is cut as well: an end would look like success.
    """
    if answer.content.is_eof() and answer.content.exception() is None and (whole := answer.content.read_nowait()):
        # a small answer came in one piece, and is sent in one piece: that is one system call and one wake-up less
        async with answer:
            headers = to_client(answer.headers, back)
            return web.Response(status=answer.status, reason=answer.reason, headers=headers, body=whole)
    response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=to_client(answer.headers, back))
    async with answer:
        await response.prepare(request)
        try:
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
        except aiohttp.ClientPayloadError as error:
            log.info("answer_broken_off", path=request.path, error=str(error))
            if request.transport is not None:
                request.transport.abort()
            return response
        await response.write_eof()
    return response

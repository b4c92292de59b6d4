"""A websocket passed on to a host, frame by frame: text, binary, ping, pong, and the code of the close."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Literal

import aiohttp
from aiohttp import WSCloseCode, WSMsgType, web
from multidict import CIMultiDict

from kaosd.front.relay import HostAway
from kaosd.front.upstream import Upstream

_FRAMES = frozenset({WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.PING, WSMsgType.PONG})
_MESSAGE = 256 * 2**20  # bytes of one message, which is held until it is whole; a large notebook with pictures fits
_CLOSE_SECONDS = 2.0  # that a side may take to answer a close

End = tuple[int, bytes]  # code and reason of a close
ToHost = aiohttp.ClientWebSocketResponse[Literal[False]]
ToClient = web.WebSocketResponse[Literal[False]]
_LOST: End = (WSCloseCode.SERVICE_RESTART, b"the connection was lost")


def is_websocket(request: web.BaseRequest) -> bool:
    """Whether the request wants to become a websocket."""
    return request.method == "GET" and request.headers.get("Upgrade", "").strip().lower() == "websocket"


async def open_to_host(
    upstream: Upstream, request: web.BaseRequest, target: str, headers: CIMultiDict[str]
) -> ToHost | aiohttp.WSServerHandshakeError:
    """The host's end of the websocket, or its refusal. Raises HostAway when there was no answer."""
    offered = [name.strip() for name in request.headers.get("Sec-WebSocket-Protocol", "").split(",") if name.strip()]
    try:
        return await upstream.fresh.ws_connect(
            upstream.url(target),
            headers=headers,
            protocols=offered,
            timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            autoclose=False,
            autoping=False,
            max_msg_size=_MESSAGE,
            decode_text=False,
        )
    except aiohttp.WSServerHandshakeError as refusal:
        return refusal
    except (aiohttp.ClientError, OSError) as error:
        raise HostAway from error


class Sockets:
    """The websockets that are open now."""

    def __init__(self) -> None:
        self._open: set[ToClient] = set()

    async def join(self, request: web.BaseRequest, host: ToHost) -> web.StreamResponse:
        """Accept the client's end and carry frames both ways until one side closes."""
        client: ToClient = web.WebSocketResponse(
            protocols=[host.protocol] if host.protocol else (),
            timeout=_CLOSE_SECONDS,
            autoclose=False,
            autoping=False,
            compress=False,  # a loopback gains nothing by it
            max_msg_size=_MESSAGE,
            decode_text=False,
        )
        try:
            await client.prepare(request)
            self._open.add(client)
            await _carry(client, host)
        finally:
            self._open.discard(client)
            await host.close(code=_LOST[0])  # no effect where a page has closed it already
        return client

    async def close(self) -> None:
        """Tell all clients that the front goes away; pages connect again by themselves."""
        closes = (client.close(code=WSCloseCode.SERVICE_RESTART) for client in list(self._open))
        await asyncio.gather(*closes)


async def _carry(client: ToClient, host: ToHost) -> None:
    first: asyncio.Future[End] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as both:
        both.create_task(_pump(client, host, first))
        both.create_task(_pump(host, client, first))
        code, reason = await first
        await host.close(code=code, message=reason)  # first: closing the client's end cancels this task
        await client.close(code=code, message=reason)


async def _pump(source: ToClient | ToHost, target: ToClient | ToHost, first: asyncio.Future[End]) -> None:
    """Carry frames from *source* until it closes or either side is lost; *first* learns why, from the first to end."""
    end = _LOST
    with contextlib.suppress(ConnectionError):  # the target is lost
        while True:
            message = await source.receive()
            if message.type not in _FRAMES:
                end = _end_of(message.type, message.data, message.extra)
                break
            await target.send_frame(message.data, message.type)
    if not first.done():
        first.set_result(end)


def _end_of(kind: WSMsgType, data: object, reason: str | None) -> End:
    if kind is WSMsgType.CLOSE and isinstance(data, int):
        return data or WSCloseCode.OK, (reason or "").encode()
    if kind is WSMsgType.ERROR and isinstance(data, aiohttp.WebSocketError):
        return data.code, b""
    return _LOST

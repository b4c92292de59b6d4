"""What others answer over HTTP, read only as far as an honest answer goes."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

ANSWER = 2**20  # bytes; what a host says of thousands of kernels fits


class TooLong(aiohttp.ClientError):
    """An answer that does not end where it should."""


def session(address: str | None, connector: aiohttp.BaseConnector, token: str) -> aiohttp.ClientSession:
    """A session with a host. Answers come as they are: a short one that is compressed can be endless all the same."""
    return aiohttp.ClientSession(
        address,
        connector=connector,
        headers={"Authorization": f"token {token}"},
        skip_auto_headers=("Accept-Encoding",),
        auto_decompress=False,
    )


async def json_of(answer: aiohttp.ClientResponse, most: int = ANSWER) -> Any:  # noqa: ANN401 - JSON
    """The JSON in the body of *answer*. TooLong above *most* bytes, ValueError when it is none."""
    body = bytearray()
    async for chunk in answer.content.iter_any():
        body += chunk
        if len(body) > most:
            raise TooLong(f"its answer has more than {most} bytes")
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError("its answer is nested too deeply") from error

"""Runs a notebook in its host from the first cell to the last; the other side is kaosd/hosted/execution.py."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp

from kaosd import bounded
from kaosd.errors import ConflictError, EngineError, NotFoundError

LINE = 2**20  # bytes of one event; executed notebooks come in smaller parts
_AWAY = "ended or became unreachable while the notebook was running"


def path_in_root(given: str, absolute: str | None, source: Path | None, root: str) -> str:
    """The path of a notebook file in the notebook's root.

    given: as the person wrote it. absolute: the same as a path of this machine, which is meant where it lies in the
    *source* directory. root: directory of the source that is the notebook's root, "" for its top.
    NotFoundError for a file of the source outside of that.
    """
    if absolute is not None and source is not None and os.path.lexists(absolute):
        top = os.path.realpath(source)
        directory, name = os.path.split(absolute)
        inside = os.path.relpath(os.path.join(os.path.realpath(directory), name), top)
        if inside.partition("/")[0] != "..":
            if root and not inside.startswith(f"{root}/"):
                hint = f"the notebook sees what lies in {os.path.join(top, root)}"
                raise NotFoundError(f"{absolute} is not deployed", hint=hint)
            return inside.removeprefix(f"{root}/") if root else inside
    found = os.path.normpath(given.lstrip("/"))
    return found.removeprefix(f"{root}/") if root else found


async def run_in_host(upstream: str, name: str, token: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
    """What the host of notebook *name* tells of a run: see hosted/execution.py, also for *asked*.

    Closing the iterator ends the run and its kernel. Raises NotFoundError when there is no such file, ConflictError
    when it cannot be run, EngineError when the host goes away.
    """
    unix = upstream.removeprefix("unix:") if upstream.startswith("unix:") else None
    address = "http://host" if unix else upstream.rstrip("/")
    connector = aiohttp.UnixConnector(unix) if unix else aiohttp.TCPConnector()
    forever = aiohttp.ClientTimeout(total=None, sock_connect=10.0)
    try:
        async with (
            bounded.session(None, connector, token) as session,
            session.post(f"{address}/{name}/kaosd/run", json=dict(asked), timeout=forever) as answer,
        ):
            if answer.status != 200:
                raise await _refusal(answer, name, str(asked.get("path")))
            last: dict[str, Any] = {}
            async for last in _lines(answer):
                yield last
            if last.get("event") != "end":
                raise EngineError(f"the JupyterLab of {name} {_AWAY}", hint=f"kaosctl logs {name} --stage host")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        text = f"the JupyterLab of {name} {_AWAY}: {error}"
        raise EngineError(text, hint=f"kaosctl logs {name} --stage host") from error


async def _refusal(answer: aiohttp.ClientResponse, name: str, path: str) -> Exception:
    try:
        told = await bounded.json_of(answer)
        text = str(told["error"])
    except (ValueError, KeyError, TypeError):
        hint = f"kaosctl restart {name}"
        return ConflictError(f"the JupyterLab of {name} was started by a kaosd that cannot run notebooks", hint=hint)
    if answer.status == 404:
        return NotFoundError(f"{path} {text} {name}", hint="give its path as JupyterLab shows it, or its file on disk")
    return ConflictError(f"{path} {text}", hint="see `kaosctl help run`")


async def _lines(answer: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    """The JSON objects of an answer, one a line. ValueError when it is something else."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        if len(rest) > LINE:
            raise ValueError("one of its lines does not end")
        for line in whole:
            found = json.loads(line)
            if not isinstance(found, dict):
                raise ValueError("it tells something else than events")  # noqa: TRY004 - as json.loads
            yield found

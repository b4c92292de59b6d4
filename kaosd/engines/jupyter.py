"""What all engines ask of a JupyterLab behind a Unix socket, and what its log says in the end."""

from __future__ import annotations

import asyncio
import errno
import os
import re
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from kaosd import bounded
from kaosd.model import HostStatus

SOCKET_MAX = 107  # bytes; sun_path of the kernel
PROBE = 5.0  # seconds that an answer to a probe may take
_STOPPED = 1.0  # seconds more than that: then it was the daemon that did not run
ENDING = 2.0  # seconds that a host which ends may take to do so after it listens no more
_TRIAL = 60.0  # s; a kernel of a machine under load may take so long to start
_POLL = 0.02  # s between questions to a host that is starting
_LINES, _LONGEST = 3, 200  # of its log in a sentence, and characters of each
_CALM = re.compile(r"[DI] \w+ |JupyterLab ")  # how lines begin that report no trouble: of Jupyter, and our own


@dataclass(frozen=True, slots=True)
class JupyterClient:
    """Where a host is asked: its socket, the path before its addresses, the file with its token."""

    socket: str
    base_url: str
    token_file: str

    async def opened(self) -> None:
        """Return when the host answers with its token."""
        while not await self._answers():  # noqa: ASYNC110 - another process has no event for us
            await asyncio.sleep(_POLL)

    async def probe(self, last_words: Callable[[], str]) -> HostStatus:
        """How a host is whose process runs; never raises. *last_words*: of its log, for one that does not answer."""
        try:
            kernels = await self._kernels()
            busy = sum(kernel["execution_state"] == "busy" for kernel in kernels)
        except TimeoutError:
            reason = f"JupyterLab runs, but does not answer within {PROBE:g} s{last_words()}"
            return HostStatus(alive=True, answering=False, reason=reason)
        except (aiohttp.ClientError, OSError) as error:
            reason = f"JupyterLab runs, but does not answer: {error}"
            return HostStatus(alive=True, answering=False, reason=reason, lost=_never_answers(error))
        except (ValueError, KeyError, TypeError) as error:
            reason = f"what answers at its socket is not JupyterLab: {type(error).__name__}"
            return HostStatus(alive=True, answering=False, reason=reason)
        return HostStatus(alive=True, answering=True, kernels=len(kernels), busy=busy)

    async def _kernels(self) -> Any:  # noqa: ANN401 - JSON
        """What a host that answers says of its kernels. TimeoutError; as `_get`."""
        begun = time.monotonic()
        try:
            return await self._in_time()
        except TimeoutError:
            if time.monotonic() - begun < PROBE + _STOPPED:
                raise
        return await self._in_time()  # a time in which the daemon was stopped says nothing of the host

    async def _in_time(self) -> Any:  # noqa: ANN401 - JSON
        async with asyncio.timeout(PROBE), self._session() as session:
            await self._get(session, "api/status")
            return await self._get(session, "api/kernels")

    async def starts_kernels(self) -> bool | None:
        """Whether the host can start a kernel: one is started and ended. None when it does not answer in time."""
        try:
            async with asyncio.timeout(_TRIAL), self._session() as session:
                async with session.post(f"{self.base_url}api/kernels", json={"name": "python3"}) as response:
                    if not response.ok:
                        return False
                    kernel = (await bounded.json_of(response))["id"]
                async with session.delete(f"{self.base_url}api/kernels/{kernel}"):
                    return True
        except (aiohttp.ClientError, OSError, ValueError, KeyError, TypeError):
            return None

    def _token(self) -> str:
        return Path(self.token_file).read_text()

    async def _answers(self) -> bool:
        try:
            async with self._session() as session:
                await self._get(session, "api/status")
        except (aiohttp.ClientError, OSError, ValueError):
            return False
        return True

    def _session(self) -> aiohttp.ClientSession:
        return bounded.session("http://localhost", aiohttp.UnixConnector(self.socket), self._token())

    async def _get(self, session: aiohttp.ClientSession, path: str) -> Any:  # noqa: ANN401 - JSON
        """The JSON that the host answers with. Raises aiohttp.ClientError, OSError or ValueError."""
        async with session.get(self.base_url + path) as response:
            response.raise_for_status()
            return await bounded.json_of(response)


def _never_answers(error: Exception) -> bool:
    """Whether nothing listens at the socket any more, or whoever does has another token."""
    if isinstance(error, aiohttp.ClientResponseError):
        return error.status in (401, 403)
    return isinstance(error, aiohttp.ClientConnectorError) and error.errno in (errno.ENOENT, errno.ECONNREFUSED)


async def failing(door: JupyterClient, end: Coroutine[None, None, None], within: float) -> str | None:
    """Wait until a host that starts answers: None; or how it did not, in words. *end*: returns when it has ended."""
    dying, asking = asyncio.ensure_future(end), asyncio.ensure_future(door.opened())
    try:
        done, _ = await asyncio.wait({dying, asking}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (dying, asking):
            task.cancel()
        await asyncio.gather(dying, asking, return_exceptions=True)
    if asking in done:
        asking.result()
        return None
    return "ended while it started" if dying in done else f"did not answer within {within:g} s"


def last_words(path: str, begin: int, *, running: bool = False) -> str:
    """The last lines of a log after byte *begin* that say something, after ": "; "" when there are none.

    running: of a host that has not ended, so that only trouble tells something.
    """
    try:
        with open(path, "rb") as log:
            log.seek(max(begin, os.fstat(log.fileno()).st_size - 8192))
            text = log.read().decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [line for line in meaningful(text) if not (running and _CALM.match(line))][-_LINES:]
    words = [line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…" for line in lines]
    return f": {' | '.join(words)}" if words else ""


def meaningful(text: str) -> list[str]:
    """The lines of a log that say something: no time stamps, no blank lines, no frames of a traceback."""
    lines = [re.sub(r"^\d{4}-\d\d-\d\dT\S+Z ?", "", line).rstrip() for line in text.split("\n")]
    return [line for line in lines if line and not line.startswith((" ", "Traceback (most recent"))]

"""A host as the front reaches it: asked over HTTP, because pachd calls a service running whether it answers or not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import aiohttp

from kaosd import bounded
from kaosd.engines.pachyderm.options import Options
from kaosd.model import Host, HostStatus

_ODD = (KeyError, TypeError, ValueError)  # an answer that is none
_PROBE = aiohttp.ClientTimeout(total=4.0)


@dataclass(frozen=True, slots=True)
class Serving:
    """A host that was started; JSON values only, so that it is its own handle.

    version: of the Host pipeline. upstream: where it is reached. log: the file that its lines go to. order: what was
    asked for, by which the host is known: its pipeline gets another version and address when it is put back.
    """

    notebook: str
    user: str
    version: int
    upstream: str
    base_url: str
    token_file: str
    log: str
    environment: str
    started_at: float
    enforced: bool
    order: str = ""

    def host(self) -> Host:
        """The engine-neutral form."""
        return Host(self.upstream, self.environment, self.environment, self.started_at, asdict(self))

    @classmethod
    def of(cls, handle: Mapping[str, object]) -> Serving:
        """The reverse of `host`."""
        return cls(**cast(dict[str, Any], handle))


def upstream(options: Options, project: str, notebook: str, ip: str) -> str:
    """Where the front reaches a service, after the person's template."""
    return options.service_address.format(ip=ip, port=options.service_port, name=notebook, project=project)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a host says of itself. server: another one after each start. environment: digest of what its image is of.

    holds: the versions that may be in its directory, None for a host of an older kaosd, whose image has the code.
    """

    server: str
    environment: str | None = None
    holds: tuple[str, ...] | None = None
    kernels: int = 0
    busy: int = 0


async def answer(session: aiohttp.ClientSession, address: str, base_url: str, token_file: str) -> Answer:
    """What the host at *address* says. Raises OSError, aiohttp.ClientError, TimeoutError, or _ODD."""
    try:
        told = await _ask(session, address, base_url, token_file, "kaosd/pod")
    except aiohttp.ClientResponseError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        status = await _ask(session, address, base_url, token_file, "api/status")
        kernels = await _ask(session, address, base_url, token_file, "api/kernels")
        busy = sum(kernel["execution_state"] == "busy" for kernel in kernels)
        return Answer(str(status["started"]), kernels=len(kernels), busy=busy)
    return Answer(told["server"], told["environment"], tuple(told["trees"] or ()), told["kernels"], told["busy"])


async def answered(session: aiohttp.ClientSession, address: str, base_url: str, token_file: str) -> Answer | None:
    """The same; None when none answers with the token."""
    try:
        return await answer(session, address, base_url, token_file)
    except (OSError, aiohttp.ClientError, TimeoutError, *_ODD):
        return None


async def probe(session: aiohttp.ClientSession, serving: Serving) -> HostStatus | str:
    """The status of a host that answers, or why it does not."""
    try:
        found = await answer(session, serving.upstream, serving.base_url, serving.token_file)
    except TimeoutError:
        return f"{serving.upstream} did not answer within {_PROBE.total:g} s"
    except (OSError, aiohttp.ClientError) as error:
        return f"{serving.upstream} does not answer: {error}"
    except _ODD:
        return f"what answers at {serving.upstream} is not JupyterLab; service_address may lead elsewhere"
    return HostStatus(alive=True, answering=True, kernels=found.kernels, busy=found.busy, holds=found.holds)


async def _ask(session: aiohttp.ClientSession, address: str, base_url: str, token_file: str, path: str) -> Any:
    token = await asyncio.to_thread(Path(token_file).read_text)
    headers = {"Authorization": f"token {token}"}
    async with session.get(f"{address}{base_url}{path}", headers=headers, timeout=_PROBE) as found:
        found.raise_for_status()
        return await bounded.json_of(found)

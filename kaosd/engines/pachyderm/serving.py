"""A host as the front reaches it: asked over HTTP, because pachd calls a service running whether it answers or not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp

from kaosd import bounded
from kaosd.engines.pachyderm.options import Options
from kaosd.model import Host, HostStatus

_PROBE = aiohttp.ClientTimeout(total=4.0)


@dataclass(frozen=True, slots=True)
class Serving:
    """A host that was started; JSON values only, so that it is its own handle.

    version: of the Host pipeline. upstream: where it is reached. log: the file that its lines go to.
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


async def started(session: aiohttp.ClientSession, address: str, base_url: str, token_file: str) -> str | None:
    """When the server that answers there began, in its own words; None when none answers with the token."""
    try:
        status = await _ask(session, address, base_url, token_file, "api/status")
    except (OSError, aiohttp.ClientError, TimeoutError, ValueError):
        return None
    return str(status.get("started")) if isinstance(status, dict) else None


async def probe(session: aiohttp.ClientSession, serving: Serving) -> HostStatus | str:
    """The status of a host that answers, or why it does not."""
    try:
        kernels = await _ask(session, serving.upstream, serving.base_url, serving.token_file, "api/kernels")
        busy = sum(kernel["execution_state"] == "busy" for kernel in kernels)
    except TimeoutError:
        return f"{serving.upstream} did not answer within {_PROBE.total:g} s"
    except (OSError, aiohttp.ClientError, ValueError) as error:
        return f"{serving.upstream} does not answer: {error}"
    except (KeyError, TypeError):
        return f"what answers at {serving.upstream} is no JupyterLab; service_address may lead elsewhere"
    return HostStatus(alive=True, answering=True, kernels=len(kernels), busy=busy)


async def _ask(session: aiohttp.ClientSession, address: str, base_url: str, token_file: str, path: str) -> Any:
    token = await asyncio.to_thread(Path(token_file).read_text)
    headers = {"Authorization": f"token {token}"}
    async with session.get(f"{address}{base_url}{path}", headers=headers, timeout=_PROBE) as answer:
        answer.raise_for_status()
        return await bounded.json_of(answer)

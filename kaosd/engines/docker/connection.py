"""The connection to the container engine: where it listens, calls in threads, its errors as sentences.

Docker's library is loaded with the first call, so that a daemon without docker notebooks never pays for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from kaosd.engines.docker.facts import EngineFacts, is_podman
from kaosd.errors import EngineError, EngineUnavailable

Result = TypeVar("Result")
_THREADS = 8
_TIMEOUT = 120  # seconds that one answer of the engine may take
_ASK_EVERY, _SILENT = 5.0, 20.0  # seconds between questions to an engine that works for us; and until it counts as hung
_REMOVED_ELSEWHERE = re.compile(r"removal of container \S+ is already in progress")
_INSTALL = "install docker.io or podman, or say where it listens with socket of [docker]"


class NoSuchThing(EngineError):
    """The engine has no container, image or route of that name."""


def candidates(socket: str | None, environ: Mapping[str, str], uid: int) -> tuple[str, ...]:
    """Addresses at which the engine may listen, the one to prefer first."""
    if socket:
        return (socket if "://" in socket else f"unix://{socket}",)
    if environ.get("DOCKER_HOST"):
        return (environ["DOCKER_HOST"],)
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    own = (f"unix://{runtime}/docker.sock", f"unix://{runtime}/podman/podman.sock")
    return ("unix:///var/run/docker.sock", *own, "unix:///run/podman/podman.sock")


def choose(addresses: tuple[str, ...], usable: Callable[[str], bool], exists: Callable[[str], bool]) -> str:
    """The address to connect to. EngineUnavailable when there is none; one that may not be used is tried last."""
    for address in addresses:
        if not address.startswith("unix://"):
            raise EngineUnavailable(
                f"the container engine at {address} is not on this machine's file system",
                hint="notebooks are mounted into it, so it must listen on a Unix socket here",
            )
    paths = [address.removeprefix("unix://") for address in addresses]
    found = next((path for path in paths if usable(path)), None) or next((path for path in paths if exists(path)), None)
    if found is None:
        raise EngineUnavailable(f"there is no container engine at {' or '.join(paths)}", hint=_INSTALL)
    return f"unix://{found}"


def unreachable(address: str, error: Exception | str) -> EngineUnavailable:
    """Why no connection came about, as a sentence."""
    path, text = address.removeprefix("unix://"), str(error)
    if "Permission denied" in text:
        return EngineUnavailable(
            f"you may not use the container engine at {path}",
            hint="join its group (sudo usermod -aG docker $USER, then log in again), or use a rootless one",
        )
    if "No such file" in text:
        return EngineUnavailable(f"there is no container engine at {path}", hint=_INSTALL)
    if "Connection refused" in text:
        return EngineUnavailable(
            f"the container engine at {path} does not run", hint="start it, for example: sudo systemctl start docker"
        )
    if "timed out" in text.lower():
        return EngineUnavailable(f"the container engine at {path} does not answer", hint="look at its own log")
    return EngineUnavailable(f"the container engine at {path} cannot be reached: {text[:200]}")


def refusal(text: str) -> EngineError:
    """What the engine refused, as a sentence."""
    if "no space left on device" in text.lower():
        return EngineUnavailable(
            "the disk of the container engine is full", hint="free some space, for example: docker system prune"
        )
    if "could not select device driver" in text:
        return EngineError(
            "the container engine has no GPU runtime", hint="install the NVIDIA Container Toolkit, or ask for gpu 0"
        )
    return EngineError(f"the container engine refused: {text}", retryable=True)


def remove_container(client: Any, container: str) -> None:
    """Remove a container, by force where it runs; return when it is gone, whoever removes it. Blocking."""
    import docker

    with contextlib.suppress(docker.errors.NotFound):
        try:
            client.remove_container(container, force=True, v=True)
        except docker.errors.APIError as error:
            if not _REMOVED_ELSEWHERE.search(str(error.explanation)):
                raise
            client.wait(container, condition="removed")


class EngineConnection:
    """One engine, connected to when it is needed and again after it was gone. Calls may come at the same time."""

    def __init__(self, socket: str | None, environ: Mapping[str, str]) -> None:
        self._candidates = candidates(socket, environ, os.getuid())
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")
        self._asking = ThreadPoolExecutor(1, thread_name_prefix="docker-ping")  # never behind the work that it watches
        self._client: Any = None
        self._used = False
        self._facts: EngineFacts | None = None

    @property
    def used(self) -> bool:
        """Whether anybody has needed the engine since we started."""
        return self._used

    @property
    def known(self) -> EngineFacts | None:
        """What the engine is that was connected last; None before the first one."""
        return self._facts

    @property
    def place(self) -> str:
        """Where the engine is, or is looked for, for people."""
        found = (self._facts.address,) if self._facts is not None else self._candidates
        return " or ".join(address.removeprefix("unix://") for address in found)

    async def call(self, work: Callable[[Any], Result]) -> Result:
        """The result of *work*, called in a thread with docker.APIClient.

        A call that is cancelled is waited for all the same, so that its effect can be undone; never for an engine that
        hangs, which may do it later. Raises NoSuchThing, EngineUnavailable or EngineError.
        """
        return await self.watched(self._begin(work), wait_for_end=True)

    async def watched(self, working: asyncio.Future[Result], *, wait_for_end: bool = False) -> Result:
        """The result of *working*, for which the engine is needed: it is given up when the engine hangs.

        Cancelled with us, or waited for first. Raises EngineUnavailable, too.
        """
        silence = asyncio.ensure_future(self._silence())
        both: set[asyncio.Future[Any]] = {working, silence}
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            if wait_for_end:
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            raise
        finally:
            silence.cancel()
            if not working.done():
                working.cancel()
                await asyncio.wait([working])
            elif not working.cancelled():
                working.exception()  # taken note of, also when we are cancelled
        if working.cancelled():
            raise EngineUnavailable(f"the container engine at {self.place} does not answer", hint="look at its own log")
        return working.result()

    async def _silence(self) -> None:
        """Return when the engine takes connections and does not answer."""
        while True:
            await asyncio.sleep(_ASK_EVERY)
            loop = asyncio.get_running_loop()
            asking = loop.run_in_executor(self._asking, self._call, lambda client: client.ping())
            asking.add_done_callback(lambda one: one.cancelled() or one.exception())  # the work itself will be told so
            done, _ = await asyncio.wait([asking], timeout=_SILENT)
            if not done:
                asking.cancel()
                return

    async def ask(self, question: Callable[[Any], Result], within: float) -> Result:
        """As `call`, for what changes nothing; waits for *within* seconds. Raises TimeoutError, too."""
        asking = self._begin(question)
        done, _ = await asyncio.wait([asking], timeout=within)
        if not done:
            asking.cancel()  # what has not started yet is never asked
            raise TimeoutError
        return asking.result()

    def _begin(self, work: Callable[[Any], Result]) -> asyncio.Future[Result]:
        self._used = True
        return asyncio.get_running_loop().run_in_executor(self._pool, self._call, work)

    async def facts(self) -> EngineFacts:
        """What the engine is; asked once per connection."""
        facts = await self.call(lambda client: client.ping() and self.known)
        if facts is None:
            raise EngineUnavailable("the container engine gives no answer to a ping", hint="look at its own log")
        return facts

    def close(self) -> None:
        """Let go of the connection."""
        for pool in (self._pool, self._asking):
            pool.shutdown(wait=False, cancel_futures=True)
        self._drop()

    def _call(self, work: Callable[[Any], Result]) -> Result:
        import docker
        import requests

        client, address = self._connect()
        try:
            return work(client)
        except docker.errors.NotFound as error:
            raise NoSuchThing(str(error.explanation)) from error
        except docker.errors.APIError as error:
            raise refusal(str(error.explanation or error)) from error
        except (requests.exceptions.RequestException, OSError) as error:
            self._drop()
            raise unreachable(address, error) from error

    def _connect(self) -> tuple[Any, str]:
        """The client, and its address; blocking."""
        import docker

        client, facts = self._client, self._facts
        if client is not None and facts is not None:
            return client, facts.address
        address = choose(self._candidates, lambda path: os.access(path, os.R_OK | os.W_OK), os.path.exists)
        try:
            client = docker.APIClient(base_url=address, version="auto", timeout=_TIMEOUT)
            facts = _facts(client, address)
        except (docker.errors.DockerException, OSError) as error:
            raise unreachable(address, error) from error
        if facts.desktop or facts.remapped:
            client.close()
            raise _unusable(facts)
        self._facts, self._client = facts, client
        return client, address

    def _drop(self) -> None:
        client, self._client = self._client, None  # what it is stays known: other calls may be about to read that
        if client is not None:
            client.close()


def _unusable(facts: EngineFacts) -> EngineUnavailable:
    """Why an engine that answers cannot serve us."""
    if facts.desktop:
        return EngineUnavailable(
            "Docker Desktop runs in a machine of its own, which sockets of this one do not reach",
            hint="use Docker Engine or Podman instead",
        )
    return EngineUnavailable(
        f"the container engine at {facts.address.removeprefix('unix://')} gives containers other user ids"
        " (userns-remap), so that a notebook could not write its files as you",
        hint="take userns-remap out of /etc/docker/daemon.json, or use a rootless engine",
    )


def _facts(client: Any, address: str) -> EngineFacts:
    """Ask an engine what it is; blocking."""
    version = client.version()
    libpod = client.get(f"{client.base_url}/v4.0.0/libpod/info").json() if is_podman(version) else None
    return EngineFacts.of(address, client.info(), version, libpod)

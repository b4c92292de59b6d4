"""What may be asked about the life of a notebook: to deploy, start, stop, change, run, wait for or remove it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

from kaosd.errors import ConflictError, NotFoundError
from kaosd.model import Version
from kaosd.notebook import Notebook
from kaosd.notebook.clearing import Unwanted
from kaosd.notebook.kernel_restarts import restart_kernels
from kaosd.notebook.past import Past
from kaosd.notebook.retention import is_kept
from kaosd.notebook.runs import path_in_root, run_in_host
from kaosd.planner import HostFact, Why
from kaosd.registry import Registry
from kaosd.settings import Settings

RUN_TRIES = 3  # failed attempts in a row after which a run no longer waits for the host
TAKEN_UP = 2.0  # seconds that an answer waits for the actor to take a wish up
STOPPED_WITHIN = 30.0  # seconds that the answer to a stop waits for the host to end


class Lifecycle:
    """Wishes of a person that a notebook's actor takes up. settings: those in force."""

    def __init__(self, registry: Registry, settings: Callable[[], Settings]) -> None:
        self.registry = registry
        self._settings = settings

    async def deploy(self, request: Mapping[str, Any], *, replacing: bool) -> dict[str, Any]:
        """Register or change a notebook; see Registry.deploy. after: the number of the last event before that."""
        after = self.registry.shop.journal.last_seq
        name = await self.registry.deploy(request, self._settings(), replacing=replacing)
        return self.registry.notebook(name) | {"after": after}

    async def kill(self, name: str, unwanted: Unwanted) -> dict[str, Any]:
        """Stop and forget a registered notebook; bundles, history, edits and repos not *unwanted* are kept."""
        actor = self.registry.actor(name)
        repos = await self.registry.kill(name, unwanted)
        recovered = len(self.registry.shop.journal.recovered(name))
        place = [str(actor.home.root / "recovered")] if recovered else []
        return {"killed": name, "engine": actor.spec.engine, "kept": place, "recovered": recovered, "repos": repos}

    async def redeploy(self, name: str, *, force: bool, now: bool, when_idle: bool) -> dict[str, Any]:
        """Look at everything again, and try again what failed.

        Of a step that waits for busy kernels, now and when_idle only say how long. Without one, when_idle is a
        ConflictError.
        """
        actor = self.registry.actor(name)
        hold = actor.plan.hold
        waits = hold is not None and hold.why is Why.BUSY
        if when_idle and not waits:
            raise ConflictError(f"nothing waits for busy kernels of notebook {name!r}", hint=f"kaosctl status {name}")
        if waits and not force and (now or when_idle):
            actor.end_wait(when_idle=when_idle)
        else:
            await actor.redeploy(force=force, now=now)
        return await self._taken_up(name)

    async def pause(self, name: str) -> dict[str, Any]:
        """Stop following the directories."""
        self.registry.actor(name).pause()
        return await self._taken_up(name)

    async def resume(self, name: str) -> dict[str, Any]:
        """Follow the directories again."""
        await self.registry.actor(name).resume()
        return await self._taken_up(name)

    async def stop(self, name: str) -> dict[str, Any]:
        """Stop the host of a notebook, which stays registered and followed; busy kernels are not waited for."""
        actor = self.registry.actor(name)
        actor.stop()
        return await self._taken_up(name, STOPPED_WITHIN)

    async def start(self, name: str) -> dict[str, Any]:
        """Start the host of a stopped notebook; nothing happens to one that is not stopped."""
        self.registry.actor(name).start("started by you")
        return await self._taken_up(name)

    async def restart(self, name: str, *, kernels: bool) -> dict[str, Any]:
        """Replace the host by a new one; with *kernels* have each of its kernels restarted instead.

        The answer has the number of these as "restarted". ConflictError where no host runs whose kernels could be.
        """
        actor = self.registry.actor(name)
        if not kernels:
            actor.restart()
            return await self._taken_up(name) | {"restarted": 0}
        if actor.hosting.host is None:
            raise ConflictError(f"{name} has no running kernels: {actor.state()[1]}", hint=f"kaosctl start {name}")
        restarted = await restart_kernels(actor.hosting.host.upstream, f"/{name}/", actor.token)
        await actor.hosting.freshen()
        return self.registry.notebook(name) | {"restarted": restarted}

    async def run(self, name: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Run a notebook file in the host, once what is on disk is live; what comes of it, see hosted/execution.py.

        asked: see api.request_checks.Run. A stopped notebook is started for it. ConflictError where no host runs; else
        raises as run_in_host.
        """
        actor = self.registry.actor(name)
        actor.start("started for a run")
        if not actor.fully_live():
            yield {"event": "waiting", "text": actor.state()[1] or "what is on disk is being read"}
        outcome = await actor.settled(RUN_TRIES)
        host, reason = actor.hosting.host, actor.state()[1]
        if host is None or actor.hosting.fact() is not HostFact.RUNNING:
            raise ConflictError(f"{name} has no running JupyterLab: {reason}", hint=f"kaosctl status {name}")
        if outcome != "live":
            yield {"event": "warning", "text": f"what is on disk is not live: {reason}; what is served is run"}
        root = await asyncio.to_thread(actor.looking.root)
        path = path_in_root(asked["notebook"], asked["file"], actor.spec.source, root)
        wanted = {"path": path, **{key: asked[key] for key in ("parameters", "timeout", "keep")}}
        with actor.idleness.used():
            async with contextlib.aclosing(run_in_host(host.upstream, name, actor.token, wanted)) as events:
                async for event in events:
                    yield event

    async def cancel(self, name: str) -> dict[str, Any]:
        """Stop the build in flight."""
        if not self.registry.actor(name).cancel():
            raise ConflictError(f"notebook {name!r} has no build in flight")
        return await self._taken_up(name)

    async def rollback(self, name: str, to: str | None) -> dict[str, Any]:
        """Serve an older version until the files change again."""
        actor = self.registry.actor(name)
        source, data = self._older(actor, to)
        live = actor.hosting.live
        for version, served in ((source, live.source), (data, live.data)):
            if version is not None and not await asyncio.to_thread(is_kept, self.registry.shop.store, version, served):
                raise NotFoundError(f"the content of {version} is damaged", hint=f"kaosctl history {name}")
        actor.pin(source, data)
        return await self._taken_up(name)

    async def wait(
        self,
        name: str,
        timeout: float | None,  # noqa: ASYNC109 - part of the API
        tries: int | None = None,
    ) -> dict[str, Any]:
        """Return when what is on disk now is live and has answered a request; see Notebook.settled."""
        actor = self.registry.actor(name)
        began = time.monotonic()
        try:
            async with asyncio.timeout(timeout):
                outcome = await actor.settled(tries)
        except TimeoutError:
            outcome = "timeout"
        state, reason = actor.state()
        shown = self.registry.notebook(name)
        return {
            "outcome": outcome,
            "state": state.value,
            "reason": reason,
            "hold": shown["hold"],
            "progress": shown["progress"],
            "source": shown["source"]["live"],
            "data": shown["data"]["live"],
            "seconds": round(time.monotonic() - began, 3),
        }

    async def _taken_up(self, name: str, within: float = TAKEN_UP) -> dict[str, Any]:
        """The notebook once its actor has taken a wish up, and done what is done for it *within* so many seconds.

        What takes longer, or an actor in the middle of a long step, is not waited for.
        """
        actor = self.registry.actor(name)
        wanted = actor.turns + 1
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while actor.planned < wanted or actor.plan.step is not None:
                    await self.registry.shop.news.after(self.registry.shop.news.number)
        return self.registry.notebook(name)

    def _older(self, actor: Notebook, to: str | None) -> tuple[Version, Version | None]:
        """The versions that a rollback means: a deployment's number, a version's prefix, or the one before."""
        name, live = actor.spec.name, actor.hosting.live
        past = Past(self.registry.shop.journal, name, live)
        if to is None:
            found = past.before()
            what = "no earlier version that is kept"
        else:
            short = to.rpartition(":")[2] if len(to) >= 4 else None
            meant = [
                one
                for one in self.registry.shop.journal.deployments(name, 1000)
                if to == str(one.number) or (short and one.source is not None and one.source.digest.startswith(short))
            ]
            found = next((one for one in meant if past.can_return_to(one)), None)
            gone = f"the content of deployment {to} is not kept any more" if meant else ""
            what = gone or f"no deployment or version {to!r}"
        if found is not None and found.source is not None:
            return found.source, found.data or live.data
        numbers = ", ".join(str(one.number) for one in past.deployments()[:5] if one.source != live.source)
        hint = f"you can go back to {numbers}; " if numbers else ""
        text = what if what.startswith("the content") else f"notebook {name!r} has {what}"
        raise NotFoundError(text, hint=f"{hint}kaosctl history {name}")

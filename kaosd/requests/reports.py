"""What may be asked about one notebook without changing it: its state, history, logs, environment."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from kaosd import stage_logs
from kaosd.declared import image, made_from
from kaosd.engines.base import Listing
from kaosd.errors import ConflictError, NotFoundError
from kaosd.journal import Live
from kaosd.model import Environment
from kaosd.notebook import Notebook, explain, view
from kaosd.notebook.past import Past
from kaosd.notebook.view import rfc3339
from kaosd.registry import Registry


class Reports:
    """Answers about notebooks, as objects of JSON."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry

    async def notebook(self, name: str) -> dict[str, Any]:
        """One notebook's object of the status."""
        return self.registry.notebook(name)

    async def history(self, name: str) -> dict[str, Any]:
        """A notebook's deployments, newest first, with their jobs."""
        pinned = self.registry.actors[name].intent.pinned_source if name in self.registry.actors else None
        journal = self.registry.shop.journal
        live = self.registry.actors[name].hosting.live if name in self.registry.actors else Live()
        past = Past(journal, name, live)
        current = past.current()
        deployments = [
            view.deployment(one)
            | {"current": one.number == current}
            | {"jobs": [view.job(job) for job in journal.jobs(name, one.number)]}
            | {"can_roll_back": name in self.registry.actors and one.source != live.source and past.can_return_to(one)}
            for one in journal.deployments(name, 100)
        ]
        if not deployments:
            self.registry.actor(name)
        return {"pinned": str(pinned) if pinned else None, "deployments": deployments}

    async def environment(self, name: str) -> dict[str, Any]:
        """What a notebook's environment holds, and what was installed by hand."""
        actor, environment, engine = self._listed(name)
        found = await engine.contents(environment, actor.home)
        return view.contents(name, actor.looking.environment_file(), found)

    async def outdated(self, name: str) -> dict[str, Any]:
        """The packages of a notebook's environment of which the package index has a newer version."""
        actor, environment, engine = self._listed(name)
        latest = await engine.outdated(environment)
        packages = (await engine.contents(environment, actor.home)).packages
        return {
            "name": name,
            "file": actor.looking.environment_file(),
            "outdated": [
                {"name": one, "version": packages[one], "latest": version}
                for one, version in sorted(latest.items())
                if one in packages
            ],
        }

    def _listed(self, name: str) -> tuple[Notebook, Environment, Listing]:
        """A notebook whose environment can be listed. NotFoundError for any other."""
        actor = self.registry.actor(name)
        environment = actor.hosting.live.environment
        if environment is None:
            raise NotFoundError(f"{name} has no environment yet", hint=f"kaosctl status {name}")
        if not isinstance(actor.engine, Listing):
            hint = "run `pip list` in a terminal of the notebook"
            raise NotFoundError(f"{name} is hosted by {actor.spec.engine}, and its image says what it holds", hint=hint)
        return actor, environment, actor.engine

    async def dockerfile(self, name: str) -> dict[str, Any]:
        """The Dockerfile that is made of a notebook whose source has none, and from which files."""
        actor = self.registry.actor(name)
        source = actor.looking.versions()[0] or actor.hosting.live.source
        if source is None:
            raise NotFoundError(f"the source of {name} is not read yet", hint=f"kaosctl status {name}")
        declared = (await asyncio.to_thread(actor.looking.inputs, source)).declared
        if declared.dockerfile is not None:
            raise ConflictError(f"the source of {name} has a Dockerfile of its own: {declared.dockerfile}")
        made = image(declared)
        if made.problem is not None:
            raise ConflictError(made.problem.text, hint=made.problem.hint)
        return {"name": name, "made_from": list(made_from(declared)), "dockerfile": made.text}

    async def why(self, path: str) -> dict[str, Any]:
        """What a change of *path* means, and by which rule."""
        await self.registry.certain()
        return await asyncio.to_thread(explain, dict(sorted(self.registry.actors.items())), path)

    async def logs(self, name: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """Log lines of a notebook: stage, deploy (a number or "last"), lines."""
        directory = str(self.registry.actor(name).home.logs)
        return await asyncio.to_thread(_lines, directory, name, query)


def _lines(directory: str, name: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """The log lines of notebook *name* in *directory*; see Reports.logs. Blocking."""
    found = stage_logs.stage_logs(directory, name)
    wanted = query.get("deploy") or "last"
    number = max((log.number for log in found), default=0) if wanted == "last" else int(wanted)
    excerpts = stage_logs.of_deployment(found, number, query.get("stage"))
    return {
        "lines": [
            {
                "time": rfc3339(line.time),
                "notebook": name,
                "deployment": line.log.number,
                "stage": line.log.stage,
                "job": line.log.job or None,
                "text": line.text,
            }
            for line in stage_logs.newest(excerpts, int(query.get("lines") or 1000))
        ]
    }

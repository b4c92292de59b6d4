"""What the API answers with: requests are checked and handed to the registry, answers are put together here."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kaosd import __version__, metrics, stage_logs
from kaosd import settings as settings_
from kaosd.doctor import Examined, examine
from kaosd.errors import KaosError
from kaosd.front.once import SECONDS, OneTime
from kaosd.front.screens import OWN
from kaosd.front.signin import ONCE
from kaosd.model import Problem
from kaosd.notebook import Notebook
from kaosd.notebook.clearing import Unwanted
from kaosd.notebook.view import rfc3339
from kaosd.registry import Registry
from kaosd.settings import Settings

SCHEMA = 1
FRESHEN = 0.5  # seconds that a status waits for the hosts' answers
# Settings that are read once, when the daemon starts.
STARTING = (
    "state_dir", "socket", "front", "watch", "log", "docker", "pachyderm", "keep_versions", "max_backoff",
    "desktop_notices", "python_downloads", "personal_kernels", "personal_settings", "pass_environment",
)  # fmt: skip


class Backend:
    """The daemon as the API sees it.

    settings: replaced at a reload; a broken file leaves the old one in force and is a problem in the status.
    config: the file as the person named it, if they did.
    ask_stop: starts an orderly stop of the daemon. once: gives out the front's one-time addresses.
    """

    def __init__(
        self,
        settings: Settings,
        config: Path | None,
        registry: Registry,
        ask_stop: Callable[[], None],
        once: OneTime,
    ) -> None:
        self.settings = settings
        self._started_with = settings
        self.config = config
        self.registry = registry
        self.watcher = registry.shop.watcher
        self.started_at = time.time()
        self.problem: Problem | None = None
        self._ask_stop = ask_stop
        self._once = once
        self.own_problems = [Problem("settings", "warning", text, "", self.started_at) for text in settings.warnings]
        repaired = registry.shop.journal.repaired
        if repaired:
            mend = "the history before it is in the file that was put aside"
            self.own_problems.append(Problem("journal", "warning", repaired, mend, self.started_at))

    async def status(self) -> dict[str, Any]:
        """The whole of `kaosctl status --json` (see `kaosctl help json`), once the hosts were asked how they are."""
        await self.registry.freshen(FRESHEN)
        stats = self.watcher.stats()
        return {
            "schema": SCHEMA,
            "daemon": {
                "version": __version__,
                "pid": os.getpid(),
                "started_at": rfc3339(self.started_at),
                "engine": self.settings.engine,
                "config": str(self.settings.config),
                "state_dir": str(self.settings.state_dir),
                "front": self.registry.shop.front_url,
                "watch": {
                    "mode": stats.mode,
                    "directories": stats.directories,
                    "files": sum(scan.files for actor in self.registry.actors.values() for scan in actor.scans()),
                    "overflows": stats.overflows,
                    "rescans": stats.rescans,
                    "last_event_at": rfc3339(stats.last_event_at),
                },
                "problems": [_shown(problem) for problem in self.problems()],
            },
            "notebooks": self.registry.notebooks(),
        }

    def hand_over(self, name: str) -> dict[str, Any]:
        """A one-time address that signs a browser in to a notebook, or to the console ("")."""
        if name:
            self.registry.actor(name)
        path = f"{name}/{OWN}" if name else OWN
        return {"url": f"{self.registry.shop.front_url}/{path}/{ONCE}{self._once.issue(name)}", "seconds": SECONDS}

    async def metrics(self) -> str:
        """The daemon's figures in the text format of Prometheus; see kaosd/metrics.py."""
        shop = self.registry.shop
        size = await asyncio.to_thread(shop.store.size)
        return metrics.text(metrics.families(await self.status(), shop.counters, size))

    def problems(self) -> list[Problem]:
        """What is wrong with the daemon as a whole."""
        found = [*self.own_problems, *self.watcher.problems()]
        found += [Problem("notebook", "error", text, "", self.started_at) for text in self.registry.refused.values()]
        if (repaired := self.registry.shop.store.repaired) is not None:
            mend = "kaosd reads the directories again and puts back what it can; check the disk if this happens again"
            found.append(Problem("store", "warning", repaired[0], mend, repaired[1]))
        found += [one for actor in self.registry.actors.values() if (one := _undecided(actor)) is not None]
        return [*found, self.problem] if self.problem is not None else found

    def notebook(self, name: str) -> dict[str, Any]:
        """One notebook's object."""
        return self.registry.notebook(name)

    async def deploy(self, request: Mapping[str, Any], *, replacing: bool) -> dict[str, Any]:
        """Register or change a notebook; keys as in [[notebook]]. replacing: it may get another source."""
        return await self.registry.deploy(request, self.settings, replacing=replacing)

    async def redeploy(self, name: str, *, force: bool, now: bool, when_idle: bool) -> dict[str, Any]:
        """Look again, and try again what failed."""
        return await self.registry.redeploy(name, force=force, now=now, when_idle=when_idle)

    async def pause(self, name: str) -> dict[str, Any]:
        """Stop following the directories."""
        return await self.registry.pause(name, True)

    async def resume(self, name: str) -> dict[str, Any]:
        """Follow the directories again."""
        return await self.registry.pause(name, False)

    async def add(self, name: str, packages: Sequence[str]) -> dict[str, Any]:
        """Write requirements into the environment file of a notebook."""
        return await self.registry.add(name, packages)

    async def start_notebook(self, name: str) -> dict[str, Any]:
        """Start the host of a stopped notebook."""
        return await self.registry.start(name)

    async def stop_notebook(self, name: str) -> dict[str, Any]:
        """Stop the host of a notebook."""
        return await self.registry.stop(name)

    async def restart_notebook(self, name: str, *, kernels: bool) -> dict[str, Any]:
        """Replace the host of a notebook, or restart its kernels."""
        return await self.registry.restart(name, kernels=kernels)

    async def run(self, name: str, asked: Mapping[str, Any]) -> AsyncGenerator[dict[str, Any]]:
        """Run a notebook file of a notebook; what comes of each cell."""
        return self.registry.run(name, asked)

    async def cancel(self, name: str) -> dict[str, Any]:
        """Stop the build in flight."""
        return await self.registry.cancel(name)

    async def rollback(self, name: str, to: str | None) -> dict[str, Any]:
        """Serve an older version."""
        return await self.registry.rollback(name, to)

    async def wait(
        self,
        name: str,
        timeout: float | None,  # noqa: ASYNC109 - part of the API
        tries: int | None,
    ) -> dict[str, Any]:
        """Return when what is on disk now is live."""
        return await self.registry.wait(name, timeout, tries)

    async def kill(self, name: str, unwanted: Unwanted) -> dict[str, Any]:
        """Stop and forget a notebook."""
        return await self.registry.kill(name, unwanted)

    def history(self, name: str) -> dict[str, Any]:
        """A notebook's deployments."""
        return self.registry.history(name)

    async def environment(self, name: str) -> dict[str, Any]:
        """What a notebook's environment holds."""
        return await self.registry.environment(name)

    async def outdated(self, name: str) -> dict[str, Any]:
        """Packages of a notebook's environment that are old."""
        return await self.registry.outdated(name)

    async def dockerfile(self, name: str) -> dict[str, Any]:
        """The Dockerfile that is made of a notebook whose source has none."""
        return await self.registry.dockerfile(name)

    async def edits(self, name: str) -> dict[str, Any]:
        """The edits made in a notebook."""
        return await self.registry.edits(name)

    async def diff(self, name: str, path: str | None) -> dict[str, Any]:
        """The same with what differs in each file."""
        return await self.registry.diff(name, path)

    async def between(self, name: str, first: int, last: int) -> dict[str, Any]:
        """What differs between two deployments of a notebook."""
        return await self.registry.between(name, first, last)

    async def since_copy(self, name: str, copy: str) -> dict[str, Any]:
        """What differs between a recovered copy and the notebook's file."""
        return await self.registry.since_copy(name, copy)

    async def recovered(self, name: str) -> dict[str, Any]:
        """Copies of edits."""
        return await self.registry.recovered(name)

    async def clear(self, name: str) -> dict[str, Any]:
        """Delete the copies of edits."""
        return await self.registry.clear(name)

    async def pull(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Write edits made in a notebook into its source directory."""
        return await self.registry.pull(name, fields)

    async def reset(self, name: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Bring the deployed version of files back into a notebook."""
        return await self.registry.reset(name, fields)

    async def restore(self, name: str, path: str | None) -> dict[str, Any]:
        """Bring a copy of an edit back into the host; None: the newest copy of each path."""
        return await self.registry.restore(name, path)

    async def why(self, path: str) -> dict[str, Any]:
        """What a change of *path* means."""
        return await self.registry.why(path)

    async def doctor(self) -> dict[str, Any]:
        """Checks of limits, paths and programs, each with its fix."""
        examined = Examined(
            state_dir=self.settings.state_dir,
            socket=self.settings.socket,
            directories=self.watcher.stats().directories,
            engines=tuple(sorted({actor.spec.engine for actor in self.registry.actors.values()}) or ["process"]),
            front=self.registry.shop.front_url,
        )
        checks = await asyncio.to_thread(examine, examined)
        checks += [asdict(finding) for finding in await self.registry.examine(self.settings.engine)]
        checks += [{"code": p.code, "severity": p.severity, "text": p.text, "mend": p.mend} for p in self.problems()]
        return {"checks": checks}

    def version(self) -> dict[str, Any]:
        """Versions of the program and of the status."""
        return {"version": __version__, "schema": SCHEMA}

    async def events(self, after: int, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - part of the API
        """Events after a number."""
        return await self.registry.events(after, timeout)

    async def logs(self, name: str, query: Mapping[str, Any]) -> dict[str, Any]:
        """Log lines of a notebook: stage, deploy (a number or "last"), lines."""
        directory = str(self.registry.actor(name).home.logs)
        return await asyncio.to_thread(_lines, directory, name, query)

    async def backup(self, file: str) -> dict[str, Any]:
        """Write a backup of the state to a file."""
        return await self.registry.backup(Path(file))

    async def reload(self) -> dict[str, Any]:
        """Read the configuration again; a broken one is refused and the old one stays in force."""
        try:
            fresh = await asyncio.to_thread(settings_.load, self.config)
            for spec in fresh.notebooks:
                self.registry.shop.engines[spec.engine].check(spec.resources)
        except KaosError as error:
            mend = "fix the file; the configuration before it stays in force"
            self._problem("config", "error", str(error), mend)
            raise
        self.problem = None
        later = [key for key in STARTING if getattr(fresh, key) != getattr(self._started_with, key)]
        if later:
            text = f"a change of {', '.join(later)} takes effect when kaosd starts again"
            self._problem("restart", "warning", text, "systemctl --user restart kaosd")
        changed = await self.registry.apply(fresh)
        if changed or fresh != self.settings:
            self.registry.shop.journal.append("settings", None, {"changed": changed}, time.time())
            self.registry.shop.news.tell()
        self.settings = fresh
        return {"changed": changed}

    def _problem(self, code: str, severity: str, text: str, mend: str) -> None:
        since = self.problem.since if self.problem is not None and self.problem.text == text else time.time()
        self.problem = Problem(code, severity, text, mend, since)

    async def stop(self) -> dict[str, Any]:
        """Start an orderly stop of the daemon; "running" has the notebooks that keep running without it."""
        hosted = [name for name, actor in sorted(self.registry.actors.items()) if actor.hosting.host is not None]
        self._ask_stop()
        return {"running": [] if self.settings.stop_hosts_on_exit else hosted}


def _undecided(actor: Notebook) -> Problem | None:
    """Files that may be a person's or left over, after what was deployed was lost."""
    paths = actor.steps.work.undecided
    if not paths:
        return None
    name, shown = actor.spec.name, ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if paths[3:] else "")
    text = f"{name}: what was deployed is not known any more; these files are yours, or left over: {shown}"
    mend = f"delete what you do not need in the notebook; `kaosctl logs {name} --stage watch` names all"
    return Problem("undecided", "warning", text, mend, actor.since)


def _shown(problem: Problem) -> dict[str, Any]:
    return {
        "code": problem.code,
        "severity": problem.severity,
        "text": problem.text,
        "mend": problem.mend,
        "since": rfc3339(problem.since),
    }


def _lines(directory: str, name: str, query: Mapping[str, Any]) -> dict[str, Any]:
    """The log lines of notebook *name* in *directory*; see Backend.logs. Blocking."""
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

"""What may be asked of the daemon as a whole: its status, its configuration, its events, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from kaosd import __version__, metrics
from kaosd import settings as settings_
from kaosd.doctor import Examined, examine
from kaosd.engines.base import Finding, Remote
from kaosd.errors import KaosError
from kaosd.front.once import SECONDS, OneTime
from kaosd.front.screens import OWN
from kaosd.front.signin import ONCE
from kaosd.model import Problem
from kaosd.notebook import Notebook
from kaosd.notebook.backup_writing import write_backup
from kaosd.notebook.view import rfc3339
from kaosd.registry import Registry
from kaosd.settings import Settings

SCHEMA = 1
FRESHEN = 0.5  # seconds that a status waits for the hosts' answers
COUNTED = 0.05  # seconds that a status waits for edits to be counted; the count then continues
# Settings that are read once, when the daemon starts.
STARTING = (
    "state_dir", "socket", "front", "watch", "log", "docker", "pachyderm", "keep_versions", "max_backoff",
    "desktop_notices", "python_downloads", "personal_kernels", "personal_settings", "pass_environment",
)  # fmt: skip


class DaemonWide:
    """The daemon itself.

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
        await self.registry.certain()
        await self._freshen(FRESHEN)
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

    async def _freshen(self, within: float) -> None:
        """Ask all hosts how they are, at most *within* seconds; who does not answer is as it was.

        The edits made in notebooks are looked for as well, and waited for only a moment.
        """
        counting = [asyncio.ensure_future(actor.edits.freshen()) for actor in self.registry.actors.values()]
        asking = [asyncio.ensure_future(actor.hosting.freshen()) for actor in self.registry.actors.values()]
        if any(actor.spec.resources.gpu for actor in self.registry.actors.values()):
            asking.append(asyncio.ensure_future(self.registry.shop.gpus.refresh()))
        if asking:
            _, late = await asyncio.wait(asking, timeout=within)
            for task in late:
                task.cancel()
        if counting:
            await asyncio.wait(counting, timeout=COUNTED)

    async def hand_over(self, name: str) -> dict[str, Any]:
        """A one-time address that signs a browser in to a notebook, or to the console ("")."""
        if name:
            self.registry.actor(name)
        path = f"{name}/{OWN}" if name else OWN
        return {"url": f"{self.registry.shop.front_url}/{path}/{ONCE}{self._once.issue(name)}", "seconds": SECONDS}

    async def certain(self, name: str) -> None:
        """Return when it is certain whether there is a notebook *name*."""
        await self.registry.certain(name)

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
        checks += [asdict(finding) for finding in await self._examine(self.settings.engine)]
        checks += [{"code": p.code, "severity": p.severity, "text": p.text, "mend": p.mend} for p in self.problems()]
        return {"checks": checks}

    async def _examine(self, default: str) -> list[Finding]:
        """What the engines in use, and the *default* one, find out about where their hosts run."""
        used = {actor.spec.engine: actor.engine for actor in self.registry.actors.values()}
        used |= {name: self.registry.shop.engines[name] for name in self.registry.shop.engines if name == default}
        return [one for engine in used.values() if isinstance(engine, Remote) for one in await engine.examine()]

    async def version(self) -> dict[str, Any]:
        """Versions of the program and of the status."""
        return {"version": __version__, "schema": SCHEMA}

    async def events(self, after: int, timeout: float) -> dict[str, Any]:  # noqa: ASYNC109 - part of the API
        """Events after number *after*; waits for one up to *timeout* seconds.

        A higher *after* is of another journal: that reader has missed everything and gets an answer at once.
        """
        journal, news = self.registry.shop.journal, self.registry.shop.news
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while journal.last_seq == after:
                    await news.after(news.number)
        events, gap = journal.events(after, 500)
        shown = [
            {"seq": e.seq, "time": rfc3339(e.time), "notebook": e.notebook, "kind": e.kind, "data": e.data}
            for e in events
        ]
        return {"events": shown, "last": events[-1].seq if events else max(after, 0), "gap": gap}

    async def backup(self, file: str) -> dict[str, Any]:
        """Write all that cannot be made again to a *file*. ConfigError when it cannot be written."""
        shop = self.registry.shop
        return await asyncio.to_thread(write_backup, shop.journal, shop.store, shop.state_dir, Path(file), time.time())

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

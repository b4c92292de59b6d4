"""The actor of one notebook: look, plan, one step, record, publish; then look again.

Everything here belongs to one task in the event loop. Others poke it, or leave a wish (pause, redeploy ...)
and poke it. An error inside a step marks this notebook as failed and backs off; an error outside of one ends
the daemon, which adopts the hosts again after its next start.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import Literal

import structlog

from kaosd import bundle, planner
from kaosd.bundle import Scan
from kaosd.errors import BuildFailed, KaosError
from kaosd.log import secret
from kaosd.model import DataMode, JobState, NotebookSpec, NotebookState, Stage, Version
from kaosd.notebook import view
from kaosd.notebook.hosting import Hosting
from kaosd.notebook.looking import Looking
from kaosd.notebook.making import Making
from kaosd.notebook.record import Record
from kaosd.notebook.roots import Root
from kaosd.notebook.steps import Steps
from kaosd.notebook.workshop import Workshop
from kaosd.planner import Attempt, HostFact, Target, Why

FINAL = {
    Why.FAILED: "failed",
    Why.SILENT: "failed",
    Why.PROBLEM: "held",
    Why.MASS_CHANGE: "held",
    Why.PAUSED: "held",
    Why.PINNED: "held",
    Why.REMOVED: "failed",
    Why.DRAINING: "failed",
}


class Notebook:
    """One notebook, from the first look until it is removed."""

    def __init__(self, spec: NotebookSpec, shop: Workshop) -> None:
        self.spec = spec
        self.shop = shop
        self.home = shop.home(spec.name)
        self.token = secret(self.home.token_file.read_text())
        self.engine = shop.engines[spec.engine]
        self.journal = shop.journal
        self.log = structlog.get_logger("kaosd.notebook").bind(notebook=spec.name)
        self.record = Record(spec.name, shop.journal, self.home.logs)
        self.hosting = Hosting(spec.name, self.engine, shop.journal, self.poke)
        self.intent = self.journal.intent(spec.name)
        self.looking = Looking(self)
        self.steps = Steps(self)
        self.source: Root = self._root("source")
        self.data: Root | None = self._root("data") if spec.data is not None else None
        self.making: Making | None = None
        self.failures: dict[Attempt, planner.Failure] = {}
        self.tries: dict[Attempt, int] = {}
        self.stepping: planner.Step | None = None
        self.plan = planner.Plan()
        self.removed = self.draining = self.now_please = False
        self.forced: tuple[Version | None, Version | None] | None = None
        self.waiting_since: float | None = None
        self._poked = asyncio.Event()
        self._turns = self._planned = 0  # turns that began; the one that the plan is of
        self._told: tuple[object, ...] = ()
        self.since = time.time()  # of the state

    # -- what others may call ------------------------------------------------------------------------------

    def poke(self) -> None:
        """Look again soon."""
        self._poked.set()

    def root_poked(self, kind: str) -> None:
        """The watcher saw something in the source or data directory."""
        root = self.source if kind == "source" else self.data
        if root is not None:
            root.poke()

    def change(self, spec: NotebookSpec) -> None:
        """Take over a changed configuration; directories and engine are changed by the registry instead."""
        self.spec = spec
        self.poke()

    def pause(self, paused: bool) -> None:
        """Stop or resume following the directories."""
        self._intend(paused=paused)

    async def redeploy(self, *, force: bool, now: bool) -> None:
        """Look at everything anew and try again what failed; see the planner for force and now."""
        await self.fresh()
        self.failures.clear()
        self.tries.clear()
        if force:
            self.forced = self.looking.versions()
        self.now_please = now
        self.unpin()

    async def fresh(self) -> None:
        """Return when scans that began after this call have ended."""
        await asyncio.gather(*(root.fresh() for root in self.roots()))

    def cancel(self) -> bool:
        """End the build in flight and do not begin it again; False when there is none."""
        if self.making is None:
            return False
        text = "the build was cancelled by you"
        self.failures[Attempt.BUILD] = planner.Failure(Attempt.BUILD, self.making.digest, text, None)
        self.making.task.cancel()
        self.poke()
        return True

    def pin(self, source: Version, data: Version | None) -> None:
        """Serve an older version until the files change again."""
        over_source, over_data = self.looking.versions()
        self._intend(pinned_source=source, pinned_data=data, pinned_over_source=over_source, pinned_over_data=over_data)

    def unpin(self) -> None:
        """Follow the directories again after a rollback."""
        self._intend(pinned_source=None, pinned_data=None, pinned_over_source=None, pinned_over_data=None)

    def _intend(self, **wishes: Version | bool | None) -> None:
        self.intent = replace(self.intent, **wishes)  # type: ignore[arg-type]
        self.journal.save_intent(self.spec.name, self.intent)
        self.poke()

    async def settled(self) -> str:
        """Return "live" when what is on disk now is served and has answered; "failed" or "held" when it won't be."""
        await self.fresh()
        self.poke()
        first = self._turns + 1  # a plan of an earlier turn knows nothing of those scans
        while True:
            seen = self.shop.news.number
            caught_up, outcome = self._planned >= first, self._given_up()
            if caught_up and self.fully_live():
                status = await self.engine.probe(self.hosting.host) if self.hosting.host is not None else None
                if status is not None and status.answering and self.fully_live():
                    return "live"
                self.hosting.probe_due = 0.0  # let the actor find out
                self.poke()
            elif caught_up and outcome is not None:
                return outcome
            await self.shop.news.after(seen)

    def _given_up(self) -> str | None:
        """How `settled` ends when nothing is planned, and a hold will not pass by itself."""
        hold = self.plan.hold
        if hold is None or self.plan.step is not None or self._poked.is_set():
            return None
        return FINAL.get(hold.why)

    def fully_live(self) -> bool:
        """Whether exactly what is on disk is served, and nothing is being looked at or done."""
        source, data = self.looking.versions()
        served, at_work = self.looking.served(), self.stepping is not None or self._poked.is_set()
        if served is None or at_work or any(root.looking or root.trouble for root in self.roots()):
            return False
        same = (served.source, served.data, served.resources) == (source, data, self.spec.resources)
        return same and self.hosting.fact() is HostFact.RUNNING

    def environment_paths(self) -> frozenset[bytes]:
        """Paths of the environment inputs on disk; blocking."""
        source = self.looking.versions()[0]
        return frozenset(path for path, _ in self.looking.inputs(source).files) if source is not None else frozenset()

    def roots(self) -> list[Root]:
        """The watched directories."""
        return [root for root in (self.source, self.data) if root is not None]

    def scans(self) -> list[Scan]:
        """The latest scans."""
        return [root.scan for root in self.roots() if root.scan is not None]

    # -- the loop ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until removed or drained."""
        self.record.restore()
        if not await self.hosting.adopt(self.home):
            self._host_ended()
        elif self.hosting.host is not None and Stage.HOST in self.record.jobs:
            self.record.job_state(self.record.jobs[Stage.HOST], JobState.RUNNING)
        for root in self.roots():
            root.open()
        try:
            while not await self._turn():
                pass
        finally:
            await self._close()

    async def _turn(self) -> bool:
        """One turn of the loop; True when the actor has nothing left to do in this world."""
        self._poked.clear()
        self._turns += 1
        soon = self.plan.hold is not None and self.plan.hold.why in (Why.BUSY, Why.SILENT)
        if await self.hosting.probe(soon=soon):
            self._host_ended()
        await self._reap_build()
        self.plan = planner.plan(await self.looking.look())
        if isinstance(self.plan.step, planner.Swap) and not self.plan.step.keeps_kernels:
            # It would end kernels: what was known of them may be seconds old.
            await self.hosting.probe(soon=True, now=True)
            self.plan = planner.plan(await self.looking.look())
        self._planned = self._turns
        self._note_rest()
        self._publish()
        if self.plan.step is not None:
            await self._take(self.plan.step)
            return False
        if self.draining or (self.removed and self.hosting.host is None):
            return True
        await self._wait()
        return False

    async def _take(self, step: planner.Step) -> None:
        """One step, inside the inner ring of failure."""
        self.stepping = step
        self._publish()
        try:
            await self.steps.take(step, self.plan.target)
        except KaosError as error:
            self.failed(self.steps.attempt(step), self.plan.target, error)
        except Exception as error:
            self.log.exception("step_broke", step=type(step).__name__)
            text = f"kaosd itself failed in this step: {type(error).__name__}: {error}"
            broken = KaosError(text, hint="`kaosctl logs --stage daemon` has the details", retryable=True)
            self.failed(self.steps.attempt(step), self.plan.target, broken)
        finally:
            self.stepping = None

    def failed(self, attempt: Attempt, target: Target | None, error: KaosError) -> None:
        """Write an attempt down as failed, with the time of the next one."""
        if target is None:
            return
        self.tries[attempt] = self.tries.get(attempt, 0) + 1
        retry_at = None
        if error.retryable:
            delay = min(0.5 * 2 ** (self.tries[attempt] - 1), self.shop.backoff_cap)
            retry_at = asyncio.get_running_loop().time() + delay * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        self.failures[attempt] = planner.Failure(attempt, planner.about(attempt, target), str(error), retry_at)
        self.log.warning("attempt_failed", attempt=attempt.value, error=str(error), tries=self.tries[attempt])
        self.record.finish("failed", str(error))

    def succeeded(self, attempt: Attempt) -> None:
        """Forget earlier failures of this kind."""
        self.failures.pop(attempt, None)
        if attempt is not Attempt.HOST:  # a host that ends again and again is backed off although it starts
            self.tries.pop(attempt, None)

    def _host_ended(self) -> None:
        """The host is gone without our doing: say why, start it again, with back-off when it was short-lived."""
        served = self.looking.served()
        error, steady = self.hosting.ended_unasked()
        if Stage.HOST in self.record.jobs:
            self.record.job_ended(self.record.jobs[Stage.HOST], JobState.FAILURE, error.text)
        if steady:
            self.tries.pop(Attempt.HOST, None)
        if served is not None:
            self.failed(Attempt.HOST, served.target, error)

    async def _reap_build(self) -> None:
        """Take the result of a build that has ended."""
        making = self.making
        if making is None or not making.task.done():
            return
        self.making = None
        state, text = JobState.SUCCESS, None
        try:
            making.task.result()
        except asyncio.CancelledError:
            state, text = JobState.KILLED, "superseded by a newer change"
            if Attempt.BUILD in self.failures:
                text = self.failures[Attempt.BUILD].text
                self.record.finish("cancelled", text)
        except KaosError as error:
            state, text = JobState.FAILURE, str(error)
            self.failed(Attempt.BUILD, making.target, error)
        except Exception as error:
            self.log.exception("build_broke")
            state, text = JobState.FAILURE, f"kaosd itself failed in the build: {type(error).__name__}: {error}"
            self.failed(Attempt.BUILD, making.target, BuildFailed(text, retryable=True))
        else:
            self.succeeded(Attempt.BUILD)
        making.log.line(f"-- {state.value}" + (f": {text}" if text else ""))
        making.log.close()
        self.record.job_ended(making.job, state, text)

    def _note_rest(self) -> None:
        """End the deployment that has reached its target, and the episode of events."""
        target, served, hold = self.plan.target, self.looking.served(), self.plan.hold
        self.waiting_since = None
        if hold is not None and hold.why is Why.BUSY and hold.until is not None:
            self.waiting_since = hold.until - self.spec.swap_when_idle
        if target is None or served is None or served.target != target:
            return
        if self.hosting.fact() is not HostFact.RUNNING:
            return
        self.record.finish("live")
        if self.plan.step is None and (hold is None or hold.why is Why.PINNED):
            self.now_please, self.forced = False, None
            for root in self.roots():
                if not root.looking:
                    root.settle()

    async def _wait(self) -> None:
        """Until poked, or until the hold or the next probe is due."""
        hold = self.plan.hold
        due = [at for at in (hold.until if hold else None, self.hosting.probe_due) if at is not None]
        try:
            async with asyncio.timeout_at(min(due) if due else None):
                await self._poked.wait()
        except TimeoutError:
            if hold is not None and hold.why is Why.SAVING:
                for root in self.roots():
                    root.retry()

    async def _close(self) -> None:
        if self.making is not None:
            self.making.task.cancel()
            await asyncio.wait([self.making.task])
            await self._reap_build()
        self.hosting.close()
        for root in self.roots():
            await root.close()
        if self.removed:
            self.record.finish("cancelled", "the notebook was removed")
        self._publish()

    # -- publishing ----------------------------------------------------------------------------------------

    def state(self) -> tuple[NotebookState, str | None]:
        """The state as a whole, with its reason."""
        return view.state(self._standing())

    def facts(self) -> view.Facts:
        """All that the status shows of this notebook; answered from memory."""
        return view.Facts(
            spec=self.spec,
            url=f"{self.shop.front_url}/{self.spec.name}/lab",
            standing=self._standing(),
            since=self.since,
            enforced=self.hosting.host is not None and self.engine.enforced(self.hosting.host),
            live=self.hosting.live,
            host_since=self.hosting.since,
            status=self.hosting.status,
            deployment=self.record.deployment,
            build=self.record.jobs.get(Stage.BUILD),
            refused=tuple(text for scan in self.scans() for text in view.refusals(scan.refused)),
            recovered=self.record.recovered,
            progress=self._progress(),
        )

    def _standing(self) -> view.Standing:
        source, data = self.looking.versions()
        return view.Standing(
            plan=self.plan,
            served=self.looking.served(),
            host=self.hosting.fact(),
            source=source,
            data=data,
            stepping=self.stepping,
            building=self.making is not None,
            failures=tuple(self.failures.values()),
            paused=self.intent.paused,
            restarts=self.hosting.live.restarts,
        )

    def _publish(self) -> None:
        """Tell the world when something that it can see has changed."""
        live, status = self.hosting.live, self.hosting.status
        state = self.state()
        seen = (*state, live.source, live.data, live.restarts, self.hosting.fact(), status and status.busy)
        if seen[:2] != self._told[:2]:
            self.since = time.time()
            self.record.event("state", state=state[0].value, reason=state[1])
        self._told = seen
        self.shop.news.tell()

    def _progress(self) -> str | None:
        """What the work in hand has come to, in words."""
        for root in self.roots():
            if root.scan is None:
                files, size = root.scanner.progress
                return f"reading {root.path}: {files} files, {size / 1e6:.1f} MB"
        return self.record.progress if self.making is not None else None

    def _root(self, kind: Literal["source", "data"]) -> Root:
        path = (self.spec.data if kind == "data" else self.spec.source) or self.shop.empty
        linked = kind == "data" and self.spec.data_mode is DataMode.LINK
        scanner = bundle.Scanner(path, self.shop.store, kind="link" if linked else kind)
        watcher = None if path == self.shop.empty else self.shop.watcher
        return Root(f"{kind}:{self.spec.name}", path, scanner, watcher, self.poke)

"""The actor of one notebook: look, plan, one step, record, publish; then look again.

Everything here belongs to one task in the event loop. Others poke it, or leave a wish (pause, redeploy ...)
and poke it. An error inside a step marks this notebook as failed and backs off; an error outside of one stops
the daemon, which adopts the hosts again after its next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Any

from kaosd import planner
from kaosd.errors import BuildFailed, ContentLost, EngineError, KaosError, StoreError
from kaosd.model import DeployCheck, JobState, NotebookSpec, NotebookState, Stage, Version
from kaosd.notebook import kept, standing, tab_notices, view
from kaosd.notebook.checks import WITHIN, Checks
from kaosd.notebook.edit_counts import EditCounts
from kaosd.notebook.idleness import Idleness, idle_reason
from kaosd.notebook.looking import Looking
from kaosd.notebook.package_lists import PackageLists
from kaosd.notebook.past import Past
from kaosd.notebook.record import saved_copies
from kaosd.notebook.runs import run_in_host
from kaosd.notebook.state import ActorState
from kaosd.notebook.steps import Steps
from kaosd.notebook.work import WorkDirectory
from kaosd.notebook.workshop import Workshop, put_secret, secret_file
from kaosd.planner import Attempt, HostFact, Target, Why

ENDS = {JobState.SUCCESS: "built", JobState.FAILURE: "failed", JobState.KILLED: "cancelled"}  # in the log of a build
OFFERED = 100  # deployments, the newest, among which an earlier version is looked for before it is offered
WRITTEN = 10.0  # seconds that what may be a failure waits for files still being written; most are taken after two
STORE_RETRY = 1.0  # seconds between looks while the state directory cannot be written

STOPPED = "stopped by you"
LOST_FOR_GOOD = 3  # tries after which what the directories do not hold will not come back


class Notebook(ActorState):
    """One notebook, from the first observation until it is removed: acts on the state that it adds its parts to."""

    def __init__(self, spec: NotebookSpec, shop: Workshop) -> None:
        super().__init__(spec, shop)
        work = WorkDirectory(self)
        self.looking = Looking(self, work)
        self.steps = Steps(self, self.looking, work, self.publish)
        self.source.prepare = self.looking.prepare
        self.edits = EditCounts(self)
        self.packages = PackageLists(self.home, self.engine)
        self.idleness = Idleness(time.monotonic)
        self.checks = Checks(self._checked)
        self.plan = planner.Plan()
        self.turns = self.planned = 0  # turns that began; the one that the plan is of, once what it ends is recorded
        self._stuck = 0  # turns in a row in which nothing could even be planned
        self._resuming = False
        self._told: tuple[object, ...] = ()

    # -- what others may call ------------------------------------------------------------------------------

    def change(self, spec: NotebookSpec) -> None:
        """Apply a changed configuration; directories and engine are changed by the registry instead."""
        self.spec = spec
        self.poke()

    def stop(self, why: str = STOPPED) -> None:
        """Have no host until `start`; the directories are still followed. why: shown as the reason."""
        self.intend(stopped=why)

    def start(self, cause: str) -> None:
        """Have a host again after `stop`. cause: of the deployment that starts it; nothing happens when one is due."""
        if self.intent.stopped:
            self.failures.clear()
            self.start_cause = cause
            self.intend(stopped="")

    def restart(self) -> None:
        """Replace the host, with its kernels, by a new one of the same address and token."""
        self.failures.clear()
        self.start_cause = "restarted by you"
        self.restarting = True
        self.intend(stopped="")

    def pause(self) -> None:
        """Stop following the directories."""
        self._resuming = False
        self.intend(paused=True)

    async def resume(self) -> None:
        """Follow the directories again from what is on disk now: a scan in the pause may have seen half of a change."""
        self._resuming = True
        await self.fresh()
        if self._resuming:  # or the person has paused again
            self.intend(paused=False)

    def end_wait(self, *, when_idle: bool) -> None:
        """Take a step that waits for busy kernels now, or not before there are none; a rollback stays one."""
        self.now_please = not when_idle
        self.intend(when_idle=when_idle)

    async def redeploy(self, *, force: bool, now: bool) -> None:
        """Look at everything again and try again what failed; see the planner for force and now."""
        await self.fresh()
        self.failures.clear()
        if force:
            self.accepted = frozenset(self.looking.versions())
        self.now_please = now
        self.start("redeployed by you")
        self.unpin()

    async def fresh(self) -> None:
        """Return when scans that started after this call have ended."""
        await asyncio.gather(*(root.fresh() for root in self.roots()))

    def cancel(self) -> bool:
        """Stop the build in flight and do not start it again; False when there is none."""
        if self.making is None:
            return False
        self.failures.cancelled(self.making.digest)
        self.making.task.cancel()
        self.poke()
        return True

    def pin(self, source: Version, data: Version | None) -> None:
        """Serve an older version until the files change again."""
        over_source, over_data = self.looking.versions()
        self.intend(pinned_source=source, pinned_data=data, pinned_over_source=over_source, pinned_over_data=over_data)

    async def settled(self, tries: int | None = None) -> str:
        """Return "live" when what is on disk now is served and has answered; "failed" or "held" when it won't be.

        tries: also "failed" once so many attempts in a row have failed, although another one follows.
        """
        await self.fresh()
        await self._written()
        self.poke()
        first = self.turns + 1  # a plan of an earlier turn knows nothing of those scans
        while True:
            seen = self.shop.news.number
            caught_up, outcome = self.planned >= first, self._given_up(tries)
            if caught_up and self.fully_live():
                status = await self.engine.probe(self.hosting.host) if self.hosting.host is not None else None
                right = status is not None and self.hosting.check_content(status) and not status.damage
                if status is not None and status.answering and right and self.fully_live():
                    return "live"
                self.hosting.probe_due = 0.0  # let the actor find out
                self.poke()
            elif (caught_up or self._stuck or self.removed) and outcome is not None:
                return outcome
            await self.shop.news.after(seen)

    async def _written(self) -> None:
        """Return when no file is still being written, or not whole for so long that it is taken as it is."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WRITTEN):
                while any(root.waiting for root in self.roots()):
                    await self.shop.news.after(self.shop.news.number)

    def _given_up(self, tries: int | None) -> str | None:
        """How `settled` ends when nothing is planned, and a hold will not pass by itself."""
        if self._poked.is_set() and not self.removed:  # a removed one is not looked at again
            return None
        return standing.final(self.plan, tries)

    def fully_live(self) -> bool:
        """Whether exactly what is on disk is served, and nothing is being looked at or done."""
        source, data = self.looking.versions()
        served, at_work = self.looking.served(), self.plan.step is not None or self._poked.is_set()
        if served is None or at_work or self.looking.cut_short() or self.hosting.damage:
            return False
        same = not any(root.looking or root.trouble or root.waiting for root in self.roots()) and (
            served.source,
            served.data,
            served.resources,
        ) == (source, data, self.spec.resources)
        asked = source is not None and self.looking.asks_for(source, served.environment)
        return same and asked and self.hosting.fact() is HostFact.RUNNING

    # -- the loop ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Live until removed or drained."""
        while not await self._try(self._take_up):
            pass
        for root in self.roots():
            root.open()
        try:
            while not await self._try(self._turn):
                pass
        finally:
            await self._close()

    async def _take_up(self) -> bool:
        """Take up what an earlier daemon left."""
        self.record.restore(await asyncio.to_thread(saved_copies, self.home.root / "recovered"))
        self.record.complete(self.hosting.live, self.spec.resources)
        self.steps.take_up()
        if not await self.hosting.adopt(self.home):
            self._host_ended()
        elif self.hosting.host is not None and Stage.HOST in self.record.jobs:
            self.record.job_state(self.record.jobs[Stage.HOST], JobState.RUNNING)
        return True

    async def _try(self, what: Callable[[], Awaitable[bool]]) -> bool:
        """Do *what*; while the state cannot be written or the engine not asked, nothing is begun: again soon."""
        try:
            done = await what()
        except (StoreError, EngineError) as error:
            if isinstance(error, StoreError) and not error.retryable:
                raise
            self.log.warning("nothing_begun", error=str(error))
            self._stuck += 1
            until = asyncio.get_running_loop().time() + STORE_RETRY
            hold = planner.Hold(Why.BACKING_OFF, str(error), until, self._stuck)
            self.plan = planner.Plan(None, hold, self.plan.target)
            self.shop.news.tell()
            await self._wait()
            return False
        self._stuck = 0
        return done

    async def _turn(self) -> bool:
        """One turn of the loop; True when the actor has nothing left to do in this world."""
        self._poked.clear()
        self.turns += 1
        self.hosting.save_again()
        self.record.keep_again()
        self._keep_token()
        soon = self.plan.hold is not None and self.plan.hold.why in (Why.BUSY, Why.SILENT)
        if await self.hosting.probe(soon=soon):
            self._host_ended()
        await self._stop_when_idle()
        await self._reap_build()
        self.restarting = self.restarting and self.hosting.host is not None
        self.plan = planner.plan(await self.looking.look())
        if planner.ends_kernels(self.plan.step):  # what was known of them may be seconds old
            if await self.hosting.probe(soon=True, now=True):
                self._host_ended()
            self.plan = planner.plan(await self.looking.look())
        try:
            await self._note_rest()
        finally:
            self.planned = self.turns
        if self.plan.step is not None:
            await self._take(self.plan.step)
            return False
        self.publish()
        if self.draining or (self.removed and self.hosting.host is None):
            return True
        await self._wait()
        return False

    async def _stop_when_idle(self) -> None:
        """Wish for no host where nothing has used it for as long as the settings say."""
        if not self._may_be_idle():
            self.idleness.touch()
        elif not self.intent.stopped and idle_reason(self.spec.idle_stop, self.idleness.seconds()):
            await self.hosting.probe(now=True)  # what was known of its kernels may be seconds old
            reason = idle_reason(self.spec.idle_stop, self.idleness.seconds())
            if reason is not None and self._may_be_idle():
                self.stop(reason)

    def _may_be_idle(self) -> bool:
        """Whether the host says that no kernel is busy; one that does not answer may have busy ones."""
        status = self.hosting.status
        return self.hosting.host is not None and status is not None and status.answering and not status.busy

    def _keep_token(self) -> None:
        """The host knows the token that this daemon started with: what became of its file is put right."""
        with contextlib.suppress(OSError):  # a full disk; again at the next turn
            if secret_file(self.home.token_file) != self.token:
                put_secret(self.home.token_file, self.token)

    async def _take(self, step: planner.Step) -> None:
        """One step, inside the inner ring of failure."""
        await self.checks.cancel()
        try:
            if planner.ends_kernels(step):
                self.publish()  # the tabs may take a while to answer
                if not await self.steps.may(step):
                    return
            self.stepping = step
            if not isinstance(step, planner.Sync):  # which comes first, since a person waits for it; see Steps
                self.publish()
            await self.steps.take(step, self.plan.target)
        except KaosError as error:
            self.failed(step, self.plan.target, error)
        except Exception as error:
            self.log.exception("step_broke", step=type(step).__name__)
            text = f"kaosd itself failed in this step: {type(error).__name__}: {error}"
            hint = "`kaosctl logs --stage daemon` has the details"
            self.failed(step, self.plan.target, KaosError(text, hint=hint, retryable=True))
        finally:
            self.stepping = None

    def failed(self, step: Attempt | planner.Step, target: Target | None, error: KaosError) -> None:
        """Write an attempt down as failed, with the time of the next one; what a step itself aims at goes first."""
        attempt = step if isinstance(step, Attempt) else self.steps.attempt(step)
        target = getattr(step, "target", target)
        if isinstance(step, planner.Stop) and (self.removed or self.restarting or self.intent.stopped):
            target = None  # whatever was aimed at: it is tried again until the host is stopped
        elif target is None and not self.removed:
            return
        tries = self.failures.add(attempt, target, error, asyncio.get_running_loop().time())
        self.log.warning("attempt_failed", attempt=attempt.value, error=str(error), tries=tries)
        for root in self.roots() if isinstance(error, ContentLost) else ():
            root.mend()
        self.record.finish("failed", str(error))
        if isinstance(error, ContentLost) and tries >= LOST_FOR_GOOD and self.intent.pinned_source is not None:
            self.record.note("the version that was rolled back to is lost: what is on disk is served again")
            self.unpin()

    def _host_ended(self) -> None:
        """The host is gone without our doing: say why, start it again, with back-off when it was short-lived."""
        served = self.looking.served()
        error, steady = self.hosting.ended_unasked()
        if Stage.HOST in self.record.jobs:
            self.record.job_ended(self.record.jobs[Stage.HOST], JobState.FAILURE, error.text)
        if steady:
            self.failures.steady()
        if served is not None:
            self.failed(Attempt.HOST, served.target, error)

    async def _reap_build(self) -> None:
        """Take the result of a build that has ended."""
        making = self.making
        if making is None or not making.task.done():
            return
        state, text = JobState.SUCCESS, None
        try:
            making.task.result()
        except asyncio.CancelledError:
            state, text = JobState.KILLED, "superseded by a newer change"
            if cancelled := self.failures.text(Attempt.BUILD, making.digest):
                self.record.finish("cancelled", text := cancelled)
        except KaosError as error:
            state, text = JobState.FAILURE, str(error)
            self.failed(Attempt.BUILD, making.target, error)
        except Exception as error:
            self.log.exception("build_broke")
            state, text = JobState.FAILURE, f"kaosd itself failed in the build: {type(error).__name__}: {error}"
            self.failed(Attempt.BUILD, making.target, BuildFailed(text, retryable=True))
        else:
            self.failures.succeeded(Attempt.BUILD)
        making.log.line(f"-- {ENDS[state]}" + (f": {text}" if text else ""))
        self.record.job_ended(making.job, state, text)
        making.log.close()
        self.making = None  # not before all is written down
        if self.hosting.damage:
            await self.hosting.probe(now=True)

    async def _note_rest(self) -> None:
        """End the deployment that has reached its target, and the episode of events."""
        target, served, hold = self.plan.target, self.looking.served(), self.plan.hold
        self.waiting_since = None
        if hold is not None and hold.why is Why.BUSY and hold.until is not None:
            self.waiting_since = hold.until - self.spec.swap_when_idle
        for_good = hold is not None and hold.why in (Why.FAILED, Why.CANCELLED)
        if hold is not None and for_good and self.plan.step is None and self.making is None:
            self.record.finish("failed", hold.text)  # where only a part of it failed, and the rest was brought
        if hold is not None and hold.why is Why.STOPPED and self.plan.step is None:
            self.record.finish("cancelled", hold.text)
        if target is None or served is None or served.target != target:
            return
        if self.hosting.fact() is not HostFact.RUNNING or self.looking.cut_short() or self.hosting.damage:
            return
        self.record.arrived(target)
        self.failures.succeeded(Attempt.HOST)
        if self.plan.step is None and (hold is None or hold.why in (Why.PINNED, Why.SAVING)):
            self.now_please = False
            if self.intent.when_idle:
                self.intend(when_idle=False)
        if self.plan.step is None:
            await self.steps.way_back(self.plan)
            self.checks.look(self.record.deployment, self.spec.run_on_deploy, self._run)
            self.edits.rest()
            self.packages.note(self.hosting.live.environment)
            self.accepted -= {target.source, target.data}
            for root, held in ((self.source, self.plan.source), (self.data, self.plan.data)):
                if root is not None and held is None and not root.looking:
                    root.settle()

    async def _wait(self) -> None:
        """Until poked, or until a hold or the next probe is due."""
        plan = self.plan
        holds = [hold.until for hold in (plan.hold, plan.source, plan.data) if hold is not None]
        due = [at for at in (*holds, self.hosting.probe_due) if at is not None]
        try:
            async with asyncio.timeout_at(min(due) if due else None):
                await self._poked.wait()
        except TimeoutError:
            return

    def _run(self, file: str) -> AsyncGenerator[dict[str, Any]]:
        """Run a notebook file in the host that is there now."""
        host = self.hosting.host
        asked = {"path": file, "parameters": {}, "timeout": WITHIN, "keep": False}
        return run_in_host(host.upstream if host is not None else "unix:", self.spec.name, self.token, asked)

    def _checked(self, number: int, checks: tuple[DeployCheck, ...]) -> None:
        try:
            self.record.checked(number, checks)
        except StoreError as error:
            self.log.warning("checks_not_kept", error=str(error))
        self.hosting.probe_due = 0.0  # a kernel of ours has begun or ended
        self.shop.news.tell()
        self.poke()

    async def _close(self) -> None:
        await self.checks.cancel(final=self.removed)
        if self.making is not None:
            self.making.task.cancel()
            await asyncio.wait([self.making.task])
            await self._reap_build()
        self.hosting.close()
        await self.edits.close()
        await self.packages.close()
        await self.steps.work.close()
        for root in self.roots():
            await root.close()
        if self.removed:
            self.record.finish("cancelled", "the notebook was removed")
        self.publish()

    # -- publishing ----------------------------------------------------------------------------------------

    def state(self) -> tuple[NotebookState, str | None]:
        """The state as a whole, with its reason."""
        return standing.state(self._standing())

    def _can_roll_back(self) -> bool | None:
        """Whether an earlier version is kept; only told where that is the way out."""
        if self.state()[0] is not NotebookState.FAILED:
            return None
        return Past(self.journal, self.spec.name, self.hosting.live).before(OFFERED) is not None

    def _unread(self) -> str | None:
        """Why the latest scans need not be all that is on disk: files are being written, or events wait to be read."""
        if waiting := planner.being_written(self.looking.saving()):
            return waiting
        return "a change on disk is being read" if any(root.unread for root in self.roots()) else None

    def facts(self) -> view.Facts:
        """All that the status shows of this notebook; answered from memory."""
        return view.Facts(
            spec=self.spec,
            url=f"{self.shop.front_url}/{self.spec.name}/lab",
            standing=replace(self._standing(), unread=self._unread()),
            since=self.since,
            enforced=self.hosting.host is not None and self.engine.enforced(self.hosting.host),
            live=self.hosting.live,
            host_since=self.hosting.since,
            status=self.hosting.status,
            deployment=self.record.deployment,
            build=self.record.jobs.get(Stage.BUILD),
            refused=tuple(text for scan in self.scans() for text in view.refusals(scan.refused)),
            warnings=self.looking.warnings(),
            environment_file=self.looking.environment_file(),
            recovered=self.record.recovered,
            edits=self.edits.counts,
            progress=self.looking.progress(),
            until=self._until(),
            samples=self.hosting.samples,
            gpu_memory=self.shop.gpus.used(self.hosting.status.pids if self.hosting.status else ()),
            can_roll_back=self._can_roll_back(),
            copy=self._copy(),
        )

    def _copy(self) -> tab_notices.Copy | None:
        """The copy of an edit that a deployment has made last; of what a person has asked for no notice is needed."""
        place = self.home.root / "recovered"
        made = [(one, kept.reason(one.file, place)) for one in self.record.kept]
        unasked = [(one, reason) for one, reason in made if reason not in kept.ASKED]
        if not unasked:
            return None
        *others, (last, reason) = unasked
        merged = reason == kept.MERGED
        return tab_notices.Copy(last.path, last.file, last.at, merged, len(others))

    def _until(self) -> float | None:
        """When the hold passes, in whole seconds."""
        hold = self.plan.hold
        if hold is None or hold.until is None:
            return None
        return float(round(time.time() + hold.until - asyncio.get_running_loop().time()))

    def _standing(self) -> standing.Standing:
        source, data = self.looking.versions()
        return standing.Standing(
            plan=self.plan,
            served=self.looking.served(),
            host=self.hosting.fact(),
            source=source,
            data=data,
            stepping=self.stepping,
            building=self.making is not None,
            failures=self.failures.known,
            cut_short=bool(self.looking.cut_short()),
            unread=planner.being_written(self.looking.saving()),
            damage=self.hosting.damage,
            paused=self.intent.paused,
            stopped=self.intent.stopped,
            restarts=self.hosting.live.restarts,
        )

    def publish(self) -> None:
        """Tell the world when something that it can see has changed."""
        live, status = self.hosting.live, self.hosting.status
        state = self.state()
        seen = (
            *state,
            live.source,
            live.data,
            live.restarts,
            self.hosting.fact(),
            status and (status.busy, status.by_hand),
        )
        if seen[:2] != self._told[:2]:
            self.since = time.time()
            self.record.event("state", state=state[0].value, reason=state[1])
        self._told = seen
        self.shop.news.tell()

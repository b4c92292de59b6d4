"""How each step is carried out. Every step writes down what it is about to do before it cannot be undone.

A step that is interrupted by kill -9 is found again by the next observation: a sync that was started is in
`Live.syncing`, a host that was not written down is swept, an environment without its mark is built again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from kaosd import bundle, planner
from kaosd.engines.base import Carrier, Listing, Log, Order
from kaosd.errors import ConfigError, DocumentHeld, EngineError, HostUnreachable, KaosError
from kaosd.model import DataMode, Deployment, Environment, Host, JobState, LostKernels, Stage, Version
from kaosd.notebook.content import StoredContent
from kaosd.notebook.looking import Looking
from kaosd.notebook.making import Making
from kaosd.notebook.package_changes import changed
from kaosd.notebook.record import bare
from kaosd.notebook.state import ActorState
from kaosd.notebook.work import WorkDirectory, differences
from kaosd.planner import Attempt, Target, Why

Starter = Callable[[Order, Log], Awaitable[Host]]
LOST = "[the store has lost what was deployed before]"
SWAPS = "JupyterLab moves to a new pod, and its kernels are stopped. Your edits move with it."
STOPS = "This notebook is being stopped. What you edited here is kept."
RESTARTS = "JupyterLab is being restarted, and its kernels stop. What you edited here is kept."
NEW_DATA = "New data is on its way. JupyterLab starts again for it, and its kernels are stopped. Your edits stay."
REPLACED = "JupyterLab was replaced for"
CAUSES = 50  # paths that a deployment names as its cause, at most
HELD_AGAIN, HELD_COSTLY_AGAIN = 1.0, 30.0  # seconds; costly: a server was started for it


async def _nothing() -> None:
    """There is nothing to report."""


class Steps:
    """The steps of one notebook. publish: tells the world when something that it can see has changed."""

    def __init__(self, actor: ActorState, looking: Looking, work: WorkDirectory, publish: Callable[[], None]) -> None:
        self.actor = actor
        self.store = actor.shop.store
        self.writing = asyncio.Lock()  # held by whoever writes into the work directory
        self.work = work
        self._looking = looking
        self._publish = publish

    async def take(self, step: planner.Step, target: Target | None) -> None:
        """Carry out one step of a plan for *target*, or write down that it waits for an open document.

        Never while a copy is being restored.
        """
        async with self.writing:
            try:
                await self._take(step, target)
            except DocumentHeld as error:
                self._hold(step, target, error)

    async def may(self, step: planner.Step) -> bool:
        """Whether a new host may be started now; else it is written down that it waits for an open document.

        A server is not started to wait for a tab, and none is reported.
        """
        host = self.actor.hosting.host
        if host is not None and isinstance(step, planner.Swap | planner.Renew):
            try:
                await self.work.ask(step.target.source, host)
            except DocumentHeld as error:
                self._hold(step, step.target, error)
                return False
        return True

    async def _take(self, step: planner.Step, target: Target | None) -> None:
        match step:
            case planner.Build():
                await self._build(step.target)
            case planner.CancelBuild():
                await self._cancel_build()
            case planner.Start():
                await self._start(step.target, step.environment)
            case planner.Swap():
                await self._swap(step)
            case planner.Renew():
                await self._renew(step)
            case planner.Sync():
                await self._sync_step(step.target)
            case planner.Attach() if target is not None:
                await self._attach_step(target)
            case planner.Apply() if target is not None:
                await self._apply(target)
            case planner.Stop():
                await self._stop()

    @staticmethod
    def attempt(step: planner.Step) -> Attempt:
        """What a failure of *step* is filed under."""
        match step:
            case planner.Build() | planner.CancelBuild():
                return Attempt.BUILD
            case planner.Sync():
                return Attempt.SYNC
            case planner.Attach():
                return Attempt.ATTACH
            case planner.Apply():
                return Attempt.APPLY
            case _:
                return Attempt.HOST

    def _hold(self, step: planner.Step, target: Target | None, error: DocumentHeld) -> None:
        """The step is tried again soon; its deployment continues."""
        target = getattr(step, "target", target)
        if target is not None:
            retry_at = asyncio.get_running_loop().time() + (HELD_COSTLY_AGAIN if error.costly else HELD_AGAIN)
            self.actor.failures.wait(self.attempt(step), target, error.text, retry_at)

    # -- build ---------------------------------------------------------------------------------------------

    async def _build(self, target: Target) -> None:
        actor = self.actor
        await self._begin(target, "build")
        inputs = await asyncio.to_thread(self._looking.inputs, target.source)
        job, log = actor.record.job(Stage.BUILD)
        job = actor.record.job_state(job, JobState.RUNNING)
        build = actor.engine.build(actor.spec, inputs, log)
        task = asyncio.get_running_loop().create_task(build, name=f"build {actor.spec.name}")
        task.add_done_callback(lambda _: actor.poke())
        actor.making = Making(target.environment, target, job, log, task)

    async def _cancel_build(self) -> None:
        making = self.actor.making
        if making is not None:
            making.task.cancel()
            await asyncio.wait([making.task])

    # -- host ----------------------------------------------------------------------------------------------

    async def _start(self, target: Target, environment: Environment) -> None:
        before = self.actor.hosting.live.environment
        await self._begin(target, "start")
        await self._attach(target.data, None)
        await self.work.sync(target.source, None)
        host = await self._host(target, environment)
        if isinstance(self.actor.engine, Carrier):  # it begins with nothing in its directory
            await self.work.sync(target.source, host)
        self._serve(host, target, environment, attaching=False, applying=False)
        if before is not None and before.digest != environment.digest:
            await self._compare(before, environment)

    async def _host(self, target: Target, environment: Environment, start: Starter | None = None) -> Host:
        """A new host for *target*, with a job of its own. start: the engine's own way if another one than `start`."""
        actor = self.actor
        job, log = actor.record.job(Stage.HOST)
        try:
            host = await (start or actor.engine.start)(self._order(target, environment, log.path), log)
        except asyncio.CancelledError:
            actor.record.job_ended(job, JobState.KILLED, "the daemon stopped")
            raise
        except Exception as error:
            actor.record.job_ended(job, JobState.FAILURE, str(error))
            raise
        finally:
            log.close()
        actor.record.job_ready(job)
        return host

    def _order(self, target: Target, environment: Environment, log: Path) -> Order:
        actor = self.actor
        spec = replace(actor.spec, resources=target.resources)
        return Order(spec, actor.home, environment, f"/{spec.name}/", log, actor.shop.origins)

    def _serve(
        self, host: Host, target: Target, environment: Environment, **done: bool | str | LostKernels | None
    ) -> None:
        """Write down that *host* serves *target* from now on. done: see Live."""
        self.actor.hosting.serve(
            host,
            source=target.source,
            data=target.data,
            environment=environment,
            resources=target.resources,
            **{"syncing": None, **done},
        )
        self.actor.start_cause = ""
        self.work.show_data()
        self._note(target)
        self.actor.failures.succeeded(Attempt.HOST, target)

    async def _swap(self, step: planner.Swap) -> None:
        """Another environment: under the running server where it is the same one, else a new server beside it."""
        actor, target = self.actor, step.target
        old, before = actor.hosting.host, actor.hosting.live.environment
        if old is None:
            return
        await self._begin(target, "swap")
        serving = replace(target, data=actor.hosting.live.data)
        if step.keeps_kernels:
            order = self._order(target, step.environment, actor.home.logs / "switch.log")
            switched = await actor.engine.switch(old, order)
            if switched is None:
                raise EngineError("the running server cannot take the new environment", retryable=True)
            actor.hosting.save(host=switched, environment=step.environment)  # kernels start from it already
            await self.work.sync(target.source, switched)
            serving = replace(serving, resources=actor.hosting.live.resources or target.resources)
            self._serve(switched, serving, step.environment)
        else:
            await self._beside(old, target, step.environment, serving, "the new environment")
        if before is not None:
            await self._compare(before, step.environment)

    async def _compare(self, before: Environment, after: Environment) -> None:
        """Write down what the new environment changed, where the engine can tell."""
        actor, change = self.actor, None
        if isinstance(actor.engine, Listing):
            try:
                old, new = [await actor.engine.contents(one, actor.home) for one in (before, after)]
                change = changed(old.packages, new.packages)
            except EngineError as error:
                actor.record.note(f"what the new environment changed is not known: {error}")
        actor.hosting.save(change=change)

    async def _renew(self, step: planner.Renew) -> None:
        """A new host of the same environment, which has what the old one could not be given."""
        old = self.actor.hosting.host
        if old is None:
            return
        await self._begin(step.target, "swap")
        self.actor.engine.check(step.target.resources)
        await self._beside(old, step.target, step.environment, step.target, "new limits or data")
        for attempt in (Attempt.APPLY, Attempt.ATTACH):
            self.actor.failures.succeeded(attempt)

    async def _beside(self, old: Host, target: Target, environment: Environment, serving: Target, what: str) -> None:
        """A new host beside *old*, which stops when the new one serves *serving*; on failure *old* keeps running.

        what: for which it is replaced.
        """
        if isinstance(self.actor.engine, Carrier):
            await self._replace(self.actor.engine, old, target, environment, serving, what)
            return
        actor, data = self.actor, serving.data != self.actor.hosting.live.data
        leaving = actor.record.jobs.get(Stage.HOST)
        try:
            host = await self._host(target, environment)
        except BaseException:
            actor.record.goes_on(leaving)
            raise
        try:
            await self.work.sync(target.source, old)
            if data:  # the old one cannot see it: not before the last moment
                actor.hosting.save(attaching=True)
                await self._attach(serving.data, None)
        except BaseException as error:
            if isinstance(error, DocumentHeld):
                error.costly = True
            await self._retire(host, old, 0)  # no request has reached it
            actor.record.job_ended(actor.record.jobs[Stage.HOST], JobState.KILLED, "it did not come to serve")
            actor.record.goes_on(leaving)
            raise
        try:
            done = {"attaching": False} if data else {}
            lost = actor.hosting.losing(f"{REPLACED} {what}")
            self._serve(host, serving, environment, applying=False, lost=lost, **done)
        finally:
            await self._retire(old, host, actor.shop.grace)
        if leaving is not None:
            actor.record.job_ended(leaving, JobState.KILLED, "replaced by the next host")

    async def _retire(self, host: Host, stays: Host, grace: float) -> None:
        """Stop the one of two hosts that is not to serve; an engine that cannot do so now does it later."""
        try:
            await self.actor.engine.stop(host, grace)
        except EngineError as error:
            self.actor.record.note(f"the host that does not serve is stopped later: {error}")
            await self.actor.engine.sweep(self.actor.home, stays)

    async def _replace(
        self, engine: Carrier, old: Host, target: Target, environment: Environment, serving: Target, what: str
    ) -> None:
        """A new host in the place of *old*, where there can be but one, with the edits that were made in that one."""
        actor = self.actor
        leaving = actor.record.jobs.get(Stage.HOST)
        unreached = (Attempt.SYNC, target) in actor.hosting.refused
        try:
            await self.work.leave(old, SWAPS)
        except HostUnreachable as error:
            if not unreached:
                raise
            actor.record.note(f"edits made in the notebook could not be read out: {error}")
        try:
            host = await self._host(target, environment, engine.renew if unreached else None)
        except BaseException:
            actor.record.goes_on(leaving)  # the engine has put it back
            raise
        lost = actor.hosting.losing(f"{REPLACED} {what}")
        await self.work.sync(serving.source, host)
        self._serve(host, serving, environment, applying=False, lost=lost)
        if leaving is not None:
            actor.record.job_ended(leaving, JobState.KILLED, "replaced by the next host")

    async def _apply(self, target: Target) -> None:
        actor = self.actor
        host = actor.hosting.host
        if host is None:
            return
        await self._begin(target, "apply")
        actor.engine.check(target.resources)
        actor.hosting.save(applying=True)
        if await actor.engine.apply(host, target.resources):
            actor.hosting.save(resources=target.resources, applying=False)
        else:
            actor.hosting.save(applying=False)
            actor.hosting.refuses(Attempt.APPLY, target)
        actor.failures.succeeded(Attempt.APPLY)

    async def _stop(self) -> None:
        actor = self.actor
        host = actor.hosting.host
        if host is not None:
            status = actor.hosting.status
            lost = status.reason if status is not None and status.lost else None
            try:
                await self.work.leave(host, RESTARTS if actor.restarting else STOPS)
            except KaosError as error:
                actor.record.note(f"edits made in the notebook could not be read out: {error}")
            await actor.engine.stop(host, actor.shop.grace)
            if lost is not None:
                actor.record.note(f"the host was stopped, since it cannot be reached any more: {lost}")
                actor.hosting.save(restarts=actor.hosting.live.restarts + 1)
            if Stage.HOST in actor.record.jobs:
                state = JobState.KILLED if lost is None else JobState.FAILURE
                why = lost or actor.intent.stopped or actor.start_cause or None
                actor.record.job_ended(actor.record.jobs[Stage.HOST], state, why)
            if actor.intent.stopped and not actor.removed:
                actor.record.note(f"JupyterLab is {actor.intent.stopped}")
        await self.work.close()
        if actor.removed:
            await asyncio.to_thread(self.work.give_up)
        asked = actor.intent.stopped or actor.start_cause
        why = f"JupyterLab was {asked}" if asked else "JupyterLab could not be reached any more"
        kernels = actor.hosting.losing(why)
        actor.hosting.gone()
        actor.hosting.save(lost=kernels)
        actor.now_please = False

    # -- content -------------------------------------------------------------------------------------------

    async def _sync_step(self, target: Target) -> None:
        begin = partial(self._begin, target, "sync", time.time())
        try:
            await self.work.sync(target.source, self.actor.hosting.host, begin)
        except HostUnreachable as error:
            if not await self._takes_nothing(target, error):
                raise
            return
        finally:
            await begin()
        self.actor.hosting.save(source=target.source, syncing=None)
        self.work.show_data()
        self._note(target)
        self.actor.failures.succeeded(Attempt.SYNC)

    async def _takes_nothing(self, target: Target, error: HostUnreachable) -> bool:
        """Whether the host answers and yet takes no code: then a new one is to bring it, and that is said."""
        actor = self.actor
        status = await actor.engine.probe(actor.hosting.host) if actor.hosting.host is not None else None
        if status is None or not status.answering:
            return False
        actor.hosting.refuses(Attempt.SYNC, target)
        actor.record.note(f"{error}; a new host will bring it, and the kernels of this one end")
        return True

    async def _attach_step(self, target: Target) -> None:
        actor = self.actor
        await self._begin(target, "attach")
        host, linked = actor.hosting.host, actor.spec.data if actor.spec.data_mode is DataMode.LINK else None
        if host is not None and target.data is not None and not await actor.engine.reaches(host, linked):
            actor.hosting.refuses(Attempt.ATTACH, target)
            return
        actor.hosting.save(attaching=True)
        await self._attach(target.data, host)
        if isinstance(actor.engine, Carrier) and host is not None and actor.hosting.live.source is not None:
            await self.work.sync(actor.hosting.live.source, host)  # it may have begun anew
            actor.hosting.save(syncing=None)
        actor.hosting.save(data=target.data, attaching=False)
        self.work.show_data()
        self._note(target)
        actor.failures.succeeded(Attempt.ATTACH)

    def take_up(self) -> None:
        """After a start of the daemon: plan to bring again what the journal only says is there; blocking."""
        self.work.take_up()
        data = self.actor.hosting.live.data
        if data is not None and not isinstance(self.actor.engine, Carrier) and not self._shows(data):
            self.actor.hosting.save(attaching=True)

    def _shows(self, data: Version) -> bool:
        """Whether the link to the data shows *data*: the journal may be older than the link, like `deployed` tells."""
        actor = self.actor
        if actor.spec.data_mode is DataMode.LINK:
            return actor.home.data.is_symlink() and actor.home.data.readlink() == actor.spec.data
        return bundle.attached(self._versions, actor.home.data) == data.digest

    @property
    def _versions(self) -> Path:
        """Where the attached versions of the data are."""
        return self.actor.home.root / "data-versions"

    async def _attach(self, data: Version | None, host: Host | None) -> None:
        """Make the link to the data show *data*, or send it to where the host is."""
        actor = self.actor
        if isinstance(actor.engine, Carrier):
            await self._carry(actor.engine, data, host)
        elif data is None:
            actor.home.data.unlink(missing_ok=True)
        elif actor.spec.data_mode is DataMode.LINK and actor.spec.data is not None:
            await asyncio.to_thread(bundle.attach_link, actor.home.data, actor.spec.data)
        else:
            await asyncio.to_thread(bundle.attach, self.store, self._versions, actor.home.data, data.digest)

    async def _leave_for_data(self, host: Host) -> None:
        """Take leave of the tabs of a host that is restarted for new data, and of its kernels."""
        await self.work.leave(host, NEW_DATA)
        self.actor.hosting.save(lost=self.actor.hosting.losing("JupyterLab was restarted for new data"))

    async def _carry(self, engine: Carrier, data: Version | None, host: Host | None) -> None:
        """Send the data to an engine whose hosts see no directory of this machine."""
        actor = self.actor
        if data is not None and actor.spec.data_mode is DataMode.LINK:
            raise ConfigError(
                f"data_mode of {actor.spec.name} is link, and hosts of {actor.spec.engine} see no directory of yours",
                hint='write data_mode = "snapshot"',
            )
        content = StoredContent(self.store, data.digest, actor.home.root) if data is not None else None
        try:
            leaving = partial(self._leave_for_data, host) if host is not None else _nothing
            await engine.carry(actor.spec, content, host, actor.record.sent, leaving)
        finally:
            actor.record.sent(None)

    # -- writing down --------------------------------------------------------------------------------------

    async def _begin(self, target: Target, action: str, at: float | None = None) -> None:
        """The deployment that this step belongs to: the one in progress where it brings the same target; idempotent.

        at: when it started, if not now.
        """
        if not self.actor.record.going_on(target, action):
            self._publish()
            causes = await asyncio.to_thread(self._causes, target)
            await self.actor.durable()
            grown = len(causes) == 1 and await asyncio.to_thread(self._is_grown, target)
            self.actor.record.begin(target, causes, action, at, grown=grown)

    async def way_back(self, plan: planner.Plan) -> None:
        """Write down that what is served is wanted again, if the deployment before came to nothing."""
        record, target, last = self.actor.record, plan.target, self.actor.record.undone
        if last is None or target is None or not _is_wanted(plan, target, last):
            return
        record.reverted(target, await asyncio.to_thread(self._went_back, target, last))

    def _went_back(self, target: Target, last: Deployment) -> tuple[str, ...]:
        """What differs between *target* and *last*, which came to nothing, for people."""
        causes = ["[rollback]" if target.source == self.actor.intent.pinned_source else "[reverted]"]
        for what, old, new in (("", last.source, target.source), ("data: ", last.data, target.data)):
            if old is None or new is None or old == new or (what and self.actor.spec.data_mode is DataMode.LINK):
                continue
            changes = differences(self.store, old.digest, new.digest)
            causes += [f"{what}{path}" for path in bare(change.path for change in changes or ())]
        return tuple(causes[:CAUSES])

    def _causes(self, target: Target) -> tuple[str, ...]:
        """What differs between what is served and *target*, for people."""
        live = self.actor.hosting.live
        if live.source is None:
            return ("[first start]",)
        if target.source == self.actor.intent.pinned_source:
            return ("[rollback]",)
        changes = differences(self.store, live.source.digest, target.source.digest)
        causes = bare(change.path for change in changes) if changes is not None else (LOST,)
        causes += self._data_causes(live.data, target.data)
        if target.resources != live.resources:
            causes += ("[resources]",)
        if live.host is None and self.actor.start_cause:
            causes = (f"[{self.actor.start_cause}]", *causes)
        if causes:
            return causes[:CAUSES]
        actor, last = self.actor, self.actor.record.undone
        is_running = actor.hosting.fact() is planner.HostFact.RUNNING and not actor.hosting.damage
        if last is not None and is_running and self._looking.cut_short():  # its beginning is undone
            return self._went_back(target, last)
        if is_running:  # the same files, and yet something is to be done: another kaosd, Python or setting of pip
            return ("[environment is made differently]",)
        return (f"[{actor.hosting.damage or 'host ended'}]",)

    def _is_grown(self, target: Target) -> bool:
        """Whether *target* differs from what is served by one file, which has only become larger; blocking."""
        live = self.actor.hosting.live
        pairs: list[tuple[Version | None, Version | None]] = [(live.source, target.source)]
        pairs += [(live.data, target.data)] if self.actor.spec.data_mode is not DataMode.LINK else []
        sizes = [
            (change.old.size if change.old is not None else None, change.new.size if change.new is not None else 0)
            for old, new in pairs
            if old is not None and new is not None and old != new
            for change in differences(self.store, old.digest, new.digest) or ()
        ]
        return len(sizes) == 1 and sizes[0][0] is not None and sizes[0][0] < sizes[0][1]

    def _data_causes(self, old: Version | None, new: Version | None) -> tuple[str, ...]:
        if old == new:
            return ()
        if self.actor.spec.data_mode is DataMode.LINK or old is None or new is None:
            return ("[data]",)
        changes = differences(self.store, old.digest, new.digest)
        return tuple(f"data: {path}" for path in bare(c.path for c in changes)) if changes is not None else (LOST,)

    def _note(self, target: Target) -> None:
        """Remember the versions that were deployed, for rollback and retention."""
        actor, now = self.actor, time.time()
        for kind, root, version in (("source", actor.source, target.source), ("data", actor.data, target.data)):
            if root is not None and root.scan is not None and version is not None:
                same = root.scan.version == version
                files, size = (root.scan.files, root.scan.bytes) if same else (0, 0)
                actor.journal.note_version(actor.spec.name, kind, version, files, size, now)


def _is_wanted(plan: planner.Plan, target: Target, last: Deployment) -> bool:
    """Whether *target* is what a person wants, and not only what is served because the change of *last* is held."""
    match plan.hold:
        case None:
            return True
        case planner.Hold(Why.PINNED):
            return True
        case hold if hold == plan.data:
            return last.data == target.data
        case hold if hold == plan.source:
            return last.source == target.source
    return False

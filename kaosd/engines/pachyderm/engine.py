"""The Engine Protocol on Pachyderm: which requests in which order, and what is remembered of images and hosts."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections.abc import Callable, Collection
from pathlib import Path

import aiohttp
import structlog

from kaosd.engines.base import Cleared, Content, Finding, Home, Inputs, Leaving, Log, Order, Told
from kaosd.engines.pachyderm import checks, serving, specs
from kaosd.engines.pachyderm.answers import PachydRefusal, no_image
from kaosd.engines.pachyderm.archive import ARCHIVE
from kaosd.engines.pachyderm.backoff import waits
from kaosd.engines.pachyderm.building import Building, BuiltImage, packed, percents, whole
from kaosd.engines.pachyderm.connection import SMOOTH, Cluster, ClusterConnection
from kaosd.engines.pachyderm.filing import PodFiles
from kaosd.engines.pachyderm.hosts import Hosts, WrongImage
from kaosd.engines.pachyderm.lines import append, last_lines, not_kept
from kaosd.engines.pachyderm.names import names_of, repos_of, secret_of
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import FoundPipeline
from kaosd.engines.pachyderm.repos import FileContent, Head, NoContent
from kaosd.engines.pachyderm.serving import Serving
from kaosd.engines.pachyderm.signs import Signs
from kaosd.errors import KaosError, StartFailed
from kaosd.model import Environment, Host, HostStatus, NotebookSpec, Resources

log = structlog.get_logger("kaosd.pachyderm")
SOON = 2.0  # seconds at most between questions for the lines of a host that has not printed any
ALIVE = frozenset({"PIPELINE_STARTING", "PIPELINE_RUNNING", "PIPELINE_RESTARTING", "PIPELINE_CRASHING"})


class PachydermEngine:
    """See `Engine` and `Carrier`. place: a directory of the engine's own, made if absent.

    start_within: seconds that a host may take to answer, its image pulled. stuck_for: seconds for which a pipeline
    may say that it cannot start before that is believed.
    """

    name = "pachyderm"
    data_link: str | None = None  # the directory is in the pod
    builds_bundle = True

    def __init__(
        self, cluster: Cluster, options: Options, place: Path, *, start_within: float = 900.0, stuck_for: float = 30.0
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._place = place
        self._start_within = start_within
        self._stuck_for = stuck_for
        self._connection: ClusterConnection | None = None
        self._connecting = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._lost: set[str] = set()  # digests whose image the cluster could not pull
        self._making: dict[str, asyncio.Lock] = {}  # by notebook
        self._over: dict[str, asyncio.Event] = {}  # by notebook: its host has ended
        self._following: dict[str, asyncio.Task[None]] = {}  # by notebook: the lines of its host
        self._watched: dict[str, Serving] = {}  # and the host
        self._recorded: dict[str, Head] = {}  # by notebook: the newest commit of its source
        for directory in (place, place / "images", place / "scratch", place / "users"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- parts ---------------------------------------------------------------------------------------------

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    async def _hosts(self) -> Hosts:
        """The cluster, connected to and its version checked at the first use."""
        if self._connection is None:
            async with self._connecting:
                if self._connection is None:
                    self._connection = await _connect(self._cluster)
        return Hosts(self._connection, self._http(), self._options, self._start_within, self._stuck_for)

    # -- environments --------------------------------------------------------------------------------------

    async def built(self, digest: str) -> Environment | None:
        """See `Engine`. Answered from a file, since this is asked all the time."""
        try:
            found = json.loads((self._place / "images" / digest).read_text())
        except (FileNotFoundError, ValueError):
            return None
        if found.get("registry") != self._options.registry:
            return None
        return BuiltImage(found["image"], found["commit"]).environment(digest)

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        """See `Engine`."""
        self._note_user(spec.name, spec.user)
        async with self._making.setdefault(spec.name, asyncio.Lock()):
            found = await self.built(inputs.digest)
            if found is not None:
                return found
            hosts = await self._hosts()
            building = Building(
                spec=spec,
                names=names_of(spec.name, hosts.project),
                repos=hosts.repos,
                pipelines=hosts.pipelines,
                options=self._options,
                project=hosts.project,
                scratch=self._place / "scratch",
                log=log,
                anew=inputs.digest in self._lost,
            )
            try:
                image = await building.make(inputs)
            except KaosError as error:
                if no_image(str(error)):  # a further try would find the job done, and the image as absent as now
                    self._lost.add(inputs.digest)
                raise
            self._lost.discard(inputs.digest)
            self._remember(inputs.digest, image)
            return image.environment(inputs.digest)

    def _remember(self, digest: str, image: BuiltImage) -> None:
        path = self._place / "images" / digest
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"registry": self._options.registry, "image": image.image, "commit": image.commit}))
        draft.replace(path)

    async def collect(self, keep: frozenset[str]) -> None:
        """See `Engine`. What is forgotten here stays in the registry, which has its own rules."""
        used = keep | {serving.environment for serving in self._watched.values()}
        for path in (self._place / "images").iterdir():
            if path.name not in used:
                path.unlink(missing_ok=True)

    async def reach(self) -> None:
        """See `Carrier`."""
        await (await self._hosts()).connection.version()

    async def examine(self) -> list[Finding]:
        """See `Carrier`."""
        connection = ClusterConnection(self._cluster, deadline=checks.WITHIN)
        try:
            return [finding async for finding in checks.examine(connection, self._options)]
        finally:
            await connection.close()

    # -- data ----------------------------------------------------------------------------------------------

    async def carry(
        self, spec: NotebookSpec, content: Content | None, host: Host | None, told: Told, leaving: Leaving
    ) -> None:
        """See `Carrier`. pachd replaces the pod when a commit has arrived."""
        self._note_user(spec.name, spec.user)
        hosts = await self._hosts()
        names = names_of(spec.name, hosts.project)
        known = Serving.of(host.handle) if host is not None else None
        await hosts.repos.ensure(names.data, specs.repo_mark(spec.name, spec.user))
        head = await hosts.repos.head(names.data)
        content = content or NoContent()
        if head is not None and not head.error and head.digest == content.digest:
            return
        before = await self._server(known) if known is not None else None
        away = leaving if known is not None else None
        settled = await hosts.repos.put(names.data, content, percents(told), known=head, leaving=away)
        told(f"the data is {names.data}@{settled.id}")
        if lost := not_kept(*await asyncio.to_thread(content.bare)):
            told(lost)
        if known is not None:
            signs = Signs(known.notebook, self._stuck_for, told)
            self._watch(known, signs)
            await hosts.answering(known, before, signs)

    # -- code ----------------------------------------------------------------------------------------------

    def files(self, host: Host) -> PodFiles | None:
        """See `Carrier`."""
        known = Serving.of(host.handle)
        return PodFiles(self._http(), known) if known.order else None

    async def record(self, spec: NotebookSpec, digest: str, export: Callable[[Path], None]) -> None:
        """See `Carrier`. One commit to the source's repo, which no pipeline follows."""
        self._note_user(spec.name, spec.user)
        known = self._recorded.pop(spec.name, None)
        if known is None or known.digest != digest:
            hosts = await self._hosts()
            repo = names_of(spec.name, hosts.project).source
            if known is None:
                await hosts.repos.ensure(repo, specs.repo_mark(spec.name, spec.user))
                known = await hosts.repos.head(repo)
            if known is None or known.error or known.digest != digest:
                with tempfile.TemporaryDirectory(dir=self._place / "scratch") as place:
                    content = await whole(_exported, digest, export, Path(place))
                    known = await hosts.repos.put(repo, content, lambda _sent, _total: None, known=known)
        self._recorded[spec.name] = known

    # -- hosts ---------------------------------------------------------------------------------------------

    async def start(self, order: Order, log: Log) -> Host:
        """See `Engine`. The pipeline is one for all hosts of a notebook: a new one replaces the old at once.

        When the new one does not come up the old one is put back.
        """
        return await self._start(order, log, anew=False)

    async def renew(self, order: Order, log: Log) -> Host:
        """See `Carrier`."""
        return await self._start(order, log, anew=True)

    async def _start(self, order: Order, log: Log, *, anew: bool) -> Host:
        self._note_user(order.spec.name, order.spec.user)
        hosts = await self._hosts()
        wanted = await hosts.order(order)
        request = specs.host_request(wanted, hosts.project, self._options)
        found = await hosts.pipelines.find_ours(request)
        asked = hosts.asked(order, wanted)
        answer, newer = await hosts.answer(asked, found), found.version if found is not None else 0
        before = answer.server if answer is not None else None
        there = found is not None and found.annotations.get(specs.SPEC) == request.metadata.annotations[specs.SPEC]
        there = there and not anew
        if there:
            before, newer = None, newer - 1  # started by a start that was interrupted
        old = self._watched.get(asked.notebook)
        try:
            if not there:
                log.step(1, 2, f"{'create' if found is None else 'update'} the pipeline {wanted.notebook}")
                await hosts.deploy(wanted, found)
            signs = Signs(asked.notebook, self._stuck_for, log.line)
            self._watch(asked, signs)
            log.step(2, 2, "wait for JupyterLab")
            up = await hosts.answering(asked, before, signs, newer)
        except BaseException as error:
            self._end(asked.notebook)
            await asyncio.shield(hosts.put_back(order, found))
            if old is not None and not there:
                self._watch(old)  # its probe finds out where it is now
            if isinstance(error, StartFailed):
                self._forget_image(order.environment, error)
                # a further try would take the old one down again: only a change, or the person, asks for that
                text, again = f"{error.text}{last_lines(asked.log)}", found is None or there
                raise StartFailed(text, hint=error.hint, retryable=again) from error
            raise
        log.line(f"JupyterLab answers at {up.upstream}")
        self._watched[up.notebook] = up
        return up.host()

    def _forget_image(self, environment: Environment, error: StartFailed) -> None:
        """An image that the cluster cannot pull, or that is not what it was built of, is built again next time."""
        if no_image(str(error)) or isinstance(error, WrongImage):
            self._lost.add(environment.digest)
            (self._place / "images" / environment.digest).unlink(missing_ok=True)

    async def switch(self, host: Host, order: Order) -> Host | None:  # noqa: ARG002 - no pod takes another image
        """See `Engine`."""
        return None

    async def apply(self, host: Host, resources: Resources) -> bool:  # noqa: ARG002 - nor other limits
        """See `Engine`."""
        return False

    async def reaches(self, host: Host, linked: Path | None) -> bool:  # noqa: ARG002 - the same for all
        """See `Engine`. A service sees what `carry` has brought."""
        return True

    async def probe(self, host: Host) -> HostStatus:
        """See `Engine`. pachd is asked only when the host does not answer."""
        known = Serving.of(host.handle)
        running = known.notebook in self._watched  # one that was stopped may answer until its pod is gone
        answer = await serving.probe(self._http(), known) if running else "it was stopped"
        if isinstance(answer, HostStatus):
            return answer
        try:
            async with asyncio.timeout(4.0):
                hosts = await self._hosts()
                found = await hosts.pipelines.find(known.notebook)
        except (KaosError, TimeoutError) as error:
            return HostStatus(alive=True, answering=False, reason=f"{answer}; and {error or 'pachd does not either'}")
        if found is None or not _serves(found, known):
            said = "gone" if found is None else f"{found.state} {found.reason}".rstrip()
            if found is not None and found.state in ALIVE:
                said = "serving something else now"
            if not self._replaced(known):
                self._end(known.notebook)
            return HostStatus(alive=False, answering=False, reason=f"the pipeline {known.notebook} is {said}")
        now = hosts.reached(known, found)
        if now.upstream != known.upstream and not self._replaced(known):
            self._watch(now)
            reason = f"the pipeline {known.notebook} is at another address now: {found.ip}"
            return HostStatus(alive=True, answering=False, reason=reason, moved=now.host())
        said = f"{answer}; its pipeline is {found.state} {found.reason}".rstrip()
        return HostStatus(alive=True, answering=False, reason=said)

    async def stop(self, host: Host, grace: float) -> None:  # noqa: ARG002 - Pachyderm gives none
        """See `Engine`. A host that another one has replaced is gone already."""
        known = Serving.of(host.handle)
        if self._replaced(known):
            return
        pipelines = (await self._hosts()).pipelines
        found = await pipelines.find(known.notebook)
        if found is not None and _serves(found, known):
            await pipelines.delete(known.notebook, known.notebook, known.user)
            self._end(known.notebook)

    async def adopt(self, handle: dict[str, object]) -> Host | None:
        """See `Engine`. While pachd cannot be asked the host counts as running."""
        try:
            known = Serving.of(handle)
        except TypeError:  # of another engine
            return None
        try:
            hosts = await self._hosts()
            found = await hosts.pipelines.find(known.notebook)
        except KaosError as error:
            log.warning("pachd_not_asked", notebook=known.notebook, error=str(error))
        else:
            ours = found is not None and specs.is_ours(found.annotations, known.notebook, known.user)
            if found is None or not ours or not _serves(found, known):
                return None
            known = hosts.reached(known, found)
        self._watch(known)
        return known.host()

    async def sweep(self, home: Home, host: Host | None) -> None:
        """See `Engine`. There is one pipeline per notebook: the next start takes a stray up or replaces it.

        So a deployment that was interrupted continues where it was. What has stopped is deleted.
        """
        if host is not None:
            return
        name = home.root.name
        try:
            pipelines = (await self._hosts()).pipelines
            found = await pipelines.find(name)
            user = self._user(name)
            if found is not None and specs.is_ours(found.annotations, name, user) and found.state not in ALIVE:
                await pipelines.delete(name, name, user)
        except KaosError as error:
            log.warning("stray_host_not_looked_for", notebook=name, error=str(error))

    async def ended(self, host: Host) -> None:
        """See `Engine`. Found out by the probes."""
        await self._over.setdefault(Serving.of(host.handle).notebook, asyncio.Event()).wait()

    async def forget(self, home: Home) -> None:
        """See `Engine`. The repos of source and data stay, with all that was ever deployed."""
        name = home.root.name
        pipelines = (await self._hosts()).pipelines
        names, user = names_of(name, self._cluster.project), self._user(name)
        for pipeline in (names.host, names.trial, names.build):
            found = await pipelines.find(pipeline)
            if found is not None and specs.is_ours(found.annotations, name, user):
                await pipelines.delete(pipeline, name, user)
        await pipelines.delete_secret(secret_of(name, await asyncio.to_thread(home.token_file.read_text)))
        (self._place / "users" / name).unlink(missing_ok=True)
        self._recorded.pop(name, None)
        self._end(name)

    def _note_user(self, notebook: str, user: str) -> None:
        """Remember whose the pipelines of this name are that are made here; others' are not touched."""
        if self._user(notebook) != user:
            (self._place / "users" / notebook).write_text(user)

    def _user(self, notebook: str) -> str:
        """Whose they are; "" when none were made here."""
        try:
            return (self._place / "users" / notebook).read_text()
        except FileNotFoundError:
            return ""

    def repos(self, notebook: str) -> tuple[str, str]:
        """See `Carrier`."""
        return repos_of(notebook)

    async def clear(self, spec: NotebookSpec, unwanted: Collection[str]) -> Cleared:
        """See `Carrier`."""
        repos, mark = (await self._hosts()).repos, specs.repo_mark(spec.name, spec.user)
        ours = [repo for repo in repos_of(spec.name) if await repos.mark(repo) == mark]
        deleted = tuple(repo for repo in ours if repo in unwanted)
        self._recorded.pop(spec.name, None)
        for repo in deleted:
            await repos.delete(repo, mark)
        return Cleared(deleted, tuple(repo for repo in ours if repo not in unwanted))

    def enforced(self, host: Host) -> bool:
        """See `Engine`. Read back from the pipeline when the host came up."""
        return Serving.of(host.handle).enforced

    def check(self, resources: Resources) -> None:
        """See `Engine`. What the cluster has is the scheduler's to say; whole GPUs are the model's own rule."""

    async def close(self) -> None:
        """End what the engine itself does; hosts keep running."""
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._connection is not None:
            await self._connection.close()

    # -- what goes on while a host runs --------------------------------------------------------------------

    async def _server(self, known: Serving) -> str | None:
        """Which server answers for a host now."""
        if not known.upstream:
            return None
        answer = await serving.answered(self._http(), known.upstream, known.base_url, known.token_file)
        return answer.server if answer is not None else None

    def _watch(self, known: Serving, signs: Signs | None = None) -> None:
        """Write the host's lines to its log from now on. signs: get them too while it comes up."""
        self._end(known.notebook)
        self._over[known.notebook], self._watched[known.notebook] = asyncio.Event(), known
        follow = self._follow(known, signs)
        self._following[known.notebook] = asyncio.get_running_loop().create_task(follow, name=f"log {known.notebook}")

    def _replaced(self, known: Serving) -> bool:
        """Whether a newer host of the same notebook runs: what is found out of the older one says nothing of it."""
        current = self._watched.get(known.notebook)
        return current is not None and current.started_at > known.started_at

    def _end(self, notebook: str) -> None:
        """The host of this notebook is no more: tell who waits for that, and stop reading its lines."""
        self._over.setdefault(notebook, asyncio.Event()).set()
        self._watched.pop(notebook, None)
        task = self._following.pop(notebook, None)
        if task is not None:
            task.cancel()

    async def _follow(self, known: Serving, signs: Signs | None) -> None:
        pauses, since = waits(random.uniform, last=SOON), known.started_at - 5
        while True:
            try:
                pipelines = (await self._hosts()).pipelines
                async for line in pipelines.service_logs(known.notebook, int(time.time() - since) + 1):
                    if signs is not None:
                        signs.line(line)
                    await asyncio.to_thread(append, known.log, line)
                    pauses, since = waits(random.uniform), time.time()
            except KaosError as error:
                if signs is not None and isinstance(error, PachydRefusal):
                    signs.no_lines(error, asyncio.get_running_loop().time())
                log.info("host_log_interrupted", notebook=known.notebook, error=str(error))
            await asyncio.sleep(next(pauses))


def _serves(found: FoundPipeline, known: Serving) -> bool:
    """Whether a pipeline is that host still, by what was asked for; by its version where an older kaosd noted it."""
    same = found.annotations.get(specs.ORDER) == known.order if known.order else found.version == known.version
    return same and found.state in ALIVE


def _exported(digest: str, export: Callable[[Path], None], place: Path) -> FileContent:
    """A source version as an archive in *place*; blocking."""
    (place / "bundle").mkdir()
    export(place / "bundle")
    return packed(digest, place / "bundle", place / ARCHIVE)


async def _connect(cluster: Cluster) -> ClusterConnection:
    """A connection to a pachd of a version that kaosd knows."""
    connection = ClusterConnection(cluster)
    try:
        version = await connection.version()
    except BaseException:
        await connection.close()
        raise
    if version[:2] < SMOOTH:
        log.warning("pachd_is_old", version=version, effect="hosts go down while data is on its way to them")
    return connection

"""The Engine Protocol on Pachyderm: which requests in which order, and what is remembered of images and hosts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import time
from dataclasses import replace
from pathlib import Path

import aiohttp
import structlog
from python_pachyderm.proto.v2.pfs import pfs_pb2

from kaosd.engines.base import Content, Home, Inputs, Log, Order, Told
from kaosd.engines.pachyderm import serving, specs
from kaosd.engines.pachyderm.answers import UNCERTAIN, Refusal
from kaosd.engines.pachyderm.backoff import waits
from kaosd.engines.pachyderm.building import Building, Image
from kaosd.engines.pachyderm.connection import SMOOTH, Cluster, Connection
from kaosd.engines.pachyderm.names import Names, names_of
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import STUCK, Found, Pipelines
from kaosd.engines.pachyderm.repos import NoContent, Repos
from kaosd.engines.pachyderm.serving import Serving
from kaosd.errors import KaosError, StartFailed
from kaosd.model import Environment, Host, HostStatus, NotebookSpec, Resources

log = structlog.get_logger("kaosd.pachyderm")
ASK_AGAIN = 0.25  # seconds between questions to a host that is coming up
LOOK_AGAIN = 2.0  # seconds between looks at its pipeline
ALIVE = frozenset({"PIPELINE_STARTING", "PIPELINE_RUNNING", "PIPELINE_RESTARTING", "PIPELINE_CRASHING"})


class PachydermEngine:
    """See `Engine` and `Carrier`. place: a directory of the engine's own, made if absent.

    start_within: seconds that a host may take to answer, its image pulled. stuck_for: seconds for which a pipeline
    may say that it cannot start before that is believed.
    """

    name = "pachyderm"
    live_sync = False

    def __init__(
        self, cluster: Cluster, options: Options, place: Path, *, start_within: float = 900.0, stuck_for: float = 60.0
    ) -> None:
        self._cluster = cluster
        self._options = options
        self._place = place
        self._start_within = start_within
        self._stuck_for = stuck_for
        self._connection: Connection | None = None
        self._session: aiohttp.ClientSession | None = None
        self._lost: set[str] = set()  # digests whose image the cluster could not pull
        self._making: dict[str, asyncio.Lock] = {}  # by notebook
        self._over: dict[str, asyncio.Event] = {}  # by notebook: its host has ended
        self._following: dict[str, asyncio.Task[None]] = {}  # by notebook: the lines of its host
        for directory in (place, place / "images", place / "scratch"):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    # -- parts ---------------------------------------------------------------------------------------------

    async def _to_pachd(self) -> Connection:
        """The connection, made and its version checked at the first use."""
        if self._connection is None:
            connection = Connection(self._cluster)
            try:
                version = await connection.version()
            except BaseException:
                await connection.close()
                raise
            if self._connection is not None:  # another task was quicker
                await connection.close()
                return self._connection
            self._connection = connection
            if version[:2] < SMOOTH:
                log.warning("pachd_is_old", version=version, effect="hosts go down while data is on its way to them")
        return self._connection

    async def _parts(self) -> tuple[Repos, Pipelines]:
        connection = await self._to_pachd()
        return Repos(connection), Pipelines(connection)

    def _http(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession()
        return self._session

    def _names(self, notebook: str) -> Names:
        return names_of(notebook, self._cluster.project)

    # -- environments --------------------------------------------------------------------------------------

    async def built(self, digest: str) -> Environment | None:
        """See `Engine`. Answered from a file, since this is asked all the time."""
        try:
            found = json.loads((self._place / "images" / digest).read_text())
        except (FileNotFoundError, ValueError):
            return None
        if found.get("registry") != self._options.registry:
            return None
        return Image(found["image"], found["commit"]).environment(digest)

    async def build(self, spec: NotebookSpec, inputs: Inputs, log: Log) -> Environment:
        """See `Engine`."""
        async with self._making.setdefault(spec.name, asyncio.Lock()):
            found = await self.built(inputs.digest)
            if found is not None:
                return found
            repos, pipelines = await self._parts()
            building = Building(
                spec=spec,
                names=self._names(spec.name),
                repos=repos,
                pipelines=pipelines,
                options=self._options,
                project=self._cluster.project,
                scratch=self._place / "scratch",
                log=log,
                anew=inputs.digest in self._lost,
            )
            image = await building.make(inputs)
            self._lost.discard(inputs.digest)
            self._remember(inputs.digest, image)
            return image.environment(inputs.digest)

    def _remember(self, digest: str, image: Image) -> None:
        path = self._place / "images" / digest
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps({"registry": self._options.registry, "image": image.image, "commit": image.commit}))
        draft.replace(path)

    async def collect(self, keep: frozenset[str]) -> None:
        """See `Engine`. What is forgotten here stays in the registry, which has its own rules."""
        for path in (self._place / "images").iterdir():
            if path.name not in keep:
                path.unlink(missing_ok=True)

    # -- data ----------------------------------------------------------------------------------------------

    async def carry(self, spec: NotebookSpec, content: Content | None, host: Host | None, told: Told) -> None:
        """See `Carrier`. pachd starts the host's JupyterLab again when a commit has arrived."""
        repos, _ = await self._parts()
        names = self._names(spec.name)
        known = Serving.of(host.handle) if host is not None else None
        before = await self._started(known) if known is not None else None
        await repos.ensure(names.data, specs.repo_mark(spec.name, spec.user))
        head = await repos.head(names.data)
        settled = await repos.put(names.data, content or NoContent(), lambda _sent, _total: None)
        if settled == head:
            return
        told(f"the data is {names.data}@{settled.id}")
        if known is not None:
            await self._answering(known, before, told)

    # -- hosts ---------------------------------------------------------------------------------------------

    async def start(self, order: Order, log: Log) -> Host:
        """See `Engine`. The pipeline is one for all hosts of a notebook: a new one replaces the old at once.

        When the new one does not come up the old one is put back.
        """
        repos, pipelines = await self._parts()
        wanted = await self._order(order, repos, pipelines)
        request = specs.host_request(wanted, self._cluster.project, self._options)
        found = await pipelines.find_ours(request)
        asked = self._asked(order, found)
        before = await self._started(asked) if found is not None else None
        if found is None or found.annotations.get(specs.SPEC) != request.metadata.annotations[specs.SPEC]:
            log.line(f"step 1/2 {'create' if found is None else 'update'} the pipeline {wanted.notebook}")
            await self._deploy(pipelines, repos, wanted, found)
        else:
            before = None  # it is the one that is wanted: begun by a start that was cut short
        log.line("step 2/2 wait for JupyterLab")
        try:
            up = await self._answering(asked, before, log.line, newer=found.version if found and before else 0)
        except BaseException as error:
            await asyncio.shield(self._put_back(pipelines, repos, order, found))
            if isinstance(error, StartFailed):
                self._forget_image(order.environment, str(error))
            raise
        log.line(f"JupyterLab answers at {up.upstream}")
        self._watch(up)
        return up.host()

    async def _order(self, order: Order, repos: Repos, pipelines: Pipelines) -> specs.HostOrder:
        """The order in Pachyderm's words, with all that the pipeline needs in place."""
        spec, names = order.spec, self._names(order.spec.name)
        await repos.ensure(names.data, specs.repo_mark(spec.name, spec.user))
        if await repos.head(names.data) is None:  # a service without a datum is dead and says it runs
            await repos.put(names.data, NoContent(), lambda _sent, _total: None)
        token = await asyncio.to_thread(order.home.token_file.read_text)
        secret = f"{names.secret}-{hashlib.sha256(token.encode()).hexdigest()[:8]}"
        await pipelines.ensure_secret(secret, {"token": token})
        image = Image.of(order.environment)
        return specs.HostOrder(
            notebook=spec.name,
            user=spec.user,
            workspace=spec.workspace,
            image=image.image,
            commit=image.commit,
            base_url=order.base_url,
            secret=secret,
            cpu=spec.resources.cpu,
            memory=spec.resources.memory,
            gpu=spec.resources.gpu,
        )

    def _asked(self, order: Order, found: Found | None) -> Serving:
        """How the host will be asked, as far as is known before it is there."""
        spec, ip = order.spec, found.ip if found is not None else ""
        return Serving(
            notebook=spec.name,
            user=spec.user,
            version=found.version if found is not None else 0,
            upstream=serving.upstream(self._options, self._cluster.project, spec.name, ip) if ip else "",
            base_url=order.base_url,
            token_file=str(order.home.token_file),
            log=str(order.log),
            environment=order.environment.digest,
            started_at=time.time(),
            enforced=False,
        )

    async def _deploy(self, pipelines: Pipelines, repos: Repos, wanted: specs.HostOrder, found: Found | None) -> None:
        """Move the branch that Host follows and change its image, in one transaction: one job, one restart."""
        connection, names = await self._to_pachd(), self._names(wanted.notebook)
        request = specs.host_request(wanted, self._cluster.project, self._options)
        request.update = found is not None
        move = pfs_pb2.CreateBranchRequest(
            branch=repos.branch(names.build, specs.DEPLOYED), head=repos.commit(names.build, wanted.commit)
        )
        calls = [(connection.pfs.CreateBranch, move), (connection.pps.CreatePipeline, request)]
        try:
            await connection.together(calls, f"deploy the pipeline {wanted.notebook}")
        except Refusal as error:
            if error.kind not in UNCERTAIN or not await pipelines.came_about(request, found):
                raise

    async def _answering(self, asked: Serving, before: str | None, told: Told, newer: int = 0) -> Serving:
        """Wait until the pipeline is newer than that version and a server that began after *before* answers."""
        _, pipelines = await self._parts()
        loop = asyncio.get_running_loop()
        deadline, looked, stuck_since, said = loop.time() + self._start_within, 0.0, None, ""
        found: Found | None = None
        while loop.time() < deadline:
            if loop.time() - looked >= LOOK_AGAIN or found is None:
                found, looked = await self._look(pipelines, asked.notebook, found), loop.time()
                if found is not None and found.state != said:
                    said = found.state
                    told(f"{said} {found.reason}".rstrip())
                stuck = found is not None and found.state in STUCK
                stuck_since = (stuck_since or loop.time()) if stuck else None
                if (
                    found is not None
                    and stuck_since is not None
                    and (found.state == "PIPELINE_FAILURE" or loop.time() - stuck_since >= self._stuck_for)
                ):
                    raise StartFailed(f"the pipeline {asked.notebook} is {found.state}: {found.reason}")
            if found is not None and found.version > newer and found.ip:
                address = serving.upstream(self._options, self._cluster.project, asked.notebook, found.ip)
                began = await serving.started(self._http(), address, asked.base_url, asked.token_file)
                if began is not None and began != before:
                    return replace(asked, version=found.version, upstream=address, enforced=found.enforced)
            await asyncio.sleep(ASK_AGAIN)
        where = serving.upstream(self._options, self._cluster.project, asked.notebook, found.ip if found else "?")
        raise StartFailed(
            f"JupyterLab does not answer at {where} although the pipeline is {found.state if found else 'gone'}",
            hint="see its lines with kaosctl logs; pachyderm.service_address says where the front looks for it",
        )

    async def _look(self, pipelines: Pipelines, name: str, known: Found | None) -> Found | None:
        """The pipeline as it is; as it was when pachd cannot be asked just now."""
        try:
            return await pipelines.find(name)
        except Refusal as error:
            if error.kind not in UNCERTAIN:
                raise
            return known

    async def _put_back(self, pipelines: Pipelines, repos: Repos, order: Order, before: Found | None) -> None:
        """After a start that failed: what was served before is served again, or nothing is."""
        try:
            earlier = specs.order_in(before.annotations) if before is not None else None
            if earlier is None:
                await pipelines.delete(self._names(order.spec.name).host, order.spec.name, order.spec.user)
                return
            now = await pipelines.find(earlier.notebook)
            request = specs.host_request(earlier, self._cluster.project, self._options)
            if now is not None and now.annotations.get(specs.SPEC) != request.metadata.annotations[specs.SPEC]:
                await self._deploy(pipelines, repos, earlier, now)
        except KaosError as error:
            log.warning("host_not_put_back", notebook=order.spec.name, error=str(error))

    def _forget_image(self, environment: Environment, why: str) -> None:
        """An image that the cluster cannot pull is built anew at the next try."""
        if "ImagePull" in why or "InvalidImageName" in why:
            self._lost.add(environment.digest)
            (self._place / "images" / environment.digest).unlink(missing_ok=True)

    async def switch(self, host: Host, order: Order) -> Host | None:  # noqa: ARG002 - no pod takes another image
        """See `Engine`."""
        return None

    async def apply(self, host: Host, resources: Resources) -> bool:  # noqa: ARG002 - nor other limits
        """See `Engine`."""
        return False

    async def probe(self, host: Host) -> HostStatus:
        """See `Engine`. pachd is asked only when the host does not answer."""
        known = Serving.of(host.handle)
        answer = await serving.probe(self._http(), known)
        if isinstance(answer, HostStatus):
            return answer
        try:
            async with asyncio.timeout(4.0):
                _, pipelines = await self._parts()
                found = await pipelines.find(known.notebook)
        except (KaosError, TimeoutError) as error:
            return HostStatus(alive=True, answering=False, reason=f"{answer}; and {error or 'pachd does not either'}")
        if found is None or found.version != known.version or found.state not in ALIVE:
            said = "gone" if found is None else f"{found.state} {found.reason}".rstrip()
            if found is not None and found.version != known.version:
                said = "another version now"
            self._end(known.notebook)
            return HostStatus(alive=False, answering=False, reason=f"the pipeline {known.notebook} is {said}")
        said = f"{answer}; its pipeline is {found.state} {found.reason}".rstrip()
        return HostStatus(alive=True, answering=False, reason=said)

    async def stop(self, host: Host, grace: float) -> None:  # noqa: ARG002 - Pachyderm gives none
        """See `Engine`. A host that another one has replaced is gone already."""
        known = Serving.of(host.handle)
        _, pipelines = await self._parts()
        found = await pipelines.find(known.notebook)
        if found is not None and found.version == known.version:
            await pipelines.delete(self._names(known.notebook).host, known.notebook, known.user)
            self._end(known.notebook)

    async def adopt(self, handle: dict[str, object]) -> Host | None:
        """See `Engine`. While pachd cannot be asked the host counts as running."""
        try:
            known = Serving.of(handle)
        except TypeError:  # of another engine
            return None
        try:
            _, pipelines = await self._parts()
            found = await pipelines.find(known.notebook)
        except KaosError as error:
            log.warning("pachd_not_asked", notebook=known.notebook, error=str(error))
        else:
            ours = found is not None and specs.is_ours(found.annotations, known.notebook, known.user)
            if found is None or not ours or found.version != known.version or found.state not in ALIVE:
                return None
        self._watch(known)
        return known.host()

    async def sweep(self, home: Home, host: Host | None) -> None:
        """See `Engine`. There is one pipeline per notebook: a stray is replaced by the next start, or deleted here."""
        if host is not None:
            return
        name = home.root.name
        try:
            _, pipelines = await self._parts()
            found = await pipelines.find(name)
            if found is not None and found.annotations.get(specs.NOTEBOOK) == name:
                await pipelines.delete(name, name, found.annotations.get(specs.USER, ""))
        except KaosError as error:
            log.warning("stray_host_not_looked_for", notebook=name, error=str(error))

    async def ended(self, host: Host) -> None:
        """See `Engine`. Found out by the probes."""
        await self._over.setdefault(Serving.of(host.handle).notebook, asyncio.Event()).wait()

    async def forget(self, home: Home) -> None:
        """See `Engine`. The repos of source and data stay, with all that was ever deployed."""
        name = home.root.name
        _, pipelines = await self._parts()
        names = self._names(name)
        for pipeline in (names.host, names.build):
            found = await pipelines.find(pipeline)
            if found is not None and found.annotations.get(specs.NOTEBOOK) == name:
                earlier = specs.order_in(found.annotations)
                await pipelines.delete(pipeline, name, found.annotations.get(specs.USER, ""))
                if earlier is not None:
                    await pipelines.delete_secret(earlier.secret)
        self._end(name)

    def enforced(self, host: Host) -> bool:
        """See `Engine`. Read back from the pipeline when the host came up."""
        return Serving.of(host.handle).enforced

    def check(self, resources: Resources) -> None:
        """See `Engine`. What the cluster has is the scheduler's to say; whole GPUs are the model's own rule."""

    async def close(self) -> None:
        """End what the engine itself does; hosts go on."""
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
        if self._connection is not None:
            await self._connection.close()

    # -- what goes on while a host runs --------------------------------------------------------------------

    async def _started(self, known: Serving) -> str | None:
        if not known.upstream:
            return None
        return await serving.started(self._http(), known.upstream, known.base_url, known.token_file)

    def _watch(self, known: Serving) -> None:
        """Write the host's lines to its log from now on."""
        self._end(known.notebook)
        self._over[known.notebook] = asyncio.Event()
        follow = self._follow(known)
        self._following[known.notebook] = asyncio.get_running_loop().create_task(follow, name=f"log {known.notebook}")

    def _end(self, notebook: str) -> None:
        """The host of this notebook is no more: tell who waits for that, and stop reading its lines."""
        self._over.setdefault(notebook, asyncio.Event()).set()
        task = self._following.pop(notebook, None)
        if task is not None:
            task.cancel()

    async def _follow(self, known: Serving) -> None:
        pauses, since = waits(random.uniform), known.started_at - 5
        while True:
            try:
                _, pipelines = await self._parts()
                async for line in pipelines.service_logs(known.notebook, int(time.time() - since) + 1):
                    await asyncio.to_thread(_append, known.log, line)
                    pauses, since = waits(random.uniform), time.time()
            except KaosError as error:
                log.info("host_log_interrupted", notebook=known.notebook, error=str(error))
            await asyncio.sleep(next(pauses))


def _append(path: str, line: str) -> None:
    with open(path, "a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(line + "\n")

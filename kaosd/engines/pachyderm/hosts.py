"""Bringing a host up: what its pipeline needs, the one transaction that deploys it, and the wait for its answer."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

import aiohttp
import structlog
from python_pachyderm.proto.v2.pfs import pfs_pb2

from kaosd.engines.base import Order
from kaosd.engines.pachyderm import serving, specs
from kaosd.engines.pachyderm.answers import UNCERTAIN, PachydRefusal
from kaosd.engines.pachyderm.building import BuiltImage
from kaosd.engines.pachyderm.connection import ClusterConnection
from kaosd.engines.pachyderm.names import names_of, secret_of
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import FoundPipeline, Pipelines
from kaosd.engines.pachyderm.repos import NoContent, Repos
from kaosd.engines.pachyderm.serving import Serving
from kaosd.engines.pachyderm.signs import Signs
from kaosd.errors import KaosError, StartFailed

log = structlog.get_logger("kaosd.pachyderm")
ASK_AGAIN = 0.25  # seconds between questions to a host that is coming up
LOOKS = (1.0, 10.0)  # seconds between looks at its pipeline, first and at most; pachd has no stream of pipelines


class WrongImage(StartFailed):
    """A pod runs something else than what was built for it."""


@dataclass(frozen=True, slots=True)
class Hosts:
    """How hosts are brought up in one cluster. within, stuck_for: seconds, as in PachydermEngine."""

    connection: ClusterConnection
    session: aiohttp.ClientSession
    options: Options
    within: float
    stuck_for: float

    @property
    def project(self) -> str:
        """The project of all pipelines."""
        return self.connection.cluster.project

    @property
    def repos(self) -> Repos:
        """The project's repos."""
        return Repos(self.connection)

    @property
    def pipelines(self) -> Pipelines:
        """The project's pipelines."""
        return Pipelines(self.connection)

    async def order(self, order: Order) -> specs.HostOrder:
        """The order in Pachyderm's words, with all that the pipeline needs in place."""
        spec, names = order.spec, names_of(order.spec.name, self.project)
        await self.repos.ensure(names.data, specs.repo_mark(spec.name, spec.user))
        if await self.repos.head(names.data) is None:  # a service without a datum is dead and says it runs
            await self.repos.put(names.data, NoContent(), lambda _sent, _total: None)
        token = await asyncio.to_thread(order.home.token_file.read_text)
        secret = secret_of(spec.name, token)
        await self.pipelines.ensure_secret(secret, {"token": token})
        image = BuiltImage.of(order.environment)
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

    async def deploy(self, wanted: specs.HostOrder, found: FoundPipeline | None) -> None:
        """Move the branch that Host follows and change its image, in one transaction: one job, one restart."""
        names = names_of(wanted.notebook, self.project)
        request = specs.host_request(wanted, self.project, self.options)
        request.update = found is not None
        move = pfs_pb2.CreateBranchRequest(
            branch=self.repos.branch(names.build, specs.DEPLOYED), head=self.repos.commit(names.build, wanted.commit)
        )
        calls = [(self.connection.pfs.CreateBranch, move), (self.connection.pps.CreatePipeline, request)]
        try:
            await self.connection.together(calls, f"deploy the pipeline {wanted.notebook}")
        except PachydRefusal as error:
            if error.kind not in UNCERTAIN or not await self.pipelines.came_about(request, found):
                raise

    async def put_back(self, order: Order, before: FoundPipeline | None) -> None:
        """After a start that failed: what was served before is served again, or nothing is."""
        try:
            earlier = specs.order_in(before.annotations) if before is not None else None
            if earlier is None:
                await self.pipelines.delete(order.spec.name, order.spec.name, order.spec.user)
                return
            now = await self.pipelines.find(earlier.notebook)
            request = specs.host_request(earlier, self.project, self.options)
            if now is not None and now.annotations.get(specs.SPEC) != request.metadata.annotations[specs.SPEC]:
                await self.deploy(earlier, now)
        except KaosError as error:
            log.warning("host_not_put_back", notebook=order.spec.name, error=str(error))

    # -- the answer ----------------------------------------------------------------------------------------

    def asked(self, order: Order, wanted: specs.HostOrder) -> Serving:
        """How the host will be asked, as far as is known before it is there."""
        return Serving(
            notebook=order.spec.name,
            user=order.spec.user,
            version=0,
            upstream="",
            base_url=order.base_url,
            token_file=str(order.home.token_file),
            log=str(order.log),
            environment=order.environment.digest,
            started_at=time.time(),
            enforced=False,
            order=wanted.told(),
        )

    async def answer(self, known: Serving, found: FoundPipeline | None) -> serving.Answer | None:
        """What the server says that answers for the pipeline now; None when none does."""
        if found is None or not found.ip:
            return None
        address = serving.upstream(self.options, self.project, known.notebook, found.ip)
        return await serving.answered(self.session, address, known.base_url, known.token_file)

    async def answering(self, asked: Serving, before: str | None, signs: Signs, newer: int = 0) -> Serving:
        """Wait until the pipeline is newer than that version and a server other than *before* answers.

        Raises StartFailed when there are signs that it never will, or when the time is over.
        """
        loop = asyncio.get_running_loop()
        deadline, look, pause = loop.time() + self.within, 0.0, LOOKS[0]
        while loop.time() < deadline:
            if loop.time() >= look:
                news = signs.see(await self._look(asked.notebook, signs.found), loop.time())
                pause = LOOKS[0] if news else min(2 * pause, LOOKS[1])
                look = loop.time() + pause
            signs.check(loop.time())
            found = signs.found
            if found is not None and found.version > newer:
                answer = await self.answer(asked, found)
                if answer is not None and answer.server != before:
                    _check_image(asked, answer)
                    return self.reached(replace(asked, enforced=found.enforced), found)
            await asyncio.sleep(ASK_AGAIN)
        raise self._silent(asked.notebook, signs.found)

    def reached(self, known: Serving, found: FoundPipeline) -> Serving:
        """That host where its pipeline is now, which pachd may have made again."""
        address = serving.upstream(self.options, self.project, known.notebook, found.ip) if found.ip else known.upstream
        return replace(known, version=found.version, upstream=address)

    async def _look(self, name: str, known: FoundPipeline | None) -> FoundPipeline | None:
        """The pipeline as it is; as it was when pachd cannot be asked just now."""
        try:
            return await self.pipelines.find(name)
        except PachydRefusal as error:
            if error.kind not in UNCERTAIN:
                raise
            return known

    def _silent(self, name: str, found: FoundPipeline | None) -> StartFailed:
        if found is None:
            return StartFailed(f"the pipeline {name} is gone")
        if not found.ip:
            return StartFailed(f"the pipeline {name} is {found.state} and has no address after {self.within:g} s")
        where = serving.upstream(self.options, self.project, name, found.ip)
        return StartFailed(
            f"JupyterLab does not answer at {where}, although the pipeline is {found.state}",
            hint="pachyderm.service_address says where the front looks for it; its lines are in kaosctl logs",
        )


def _check_image(asked: Serving, answer: serving.Answer) -> None:
    """StartFailed when the pod runs another image than the one that was made for what was asked."""
    if answer.environment is not None and answer.environment != asked.environment:
        raise WrongImage(
            f"the image of {asked.notebook} was made of {answer.environment[:7]} and not of {asked.environment[:7]}",
            hint="BuildKit has taken something older for it; kaosd builds it again",
        )

"""Pipelines and jobs of ours: changed and deleted only when they bear our mark, and only when that makes a change."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration
from python_pachyderm.proto.v2.pfs import pfs_pb2
from python_pachyderm.proto.v2.pps import pps_pb2

from kaosd.engines.pachyderm.answers import UNCERTAIN, Kind, PachydRefusal
from kaosd.engines.pachyderm.backoff import waits
from kaosd.engines.pachyderm.connection import ClusterConnection
from kaosd.engines.pachyderm.names import in_kubernetes
from kaosd.engines.pachyderm.specs import NOTEBOOK, SPEC, USER, is_ours
from kaosd.errors import EngineError, EngineUnavailable

HELD = 30.0  # seconds for which pachd holds the question for a job's end; then its pipeline is looked at
ENDED = frozenset({"JOB_SUCCESS", "JOB_FAILURE", "JOB_KILLED", "JOB_UNRUNNABLE"})
STUCK = frozenset({"PIPELINE_FAILURE", "PIPELINE_CRASHING"})


@dataclass(frozen=True, slots=True)
class FoundPipeline:
    """A pipeline as it is. state: a name of the protocol; enforced: Kubernetes has limits for it."""

    version: int
    state: str
    reason: str
    ip: str
    annotations: Mapping[str, str]
    enforced: bool


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job as it is; its id is that of its output commit."""

    id: str
    version: int
    state: str
    reason: str


class Pipelines:
    """The pipelines of one project."""

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection
        self._project = connection.cluster.project

    def named(self, name: str) -> pps_pb2.Pipeline:
        """The message that names a pipeline."""
        return pps_pb2.Pipeline(project=pfs_pb2.Project(name=self._project), name=name)

    async def find(self, name: str) -> FoundPipeline | None:
        """The pipeline, or None."""
        request = pps_pb2.InspectPipelineRequest(pipeline=self.named(name), details=True)
        call = self._connection.pps.InspectPipeline
        try:
            info = await self._connection.ask(call, request, f"show the pipeline {name}")
        except PachydRefusal as error:
            if error.kind is Kind.ABSENT:
                return None
            raise
        limits = info.details.resource_limits
        return FoundPipeline(
            version=info.version,
            state=_word(pps_pb2.PipelineState, info.state),
            reason=info.reason or info.details.recent_error,
            ip=info.details.service.ip,
            annotations=dict(info.details.metadata.annotations),
            enforced=bool(limits.cpu or limits.memory),
        )

    async def find_ours(self, request: pps_pb2.CreatePipelineRequest) -> FoundPipeline | None:
        """The pipeline of *request* as it is; EngineError when it is somebody else's, or disturbs somebody else's."""
        annotations, name = request.metadata.annotations, request.pipeline.name
        found = await self.find(name)
        if found is not None:
            _check_ours(found, name, annotations[NOTEBOOK], annotations[USER])
            return found
        wanted = in_kubernetes(self._project, name)
        listing = pps_pb2.ListPipelineRequest(projects=[pfs_pb2.Project(name=self._project)])
        others = self._connection.read(self._connection.pps.ListPipeline, listing, "list the pipelines", within=30.0)
        async for other in others:
            if in_kubernetes(self._project, other.pipeline.name) == wanted:
                raise EngineError(
                    f"the pipeline {other.pipeline.name} is called the same as {name} in Kubernetes",
                    hint="give the notebook another name",
                )
        return None

    async def ensure(self, request: pps_pb2.CreatePipelineRequest, *, anew: bool = False) -> bool:
        """Make or change the pipeline; False when it is as wanted already. anew: process what was processed before."""
        found = await self.find_ours(request)
        if found is not None and found.annotations.get(SPEC) == request.metadata.annotations[SPEC] and not anew:
            return False
        wanted = pps_pb2.CreatePipelineRequest()
        wanted.CopyFrom(request)
        wanted.update, wanted.reprocess = found is not None, anew
        try:
            what = f"create the pipeline {request.pipeline.name}"
            await self._connection.ask(self._connection.pps.CreatePipeline, wanted, what)
        except PachydRefusal as error:
            if error.kind not in UNCERTAIN or not await self.came_about(request, found):
                raise
        return True

    async def came_about(self, request: pps_pb2.CreatePipelineRequest, before: FoundPipeline | None) -> bool:
        """Whether an update whose answer was lost took place."""
        now = await self.find(request.pipeline.name)
        if now is None or now.annotations.get(SPEC) != request.metadata.annotations[SPEC]:
            return False
        return before is None or now.version > before.version

    async def delete(self, name: str, notebook: str, user: str) -> bool:
        """Delete a pipeline of ours with its output; False when there is none."""
        found = await self.find(name)
        if found is None:
            return False
        _check_ours(found, name, notebook, user)
        request = pps_pb2.DeletePipelineRequest(pipeline=self.named(name))
        await self._connection.ask(self._connection.pps.DeletePipeline, request, f"delete the pipeline {name}")
        return True

    # -- jobs ----------------------------------------------------------------------------------------------

    async def newest_job(self, name: str) -> FoundJob | None:
        """The job that started last."""
        request = pps_pb2.ListJobRequest(pipeline=self.named(name), number=1)
        jobs = self._connection.read(self._connection.pps.ListJob, request, f"list the jobs of {name}", within=30.0)
        async for info in jobs:
            return _job(info)
        return None

    async def stop_job(self, name: str, id_: str, reason: str) -> None:
        """End a job."""
        request = pps_pb2.StopJobRequest(job=pps_pb2.Job(pipeline=self.named(name), id=id_), reason=reason)
        await self._connection.ask(self._connection.pps.StopJob, request, f"stop the job {id_}", within=5.0)

    async def ended_job(self, name: str, id_: str) -> FoundJob:
        """Return when the job has ended.

        pachd holds the question until then; SubscribeJob would not do, since it tells each job once, when it starts.
        Raises EngineUnavailable when the pipeline is stuck, since the job would wait for ever.
        """
        pauses = waits(random.uniform)
        job = pps_pb2.Job(pipeline=self.named(name), id=id_)
        request, what = pps_pb2.InspectJobRequest(job=job, wait=True), f"tell when the job {id_} ends"
        while True:
            try:
                found = _job(await self._connection.ask(self._connection.pps.InspectJob, request, what, within=HELD))
                if found.state in ENDED:
                    return found
            except PachydRefusal as error:
                if error.kind not in UNCERTAIN:
                    raise
                if error.kind is Kind.SLOW:
                    await self._check_not_stuck(name)
                    continue
            await asyncio.sleep(next(pauses))

    async def _check_not_stuck(self, name: str) -> None:
        try:
            found = await self.find(name)
        except PachydRefusal as error:
            if error.kind not in UNCERTAIN:
                raise
            return
        if found is not None and found.state in STUCK:
            raise EngineUnavailable(f"the pipeline {name} is {found.state}: {found.reason or 'no reason is given'}")

    # -- logs ----------------------------------------------------------------------------------------------

    async def job_logs(self, name: str, id_: str, *, follow: bool) -> AsyncIterator[str]:
        """What a job prints. A PachydRefusal when pachd has no logs of it, or none yet."""
        job = pps_pb2.Job(pipeline=self.named(name), id=id_)
        async for line in self._logs(pps_pb2.GetLogsRequest(job=job, follow=follow), name, follow):
            yield line

    async def service_logs(self, name: str, since: int) -> AsyncIterator[str]:
        """What a service prints from *since* seconds ago on; pachd files it under its master, without a job.

        A PachydRefusal when it has no pod (NO_LOGS), or one that does not run yet (WAITING).
        """
        window = Duration(seconds=max(1, since))
        request = pps_pb2.GetLogsRequest(pipeline=self.named(name), master=True, follow=True, since=window)
        async for line in self._logs(request, name, follow=True):
            yield line

    async def _logs(self, request: pps_pb2.GetLogsRequest, name: str, follow: bool) -> AsyncIterator[str]:
        within = None if follow else 60.0
        call = self._connection.pps.GetLogs
        async for line in self._connection.read(call, request, f"show the logs of {name}", within=within):
            if line.user:
                yield line.message.rstrip("\n")

    # -- secrets -------------------------------------------------------------------------------------------

    async def ensure_secret(self, name: str, values: Mapping[str, str]) -> None:
        """Make an Opaque secret if it is absent. Its name says what it holds: it is never changed."""
        data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "type": "Opaque", "data": data}
        request = pps_pb2.CreateSecretRequest(file=json.dumps(secret).encode())
        try:
            await self._connection.ask(self._connection.pps.CreateSecret, request, f"create the secret {name}")
        except PachydRefusal as error:
            if error.kind is not Kind.EXISTS:
                raise

    async def delete_secret(self, name: str) -> None:
        """Delete a secret, if there is one."""
        request = pps_pb2.DeleteSecretRequest(secret=pps_pb2.Secret(name=name))
        try:
            await self._connection.ask(self._connection.pps.DeleteSecret, request, f"delete the secret {name}")
        except PachydRefusal as error:
            if error.kind not in (Kind.ABSENT, Kind.SECRET):
                raise


def _check_ours(found: FoundPipeline, name: str, notebook: str, user: str) -> None:
    if not is_ours(found.annotations, notebook, user):
        raise EngineError(
            f"the pipeline {name} was not made by kaosd for this notebook",
            hint="give the notebook another name, or delete the pipeline if it is not needed",
        )


def _job(info: pps_pb2.JobInfo) -> FoundJob:
    return FoundJob(info.job.id, info.pipeline_version, _word(pps_pb2.JobState, info.state), info.reason)


def _word(states: object, number: int) -> str:
    """The name of a state; a number that this client does not know is not an error."""
    try:
        return str(states.Name(number))  # type: ignore[attr-defined]
    except ValueError:
        return f"UNKNOWN_{number}"

"""The stand-in's PPS: pipelines, jobs, logs and secrets, with pachd's checks and its silence where it has none."""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from python_pachyderm.proto.v2.pfs import pfs_pb2
from python_pachyderm.proto.v2.pps import pps_pb2, pps_pb2_grpc

from tests.pachd.pfs import stamp
from tests.pachd.state import TERMINAL, Branch, Fault, Job, Key, Line, Pipeline, Repo, World, inputs_of

LIMIT = (
    "Pachyderm Community Edition requires an activation key to create more than {} total pipelines (you have {})."
    " Use the command `pachctl license activate` to enter your key."
)
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_-]*")


def key_of(pipeline: pps_pb2.Pipeline) -> Key:
    return pipeline.project.name or "default", pipeline.name


class Pps(pps_pb2_grpc.APIServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    # -- pipelines -----------------------------------------------------------------------------------------

    def CreatePipeline(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            pipeline = self.create_pipeline(request)
            self.world.propagate(set(), uuid.uuid4().hex, (pipeline,))
        return Empty()

    def create_pipeline(self, request: Any) -> Pipeline:
        """Every update is a new version, even of an identical spec."""
        key = (self.world.project(request.pipeline.project.name), request.pipeline.name)
        known = self.world.pipelines.get(key)
        self._check(request, key, known)
        if known is None:
            self.world.repos[key] = Repo(key, f"Output repo for pipeline {key[0]}/{key[1]}.")
            places = tuple(inputs_of(request).values())
            self.world.repos[key].branches["master"] = Branch(None, places)
            known = self.world.pipelines[key] = Pipeline(key, request)
        else:
            for job in known.jobs.values():
                self.world.set_job(job, "JOB_KILLED", "all jobs killed because pipeline was updated")
            known.spec, known.version = request, known.version + 1
            known.state, known.reason, known.ip, known.waits = "PIPELINE_STARTING", "", "", ""
            self.world.repos[key].branches["master"].provenance = tuple(inputs_of(request).values())
            if request.reprocess:
                known.salt = uuid.uuid4().hex
        self.world.changed.notify_all()
        return known

    def _check(self, request: Any, key: Key, known: Pipeline | None) -> None:
        if not request.pipeline.name:
            raise Fault("INVALID_ARGUMENT", "validate request: pipeline.name: required")
        if not _NAME.fullmatch(key[1]) or len(key[1]) > 51 or len(f"{key[0]}-{key[1]}-v99") > 63:
            raise Fault("UNKNOWN", f"pipeline name {key[1]} is invalid or too long")
        if known is not None and not request.update:
            raise Fault("ALREADY_EXISTS", f"pipeline {key[0]}/{key[1]} already exists")
        if known is None and key in self.world.repos:
            text = f'pipeline "{key[1]}" cannot be created because a repo with the same name already exists'
            raise Fault("UNKNOWN", text)
        if known is None and len(self.world.pipelines) >= self.world.switches.pipelines_max:
            raise Fault("UNKNOWN", LIMIT.format(self.world.switches.pipelines_max, len(self.world.pipelines)))
        self._check_parts(request)

    def _check_parts(self, request: Any) -> None:
        for name, (repo, branch) in inputs_of(request).items():
            if name in ("out", ".env"):
                raise Fault("UNKNOWN", f'input cannot be named "{name}"')
            if repo not in self.world.repos:
                raise Fault("NOT_FOUND", f"repo {repo[0]}/{repo[1]} not found")
            self.world.repos[repo].branches.setdefault(branch, Branch())
        for mount in request.transform.secrets:
            if mount.name not in self.world.secrets:
                raise Fault("UNKNOWN", f"missing Kubernetes secret {mount.name}")
        if request.HasField("service") and request.parallelism_spec.constant not in (0, 1):
            raise Fault("UNKNOWN", "services can only be run with a constant parallelism of 1")

    def _info(self, pipeline: Pipeline, details: bool) -> pps_pb2.PipelineInfo:
        info = pps_pb2.PipelineInfo(
            pipeline=pps_pb2.Pipeline(project=pfs_pb2.Project(name=pipeline.key[0]), name=pipeline.key[1]),
            version=pipeline.version,
            state=pps_pb2.PipelineState.Value(pipeline.state),
            stopped=pipeline.stopped,
            reason=pipeline.reason,
        )
        if pipeline.jobs:
            last = list(pipeline.jobs.values())[-1]
            info.last_job_state = pps_pb2.JobState.Value(last.state)
        if details:
            spec, found = pipeline.spec, info.details
            for name in ("transform", "input", "metadata", "resource_requests", "resource_limits", "service"):
                if spec.HasField(name):
                    getattr(found, name).CopyFrom(getattr(spec, name))
            found.description, found.pod_patch, found.salt = spec.description, spec.pod_patch, pipeline.salt
            found.autoscaling = spec.autoscaling
            found.service.ip = pipeline.ip
            if not spec.HasField("service"):
                found.ClearField("service")
        return info

    def InspectPipeline(self, request: Any, context: Any) -> pps_pb2.PipelineInfo:
        with self.world.lock:
            return self._info(self.world.pipeline(key_of(request.pipeline)), request.details)

    def ListPipeline(self, request: Any, context: Any) -> Iterator[pps_pb2.PipelineInfo]:
        with self.world.lock:
            found = [self._info(pipeline, request.details) for pipeline in self.world.pipelines.values()]
        yield from found

    def DeletePipeline(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            key = key_of(request.pipeline)
            for other in self.world.pipelines.values():
                if other.key != key and key in {place for place, _ in inputs_of(other.spec).values()}:
                    text = f"repo {key[0]}/{key[1]} cannot be deleted because it's in the direct provenance of "
                    raise Fault("UNKNOWN", f"{text}[{other.key[0]}/{other.key[1]}@master]")
            pipeline = self.world.pipelines.pop(key, None)
            if pipeline is not None:
                for job in pipeline.jobs.values():
                    self.world.set_job(job, "JOB_KILLED", "pipeline deleted")
                if not request.keep_repo:
                    self.world.repos.pop(key, None)
            self.world.changed.notify_all()
        return Empty()

    def StopPipeline(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            pipeline = self.world.pipeline(key_of(request.pipeline))
            pipeline.stopped, pipeline.state = True, "PIPELINE_PAUSED"
            self.world.changed.notify_all()
        return Empty()

    def StartPipeline(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            pipeline = self.world.pipeline(key_of(request.pipeline))
            pipeline.stopped, pipeline.state = False, "PIPELINE_STARTING"
            self.world.changed.notify_all()
        return Empty()

    # -- jobs ----------------------------------------------------------------------------------------------

    def _job(self, job: Job) -> pps_pb2.JobInfo:
        pipeline = pps_pb2.Pipeline(project=pfs_pb2.Project(name=job.pipeline[0]), name=job.pipeline[1])
        return pps_pb2.JobInfo(
            job=pps_pb2.Job(pipeline=pipeline, id=job.id),
            pipeline_version=job.version,
            state=pps_pb2.JobState.Value(job.state),
            reason=job.reason,
            data_skipped=job.skipped,
            created=stamp(job.created),
        )

    def _find(self, job: pps_pb2.Job) -> Job:
        pipeline = self.world.pipeline(key_of(job.pipeline))
        if job.id not in pipeline.jobs:
            raise Fault("NOT_FOUND", f"job {pipeline.key[1]}@{job.id} not found")
        return pipeline.jobs[job.id]

    def InspectJob(self, request: Any, context: Any) -> pps_pb2.JobInfo:
        with self.world.lock:
            job = self._find(request.job)
            while request.wait and job.state not in TERMINAL and context.is_active():
                self.world.changed.wait(0.2)
            return self._job(job)

    def ListJob(self, request: Any, context: Any) -> Iterator[pps_pb2.JobInfo]:
        """Newest first; without `history` those of the pipeline's newest version alone."""
        with self.world.lock:
            pipeline = self.world.pipeline(key_of(request.pipeline))
            jobs = [job for job in pipeline.jobs.values() if request.history or job.version == pipeline.version][::-1]
            found = [self._job(job) for job in jobs[: request.number or None]]
        yield from found

    def SubscribeJob(self, request: Any, context: Any) -> Iterator[pps_pb2.JobInfo]:
        """Each job once, while it is not over: pachd never tells here how it ends."""
        sent: set[str] = set()
        while context.is_active():
            with self.world.lock:
                known = self.world.pipelines.get(key_of(request.pipeline))
                jobs = known.jobs.values() if known is not None else ()
                news = [job for job in jobs if job.id not in sent and job.state not in TERMINAL]
                sent |= {job.id for job in news}
                infos = [self._job(job) for job in news]
                if not infos:
                    self.world.changed.wait(0.2)
            yield from infos

    def StopJob(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            self.world.set_job(self._find(request.job), "JOB_KILLED", request.reason)
        return Empty()

    # -- logs and secrets ----------------------------------------------------------------------------------

    def GetLogs(self, request: Any, context: Any) -> Iterator[pps_pb2.LogMessage]:
        """Lines whose `master` differs from the request's are dropped; a job's are those that carry its id."""
        named = request.job.pipeline if request.HasField("job") else request.pipeline
        job = request.job.id
        with self.world.lock:
            pipeline = self.world.pipeline(key_of(named))
            if job:
                self._find(request.job)
            if not pipeline.pods:
                raise Fault("UNKNOWN", f'no pods belonging to the rc "{"-".join(pipeline.key)}-v1" were found')
            if pipeline.waits:
                rc = f"{'-'.join(pipeline.key)}-v{pipeline.version}"
                raise Fault("UNKNOWN", f'container "user" in pod "{rc}-x7k2p" is waiting to start: {pipeline.waits}')
            key = pipeline.key
        at = 0
        since = time.time() - (request.since.seconds or 24 * 3600)
        while True:
            with self.world.lock:
                lines = self.world.lines[at:]
                at += len(lines)
            for line in lines:
                if (
                    line.pipeline == key
                    and line.master == request.master
                    and line.at >= since
                    and job in ("", line.job)
                ):
                    yield _message(line)
            if not request.follow or not context.is_active() or not pipeline.pods:
                return
            with self.world.lock:
                if at == len(self.world.lines):
                    self.world.changed.wait(0.2)

    def CreateSecret(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            secret = json.loads(request.file)
            name = secret["metadata"]["name"]
            if name in self.world.secrets:
                raise Fault("UNKNOWN", f'failed to create secret: secrets "{name}" already exists')
            self.world.secrets[name] = secret
        return Empty()

    def ListSecret(self, request: Any, context: Any) -> pps_pb2.SecretInfos:
        with self.world.lock:
            secrets = [pps_pb2.Secret(name=name) for name in self.world.secrets]
        return pps_pb2.SecretInfos(secret_info=[pps_pb2.SecretInfo(secret=secret) for secret in secrets])

    def InspectSecret(self, request: Any, context: Any) -> pps_pb2.SecretInfo:
        with self.world.lock:
            if request.secret.name not in self.world.secrets:
                raise Fault("UNKNOWN", f'failed to get secret: secrets "{request.secret.name}" not found')
            kind = self.world.secrets[request.secret.name].get("type", "Opaque")
            return pps_pb2.SecretInfo(secret=request.secret, type=kind)

    def DeleteSecret(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            if self.world.secrets.pop(request.secret.name, None) is None:
                raise Fault("UNKNOWN", f'failed to delete secret: secrets "{request.secret.name}" not found')
        return Empty()


def _message(line: Line) -> pps_pb2.LogMessage:
    return pps_pb2.LogMessage(
        project_name=line.pipeline[0], pipeline_name=line.pipeline[1], job_id=line.job, master=line.master,
        user=True, ts=stamp(line.at), message=line.message,
    )  # fmt: skip

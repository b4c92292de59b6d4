"""From a source bundle to an image: commit what Build gets, run it, read what it made, and try that out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from kaosd.engines.base import Inputs, Log, Told
from kaosd.engines.pachyderm import archive, context, specs
from kaosd.engines.pachyderm.answers import Kind, PachydRefusal
from kaosd.engines.pachyderm.backoff import waits
from kaosd.engines.pachyderm.names import PartNames
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import FoundJob, Pipelines
from kaosd.engines.pachyderm.repos import FileContent, Progress, Repos
from kaosd.errors import BuildFailed, EngineError, KaosError
from kaosd.model import Environment, NotebookSpec

Done = TypeVar("Done")
LINES_AGAIN = 8.0  # seconds at most between two questions for a job's lines
_BLAMES = (
    re.compile(r"ERROR: |No solution found|\bBecause "),
    re.compile(r"\b(error|fatal)\b", re.IGNORECASE),
    re.compile(r"failed|exception", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """What Build made. image: by digest; commit: of Build's output."""

    image: str
    commit: str

    def environment(self, digest: str) -> Environment:
        """As the daemon knows it; a new image always needs a new server."""
        return Environment(digest, json.dumps(asdict(self), sort_keys=True), digest)

    @classmethod
    def of(cls, environment: Environment) -> BuiltImage:
        """The reverse of `environment`."""
        return cls(**json.loads(environment.handle))


@dataclass(frozen=True, slots=True)
class Building:
    """One build. scratch: a directory for the archive. anew: run it although pachd knows its result."""

    spec: NotebookSpec
    names: PartNames
    repos: Repos
    pipelines: Pipelines
    options: Options
    project: str
    scratch: Path
    log: Log
    anew: bool

    async def make(self, inputs: Inputs) -> BuiltImage:
        """Commit, run, read, try. Raises BuildFailed, or EngineError when the cluster refuses or is not there."""
        self.log.step(1, 5, "pack the source")
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            content = await whole(_context, inputs, Path(place))
            self.log.step(2, 5, f"send it to {self.names.source}")
            await self.repos.ensure(self.names.source, specs.repo_mark(self.spec.name, self.spec.user))
            progress = percents(lambda text: self.log.step(2, 5, text))
            await self.repos.put(self.names.source, content, progress, specs.ENVIRONMENT)
        self.log.step(3, 5, f"build with {self.names.build}")
        job = await self._job()
        if job.state != "JOB_SUCCESS":
            job = await self._finished(self.names.build, job)
        self.log.step(4, 5, "read what was built")
        image = await self._image(job)
        self.log.step(5, 5, "pull the image and start JupyterLab in it once")
        await self._try(image)
        return image

    async def _job(self) -> FoundJob:
        """The job for what was sent; one that failed, or is to run again, runs again."""
        request = specs.build_request(self.spec.name, self.spec.user, self.project, self.options)
        await self.pipelines.ensure(request, anew=self.anew)
        job = await self.pipelines.newest_job(self.names.build)
        if job is not None and job.state in ("JOB_FAILURE", "JOB_KILLED", "JOB_UNRUNNABLE"):
            await self.pipelines.ensure(request, anew=True)
            job = await self.pipelines.newest_job(self.names.build)
        if job is None:
            raise EngineError(f"pachd started no job of {self.names.build} for what was sent", retryable=True)
        return job

    async def _try(self, image: BuiltImage) -> None:
        """Run JupyterLab once in the image, so that it is known to start, and is on a node already."""
        request = specs.try_request(self.spec.name, self.spec.user, self.project, self.options, image.image)
        try:
            await self.pipelines.ensure(request, anew=True)
            job = await self.pipelines.newest_job(self.names.trial)
            if job is not None and job.state != "JOB_SUCCESS":
                await self._finished(self.names.trial, job)
        except PachydRefusal as error:
            if error.kind is not Kind.LIMIT:
                raise
            self.log.line("the cluster allows no further pipeline: the image is not tried, and pulled only by the host")
            return
        finally:
            with contextlib.suppress(KaosError):
                await self.pipelines.delete(self.names.trial, self.spec.name, self.spec.user)

    async def _finished(self, pipeline: str, job: FoundJob) -> FoundJob:
        """Wait for the job while its lines come in; it is stopped when it is not wanted any more."""
        lines: list[str] = []
        following = asyncio.ensure_future(self._follow(pipeline, job.id, lines))
        try:
            ended = await self.pipelines.ended_job(pipeline, job.id)
        except asyncio.CancelledError:
            with contextlib.suppress(KaosError):
                await self.pipelines.stop_job(pipeline, job.id, "superseded")
            raise
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await self._rest(pipeline, job.id, lines)
        if ended.state == "JOB_KILLED":
            raise EngineError(f"the job {job.id} was ended by somebody: {ended.reason}", retryable=True)
        if ended.state != "JOB_SUCCESS":
            raise BuildFailed(blame(lines) or ended.reason or f"the build ended with {ended.state}")
        return ended

    async def _follow(self, pipeline: str, job: str, lines: list[str]) -> None:
        """The job's lines as they come. Asked for again when they end: there is no pod yet, or pachd went away."""
        pauses = waits(random.uniform, last=LINES_AGAIN)
        while True:
            with contextlib.suppress(KaosError):  # the result counts, not its lines
                await self._more(pipeline, job, lines, follow=True)
            await asyncio.sleep(next(pauses))

    async def _rest(self, pipeline: str, job: str, lines: list[str]) -> None:
        """The lines that had not come when the job ended."""
        with contextlib.suppress(KaosError):
            await self._more(pipeline, job, lines, follow=False)

    async def _more(self, pipeline: str, job: str, lines: list[str], *, follow: bool) -> None:
        """Add what a job prints to its lines so far, which come again each time."""
        known = len(lines)
        async for line in self.pipelines.job_logs(pipeline, job, follow=follow):
            known -= 1
            if known < 0:
                lines.append(line)
                self.log.line(line)

    async def _image(self, job: FoundJob) -> BuiltImage:
        text = await self.repos.read(self.names.build, job.id, specs.META)
        try:
            digest = json.loads(text or b"{}")["containerimage.digest"]
        except (KeyError, ValueError) as error:
            raise EngineError(f"{self.names.build}@{job.id} does not say which image it pushed") from error
        return BuiltImage(f"{self.options.registry}/{self.spec.name.lower()}@{digest}", job.id)


async def whole(function: Callable[..., Done], *arguments: object) -> Done:
    """Run what writes files in a thread; cancelled it is waited for all the same, so that they can be removed."""
    writing = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait([writing])
        raise


def percents(told: Told) -> Progress:
    """Says how far an upload has got, in steps of a tenth."""
    reached = 0

    def progress(sent: int, total: int) -> None:
        nonlocal reached
        tenth = sent * 10 // total if total else 10
        if tenth > reached:
            reached = tenth
            told(f"sent {sent / 1e6:.1f} of {total / 1e6:.1f} MB")

    return progress


def blame(lines: list[str]) -> str:
    """The lines of a build's output that say best why it failed: the installer's own words before BuildKit's."""
    told = [line.strip() for line in lines if line.strip()]
    for pattern in _BLAMES:
        loud = [line for line in told if pattern.search(line)]
        if loud:
            return " | ".join(loud[-2:])
    return (told or [""])[-1]


def packed(digest: str, top: Path, file: Path) -> FileContent:
    """All below *top* as a content of one archive, which is made as *file*; blocking. EngineError when it cannot be."""
    try:
        with file.open("wb") as archived:
            archive.write(top, archived)
    except OSError as error:
        raise EngineError(f"the source cannot be packed: {error}", retryable=True) from error

    def parts(most: int) -> Iterator[bytes]:
        with file.open("rb") as archived:
            while part := archived.read(most):
                yield part

    return FileContent(digest, archive.ARCHIVE, os.path.getsize(file), parts)


def _context(inputs: Inputs, place: Path) -> FileContent:
    """What Build gets, as an archive in *place*; blocking."""
    try:
        context.lay_out(inputs, place / "context")
    except OSError as error:
        raise EngineError(f"the source cannot be packed: {error}", retryable=True) from error
    return packed(inputs.digest, place / "context", place / archive.ARCHIVE)

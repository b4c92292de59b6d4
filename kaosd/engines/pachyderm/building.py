"""From a source bundle to an image: commit the archive, run Build, read what it made."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from kaosd import encodings
from kaosd.engines.base import Inputs, Log, Told
from kaosd.engines.pachyderm import archive, specs
from kaosd.engines.pachyderm.backoff import waits
from kaosd.engines.pachyderm.names import Names
from kaosd.engines.pachyderm.options import Options
from kaosd.engines.pachyderm.pipelines import FoundJob, Pipelines
from kaosd.engines.pachyderm.repos import FileContent, Progress, Repos
from kaosd.errors import BuildFailed, EngineError, KaosError
from kaosd.model import Environment, NotebookSpec

USUAL = Path(__file__).parents[2] / "templates" / "notebook" / "Dockerfile"  # for a source that has none
LINES_AGAIN = 8.0  # seconds at most between two questions for a job's lines
_BLAMES = (
    re.compile(r"ERROR: |No solution found|\bBecause "),
    re.compile(r"\b(error|fatal)\b", re.IGNORECASE),
    re.compile(r"failed|exception", re.IGNORECASE),
)


@dataclass(frozen=True, slots=True)
class Image:
    """What Build made. image: by digest; commit: of Build's output."""

    image: str
    commit: str

    def environment(self, digest: str) -> Environment:
        """As the daemon knows it; a new image always needs a new server."""
        return Environment(digest, json.dumps(asdict(self), sort_keys=True), digest)

    @classmethod
    def of(cls, environment: Environment) -> Image:
        """The reverse of `environment`."""
        return cls(**json.loads(environment.handle))


@dataclass(frozen=True, slots=True)
class Building:
    """One build. scratch: a directory for the archive. anew: run it although pachd knows its result."""

    spec: NotebookSpec
    names: Names
    repos: Repos
    pipelines: Pipelines
    options: Options
    project: str
    scratch: Path
    log: Log
    anew: bool

    async def make(self, inputs: Inputs) -> Image:
        """Commit, run, read. Raises BuildFailed, or EngineError when the cluster refuses or is not there."""
        self.log.line("step 1/4 pack the source")
        with tempfile.TemporaryDirectory(dir=self.scratch) as place:
            packed = await asyncio.to_thread(_pack, inputs, Path(place))
            self.log.line(f"step 2/4 send it to {self.names.source}")
            await self.repos.ensure(self.names.source, specs.repo_mark(self.spec.name, self.spec.user))
            await self.repos.put(self.names.source, packed, percents(lambda text: self.log.line(f"step 2/4 {text}")))
        self.log.line(f"step 3/4 build with {self.names.build}")
        job = await self._job()
        if job.state != "JOB_SUCCESS":
            job = await self._finished(job)
        self.log.line("step 4/4 read what was built")
        return await self._image(job)

    async def _job(self) -> FoundJob:
        """The job for what was sent; one that failed, or is to run anew, runs again."""
        request = specs.build_request(self.spec.name, self.spec.user, self.project, self.options)
        await self.pipelines.ensure(request, anew=self.anew)
        job = await self.pipelines.newest_job(self.names.build)
        if job is not None and job.state in ("JOB_FAILURE", "JOB_KILLED", "JOB_UNRUNNABLE"):
            await self.pipelines.ensure(request, anew=True)
            job = await self.pipelines.newest_job(self.names.build)
        if job is None:
            raise EngineError(f"pachd began no job of {self.names.build} for what was sent", retryable=True)
        return job

    async def _finished(self, job: FoundJob) -> FoundJob:
        """Wait for the job while its lines come in; it is stopped when nobody wants it any more."""
        lines: list[str] = []
        following = asyncio.ensure_future(self._follow(job.id, lines))
        try:
            ended = await self.pipelines.ended_job(self.names.build, job.id)
        except asyncio.CancelledError:
            with contextlib.suppress(KaosError):
                await self.pipelines.stop_job(self.names.build, job.id, "superseded")
            raise
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        await self._rest(job.id, lines)
        if ended.state == "JOB_KILLED":
            raise EngineError(f"the job {job.id} was ended by somebody: {ended.reason}", retryable=True)
        if ended.state != "JOB_SUCCESS":
            raise BuildFailed(blame(lines) or ended.reason or f"the build ended with {ended.state}")
        return ended

    async def _follow(self, job: str, lines: list[str]) -> None:
        """The job's lines as they come. Asked for again when they end: there is no pod yet, or pachd went away."""
        pauses = waits(random.uniform, last=LINES_AGAIN)
        while True:
            with contextlib.suppress(KaosError):  # the result counts, not its lines
                await self._more(job, lines, follow=True)
            await asyncio.sleep(next(pauses))

    async def _rest(self, job: str, lines: list[str]) -> None:
        """The lines that had not come when the job ended."""
        with contextlib.suppress(KaosError):
            await self._more(job, lines, follow=False)

    async def _more(self, job: str, lines: list[str], *, follow: bool) -> None:
        """Add what a job prints to its lines so far, which come again each time."""
        known = len(lines)
        async for line in self.pipelines.job_logs(self.names.build, job, follow=follow):
            known -= 1
            if known < 0:
                lines.append(line)
                self.log.line(line)

    async def _image(self, job: FoundJob) -> Image:
        text = await self.repos.read(self.names.build, job.id, specs.META)
        try:
            digest = json.loads(text or b"{}")["containerimage.digest"]
        except (KeyError, ValueError) as error:
            raise EngineError(f"{self.names.build}@{job.id} does not say which image it pushed") from error
        return Image(f"{self.options.registry}/{self.spec.name.lower()}@{digest}", job.id)


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


def _pack(inputs: Inputs, place: Path) -> FileContent:
    """The bundle as an archive in *place*; blocking."""
    bundle, packed = place / "bundle", place / archive.ARCHIVE
    if not inputs.declared.root:
        raise BuildFailed(
            "the pachyderm engine hosts bundles in the shape of kaos, and this one has no model/requirements.txt",
            hint="put the code and requirements.txt into model/, or use --engine process",
        )
    try:
        inputs.export(bundle)
        if not (bundle / "Dockerfile").is_file():
            shutil.copyfile(USUAL, bundle / "Dockerfile")
        for path in (bundle / "Dockerfile", *bundle.glob(".dockerignore"), *bundle.glob("model/.dockerignore")):
            try:
                encodings.rewrite(path)
            except encodings.NotTextError as error:
                raise BuildFailed(f"{path.relative_to(bundle)} {error}") from error
        (bundle / "model").mkdir(exist_ok=True)
        with packed.open("wb") as file:
            archive.write(bundle, file)
    except OSError as error:
        raise EngineError(f"the source cannot be packed: {error}", retryable=True) from error
    size = os.path.getsize(packed)

    def parts(most: int) -> Iterator[bytes]:
        with packed.open("rb") as file:
            while part := file.read(most):
                yield part

    return FileContent(inputs.digest, archive.ARCHIVE, size, parts)

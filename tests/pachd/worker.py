"""The stand-in's worker: runs a pipeline's own command as a process, with its inputs below a directory for /pfs.

A service is killed without grace at every new job, gets its command again at most four times, and dies in silence
after that, or when the command ends with 0: the states then go on saying RUNNING.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from base64 import b64decode
from pathlib import Path

import uv

from kaosd.engines.process.surroundings import build_variables
from tests.pachd.state import TERMINAL, Commit, Job, Key, Pipeline, World, last_good

TOOLS = Path(__file__).parent / "bin"
RUNS = 4
NO_GPU = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
LINGERS = 5.0  # seconds for which the pod of a transform is there after its job: for whoever asks for its last lines
LINES_WITHIN = 30.0  # seconds that the last lines may take, at most: what was left running may hold the pipe open
_DIGEST = re.compile(r"@sha256:([0-9a-f]{64})")


class Worker:
    """One thread per pipeline version that is in force. images: directories by digest, as pushed."""

    def __init__(self, world: World, place: Path) -> None:
        self.world = world
        self.place = place
        self.images = place / "images"
        self.images.mkdir(parents=True, exist_ok=True)
        self._threads: dict[tuple[float, int], threading.Thread] = {}
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._ips = 0
        self.ending = False
        self._pids = place / "pids"
        self._end_orphans()

    def _end_orphans(self) -> None:
        """End what a worker before this one has left running here when it was killed."""
        for pid in self._pids.read_text().split() if self._pids.exists() else ():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if f"FAKE_IMAGES={self.images}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                    os.killpg(int(pid), signal.SIGKILL)
        self._pids.unlink(missing_ok=True)

    def run(self) -> None:
        """Start what has to run; until `close`."""
        while not self.ending:
            with self.world.lock:
                for pipeline in list(self.world.pipelines.values()):
                    mark = (pipeline.created, pipeline.version)
                    if mark not in self._threads and not pipeline.stopped:
                        self._threads[mark] = threading.Thread(target=self._live, args=(pipeline,), daemon=True)
                        self._threads[mark].start()
                self.world.changed.wait(0.2)

    def close(self) -> None:
        self.ending = True
        for process in list(self._processes):
            self._kill(process)

    # -- one version of a pipeline -------------------------------------------------------------------------

    def _live(self, pipeline: Pipeline) -> None:
        version, spec = pipeline.version, pipeline.spec
        current = lambda: (  # noqa: E731
            self.world.pipelines.get(pipeline.key) is pipeline and pipeline.version == version and not self.ending
        )
        image = self._image(spec.transform.image)
        with self.world.lock:
            if not current():
                return
            if image is None or spec.resource_limits.gpu.number:
                pipeline.state, pipeline.reason = (
                    "PIPELINE_CRASHING",
                    f'Back-off pulling image "{spec.transform.image}"',
                )
                pipeline.pods, pipeline.waits = 1, "trying and failing to pull image"
                if image is not None:
                    pipeline.reason, pipeline.pods = NO_GPU, 0
                self.world.changed.notify_all()
                return
            service = spec.HasField("service")
            pipeline.state = "PIPELINE_STANDBY" if spec.autoscaling and not service else "PIPELINE_RUNNING"
            pipeline.pods = 0 if pipeline.state == "PIPELINE_STANDBY" or self.world.switches.no_pods else 1
            pipeline.waits = "PodInitializing"
            if service:
                self._ips += 1
                pipeline.ip = (
                    pipeline.ip or f"127.{os.getpid() % 200 + 20}.{self._ips % 250 + 1}.{os.getpid() // 200 % 250 + 1}"
                )
            self.world.changed.notify_all()
        root = self.place / "pods" / f"{'-'.join(pipeline.key)}-v{version}-{pipeline.created:.6f}"
        root.mkdir(parents=True, exist_ok=True)
        if service and pipeline.pods == 0:
            return
        if service:
            self._serve(pipeline, root, image, current)
        else:
            self._transform(pipeline, root, image, current)

    def _image(self, name: str) -> Path | None:
        if "buildkit" in name:
            return self.place
        found = _DIGEST.search(name)
        path = self.images / found[1] if found else None
        return path if path is not None and path.exists() else None

    def _next_job(self, pipeline: Pipeline, current: object, after: Job | None) -> Job | None:
        """The newest job that is not *after* and whose inputs are finished; None when this version is over."""
        with self.world.lock:
            while current():  # type: ignore[operator]
                waiting = [job for job in pipeline.jobs.values() if job.state not in TERMINAL and job is not after]
                old = self.world.version[:2] < (2, 11)
                if waiting:
                    job = waiting[-1]
                    if all(commit.finished is not None for commit in job.inputs.values()):
                        return job
                    if old and pipeline.spec.HasField("service") and after is not None:
                        return job  # before 2.11 the old one is killed at once
                self.world.changed.wait(0.1)
        return None

    def _transform(self, pipeline: Pipeline, root: Path, image: Path, current: object) -> None:
        while (job := self._next_job(pipeline, current, None)) is not None:
            datum = (pipeline.salt, *[tuple(sorted(_files(one).items())) for one in job.inputs.values()])
            if any(commit.error for commit in job.inputs.values()):
                self._end(job, "JOB_UNRUNNABLE", "an input commit failed")
                continue
            with self.world.lock:
                done = pipeline.done.get(datum)
                self.world.set_job(job, "JOB_RUNNING")
                if done is not None:
                    job.output.files, job.skipped = dict(done.files), 1
                    self.world.set_job(job, "JOB_SUCCESS")
                    continue
                pipeline.pods += 1
            code = 1
            for _ in range(max(1, pipeline.spec.datum_tries)):
                pfs = self._mount(pipeline, job, root)
                process, reading = self._start(pipeline, job, root, image, master=False)
                while process.poll() is None:
                    if not current() or job.state in TERMINAL:  # type: ignore[operator]
                        self._kill(process)
                    time.sleep(0.05)
                reading.join(LINES_WITHIN)  # as Pachyderm's worker, which tells of no end before all lines are logged
                code = process.returncode
                if code == 0 or job.state in TERMINAL:
                    break
            if code == 0 and job.state not in TERMINAL:
                with self.world.lock:
                    job.output.files = {
                        str(path.relative_to(pfs / "out")): path.read_bytes()
                        for path in (pfs / "out").rglob("*") if path.is_file()
                    }  # fmt: skip
                    pipeline.done[datum] = job.output
                    self.world.set_job(job, "JOB_SUCCESS")
            else:
                self._end(job, "JOB_FAILURE", f"failed datum: exit status {code}")
            lingering = threading.Timer(LINGERS, self._scale_down, (pipeline, current))
            lingering.daemon = True
            lingering.start()

    def _scale_down(self, pipeline: Pipeline, current: object) -> None:
        with self.world.lock:
            if current():  # type: ignore[operator] # else other pods are there now
                pipeline.pods = max(pipeline.pods - 1, 0)
                self.world.changed.notify_all()

    def _serve(self, pipeline: Pipeline, root: Path, image: Path, current: object) -> None:
        job: Job | None = None
        while (newer := self._next_job(pipeline, current, job)) is not None:
            if job is not None:
                self._end(job, "JOB_SUCCESS")
            job = newer
            with self.world.lock:
                while not all(commit.finished is not None for commit in job.inputs.values()):
                    self.world.changed.wait(0.1)
                self.world.set_job(job, "JOB_RUNNING")
            if not all(_files(commit) for commit in job.inputs.values()):
                continue  # zero datums: nothing runs, and nobody is told
            self._new_pod(pipeline, root)
            self._mount(pipeline, job, root)
            self._supervise(pipeline, job, root, image, current)

    def _new_pod(self, pipeline: Pipeline, root: Path) -> None:
        """The pod of a service is replaced for each new commit of its inputs: nothing in it outlives that."""
        with self.world.lock:
            pipeline.waits = "PodInitializing"
            self.world.changed.notify_all()
        for part in ("app", "kaosd", "tmp"):
            shutil.rmtree(root / part, ignore_errors=True)
        time.sleep(self.world.switches.starts_in)

    def _supervise(self, pipeline: Pipeline, job: Job, root: Path, image: Path, current: object) -> None:
        runs = RUNS
        while runs > 0:
            runs -= 1
            process, _ = self._start(pipeline, job, root, image, master=True)
            name = "/".join(pipeline.key)
            with self.world.lock:
                self.world.restarts[name] = self.world.restarts.get(name, 0) + 1
            while process.poll() is None:
                with self.world.lock:
                    newer = any(one is not job and one.state not in TERMINAL for one in pipeline.jobs.values())
                    ready = newer and all(
                        commit.finished is not None
                        for one in pipeline.jobs.values() if one is not job and one.state not in TERMINAL
                        for commit in one.inputs.values()
                    )  # fmt: skip
                    over = not current() or (newer and (ready or self.world.version[:2] < (2, 11)))  # type: ignore[operator]
                    drained, pipeline.drained = pipeline.drained, False
                    if not over and not drained:
                        self.world.changed.wait(0.1)
                if drained and not over:
                    self._kill(process)
                    self._new_pod(pipeline, root)
                    self._mount(pipeline, job, root)
                    runs = RUNS
                if over:
                    self._kill(process)
                    return
            if process.returncode == 0:
                return

    # -- processes -----------------------------------------------------------------------------------------

    def _mount(self, pipeline: Pipeline, job: Job, root: Path) -> Path:
        """Write the inputs out below a fresh directory; files are not executable, links are followed by nobody."""
        pfs = root / "pfs"
        shutil.rmtree(pfs, ignore_errors=True)
        (pfs / "out").mkdir(parents=True)
        for name, commit in job.inputs.items():
            scratch = root / f"scratch-{name}"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            for path, content in _files(commit).items():
                (scratch / path).parent.mkdir(parents=True, exist_ok=True)
                (scratch / path).write_bytes(content)
            (pfs / name).symlink_to(scratch)
        return pfs

    def _start(
        self, pipeline: Pipeline, job: Job, root: Path, image: Path, *, master: bool
    ) -> tuple[subprocess.Popen[bytes], threading.Thread]:
        """The command with the pod's own /pfs, /kaosd and address in the place of the real ones; its lines' reader."""
        transform = pipeline.spec.transform
        places = {"/pfs": str(root / "pfs"), "/kaosd": str(root / "kaosd"), "0.0.0.0": pipeline.ip or "127.0.0.1"}
        env = {key: _placed(value, places) for key, value in transform.env.items()}
        for mount in transform.secrets:
            values = self.world.secrets[mount.name].get("data", {})
            if mount.env_var:
                env[mount.env_var] = b64decode(values[mount.key]).decode()
            if mount.mount_path:
                target = Path(_placed(mount.mount_path, places))
                target.mkdir(parents=True, exist_ok=True)
                for key, value in values.items():
                    (target / key).write_bytes(b64decode(value))
        work = root / "app"
        for part in ("app", "kaosd") if not (root / "tmp").exists() else ():  # a new container
            if (image / part).is_dir():
                shutil.copytree(image / part, root / part, dirs_exist_ok=True, symlinks=True)
        for directory in (work, root / "tmp"):
            directory.mkdir(exist_ok=True)
        base = {"PATH": f"{image}/venv/bin:{TOOLS}:{os.environ['PATH']}", "HOME": str(root), "LANG": "C.UTF-8"}
        base["TMPDIR"] = str(root / "tmp")
        base |= {"FAKE_IMAGES": str(self.images)}
        if not master:  # the stand-in for BuildKit gets packages from where this machine gets them
            base = {**build_variables(os.environ), **base, "KAOSD_TEST_UV": uv.find_uv_bin()}
            base["KAOSD_TEST_PYTHON"] = sys.executable
        process = subprocess.Popen(
            [_placed(word, places) for word in transform.cmd],
            cwd=work, env={**base, **env, **{f"{name}_COMMIT": one.id for name, one in job.inputs.items()}},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        self._processes.add(process)
        pipeline.waits = ""
        with self._pids.open("a") as file:
            file.write(f"{process.pid}\n")
        reading = threading.Thread(target=self._read, args=(pipeline.key, job.id, process, master), daemon=True)
        reading.start()
        return process, reading

    def _read(self, key: Key, job: str, process: subprocess.Popen[bytes], master: bool) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                # what a service prints is logged by the master, without a job
                self.world.log(key, "" if master else job, line.decode(errors="replace").rstrip("\n"), master=master)

    def _kill(self, process: subprocess.Popen[bytes]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        self._processes.discard(process)

    def _end(self, job: Job, state: str, reason: str = "") -> None:
        with self.world.lock:
            self.world.set_job(job, state, reason)


def _files(commit: Commit) -> dict[str, bytes]:
    good = last_good(commit)
    return good.files if good is not None else {}


def _placed(text: str, places: dict[str, str]) -> str:
    for old, new in places.items():
        text = text.replace(old, new)
    return text

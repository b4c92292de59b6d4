"""What the stand-in knows: repos, branches, commits, pipelines, jobs; one lock, one condition for all who wait."""

from __future__ import annotations

import pickle
import sys
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from python_pachyderm.proto.v2.pps import pps_pb2

Key = tuple[str, str]  # project and name
KEPT = ("repos", "pipelines", "secrets", "lines", "transactions", "restarts", "sets")  # over a restart
TERMINAL = ("JOB_SUCCESS", "JOB_FAILURE", "JOB_KILLED", "JOB_UNRUNNABLE")


class Fault(Exception):
    """An error that the server answers with: a status code's name and the text of pachd."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


@dataclass(eq=False)
class Commit:
    repo: Key
    id: str
    branch: str
    parent: Commit | None
    files: dict[str, bytes]
    origin: int = 1  # USER
    description: str = ""
    started: float = field(default_factory=time.time)
    finishing: float | None = None
    finished: float | None = None
    error: str = ""


@dataclass(eq=False)
class Branch:
    head: Commit | None = None
    provenance: tuple[tuple[Key, str], ...] = ()


@dataclass(eq=False)
class Repo:
    key: Key
    description: str = ""
    branches: dict[str, Branch] = field(default_factory=dict)
    commits: dict[str, Commit] = field(default_factory=dict)
    created: float = field(default_factory=time.time)


@dataclass(eq=False)
class Job:
    pipeline: Key
    id: str
    version: int
    inputs: dict[str, Commit]
    output: Commit
    state: str = "JOB_CREATED"
    reason: str = ""
    created: float = field(default_factory=time.time)
    skipped: int = 0


@dataclass(eq=False)
class Pipeline:
    key: Key
    spec: pps_pb2.CreatePipelineRequest
    version: int = 1
    state: str = "PIPELINE_STARTING"
    reason: str = ""
    stopped: bool = False
    jobs: dict[str, Job] = field(default_factory=dict)
    ip: str = ""
    salt: str = field(default_factory=lambda: uuid.uuid4().hex)
    done: dict[Any, Commit] = field(default_factory=dict)  # datum -> output
    created: float = field(default_factory=time.time)
    pods: int = 0  # that there are; GetLogs reads theirs alone
    drained: bool = False  # its pod is to be ended, and another one to take its place
    waits: str = ""  # why the container of the pod does not run yet, as Kubernetes puts it


@dataclass
class Line:
    pipeline: Key
    job: str
    master: bool
    message: str
    at: float


@dataclass
class Switches:
    """What is to go wrong. Each call name may be mapped; "*" stands for all.

    fail: code and text, a number of times. lose: the effect takes place, the answer is lost, a number of times.
    slow: seconds before the effect. down: nobody answers. cut: a stream of answers ends after so many.
    no_pods: a quota keeps the cluster from making pods. starts_in: seconds until the container of a new pod runs.
    forbidden: names of permissions that nobody has. expires: seconds for which the token is still good.
    """

    fail: dict[str, list[Any]] = field(default_factory=dict)
    lose: dict[str, int] = field(default_factory=dict)
    slow: dict[str, float] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)
    down: bool = False
    forbidden: list[str] = field(default_factory=list)
    expires: float | None = None
    finish_after: float = 0.0
    no_pods: bool = False
    starts_in: float = 0.0
    pipelines_max: int = 16


class World:
    """All of it. Whoever reads or writes holds `lock`; `changed` is notified after each change."""

    def __init__(self, version: tuple[int, int, int], token: str | None, projects: tuple[str, ...]) -> None:
        self.version = version
        self.token = token
        self.projects = {"default", *projects}
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.repos: dict[Key, Repo] = {}
        self.pipelines: dict[Key, Pipeline] = {}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.lines: list[Line] = []
        self.transactions: dict[str, list[Any]] = {}
        self.switches = Switches()
        self.calls: dict[str, int] = {}
        self.bytes = 0  # of file content received
        self.messages = 0  # of ModifyFile
        self.restarts: dict[str, int] = {}  # starts of a service's command, by pipeline
        self.sets: list[str] = []  # commit sets, in order
        self._kept: Path | None = None

    # -- over a restart --------------------------------------------------------------------------------------

    def keep_in(self, path: Path) -> None:
        """Take up what another process has written down there, and write down from now on."""
        self._kept = path
        sys.setrecursionlimit(20_000)  # commits hang on their parents
        if path.exists():
            with self.lock:
                self.__dict__.update(pickle.loads(path.read_bytes()))
                for pipeline in self.pipelines.values():
                    pipeline.pods, pipeline.ip = 0, ""  # pods and services are made anew, as after an upgrade

    def save(self) -> None:
        """Write it down, before anybody is told of a change."""
        if self._kept is not None:
            with self.lock:
                draft = self._kept.with_suffix(".new")
                draft.write_bytes(pickle.dumps({name: getattr(self, name) for name in KEPT}))
                draft.replace(self._kept)

    # -- looking up ----------------------------------------------------------------------------------------

    def project(self, name: str) -> str:
        name = name or "default"
        if name not in self.projects:
            raise Fault("NOT_FOUND", f'project "{name}" not found')
        return name

    def repo(self, key: Key) -> Repo:
        self.project(key[0])
        if key not in self.repos:
            raise Fault("NOT_FOUND", f"repo {key[0]}/{key[1]} not found")
        return self.repos[key]

    def branch(self, key: Key, name: str) -> Branch:
        repo = self.repo(key)
        if name not in repo.branches:
            raise Fault("NOT_FOUND", f"branch {name} not found in repo {key[0]}/{key[1]}")
        return repo.branches[name]

    def commit(self, key: Key, word: str) -> Commit:
        """By id, branch or branch~n."""
        repo = self.repo(key)
        name, _, back = word.partition("~")
        found = repo.commits.get(name)
        if found is None and name in repo.branches:
            found = repo.branches[name].head
        for _ in range(int(back or 0)):
            found = found.parent if found is not None else None
        if found is None:
            raise Fault("NOT_FOUND", f"commit {key[0]}/{key[1]}@{word} not found")
        return found

    def pipeline(self, key: Key) -> Pipeline:
        self.project(key[0])
        if key not in self.pipelines:
            raise Fault("NOT_FOUND", f"pipeline {key[0]}/{key[1]} not found")
        return self.pipelines[key]

    def branches(self) -> dict[Key, dict[str, Commit | None]]:
        """All branches with their heads, for `put_back`."""
        return {key: {name: one.head for name, one in repo.branches.items()} for key, repo in self.repos.items()}

    def put_back(self, before: dict[Key, dict[str, Commit | None]]) -> None:
        """Undo what a transaction that failed did to branches."""
        for key, heads in before.items():
            branches = self.repos[key].branches
            for name in [name for name in branches if name not in heads]:
                del branches[name]
            for name, head in heads.items():
                branches[name].head = head

    # -- commits -------------------------------------------------------------------------------------------

    def start_commit(self, key: Key, branch: str, description: str = "") -> Commit:
        repo = self.repo(key)
        known = repo.branches.get(branch)
        if known is not None and known.provenance:
            raise Fault("UNKNOWN", f"cannot start a commit on an output branch: {key[1]}@{branch}")
        head = known.head if known is not None else None
        if head is not None and head.finished is None and head.finishing is None:
            raise Fault("UNKNOWN", f"parent commit {key[1]}@{head.id} has not been finished")
        commit = self.add_commit(repo, branch, uuid.uuid4().hex, description)
        self.propagate({(key, branch)}, commit.id)
        return commit

    def add_commit(self, repo: Repo, branch: str, id_: str, description: str = "", origin: int = 1) -> Commit:
        place = repo.branches.setdefault(branch, Branch())
        parent = place.head
        files = dict(good.files) if (good := last_good(parent)) is not None else {}
        commit = Commit(repo.key, id_, branch, parent, files, origin, description)
        repo.commits[id_] = place.head = commit
        if not self.sets or self.sets[-1] != id_:
            self.sets.append(id_)
        self.changed.notify_all()
        return commit

    def finish_commit(self, commit: Commit, error: str = "") -> None:
        if commit.finishing is not None:
            raise Fault("UNKNOWN", f"commit {commit.repo[1]}@{commit.id} has already been finished")
        commit.finishing = time.time()
        commit.error = error or clash(commit.files)
        commit.files = {path: bytes(content) for path, content in commit.files.items()}
        if self.switches.finish_after:
            threading.Timer(self.switches.finish_after, self._finished, (commit,)).start()
        else:
            self._finished(commit)
        self.changed.notify_all()

    def _finished(self, commit: Commit) -> None:
        with self.lock:
            commit.finished = time.time()
            self.changed.notify_all()

    def propagate(self, moved: set[tuple[Key, str]], id_: str, also: tuple[Pipeline, ...] = ()) -> None:
        """Downstream output commits and jobs for branches that have a new head, and for new pipelines."""
        for pipeline in list(self.pipelines.values()):
            wanted = inputs_of(pipeline.spec)
            if pipeline not in also and not any(place in moved for place in wanted.values()):
                continue
            heads = {name: self.repos[key].branches[branch].head for name, (key, branch) in wanted.items()}
            if any(head is None for head in heads.values()):
                continue
            output = self.add_commit(self.repos[pipeline.key], "master", id_, origin=2)
            output.files = {}
            pipeline.jobs[id_] = Job(pipeline.key, id_, pipeline.version, heads, output)  # type: ignore[arg-type]
            self.propagate({(pipeline.key, "master")}, id_)
        self.changed.notify_all()

    def set_job(self, job: Job, state: str, reason: str = "") -> None:
        if job.state in TERMINAL:
            return
        job.state, job.reason = state, reason
        if state in TERMINAL and job.output.finishing is None:
            self.finish_commit(job.output, error="" if state == "JOB_SUCCESS" else reason or state)
            self.save()
        self.changed.notify_all()

    def log(self, pipeline: Key, job: str, message: str, *, master: bool) -> None:
        with self.lock:
            self.lines.append(Line(pipeline, job, master, message, time.time()))
            self.changed.notify_all()


def last_good(commit: Commit | None) -> Commit | None:
    """The newest commit from here back that is not errored."""
    while commit is not None and commit.error:
        commit = commit.parent
    return commit


def clash(files: dict[str, bytes]) -> str:
    """What the validation of a finished commit says of a path that is a file and a directory."""
    for path in files:
        above = path.rpartition("/")[0]
        while above:
            if above in files:
                return f"file / directory path collision ({above})"
            above = above.rpartition("/")[0]
    return ""


def inputs_of(spec: pps_pb2.CreatePipelineRequest) -> dict[str, tuple[Key, str]]:
    """Name of each input with its repo and branch."""
    found = {}
    for one in [spec.input, *spec.input.cross, *spec.input.union]:
        if one.HasField("pfs"):
            pfs = one.pfs
            project = pfs.project or spec.pipeline.project.name or "default"
            found[pfs.name or pfs.repo] = ((project, pfs.repo), pfs.branch or "master")
    return found

"""The stand-in's PFS: paths, messages and commits as strict as pachd has them."""

from __future__ import annotations

import hashlib
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.empty_pb2 import Empty
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import BytesValue
from python_pachyderm.proto.v2.auth import auth_pb2
from python_pachyderm.proto.v2.pfs import pfs_pb2, pfs_pb2_grpc

from tests.pachd.state import Branch, Commit, Fault, Key, Repo, World, inputs_of

_NAME = re.compile(r"[a-zA-Z0-9_-]+")
_PATH = re.compile(r"[ -~]+")
_GLOB = re.compile(r"[*?\[\]{}!()@+^]")
CHUNK = 1 << 20


def stamp(at: float | None) -> Timestamp | None:
    if at is None:
        return None
    found = Timestamp()
    found.FromNanoseconds(int(at * 1e9))
    return found


def check_path(path: str) -> str:
    """The clean form of a path, as `/`-less text; Fault for what pachd refuses."""
    clean = path.strip("/")
    if not _PATH.fullmatch(clean or "-"):
        raise Fault("UNKNOWN", f"path ({path}) invalid: only printable ASCII characters allowed")
    if _GLOB.search(clean):
        raise Fault("UNKNOWN", f"path ({path}) invalid: globbing characters not allowed")
    if any(part in (".", "..") for part in clean.split("/")):
        raise Fault("UNKNOWN", f"path ({path}) invalid: relative path not allowed")
    return clean


def permissions(world: World) -> list[int]:
    """What may be done with the token."""
    return [value for name, value in auth_pb2.Permission.items() if name not in world.switches.forbidden]


def key_of(repo: pfs_pb2.Repo) -> Key:
    return repo.project.name or "default", repo.name


class Pfs(pfs_pb2_grpc.APIServicer):
    def __init__(self, world: World) -> None:
        self.world = world

    # -- shapes --------------------------------------------------------------------------------------------

    def _repo(self, key: Key) -> pfs_pb2.Repo:
        return pfs_pb2.Repo(name=key[1], type="user", project=pfs_pb2.Project(name=key[0]))

    def _commit(self, commit: Commit) -> pfs_pb2.Commit:
        found = pfs_pb2.Commit(repo=self._repo(commit.repo), id=commit.id)
        if self.world.version[:2] < (2, 11):
            found.branch.CopyFrom(pfs_pb2.Branch(repo=self._repo(commit.repo), name=commit.branch))
        return found

    def _info(self, commit: Commit) -> pfs_pb2.CommitInfo:
        return pfs_pb2.CommitInfo(
            commit=self._commit(commit),
            origin=pfs_pb2.CommitOrigin(kind=commit.origin),
            description=commit.description,
            parent_commit=self._commit(commit.parent) if commit.parent else None,
            started=stamp(commit.started),
            finishing=stamp(commit.finishing),
            finished=stamp(commit.finished),
            error=commit.error,
        )

    def _find(self, commit: pfs_pb2.Commit) -> Commit:
        repo = commit.repo if commit.repo.name else commit.branch.repo
        if not repo.name:
            raise Fault("INVALID_ARGUMENT", "validate request: commit.repo: required")
        return self.world.commit(key_of(repo), commit.id or commit.branch.name)

    def InspectProject(self, request: Any, context: Any) -> pfs_pb2.ProjectInfo:
        with self.world.lock:
            self.world.project(request.project.name)
        info = pfs_pb2.ProjectInfo(project=request.project)
        if self.world.token is not None:
            info.auth_info.permissions.extend(permissions(self.world))
        return info

    # -- repos ---------------------------------------------------------------------------------------------

    def CreateRepo(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            key = (self.world.project(request.repo.project.name), request.repo.name)
            if not _NAME.fullmatch(key[1]):
                raise Fault("UNKNOWN", f'repo name "{key[1]}" invalid: only alphanumeric characters, _ and - allowed')
            if key in self.world.repos and not request.update:
                raise Fault("ALREADY_EXISTS", f"repo {key[0]}/{key[1]} already exists")
            repo = self.world.repos.setdefault(key, Repo(key))
            repo.description = request.description
        return Empty()

    def InspectRepo(self, request: Any, context: Any) -> pfs_pb2.RepoInfo:
        with self.world.lock:
            return self._repo_info(self.world.repo(key_of(request.repo)))

    def _repo_info(self, repo: Repo) -> pfs_pb2.RepoInfo:
        return pfs_pb2.RepoInfo(repo=self._repo(repo.key), description=repo.description, created=stamp(repo.created))

    def ListRepo(self, request: Any, context: Any) -> Iterator[pfs_pb2.RepoInfo]:
        with self.world.lock:
            found = [self._repo_info(repo) for repo in self.world.repos.values()]
        yield from found

    def DeleteRepo(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            key = key_of(request.repo)
            for pipeline in self.world.pipelines.values():
                places = {place for place, _ in inputs_of(pipeline.spec).values()} | {pipeline.key}
                if key in places and not request.force:
                    text = f"repo {key[0]}/{key[1]} cannot be deleted because it's in the direct provenance of "
                    raise Fault("UNKNOWN", f"{text}[{pipeline.key[0]}/{pipeline.key[1]}@master]")
            self.world.repos.pop(key, None)
        return Empty()

    # -- branches ------------------------------------------------------------------------------------------

    def CreateBranch(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            place = self.create_branch(request)
            self.world.propagate({place}, uuid.uuid4().hex)
        return Empty()

    def create_branch(self, request: Any) -> tuple[Key, str]:
        key, name = key_of(request.branch.repo), request.branch.name
        repo = self.world.repo(key)
        if not _NAME.fullmatch(name):
            raise Fault("UNKNOWN", f"branch name {name} invalid")
        head = self._find(request.head) if request.HasField("head") else None
        branch = repo.branches.setdefault(name, Branch())
        if head is not None:
            branch.head = head
        elif branch.head is None:
            empty = self.world.add_commit(repo, name, uuid.uuid4().hex)
            empty.finishing = empty.finished = time.time()
        return key, name

    def InspectBranch(self, request: Any, context: Any) -> pfs_pb2.BranchInfo:
        with self.world.lock:
            branch = self.world.branch(key_of(request.branch.repo), request.branch.name)
            return self._branch_info(request.branch, branch)

    def _branch_info(self, named: Any, branch: Branch) -> pfs_pb2.BranchInfo:
        return pfs_pb2.BranchInfo(branch=named, head=self._commit(branch.head) if branch.head else None)

    def ListBranch(self, request: Any, context: Any) -> Iterator[pfs_pb2.BranchInfo]:
        with self.world.lock:
            repo = self.world.repo(key_of(request.repo))
            found = [
                self._branch_info(pfs_pb2.Branch(repo=request.repo, name=name), branch)
                for name, branch in repo.branches.items()
            ]
        yield from found

    def DeleteBranch(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            self.world.repo(key_of(request.branch.repo)).branches.pop(request.branch.name, None)
        return Empty()

    # -- commits -------------------------------------------------------------------------------------------

    def StartCommit(self, request: Any, context: Any) -> pfs_pb2.Commit:
        with self.world.lock:
            key = key_of(request.branch.repo)
            return self._commit(self.world.start_commit(key, request.branch.name, request.description))

    def FinishCommit(self, request: Any, context: Any) -> Empty:
        with self.world.lock:
            self.world.finish_commit(self._find(request.commit), request.error)
        return Empty()

    def InspectCommit(self, request: Any, context: Any) -> pfs_pb2.CommitInfo:
        with self.world.lock:
            commit = self._find(request.commit)
            while not _reached(commit, request.wait) and context.is_active():
                self.world.changed.wait(0.2)
            return self._info(commit)

    def InspectCommitSet(self, request: Any, context: Any) -> Iterator[pfs_pb2.CommitInfo]:
        with self.world.lock:
            ids = request.commit_set.id
            found = [repo.commits[ids] for repo in self.world.repos.values() if ids in repo.commits]
            if not found:
                raise Fault("NOT_FOUND", f"no commits found for commit set {ids}")
            while request.wait and not all(_reached(one, 4) for one in found) and context.is_active():
                self.world.changed.wait(0.2)
            infos = [self._info(commit) for commit in found]
        yield from infos

    def SquashCommitSet(self, request: Any, context: Any) -> Empty:
        """What its commits hold stays in their children, without which it is refused."""
        with self.world.lock:
            found = self._set(request.commit_set.id)
            for commit, children in found:
                if not children:
                    why = "as that would cause data loss, use the drop operation instead"
                    raise Fault("UNKNOWN", f"cannot squash a commit that has no children {why}: {commit.id}")
            for commit, children in found:
                for child in children:
                    child.parent = commit.parent
                del self.world.repos[commit.repo].commits[commit.id]
        return Empty()

    def DropCommitSet(self, request: Any, context: Any) -> Empty:
        """Heads alone can be dropped."""
        with self.world.lock:
            found = self._set(request.commit_set.id)
            for commit, children in found:
                if children:
                    raise Fault("UNKNOWN", f"cannot drop a commit that has children: {commit.id}")
            for commit, _ in found:
                repo = self.world.repos[commit.repo]
                for branch in repo.branches.values():
                    if branch.head is commit:
                        branch.head = commit.parent
                del repo.commits[commit.id]
        return Empty()

    def _set(self, id_: str) -> list[tuple[Commit, list[Commit]]]:
        """The commits of a set, each with its children."""
        repos = [repo for repo in self.world.repos.values() if id_ in repo.commits]
        if not repos:
            raise Fault("NOT_FOUND", f"no commits found for commitset {id_}")
        found = [(repo.commits[id_], repo) for repo in repos]
        return [(one, [child for child in repo.commits.values() if child.parent is one]) for one, repo in found]

    def ListCommit(self, request: Any, context: Any) -> Iterator[pfs_pb2.CommitInfo]:
        with self.world.lock:
            commits = list(self.world.repo(key_of(request.repo)).commits.values())[::-1]
            found = [self._info(commit) for commit in commits[: request.number or None]]
        yield from found

    def SubscribeCommit(self, request: Any, context: Any) -> Iterator[pfs_pb2.CommitInfo]:
        sent: set[str] = set()
        while context.is_active():
            with self.world.lock:
                commits = [
                    commit
                    for commit in self.world.repo(key_of(request.repo)).commits.values()
                    if commit.id not in sent and _reached(commit, request.state)
                    and request.branch in ("", commit.branch)
                ]  # fmt: skip
                infos = [self._info(commit) for commit in commits]
                sent |= {commit.id for commit in commits}
                if not infos:
                    self.world.changed.wait(0.2)
            yield from infos

    # -- files ---------------------------------------------------------------------------------------------

    def ModifyFile(self, messages: Iterator[Any], context: Any) -> Empty:
        """Everything is taken first; the commit then begins and ends in one step, or an open one is written to."""
        over = threading.Event()
        if not context.add_callback(over.set):
            return Empty()
        first = next(messages, None)
        if first is None or first.WhichOneof("body") != "set_commit":
            raise Fault("UNKNOWN", "first message must be a set commit message")
        wanted = first.set_commit
        changes: list[tuple[str, str, Any]] = []
        for message in messages:
            self.world.messages += 1
            kind = message.WhichOneof("body")
            if kind == "delete_file":
                path = message.delete_file.path  # a directory is one by its last character, as in PFS
                kind = "delete all" if path.endswith("/") else "delete"
                changes.append((kind, "" if path == "/" else check_path(path), None))
            elif kind == "add_file":
                content = message.add_file.raw.value
                self.world.bytes += len(content)
                changes.append(("add", check_path(message.add_file.path), content))
            else:
                raise Fault("UNIMPLEMENTED", f"the stand-in has no {kind}")
        if over.wait(0.15):  # this library shows a cancelled call as an ended one at first; pachd's does not
            return Empty()
        with self.world.lock:
            self._apply(wanted, changes)
        return Empty()

    def _apply(self, wanted: pfs_pb2.Commit, changes: list[tuple[str, str, Any]]) -> None:
        repo = wanted.repo if wanted.repo.name else wanted.branch.repo
        key = key_of(repo)
        if wanted.id:
            commit = self._find(wanted)
            if commit.finishing is not None:
                raise Fault("UNKNOWN", f"commit {key[1]}@{commit.id} has already been finished")
            modify(commit.files, changes)
            return
        branch = self.world.repo(key).branches.get(wanted.branch.name)
        head = branch.head if branch is not None else None
        if head is not None and head.finishing is None:
            modify(head.files, changes)
            return
        commit = self.world.start_commit(key, wanted.branch.name)
        modify(commit.files, changes, head.files if head is not None else {})
        self.world.finish_commit(commit)

    def _readable(self, commit: pfs_pb2.Commit) -> Commit:
        """The commit, once it is finished. One with an error shows its own changes on the last that has none."""
        found = self._find(commit)
        while found.finishing is not None and found.finished is None:
            self.world.changed.wait(0.2)
        return found

    def GetFile(self, request: Any, context: Any) -> Iterator[BytesValue]:
        with self.world.lock:
            commit, path = self._readable(request.file.commit), check_path(request.file.path)
            if path not in commit.files:
                raise Fault("NOT_FOUND", f"file {request.file.path} not found in {commit.repo[1]}@{commit.id}")
            content = bytes(commit.files[path])
        for start in range(0, len(content), CHUNK):
            yield BytesValue(value=content[start : start + CHUNK])

    def _file(self, commit: Commit, path: str) -> pfs_pb2.FileInfo:
        content = commit.files.get(path)
        below = [name for name in commit.files if path == "" or name.startswith(path + "/")]
        if content is None and not below:
            raise Fault("NOT_FOUND", f"file {path} not found in {commit.repo[1]}@{commit.id}")
        directory = content is None
        return pfs_pb2.FileInfo(
            file=pfs_pb2.File(commit=self._commit(commit), path="/" + path + ("/" if directory and path else "")),
            file_type=2 if directory else 1,
            size_bytes=sum(len(commit.files[name]) for name in below) if directory else len(content or b""),
            hash=hashlib.sha256(repr(below).encode() if directory else bytes(content or b"")).digest(),
        )

    def InspectFile(self, request: Any, context: Any) -> pfs_pb2.FileInfo:
        with self.world.lock:
            return self._file(self._readable(request.file.commit), check_path(request.file.path))

    def ListFile(self, request: Any, context: Any) -> Iterator[pfs_pb2.FileInfo]:
        with self.world.lock:
            commit, path = self._readable(request.file.commit), check_path(request.file.path)
            prefix = path + "/" if path else ""
            names = {prefix + name[len(prefix) :].partition("/")[0] for name in commit.files if name.startswith(prefix)}
            found = [self._file(commit, name) for name in sorted(names)]
        yield from found

    def GlobFile(self, request: Any, context: Any) -> Iterator[pfs_pb2.FileInfo]:
        """Files and directories; a star stops at a slash, two do not."""
        signs = {"**": ".*", "*": "[^/]*", "?": "[^/]"}
        parts = re.split(r"(\*\*|\*|\?)", request.pattern.strip("/"))
        pattern = re.compile("".join(signs.get(part) or re.escape(part) for part in parts))
        with self.world.lock:
            commit = self._readable(request.commit)
            names = {""} | {name for path in commit.files for name in _above(path)}
            found = [self._file(commit, name) for name in sorted(names) if pattern.fullmatch(name)]
        yield from found

    def WalkFile(self, request: Any, context: Any) -> Iterator[pfs_pb2.FileInfo]:
        with self.world.lock:
            commit, path = self._readable(request.file.commit), check_path(request.file.path)
            found = [self._file(commit, name) for name in sorted(commit.files) if name.startswith(path)]
        yield from found


def modify(files: dict[str, bytes], changes: list[tuple[str, str, Any]], shown: Iterable[str] | None = None) -> None:
    """Adding appends, as in PFS; deleting takes the file of that name, or all that is *shown* below a directory.

    What the head shows differs from what the new commit builds upon when the head has an error.
    """
    seen = set(files if shown is None else shown)
    for kind, path, content in changes:
        if kind == "add":
            seen.add(path)
            if path in files and isinstance(files[path], bytearray):
                files[path] += content
            else:
                files[path] = bytearray(files.get(path, b"")) + content  # type: ignore[assignment]
            continue
        if kind == "delete":
            files.pop(path, None)
            continue
        for name in [name for name in files if name in seen and (not path or name.startswith(path + "/"))]:
            del files[name]


def _above(path: str) -> Iterator[str]:
    """The path and the directories above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _reached(commit: Commit, state: int) -> bool:
    """STARTED 1, READY 2, FINISHING 3, FINISHED 4."""
    return state <= 2 or (commit.finishing is not None if state == 3 else commit.finished is not None)

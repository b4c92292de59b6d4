"""PFS repos of ours: one commit per version, atomic, holding only what changed, and never twice.

Each commit has a manifest that says which version it holds. It is written with the files in one call, so it is true
whenever it is there: a call whose answer was lost is answered by the manifest of the branch's head.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass

from google.protobuf.wrappers_pb2 import BytesValue
from python_pachyderm.proto.v2.pfs import pfs_pb2

from kaosd.engines.base import Content, Leaving, Piece
from kaosd.engines.pachyderm.answers import UNCERTAIN, Kind, PachydRefusal
from kaosd.engines.pachyderm.connection import ClusterConnection
from kaosd.engines.pachyderm.names import MANIFEST, check_paths
from kaosd.errors import EngineError

MASTER = "master"
CHUNK = 1 << 20  # bytes in a message; some servers take no more than 4 MiB
FINISHING = 600.0  # seconds that pachd may take to settle a commit
DELETING = 300.0  # and to delete a repo
OPENED = 1  # a commit state: STARTED
FINISHED = 4
Progress = Callable[[int, int], None]  # bytes sent and bytes in all


@dataclass(frozen=True, slots=True)
class Head:
    """The newest commit of a branch. digest: of the version that pipelines get of it, None when it does not say.

    error: why pachd did not take it. Pipelines, and the commit after it, then have what `base` holds: the newest before
    it that pachd took, None when there is none; otherwise it is its own base.
    """

    id: str
    digest: str | None
    error: str = ""
    base: str | None = None


class Repos:
    """The repos of one project."""

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection
        self._project = pfs_pb2.Project(name=connection.cluster.project)

    def repo(self, name: str) -> pfs_pb2.Repo:
        """The message that names a repo."""
        return pfs_pb2.Repo(name=name, type="user", project=self._project)

    def branch(self, repo: str, name: str = MASTER) -> pfs_pb2.Branch:
        """The message that names a branch."""
        return pfs_pb2.Branch(repo=self.repo(repo), name=name)

    def commit(self, repo: str, id_: str) -> pfs_pb2.Commit:
        """The message that names a commit by its id. Newer servers read its repo in one field, older in the other."""
        return pfs_pb2.Commit(repo=self.repo(repo), id=id_, branch=pfs_pb2.Branch(repo=self.repo(repo)))

    # -- repos ---------------------------------------------------------------------------------------------

    async def ensure(self, name: str, mark: str) -> None:
        """Make the repo if it is absent; EngineError when there is one that does not bear *mark*."""
        what = f"create the repo {name}"
        pfs = self._connection.pfs
        if not await self._ours(name, mark):
            try:
                request = pfs_pb2.CreateRepoRequest(repo=self.repo(name), description=mark)
                await self._connection.ask(pfs.CreateRepo, request, what)
            except PachydRefusal as error:
                if error.kind is not Kind.EXISTS and error.kind not in UNCERTAIN:
                    raise
                if not await self._ours(name, mark):
                    raise

    async def _ours(self, name: str, mark: str) -> bool:
        """Whether the repo is there; EngineError when it is another's."""
        found = await self.mark(name)
        if found not in (None, mark):
            raise EngineError(
                f"the repo {name} in project {self._project.name} was not made by kaosd for this notebook",
                hint="give the notebook another name, or delete the repo if it is not needed",
            )
        return found is not None

    async def mark(self, name: str) -> str | None:
        """What the repo says of itself; None when there is none."""
        request = pfs_pb2.InspectRepoRequest(repo=self.repo(name))
        try:
            info = await self._connection.ask(self._connection.pfs.InspectRepo, request, f"show the repo {name}")
        except PachydRefusal as error:
            if error.kind is Kind.ABSENT:
                return None
            raise
        return str(info.description)

    async def delete(self, name: str, mark: str) -> None:
        """Delete the repo with its commits, if it is ours. Not while another's pipeline reads it: a PachydRefusal."""
        if await self._ours(name, mark):
            request = pfs_pb2.DeleteRepoRequest(repo=self.repo(name))
            what = f"delete the repo {name}"
            await self._connection.ask(self._connection.pfs.DeleteRepo, request, what, within=DELETING)
            if await self.mark(name) is not None:  # pachd says nothing when it is not permitted
                raise EngineError(f"pachd did not delete the repo {name}", hint="the token may not be allowed to")

    # -- reading -------------------------------------------------------------------------------------------

    async def head(self, repo: str, branch: str = MASTER) -> Head | None:
        """The head of a branch once it is settled, or None.

        A commit that was left open is closed first: it would block all others.
        """
        ask, pfs = self._connection.ask, self._connection.pfs
        try:
            request = pfs_pb2.InspectBranchRequest(branch=self.branch(repo, branch))
            info = await ask(pfs.InspectBranch, request, f"show the branch {repo}@{branch}")
        except PachydRefusal as error:
            if error.kind is Kind.ABSENT:
                return None
            raise
        if not info.head.id:
            return None
        found = await self._inspect(repo, info.head.id, OPENED)
        if not found.finishing.seconds and not found.finished.seconds:
            await self._close(repo, info.head.id)
        if not found.finished.seconds:
            found = await self._inspect(repo, info.head.id, FINISHED)
        base: pfs_pb2.CommitInfo | None = found
        while base is not None and base.error:
            above = base.parent_commit.id
            base = await self._inspect(repo, above, OPENED) if above else None
        if base is None:
            return Head(info.head.id, None, found.error)
        text = await self.read(repo, base.commit.id, MANIFEST)
        return Head(info.head.id, _digest(text), found.error, base.commit.id)

    async def _inspect(self, repo: str, id_: str, wait: int) -> pfs_pb2.CommitInfo:
        request = pfs_pb2.InspectCommitRequest(commit=self.commit(repo, id_), wait=wait)
        within = FINISHING if wait == FINISHED else None
        call = self._connection.pfs.InspectCommit
        info: pfs_pb2.CommitInfo = await self._connection.ask(call, request, f"show {repo}@{id_}", within=within)
        return info

    async def _close(self, repo: str, id_: str) -> None:
        """Finish a commit that somebody left open, as failed: what it holds is not whole."""
        request = pfs_pb2.FinishCommitRequest(commit=self.commit(repo, id_), error="left open; closed by kaosd")
        try:
            await self._connection.ask(self._connection.pfs.FinishCommit, request, f"finish {repo}@{id_}")
        except PachydRefusal as error:
            if error.kind is not Kind.CLOSED:
                raise

    async def read(self, repo: str, id_: str, path: str) -> bytes | None:
        """The content of a small file; None when there is none. Its size is checked against pachd's word."""
        file = pfs_pb2.File(commit=self.commit(repo, id_), path=path)
        what = f"read {path} of {repo}@{id_}"
        try:
            request = pfs_pb2.InspectFileRequest(file=file)
            info = await self._connection.ask(self._connection.pfs.InspectFile, request, what)
        except PachydRefusal as error:
            if error.kind is Kind.ABSENT:
                return None
            raise
        get = pfs_pb2.GetFileRequest(file=file)
        answers = self._connection.read(self._connection.pfs.GetFile, get, what, within=60.0)
        content = b"".join([part.value async for part in answers])
        if len(content) != info.size_bytes:
            raise PachydRefusal(
                Kind.UNREACHABLE, f"{path} of {repo}@{id_} came with {len(content)} of {info.size_bytes} bytes"
            )
        return content

    # -- writing -------------------------------------------------------------------------------------------

    async def put(
        self,
        repo: str,
        content: Content,
        progress: Progress,
        branch: str = MASTER,
        *,
        known: Head | None = None,
        leaving: Leaving | None = None,
    ) -> Head:
        """Make the branch's head hold *content*, and return when it is settled. Nothing happens when it does already.

        known: what it was when it was put there last, so that it need not be asked for; pachd's word counts afterwards.
        leaving: waited for when all is ready to be sent.
        Raises PachydRefusal, or EngineError naming paths that PFS does not take.
        """
        head = known or await self.head(repo, branch)
        if head is None or head.error or head.digest != content.digest:
            messages = await self._messages(self.branch(repo, branch), content, head, progress)
            if leaving is not None:
                await leaving()
            head = await self._send(self.branch(repo, branch), content.digest, head, messages)
        if head.error:
            raise EngineError(f"pachd did not take the commit {repo}@{head.id}: {head.error}")
        return head

    async def _send(
        self,
        branch: pfs_pb2.Branch,
        digest: str,
        before: Head | None,
        messages: AsyncIterator[pfs_pb2.ModifyFileRequest],
    ) -> Head:
        """One call, one commit. After an error that leaves open whether it took place the head says whether it did."""
        failure: PachydRefusal | None = None
        repo = branch.repo.name
        try:
            await self._connection.send(self._connection.pfs.ModifyFile, messages, f"take files into {repo}")
        except PachydRefusal as error:
            if error.kind not in UNCERTAIN:
                raise
            failure = error
        head = await self.head(repo, branch.name)
        if head is not None and head != before and (head.digest == digest or head.error):
            return head
        if failure is not None:
            raise failure
        what = f"{repo}@{head.id}" if head is not None and head != before else repo
        raise EngineError(
            f"the commit {what} does not hold what was sent", hint="somebody else writes to this repo too"
        )

    async def _messages(
        self, branch: pfs_pb2.Branch, content: Content, head: Head | None, progress: Progress
    ) -> AsyncIterator[pfs_pb2.ModifyFileRequest]:
        """What to send: the differences where the version that is there is known here, else everything."""
        repo, since = branch.repo.name, head.digest if head is not None else None
        pieces = await asyncio.to_thread(_pieces, repo, content, since) if since is not None else None
        if pieces is None:
            pieces = await asyncio.to_thread(_pieces, repo, content, None) or []
            deletions = ["/", *(await self._unseen(repo, head) if head is not None else ())]
        else:  # adding to a file that is there would append to it
            deletions = [piece.path.decode() for piece in pieces if piece.content is None or not piece.fresh]
            deletions.append(MANIFEST)
        return _as_messages(branch, deletions, pieces, content, progress)

    async def _unseen(self, repo: str, head: Head) -> Sequence[str]:
        """The files below a head that pachd did not take: deleting all deletes what that one shows, and no more."""
        if not head.error or head.base is None:
            return ()
        root = pfs_pb2.File(commit=self.commit(repo, head.base), path="/")
        listing = pfs_pb2.WalkFileRequest(file=root)
        files = self._connection.read(self._connection.pfs.WalkFile, listing, f"list {repo}@{head.base}")
        return [info.file.path async for info in files if info.file_type == pfs_pb2.FILE]


def _pieces(repo: str, content: Content, since: str | None) -> list[Piece] | None:
    """What differs from the version *since*, None: from nothing; None when that is not known here. Blocking.

    EngineError names what PFS would not take.
    """
    pieces = content.pieces(since)
    if pieces is not None:
        check_paths((piece.path for piece in pieces if piece.content is not None), repo)
        _check_links(pieces, repo)
    return pieces


async def _as_messages(
    branch: pfs_pb2.Branch, deletions: Sequence[str], pieces: list[Piece], content: Content, progress: Progress
) -> AsyncIterator[pfs_pb2.ModifyFileRequest]:
    """The call's messages: the branch, deletions, files, the manifest. Contents are read while they are sent."""
    yield pfs_pb2.ModifyFileRequest(set_commit=pfs_pb2.Commit(branch=branch))
    for path in deletions:
        yield _deletion(path)
    total, sent = sum(piece.size for piece in pieces), 0
    for piece in pieces:
        if piece.content is None:
            continue
        parts = content.chunks(piece, CHUNK)
        while (part := await asyncio.to_thread(next, parts, None)) is not None:
            yield _addition(piece.path.decode(), part)
            sent += len(part)
            progress(sent, total)
    yield _addition(MANIFEST, manifest(content.digest))


def _deletion(path: str) -> pfs_pb2.ModifyFileRequest:
    return pfs_pb2.ModifyFileRequest(delete_file=pfs_pb2.DeleteFile(path=path))


def _addition(path: str, content: bytes) -> pfs_pb2.ModifyFileRequest:
    return pfs_pb2.ModifyFileRequest(add_file=pfs_pb2.AddFile(path=path, raw=BytesValue(value=content)))


def _check_links(pieces: list[Piece], repo: str) -> None:
    links = [piece.path.decode() for piece in pieces if piece.link]
    if links:
        raise EngineError(
            f"Pachyderm keeps no symbolic links, and {repo} would have {len(links)}: {', '.join(links[:5])}",
            hint="replace them by files, or leave them out with .kaosignore",
        )


def manifest(digest: str) -> bytes:
    """The manifest of a commit that holds the version *digest*."""
    return json.dumps({"made_by": "kaosd", "digest": digest}).encode() + b"\n"


def _digest(text: bytes | None) -> str | None:
    try:
        found = json.loads(text or b"{}")
    except ValueError:
        return None
    digest = found.get("digest") if isinstance(found, dict) else None
    return digest if isinstance(digest, str) else None


class FileContent:
    """A Content of one file, such as the archive of a source. open: gives its parts again each time."""

    def __init__(self, digest: str, path: str, size: int, parts: Callable[[int], Iterator[bytes]]) -> None:
        self.digest = digest
        self._piece = Piece(path.encode(), digest, size)
        self._parts = parts

    def pieces(self, since: str | None) -> list[Piece] | None:
        """See `Content`: the file replaces everything."""
        return [self._piece] if since is None else None

    def chunks(self, piece: Piece, size: int) -> Iterator[bytes]:  # noqa: ARG002 - there is one piece
        """See `Content`."""
        return self._parts(size)

    def bare(self) -> tuple[int, int]:
        """See `Content`."""
        return 0, 0


class NoContent:
    """The Content of a notebook without data: its repo holds the manifest alone."""

    digest = "0" * 64

    def pieces(self, since: str | None) -> list[Piece] | None:
        """See `Content`."""
        return [] if since is None else None

    def chunks(self, piece: Piece, size: int) -> Iterator[bytes]:  # noqa: ARG002 - there is none
        """See `Content`."""
        return iter(())

    def bare(self) -> tuple[int, int]:
        """See `Content`."""
        return 0, 0

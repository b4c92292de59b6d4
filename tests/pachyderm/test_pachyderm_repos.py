"""Commits of data: whole or not at all, only what changed, never twice. The first part is the contract with pachd."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from python_pachyderm.proto.v2.pfs import pfs_pb2

from kaosd.bundle import Store
from kaosd.engines.pachyderm.answers import Kind, PachydRefusal
from kaosd.engines.pachyderm.connection import Cluster, ClusterConnection
from kaosd.engines.pachyderm.names import MANIFEST
from kaosd.engines.pachyderm.repos import Head, Repos
from kaosd.errors import EngineError
from tests.pachd.program import Pachd
from tests.pachyderm.trees import content

MARK = "kaosd: a test"


async def put(repos: Repos, repo: str, store: Store, files: dict[str, bytes], scratch: Path) -> Head:
    await repos.ensure(repo, MARK)
    return await repos.put(repo, content(store, files, scratch), lambda sent, total: None)


async def files_in(connection: ClusterConnection, repo: str) -> dict[str, bytes]:
    """All files of the branch's head but the manifest."""
    repos = Repos(connection)
    found = {}
    root = pfs_pb2.File(commit=pfs_pb2.Commit(branch=repos.branch(repo)), path="/")
    head = await repos.head(repo)
    assert head is not None
    async for info in connection.read(connection.pfs.WalkFile, pfs_pb2.WalkFileRequest(file=root), "walk"):
        path = info.file.path.strip("/")
        if info.file_type == pfs_pb2.FILE and path != MANIFEST:
            found[path] = await repos.read(repo, head.id, path) or b""
    return found


# -- the contract: true of the stand-in and of a real pachd --------------------------------------------------


async def test_a_commit_holds_the_files(contract: ClusterConnection, name: str, store: Store, tmp_path: Path) -> None:
    files = {"a.csv": b"1,2\n", "deep/er/b.bin": bytes(range(256)), "empty": b"", "with space & ~=,;:%$.txt": b"x"}
    head = await put(Repos(contract), name, store, files, tmp_path)
    assert head.digest == content(store, files, tmp_path).digest
    assert await files_in(contract, name) == files


async def test_what_changed_is_replaced_and_what_is_gone_is_deleted(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    repos = Repos(contract)
    await put(repos, name, store, {"a": b"1", "b/c": b"2", "d": b"3", "e/f": b"4", "same": b"5"}, tmp_path)
    later = {"a": b"longer than before", "b": b"was a directory", "e/g": b"6", "same": b"5", "d/x": b"was a file"}
    await put(repos, name, store, later, tmp_path)
    assert await files_in(contract, name) == later


async def test_the_same_version_makes_no_second_commit(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    repos = Repos(contract)
    first = await put(repos, name, store, {"a": b"1"}, tmp_path)
    assert await put(repos, name, store, {"a": b"1"}, tmp_path) == first


async def test_no_data_is_a_commit_with_the_manifest_alone(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    head = await put(Repos(contract), name, store, {}, tmp_path)
    assert await files_in(contract, name) == {}
    assert await Repos(contract).read(name, head.id, MANIFEST)


async def test_a_commit_that_was_left_open_is_closed_and_the_upload_goes_on(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    repos = Repos(contract)
    await put(repos, name, store, {"a": b"1"}, tmp_path)
    start = pfs_pb2.StartCommitRequest(branch=repos.branch(name))
    await contract.ask(contract.pfs.StartCommit, start, "start a commit")
    await put(repos, name, store, {"a": b"2"}, tmp_path)
    assert await files_in(contract, name) == {"a": b"2"}


async def test_a_commit_that_was_left_open_is_passed_by_when_nothing_has_changed(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    repos = Repos(contract)
    await put(repos, name, store, {"a": b"1"}, tmp_path)
    start = pfs_pb2.StartCommitRequest(branch=repos.branch(name))
    await contract.ask(contract.pfs.StartCommit, start, "start a commit")
    head = await put(repos, name, store, {"a": b"1"}, tmp_path)
    assert not head.error
    assert await put(repos, name, store, {"a": b"1"}, tmp_path) == head
    assert await files_in(contract, name) == {"a": b"1"}


@pytest.mark.parametrize("known", [True, False])
async def test_what_a_failed_commit_held_is_not_built_upon(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path, known: bool
) -> None:
    """The commit after one with an error builds upon the one before: it shows less and more than its parent does."""
    repos = Repos(contract)
    await put(repos, name, store, {"a": b"1", "b": b"2", "c": b"3"}, tmp_path)
    start = pfs_pb2.StartCommitRequest(branch=repos.branch(name))
    await contract.ask(contract.pfs.StartCommit, start, "start a commit")

    async def messages() -> AsyncIterator[pfs_pb2.ModifyFileRequest]:
        yield pfs_pb2.ModifyFileRequest(set_commit=pfs_pb2.Commit(branch=repos.branch(name)))
        yield pfs_pb2.ModifyFileRequest(delete_file=pfs_pb2.DeleteFile(path="b"))
        yield pfs_pb2.ModifyFileRequest(delete_file=pfs_pb2.DeleteFile(path="c"))
        for path in ("d", MANIFEST):
            text = BytesValue(value=b'{"digest": "f00d"}')
            yield pfs_pb2.ModifyFileRequest(add_file=pfs_pb2.AddFile(path=path, raw=text))

    await contract.send(contract.pfs.ModifyFile, messages(), "write to it")
    later = {"a": b"1", "c": b"4", "d": b"5"}
    with contextlib.closing(Store(tmp_path / "another")) as another:
        await put(repos, name, store if known else another, later, tmp_path)
    assert await files_in(contract, name) == later


async def test_a_repo_of_somebody_else_is_left_alone(contract: ClusterConnection, name: str) -> None:
    repos = Repos(contract)
    create = pfs_pb2.CreateRepoRequest(repo=repos.repo(name), description="mine")
    await contract.ask(contract.pfs.CreateRepo, create, "create a repo")
    with pytest.raises(EngineError, match=r"was not made by kaosd for this notebook .give the notebook another name"):
        await repos.ensure(name, MARK)
    with pytest.raises(EngineError, match="was not made by kaosd"):
        await repos.delete(name, MARK)


async def test_a_repo_of_ours_is_deleted_and_may_be_absent(contract: ClusterConnection, name: str) -> None:
    repos = Repos(contract)
    await repos.ensure(name, MARK)
    await repos.ensure(name, MARK)
    await repos.delete(name, MARK)
    await repos.delete(name, MARK)
    assert await repos.head(name) is None


async def test_a_large_file_comes_whole(contract: ClusterConnection, name: str, store: Store, tmp_path: Path) -> None:
    large = bytes(range(256)) * (20 << 10) + b"the end"  # 5 MiB in pieces
    seen: list[tuple[int, int]] = []
    await Repos(contract).ensure(name, MARK)
    await Repos(contract).put(name, content(store, {"large": large}, tmp_path), lambda *at: seen.append(at))
    assert await files_in(contract, name) == {"large": large}
    assert [at for at, _ in seen] == sorted({at for at, _ in seen})
    assert seen[-1] == (len(large), len(large))
    assert len(seen) == 6


async def test_a_line_that_is_longer_than_a_message_may_be_is_sent_in_parts(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    long = b"x" * (25 << 20)
    await put(Repos(contract), name, store, {"long": long}, tmp_path)
    assert await files_in(contract, name) == {"long": long}


async def test_what_a_pattern_finds(contract: ClusterConnection, name: str, store: Store, tmp_path: Path) -> None:
    repos = Repos(contract)
    head = await put(repos, name, store, {"a.csv": b"1", "d/b.csv": b"2", "d/e/c.csv": b"3"}, tmp_path)
    for pattern, wanted in (("/*.csv", ["/a.csv"]), ("/d/*", ["/d/b.csv", "/d/e/"]), ("/*/*/*.csv", ["/d/e/c.csv"])):
        request = pfs_pb2.GlobFileRequest(commit=repos.commit(name, head.id), pattern=pattern)
        found = contract.read(contract.pfs.GlobFile, request, "find files")
        assert sorted([info.file.path async for info in found]) == wanted


async def test_only_a_commit_with_a_child_can_be_squashed_and_only_one_without_dropped(
    contract: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    repos = Repos(contract)
    first = await put(repos, name, store, {"a": b"1"}, tmp_path)
    second = await put(repos, name, store, {"a": b"1", "b": b"2"}, tmp_path)
    squash = pfs_pb2.SquashCommitSetRequest(commit_set=pfs_pb2.CommitSet(id=second.id))
    with pytest.raises(PachydRefusal, match="cannot squash a commit that has no children"):
        await contract.ask(contract.pfs.SquashCommitSet, squash, "squash")
    drop = pfs_pb2.DropCommitSetRequest(commit_set=pfs_pb2.CommitSet(id=first.id))
    with pytest.raises(PachydRefusal, match="cannot drop a commit that has children"):
        await contract.ask(contract.pfs.DropCommitSet, drop, "drop")
    squash.commit_set.id = first.id
    await contract.ask(contract.pfs.SquashCommitSet, squash, "squash")
    assert await files_in(contract, name) == {"a": b"1", "b": b"2"}


async def test_calls_beside_a_transaction_do_not_join_it(contract: ClusterConnection, name: str) -> None:
    """The same connection, at the same time: what stands beside it shows at once, and it shows not before its end."""
    repos = Repos(contract)
    inside = pfs_pb2.CreateRepoRequest(repo=repos.repo(f"source-{name}"), description=MARK)
    seen = []

    async def call(request: object, **options: Any) -> Any:
        answer = await contract.pfs.CreateRepo(request, **options)
        await repos.ensure(name, MARK)
        seen.append((await repos.mark(name), await repos.mark(f"source-{name}")))
        return answer

    await contract.together([(call, inside)], "create a repo")
    assert seen == [(MARK, None)]
    assert await repos.mark(f"source-{name}") == MARK


# -- the rest needs the stand-in's switches ------------------------------------------------------------------


@pytest.mark.parametrize("files", [{"Untitled(1).ipynb": b""}, {"a+b.csv": b""}, {"x@2x.png": b""}, {"naïve": b""}])
async def test_names_that_pfs_refuses_are_told_before_anything_is_sent(
    pachd: Pachd, repos: Repos, name: str, store: Store, tmp_path: Path, files: dict[str, bytes]
) -> None:
    before = pachd.told()["calls"].get("ModifyFile", 0)
    with pytest.raises(EngineError, match="does not take 1 file name for"):
        await put(repos, name, store, {"good": b"1", **files}, tmp_path)
    assert pachd.told()["calls"].get("ModifyFile", 0) == before


async def test_links_are_told_by_name(repos: Repos, name: str, store: Store, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"no symbolic links, and t-\w+ would have 1: d/link"):
        await put(repos, name, store, {"d/link": b"->target"}, tmp_path)


@pytest.mark.parametrize("before", [{}, {"a": b"0"}])
async def test_a_lost_answer_makes_no_second_commit(
    pachd: Pachd, repos: Repos, name: str, store: Store, tmp_path: Path, before: dict[str, bytes]
) -> None:
    await put(repos, name, store, before, tmp_path)
    pachd.turn(lose={"ModifyFile": 1})
    await put(repos, name, store, {"a": b"1"}, tmp_path)
    await put(repos, name, store, {"a": b"1"}, tmp_path)
    assert pachd.told()["commits"][f"default/{name}"] == 2


async def test_a_failed_upload_leaves_nothing_and_is_said_to_be_worth_a_retry(
    pachd: Pachd, connection: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    repos = Repos(connection)
    await put(repos, name, store, {"a": b"1"}, tmp_path)
    pachd.turn(fail={"ModifyFile": ["UNAVAILABLE", "connection reset by peer", 1]})
    with pytest.raises(PachydRefusal, match="cannot be reached: connection reset") as failure:
        await put(repos, name, store, {"a": b"2"}, tmp_path)
    assert (failure.value.kind, failure.value.retryable) == (Kind.UNREACHABLE, True)
    assert await files_in(connection, name) == {"a": b"1"}
    await put(repos, name, store, {"a": b"2"}, tmp_path)
    assert pachd.told()["commits"][f"default/{name}"] == 2


async def test_a_reader_that_fails_midway_publishes_nothing(
    pachd: Pachd, connection: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    repos = Repos(connection)
    await put(repos, name, store, {"a": b"1"}, tmp_path)
    broken = content(store, {"a": b"2", "b": b"3"}, tmp_path)
    broken.chunks = lambda piece, size: iter([b"half"]) if piece.path == b"a" else _fail()  # type: ignore[method-assign]
    with pytest.raises(OSError, match="the disk went away"):
        await repos.put(name, broken, lambda sent, total: None)
    assert await files_in(connection, name) == {"a": b"1"}
    assert pachd.told()["commits"][f"default/{name}"] == 1


def _fail() -> object:
    raise OSError("the disk went away")


async def test_a_version_that_is_not_known_here_is_replaced_whole(
    connection: ClusterConnection, name: str, store: Store, tmp_path: Path
) -> None:
    await put(Repos(connection), name, store, {"old": b"1", "kept": b"2"}, tmp_path)
    with_nothing = Store(tmp_path / "another")
    try:
        await put(Repos(connection), name, with_nothing, {"kept": b"2", "new": b"3"}, tmp_path)
    finally:
        with_nothing.close()
    assert await files_in(connection, name) == {"kept": b"2", "new": b"3"}


async def test_one_changed_file_among_many_costs_what_it_costs_among_few(
    pachd: Pachd, repos: Repos, name: str, store: Store, tmp_path: Path
) -> None:
    costs = []
    for count in (10, 2000):
        files = {f"d{i % 40}/f{i}": b"x" * 100 for i in range(count)}
        await put(repos, f"{name}-{count}", store, files, tmp_path)
        before = pachd.told()
        await put(repos, f"{name}-{count}", store, {**files, "d1/f1": b"y" * 100}, tmp_path)
        after = pachd.told()
        calls = {key: after["calls"][key] - before["calls"].get(key, 0) for key in after["calls"]}
        cost = (after["bytes"] - before["bytes"], after["messages"] - before["messages"], calls)
        costs.append(cost)
    assert costs[0] == costs[1]
    assert costs[0][0] < 400  # the file and the manifest
    assert costs[0][1] == 4  # two deletions, two additions


async def test_a_call_that_hangs_ends_at_its_deadline(pachd: Pachd, name: str) -> None:
    impatient = ClusterConnection(Cluster(pachd.address), deadline=0.3)
    try:
        pachd.turn(slow={"InspectRepo": 30.0})
        with pytest.raises(PachydRefusal, match="did not answer in time when asked to show the repo") as failure:
            await Repos(impatient).ensure(name, MARK)
    finally:
        await impatient.close()
    assert failure.value.retryable


async def test_a_stream_from_a_pachd_that_does_not_answer_any_more_ends(tmp_path: Path) -> None:
    """Its connection stays open, and a stream has no deadline: only pings tell."""
    frozen = Pachd(tmp_path)
    connection = ClusterConnection(Cluster(frozen.address), keepalive=1.0)
    try:
        await Repos(connection).ensure("r", MARK)
        request = pfs_pb2.SubscribeCommitRequest(repo=Repos(connection).repo("r"), state=pfs_pb2.FINISHED)
        stream = connection.read(connection.pfs.SubscribeCommit, request, "tell of commits")
        frozen.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(60):
            with pytest.raises(PachydRefusal, match="cannot be reached") as failure:
                await anext(stream)
        assert failure.value.retryable
    finally:
        frozen.kill()
        await connection.close()


async def test_a_pachd_that_nobody_listens_for_is_told(name: str) -> None:
    nobody = ClusterConnection(Cluster("127.0.0.1:1"))
    try:
        with pytest.raises(PachydRefusal, match=r"pachd at 127.0.0.1:1 cannot be reached: .*what is saved meanwhile"):
            await Repos(nobody).ensure(name, MARK)
    finally:
        await nobody.close()


async def test_an_upload_that_hangs_is_given_up(pachd: Pachd, name: str, store: Store, tmp_path: Path) -> None:
    impatient = ClusterConnection(Cluster(pachd.address), patience=0.2)
    try:
        await Repos(impatient).ensure(name, MARK)
        pachd.turn(slow={"ModifyFile": 30.0})
        with pytest.raises(PachydRefusal, match="did not answer in time when asked to take files") as failure:
            await put(Repos(impatient), name, store, {"a": b"1"}, tmp_path)
    finally:
        await impatient.close()
    assert failure.value.retryable


async def test_a_file_that_is_cut_short_is_noticed(
    pachd: Pachd, repos: Repos, name: str, store: Store, tmp_path: Path
) -> None:
    head = await put(repos, name, store, {"large": b"x" * (3 << 20)}, tmp_path)
    pachd.turn(cut={"GetFile": 1})
    with pytest.raises(PachydRefusal, match="cannot be reached"):
        await repos.read(name, head.id, "large")


async def test_a_commit_that_pachd_takes_long_to_settle_is_waited_for(
    pachd: Pachd, repos: Repos, name: str, store: Store, tmp_path: Path
) -> None:
    pachd.turn(finish_after=0.5)
    head = await put(repos, name, store, {"a": b"1"}, tmp_path)
    assert await repos.head(name) == head

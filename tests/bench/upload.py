"""What it costs to bring data to pachd: `python -m tests.bench.upload`, against the stand-in on this machine.

Prints, all of one run: bytes, messages and requests for one changed file in a small and in a large tree; then kaosd's
first commit beside the client library's own put_files for many small files, for one large file of long lines (the best
that put_files can get: it sends a message for each line), and for one of random bytes. Each side sends content that
the server has never seen: pachd stores equal content once, so that the second would have less to do.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import python_pachyderm
from python_pachyderm.proto.v2.pfs import pfs_pb2

from kaosd.bundle import Scanner, Store
from kaosd.engines.pachyderm.connection import Cluster, ClusterConnection
from kaosd.engines.pachyderm.repos import Repos
from kaosd.notebook.content import StoredContent
from tests.pachd.program import Pachd

FEW = 10  # files of the small tree
RANDOM = 32  # MiB: put_files needs a message for each line, and random bytes have one in 256
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Cost:
    """What pachd got: bytes of content, messages of files, requests of any kind."""

    bytes: int
    messages: int
    requests: int


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.upload")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ku") as place:
        pachd = Pachd(Path(place) / "pachd")
        try:
            _one_changed(pachd, Path(place), options.files)
            _beside_put_files(pachd, Path(place), options.files, options.megabytes)
        finally:
            pachd.close()


def one_changed(pachd: Pachd, directory: Path, state: Path) -> Cost:
    """What a commit costs in which one of the files of *directory* has changed."""

    async def run() -> Cost:
        with_repo = f"c-{uuid.uuid4().hex[:8]}"
        async with _Sending(pachd.address, state) as sending:
            await sending.commit(directory, with_repo)
            (directory / "d1" / "f1").write_bytes(os.urandom(1024))
            before = pachd.told()
            await sending.commit(directory, with_repo)
            after = pachd.told()
            await sending.delete(with_repo)
        requests = sum(after["calls"].values()) - sum(before["calls"].values())
        return Cost(after["bytes"] - before["bytes"], after["messages"] - before["messages"], requests)

    return asyncio.run(run())


def small_files(directory: Path, count: int) -> Path:
    """*count* files of 1 KiB in 100 directories."""
    for number in range(count):
        path = directory / f"d{number % 100}" / f"f{number}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(1024))
    return directory


def large_file(directory: Path, size: int, *, lines: bool) -> Path:
    """One file of *size* MiB of random bytes, with a newline in each MiB or wherever they have one."""
    directory.mkdir()
    with open(directory / "f", "wb") as file:
        for _ in range(size):
            chunk = os.urandom(MIB)
            file.write(chunk.replace(b"\n", b" ")[:-1] + b"\n" if lines else chunk)
    return directory


def _one_changed(pachd: Pachd, place: Path, files: int) -> None:
    costs = {}
    for count in (FEW, files):
        costs[count] = cost = one_changed(pachd, small_files(place / f"changed{count}", count), place / "s")
        _tell(f"one of {count} files changed: {cost.bytes} bytes, {cost.messages} messages, {cost.requests} requests")
    few, many = costs[FEW], costs[files]
    _tell(
        f"ratio {files} to {FEW} files: bytes {many.bytes / few.bytes:.3f}, messages"
        f" {many.messages / few.messages:.3f}, requests {many.requests / few.requests:.3f}"
    )


def _beside_put_files(pachd: Pachd, place: Path, files: int, megabytes: int) -> None:
    for what, make in (
        (f"{files} files of 1 KiB", partial(small_files, count=files)),
        (f"one file of {megabytes} MiB, a newline in each", partial(large_file, size=megabytes, lines=True)),
        (f"one file of {RANDOM} MiB of random bytes", partial(large_file, size=RANDOM, lines=False)),
    ):
        directory = make(place / f"ours-{uuid.uuid4().hex[:8]}")
        size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()) / 1e6
        bundling, sending = asyncio.run(_commit(pachd.address, directory, place / "s"))
        shutil.rmtree(directory)
        theirs = _put_files(pachd.address, make(place / f"theirs-{uuid.uuid4().hex[:8]}"))
        _tell(
            f"{what}: kaosd bundles in {bundling:.2f} s and sends in {sending:.2f} s ({size / sending:.1f} MB/s),"
            f" put_files {theirs:.2f} s ({size / theirs:.1f} MB/s); ratio of sending {sending / theirs:.3f},"
            f" of both {(bundling + sending) / theirs:.3f}"
        )


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


class _Sending:
    """A store and a connection: bundles a directory, then sends it, as a deployment of data does."""

    def __init__(self, address: str, state: Path) -> None:
        self._store = Store(state / uuid.uuid4().hex)
        self._state = state
        self._connection = ClusterConnection(Cluster(address))
        self._repos = Repos(self._connection)

    async def __aenter__(self) -> _Sending:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
        self._store.close()

    async def commit(self, directory: Path, repo: str) -> tuple[float, float]:
        """All that a deployment of data does; the seconds that it took to bundle, and to send."""
        began = time.perf_counter()
        tree = Scanner(directory, self._store, kind="data").scan(None).tree
        assert tree is not None
        bundled = time.perf_counter()
        await self._repos.ensure(repo, "bench")
        await self._repos.put(repo, StoredContent(self._store, tree, self._state), lambda _sent, _total: None)
        return bundled - began, time.perf_counter() - bundled

    async def delete(self, repo: str) -> None:
        """The stand-in keeps all in memory."""
        request = pfs_pb2.DeleteRepoRequest(repo=self._repos.repo(repo))
        await self._connection.ask(self._connection.pfs.DeleteRepo, request, "delete")


async def _commit(address: str, directory: Path, state: Path) -> tuple[float, float]:
    repo = f"b-{uuid.uuid4().hex[:8]}"
    async with _Sending(address, state) as sending:
        took = await sending.commit(directory, repo)
        await sending.delete(repo)
    return took


def _put_files(address: str, directory: Path) -> float:
    """Seconds that the client library takes for the same."""
    client = python_pachyderm.Client.new_from_pachd_address(f"grpc://{address}")
    repo = f"p-{uuid.uuid4().hex[:8]}"
    began = time.perf_counter()
    client.create_repo(repo)
    python_pachyderm.put_files(client, str(directory), (repo, "master"), "/")
    took = time.perf_counter() - began
    client.delete_repo(repo)
    return took


if __name__ == "__main__":
    main()

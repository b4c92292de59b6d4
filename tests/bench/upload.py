"""What it costs to bring data to pachd: `python -m tests.bench.upload`, against the stand-in on this machine.

Prints kaosd's commit beside the client library's own put_files, in one run: 10 000 small files, and one large file of
binary content (256 MB here; the library reads files by lines, which is slow for binary ones).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import python_pachyderm

from kaosd.bundle import Scanner, Store
from kaosd.engines.pachyderm.connection import Cluster, Connection
from kaosd.engines.pachyderm.repos import Repos
from kaosd.notebook.content import StoredContent
from tests.pachd.program import Pachd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=256)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ku") as place:
        root = Path(place)
        pachd = Pachd(root / "pachd")
        try:
            small, large = root / "small", root / "large"
            for number in range(options.files):
                path = small / f"d{number % 100}" / f"f{number}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(os.urandom(1024))
            large.mkdir()
            with open(large / "f", "wb") as file:
                for _ in range(options.megabytes):
                    file.write(os.urandom(1 << 20))
            for what, directory in ((f"{options.files} files of 1 KiB", small), (f"{options.megabytes} MiB", large)):
                ours = timed(lambda at=directory: asyncio.run(commit(pachd.address, at, root / "s")))  # type: ignore[misc]
                theirs = timed(lambda at=directory: put_files(pachd.address, at))  # type: ignore[misc]
                sys.stdout.write(f"{what}: kaosd {ours:.2f} s, put_files {theirs:.2f} s, ratio {ours / theirs:.3f}\n")
        finally:
            pachd.close()


def timed(run: Callable[[], None]) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


async def commit(address: str, directory: Path, state: Path) -> None:
    """Bundle, then send: all that a first deployment of data does."""
    store, connection = Store(state / uuid.uuid4().hex), Connection(Cluster(address))
    try:
        tree = Scanner(directory, store, kind="data").scan(None).tree
        assert tree is not None
        repos, repo = Repos(connection), f"b-{uuid.uuid4().hex[:8]}"
        await repos.ensure(repo, "bench")
        await repos.put(repo, StoredContent(store, tree, state), lambda _sent, _total: None)
    finally:
        await connection.close()
        store.close()


def put_files(address: str, directory: Path) -> None:
    """The same as the client library does it."""
    client = python_pachyderm.Client.new_from_pachd_address(f"grpc://{address}")
    repo = f"p-{uuid.uuid4().hex[:8]}"
    client.create_repo(repo)
    python_pachyderm.put_files(client, str(directory), (repo, "master"), "/")


if __name__ == "__main__":
    main()

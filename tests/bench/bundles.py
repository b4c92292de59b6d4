"""First and incremental bundles: kaosd's store, git, restic, borg, tar | zstd, and kaos's zip with sha512."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from kaosd.bundle import Scanner, Store
from tests.bench.report import OWN, Report
from tests.saving import SAVED, tree

# by name: the program, what prepares it, and what bundles the directory that it is started in; {store} is its own
PEERS = {
    "git": ("git", "git init -q --separate-git-dir {store}/git .", "git add -A && git write-tree"),
    "restic": ("restic", "restic -q init -r {store}/r", "restic -q backup -r {store}/r ."),
    "borg": ("borg", "borg init -e none {store}/b", "borg create {store}/b::$(date +%s%N) ."),
    "tar|zstd": ("zstd", "true", "tar c . | zstd -q -o {store}/t --force"),
}


def measure(report: Report, place: Path, files: int, count: int) -> None:
    """Each in turn on a tree of so many files."""
    source = place / f"bundle{files}"
    saved = tree(source, files)
    with tempfile.TemporaryDirectory(dir=place) as directory:
        store = Store(Path(directory) / "store")
        scanner = Scanner(source, store, kind="source")
        scan = lambda dirty: lambda: scanner.scan(dirty)  # noqa: E731
        _both(report, files, OWN, saved, count, (scan(None), scan({SAVED})))
        store.close()
    for who, (program, prepare, command) in PEERS.items():
        if shutil.which(program) is None:
            report.missing.append(f"{who}: there is no {program}")
            continue
        with tempfile.TemporaryDirectory(dir=place) as store_of:
            run = lambda line, store_of=store_of: lambda: _shell(line.format(store=store_of), source)  # noqa: E731
            run(prepare)()
            _both(report, files, who, saved, count, (run(command), run(command)))
            (source / ".git").unlink(missing_ok=True)
    _both(report, files, "kaos's zip", saved, count, (lambda: _zip(source), lambda: _zip(source)))
    shutil.rmtree(source)


def _both(
    report: Report, files: int, who: str, saved: Path, count: int, ways: tuple[Callable[[], object], ...]
) -> None:
    report.add("first bundle", files, who, [_timed(ways[0])])
    again = []
    for _ in range(count):
        saved.write_text(f"ANSWER = {time.time_ns()}\n")
        again.append(_timed(ways[1]))
    report.add("bundle again", files, who, again)


def _timed(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def _shell(line: str, directory: Path) -> None:
    environ = {**os.environ, "RESTIC_PASSWORD": "x", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    subprocess.run(["bash", "-c", line], cwd=directory, env=environ, check=True, capture_output=True)


def _zip(source: Path) -> str:
    """What kaos did: the whole directory into a zip, and its sha512."""
    with tempfile.TemporaryFile() as target:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in source.rglob("*"):
                archive.write(path, path.relative_to(source))
        target.seek(0)
        return hashlib.file_digest(target, "sha512").hexdigest()

"""First and incremental bundles: kaosd's store, git, restic, borg, tar | zstd, and what kaos did (zip and sha512).

All bundle the same state of the same tree, one after the other, in rounds: a file is saved, then each has its turn.
"""

from __future__ import annotations

import functools
import hashlib
import os
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from kaosd.bundle import Scanner, Store
from tests.bench.bench import Bench, absent, checked, remove, timed
from tests.bench.report import BOUND, OWN, Report
from tests.saving import SAVED, tree

ZIP = "kaos's zip+sha512"
# by name: the program, what prepares it, and what bundles the directory that it is started in; {store} is its own
PEERS = {
    "git": ("git", "git init -q --separate-git-dir {store}/git .", "git add -A && git write-tree"),
    "restic": ("restic", "restic -q init -r {store}/r", "restic -q backup -r {store}/r ."),
    "borg": ("borg", "borg init -e none {store}/b", "borg create {store}/b::$(date +%s%N) ."),
    "tar|zstd": ("zstd", "true", "tar c --exclude=./.git . | zstd -q -o {store}/t --force"),
}
LARGE = 10_000  # files, from which on the targets of bundling count
_FIRST, _AGAIN = "first bundle", "bundle again"
_BIG_FIRST, _BIG_AGAIN = "first bundle of large files (MB)", "bundle again of large files (MB)"
_PIECE = 1 << 20
_SIZE = 10_000  # bytes of each small file: 1 GB in 100 000


@dataclass
class Contender:
    """first, again: bundle the tree. same: again costs what first does, and need not be tried where that is long."""

    name: str
    first: Callable[[], object]
    again: Callable[[], object]
    same: bool = False
    times: list[float] = field(default_factory=list)


def measure(bench: Bench, report: Report) -> None:
    """Trees of small files of every size, then a few large files."""
    sizes = bench.choose((20, 1_000), (20, 1_000, 10_000, 100_000))
    for files in sizes:
        source = bench.place / f"bundle{files}"
        saved = tree(source, files, _SIZE)
        _all(bench, report, source, saved, SAVED, (_FIRST, _AGAIN, files))
        remove(source)
    megabytes = bench.choose(50, 2_000)
    source = bench.place / "large"
    saved = _large(source, megabytes)
    _all(bench, report, source, saved, b"model/large0", (_BIG_FIRST, _BIG_AGAIN, megabytes))
    remove(source)
    _targets(report, sizes, megabytes)


def _targets(report: Report, sizes: Sequence[int], megabytes: int) -> None:
    for files in [files for files in sizes if files >= LARGE] or sizes[-1:]:
        report.target(f"re-bundle, {files} files: of git", report.ratio(_AGAIN, files, "git"), 0.05)
        report.target(f"re-bundle, {files} files: of kaos's zip", report.ratio(_AGAIN, files, ZIP), 0.001)
    report.target(f"first bundle, {sizes[-1]} files: of git", report.ratio(_FIRST, sizes[-1], "git"), 0.25)
    report.target(f"first bundle, {megabytes} MB: of git", report.ratio(_BIG_FIRST, megabytes, "git"), 0.1)
    report.target(f"first bundle, {megabytes} MB: of kaos's zip", report.ratio(_BIG_FIRST, megabytes, ZIP), 0.02)


def _all(bench: Bench, report: Report, source: Path, saved: Path, name: bytes, what: tuple[str, str, int]) -> None:
    first, again, size = what
    with bench.directory() as place:
        store = Store(place / "store")
        scanner = Scanner(source, store, kind="source")
        contenders = [
            Contender(OWN, scanner.scan, functools.partial(scanner.scan, {name})),
            *_peers(report, place, source),
        ]
        bound = functools.partial(_read, source)
        contenders.append(Contender(f"{BOUND}walk, read, hash", bound, functools.partial(_write, place, saved)))
        for one in contenders:
            seconds = timed(one.first)
            report.add(first, size, one.name, [seconds])
            one.times = [seconds] if one.same and seconds > 1 else []
        _rounds(contenders, saved, bench.choose(5, 40))
        for one in contenders:
            report.add(again, size, one.name, one.times)
        store.close()
    (source / ".git").unlink(missing_ok=True)


def _rounds(contenders: Sequence[Contender], saved: Path, rounds: int) -> None:
    """Save, then let each bundle that has not had five seconds yet."""
    begun = {one.name: bool(one.times) for one in contenders}
    for number in range(rounds):
        with saved.open("r+b") as file:
            file.write(f"ANSWER = {time.time_ns()}\n".encode())
        for one in contenders:
            if not begun[one.name] and (number == 0 or sum(one.times) < 5):
                one.times.append(timed(one.again))


def _peers(report: Report, place: Path, source: Path) -> list[Contender]:
    found = []
    for who, (program, prepare, command) in PEERS.items():
        if lacking := absent([program]):
            report.missing.append(f"{who}: {lacking}")
            continue
        own = place / who.replace("|", "-")
        own.mkdir()
        _shell(prepare.format(store=own), source)
        run = functools.partial(_shell, command.format(store=own), source)
        found.append(Contender(who, run, run, same=who == "tar|zstd"))
    return [*found, Contender(ZIP, functools.partial(_zip, source), functools.partial(_zip, source), same=True)]


def _shell(line: str, directory: Path) -> None:
    environ = {**os.environ, "RESTIC_PASSWORD": "x", "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes"}
    checked(["bash", "-o", "pipefail", "-c", line], cwd=directory, env=environ)


def _zip(source: Path) -> str:
    """What kaos did: the whole directory into a zip, and its sha512."""
    with tempfile.TemporaryFile() as target:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in source.rglob("*"):
                archive.write(path, path.relative_to(source))
        target.seek(0)
        return hashlib.file_digest(target, "sha512").hexdigest()


def _read(source: Path) -> None:
    """The least that this interpreter needs to look at every byte once, and to keep nothing."""
    for directory, _, names in os.walk(source):
        for name in names:
            with open(f"{directory}/{name}", "rb", buffering=0) as file:
                while piece := file.read(_PIECE):
                    blake3(piece).digest()


def _write(place: Path, saved: Path) -> None:
    """The least that makes one saved file durable elsewhere: read, hash, append, sync."""
    with saved.open("rb", buffering=0) as file, (place / "bound").open("ab", buffering=0) as target:
        while piece := file.read(_PIECE):
            blake3(piece).digest()
            target.write(piece)
        os.fdatasync(target.fileno())


def _large(source: Path, megabytes: int) -> Path:
    """Five files of as many megabytes in all, of noise; the first of them."""
    (source / "model").mkdir(parents=True)
    (source / "model" / "requirements.txt").write_text("")
    for number in range(5):
        with (source / "model" / f"large{number}").open("wb") as file:
            for _ in range(megabytes // 5):
                file.write(os.urandom(_PIECE))
    return source / "model" / "large0"

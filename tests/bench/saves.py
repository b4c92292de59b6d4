"""From a save to its content in the other directory, single ones and many at once: kaosd, and what people would use.

On the same tree, in turn: while one works, the other is held by a signal. Each peer is compared with kaosd in
the same minute, in blocks.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench import Bench, at_leisure, remove
from tests.bench.peers import PEERS, Peer, Running, running
from tests.bench.report import OWN, Report
from tests.e2e.daemon import Daemon
from tests.saving import SAVED, tree

SAVE, BURST = "save to content", "burst to content"
GIVE_UP = 20.0  # seconds after which one that has not brought a save is left out
MANY = 60.0  # the same for a burst
_GENERATION = itertools.count()
_PROBE = 3.0  # seconds that a probing save gets before another one is made


class TooSlowError(Exception):
    """A content that did not come."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The same files on both sides; the first one is what single saves change."""

    source: Path
    target: Path
    files: Sequence[str]

    def save(self, count: int = 1, within: float = GIVE_UP) -> float:
        """Change *count* files; seconds from the first write until all their contents are in the target."""
        text = _text()
        names = self.files[:count]
        began = time.perf_counter()
        for name in names:
            (self.source / name).write_bytes(text)
        deadline = time.perf_counter() + within
        for name in names:
            while not _holds(self.target / name, text):
                if time.perf_counter() > deadline:
                    raise TooSlowError(f"{name} did not come within {within:g} s")
                time.sleep(0.0005)
        return time.perf_counter() - began

    def whole(self) -> bool:
        """Whether every file is on both sides."""
        return all((self.target / name).exists() for name in self.files)


def measure(bench: Bench, report: Report) -> None:
    """Trees of every size; bursts in the one that is large enough for the largest."""
    sizes = bench.choose((20, 1_000), (20, 1_000, 10_000, 100_000))
    bursts = {bench.choose(1_000, 10_000): bench.choose((10, 500), (10, 1_000, 9_000))}
    with bench.daemon() as daemon:
        for files in sizes:
            blocks = bench.choose(1, 2 if files in (sizes[0], sizes[-1]) else 1)
            saves = bench.choose(5, 5 if files == sizes[-1] else 8)
            _tree(bench, report, daemon, files, blocks, saves, bursts.get(files, ()))
    _targets(report, sizes)


def _targets(report: Report, sizes: Sequence[int]) -> None:
    for files in (sizes[0], sizes[-1]):
        best = report.best(SAVE, files)
        who = best.who if best else "nothing"
        ratio = report.ratio(SAVE, files, who)
        report.target(f"save to content, {files} files: of the best peer ({who})", ratio, 0.85)
        own = next(one for one in report.times if (one.what, one.size, one.who) == (SAVE, files, OWN))
        report.target(f"save to content, {files} files: p99 of the median", own.p99 / own.median, 2)
    for what, count in dict.fromkeys((one.what, one.size) for one in report.times if one.what != SAVE):
        best = report.best(what, count)
        who = best.who if best else "nothing"
        report.target(f"{what}, {count} files: of the best peer ({who})", report.ratio(what, count, who), 0.9)
    large = report.median(SAVE, sizes[-1]) / report.median(SAVE, sizes[0])
    report.target(f"save to content: {sizes[-1]} files of {sizes[0]} files", large, 1.3)


def _tree(
    bench: Bench, report: Report, daemon: Daemon, files: int, blocks: int, saves: int, bursts: Sequence[int]
) -> None:
    """All peers on one tree, each beside kaosd."""
    source, name = bench.place / f"source{files}", f"tree{files}"
    saved = os.fsdecode(SAVED.removeprefix(b"model/"))
    tree(source, files)
    daemon.deploy(name, source)
    at_leisure(daemon)
    inside = source / "model"
    others = [str(path.relative_to(inside)) for path in sorted(inside.rglob("f*.py"))]
    random.Random(files).shuffle(others)
    names = [saved, *others]
    ours = Pair(inside, daemon.home(name) / "work", names)
    own = _Own(daemon, ours)
    for peer in PEERS:
        if peer.absent:
            report.missing.append(f"{peer.name}: {peer.absent}")
            continue
        with bench.directory() as target:
            own.hold()
            theirs = Pair(inside, target, names)
            try:
                with running(peer, inside, target) as process:
                    _beside(report, own, theirs, process, peer, files, blocks, saves, bursts)
            finally:
                own.go_on()
    report.add(SAVE, files, OWN, own.saves)
    for count, seconds in own.bursts.items():
        report.add(f"{BURST}, tree of {files}", count, OWN, seconds)
    daemon.ctl("notebook", "kill", "-n", name, "-y")
    remove(source)


class _Own:
    """kaosd as one of those that take turns."""

    def __init__(self, daemon: Daemon, pair: Pair) -> None:
        assert daemon.process is not None
        self._pid = daemon.process.pid
        self._pair = pair
        self.saves: list[float] = []
        self.bursts: dict[int, list[float]] = {}

    def hold(self) -> None:
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> None:
        os.kill(self._pid, signal.SIGCONT)

    @contextlib.contextmanager
    def turn(self, other: Running) -> Iterator[Pair]:
        """Within it kaosd works and *other* does not; whatever has piled up is done."""
        other.hold()
        self.go_on()
        try:
            _caught_up(self._pair)
            yield self._pair
        finally:
            self.hold()
            other.go_on()


def _beside(
    report: Report, own: _Own, theirs: Pair, process: Running, peer: Peer,
    files: int, blocks: int, saves: int, bursts: Sequence[int],
) -> None:  # fmt: skip
    """Blocks of saves, kaosd and the peer in turn, then the bursts."""
    found: list[float] = []
    times: dict[int, list[float]] = {}
    try:
        _ready(theirs, patience=30 + files / 600)
        for _ in range(blocks):
            with own.turn(process) as pair:
                own.saves += _saves(pair, saves)
            _caught_up(theirs)
            found += _saves(theirs, saves)
        for count in bursts:
            for _ in range(2):
                with own.turn(process) as pair:
                    own.bursts.setdefault(count, []).append(pair.save(count, MANY))
                _caught_up(theirs, MANY)
                times.setdefault(count, []).append(theirs.save(count, MANY))
    except TooSlowError as error:
        report.missing.append(f"{peer.name}, {files} files: {error} ({process.last_words()})")
    if found:
        report.add(SAVE, files, peer.name, found)
    for count, seconds in times.items():
        report.add(f"{BURST}, tree of {files}", count, peer.name, seconds)


def _saves(pair: Pair, count: int) -> list[float]:
    """Seconds of so many saves, as a person makes them: one after the other, at no fixed distance."""
    found = []
    for _ in range(count):
        time.sleep(random.uniform(0.2, 0.4))
        found.append(pair.save())
    return found


def _ready(pair: Pair, patience: float) -> None:
    """Wait for the first copy of everything, and then until it answers to saves."""
    deadline = time.perf_counter() + patience
    while not pair.whole():
        if time.perf_counter() > deadline:
            raise TooSlowError(f"the first copy was not there within {patience:.0f} s")
        time.sleep(0.5)
    _caught_up(pair)
    _caught_up(pair)


def _caught_up(pair: Pair, patience: float = GIVE_UP) -> None:
    """Save until a save comes: one that was made before it watched, or while it was held, may have passed it by."""
    deadline, within = time.perf_counter() + patience, _PROBE
    while True:
        try:
            pair.save(within=within)
        except TooSlowError:
            if time.perf_counter() > deadline:
                raise
            within *= 2
        else:
            return


def _text() -> bytes:
    """Never as long as the last one: rsync takes the same size within the same second for the same content."""
    return f"ANSWER = {time.time_ns()}\n".encode() + b"#" * (next(_GENERATION) % 97)


def _holds(path: Path, text: bytes) -> bool:
    try:
        return path.read_bytes() == text
    except FileNotFoundError:
        return False

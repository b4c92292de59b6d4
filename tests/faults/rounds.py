"""Rounds of work under faults: `python -m tests.faults.rounds ROUNDS [SEED]`, or `make faults ROUNDS=1000`.

Each round draws a fault, lets a person work before, during and after it, waits until all is at rest without being
asked to look, and then holds everything against the oracle. The same seed draws the same faults and edits; when
they strike is up to the machine.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from tests.faults import oracle
from tests.faults.daemon import Struck, Unreachable
from tests.faults.editor import Editor
from tests.faults.strikes import STRIKES, Strike

SLOW = 10.0  # seconds from which a round is told of: an event may have been missed until the next rescan
PATIENCE = 150.0  # seconds until a round is at rest, at most
STATE_SIZE = "3g"  # of memory, at most; each environment takes some 200 MB
CONFIG = """\
max_backoff = 2
keep_versions = 5

[[notebook]]
name = "{name}"
source = "{source}"
data = "{data}"
"""


class Broken(AssertionError):
    """A round did not end as it must; what is wrong, by column."""

    def __init__(self, wrong: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{column}: {text}" for column, text in wrong[:6]))
        self.wrong = wrong


class World:
    """One daemon, one notebook, one person. amnesia, damaged: what the present round did to the state."""

    name = "faults"

    def __init__(self, place: Path, seed: int) -> None:
        self.place = place
        self.chance = random.Random(seed)
        self.daemon = Struck(place)
        self.daemon.state.mkdir(mode=0o700)
        source, data = place / "src" / "example", place / "src" / "data"
        self.editor = Editor(self.chance, source, data, self.daemon.home(self.name) / "work")
        self.editor.begin()
        self.daemon.config.write_text(CONFIG.format(name=self.name, source=source, data=data))
        self.faults: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()
        self.times: list[float] = []
        self.baselines: dict[int, int] = {}
        self.amnesia = False
        self.damaged = ""

    # -- for strikes ---------------------------------------------------------------------------------------

    def host(self) -> int:
        """The process that serves JupyterLab now."""
        return self.daemon.launchers()[0]

    def met_point(self) -> None:
        """No more strikes; count where the daemon was struck."""
        self.daemon.plan()

    def redeploy(self, *, force: bool = False) -> None:
        """What a person does when something has failed for good."""
        with contextlib.suppress(Unreachable):
            self.daemon.ask("POST", f"/v1/notebooks/{self.name}/redeploy", {"force": force})

    # -- rounds --------------------------------------------------------------------------------------------

    def first(self) -> None:
        """The first deployment."""
        self.daemon.start()
        self.settle()

    def round(self, strike: Strike) -> None:
        """One round."""
        self.amnesia, self.damaged = False, ""
        if self.chance.random() < 0.6:
            self.editor.edit(self.chance.randint(1, 3), at_rest=True)
        self.faults[strike.__name__] += 1
        for turn, _ in enumerate(strike(self, self.chance)):
            self.editor.change(self.chance.randint(0 if turn else 1, 5))
            if self.chance.random() < 0.2:
                self.editor.edit(1, at_rest=False)
        began = time.monotonic()
        self.settle()
        self.times.append(time.monotonic() - began)
        if self.times[-1] > SLOW:
            print(f"{strike.__name__} {self.damaged}took {self.times[-1]:.1f} s to converge", flush=True)

    def settle(self) -> None:
        """Wait until all is at rest, and hold it against the oracle."""
        deadline = time.monotonic() + PATIENCE
        while wrong := self._wrong_now():
            if time.monotonic() > deadline:
                raise Broken(wrong)
            time.sleep(0.03)
        told = self.daemon.ask("POST", f"/v1/notebooks/{self.name}/wait", {"timeout": 60}, patience=90)
        wrong = [] if told.get("outcome") == "live" else [("wrong content", f"wait says {told}")]
        wrong += oracle.compare(self.editor, amnesia=self.amnesia) + oracle.lost(self.editor)
        if wrong:
            raise Broken(wrong)
        oracle.settle(self.editor)

    def _wrong_now(self) -> list[tuple[str, str]]:
        """What is not as it must be, or not at rest yet."""
        self.daemon.ensure()
        try:
            shown = self.daemon.ask("GET", f"/v1/notebooks/{self.name}")
        except Unreachable as error:
            return [("wrong content", str(error))]
        if shown.get("hold") == "mass change":
            self.redeploy(force=True)
        if shown.get("state") != "live":
            return [("wrong content", f"{shown.get('state')}: {shown.get('reason')}")]
        wrong = oracle.compare(self.editor, amnesia=self.amnesia)
        if wrong:
            return wrong
        baseline = self.baselines.setdefault(self.daemon.pid, self.daemon.descriptors())
        wrong = oracle.machine(self.daemon, self.name, baseline)
        if not self.amnesia:
            wrong += oracle.history(self.daemon, self.name)
        if self.amnesia:
            self._forget_extras()
        return wrong

    def _forget_extras(self) -> None:
        """After a lost journal, files that only the host has may be kaosd's own: the person tidies up."""
        here, there = oracle.read_tree(self.editor.model), oracle.read_tree(self.editor.work)
        for path in there.keys() - here.keys():
            if path not in self.editor.hosted:
                (self.editor.work / path).unlink()

    def run(self, rounds: int) -> None:
        """So many rounds; Broken at the first that goes wrong."""
        strikes, weights = list(STRIKES), list(STRIKES.values())
        self.first()
        for number in range(1, rounds + 1):
            strike = self.chance.choices(strikes, weights)[0]
            try:
                self.round(strike)
                if number % 50 == 0 or number == rounds:
                    self.look_at_all()
            except Exception as error:
                for column, _ in error.wrong if isinstance(error, Broken) else ():
                    self.losses[column] += 1
                what = f" ({self.damaged})" if self.damaged else ""
                raise AssertionError(f"round {number}, {strike.__name__}{what}: {error}\n{self.table()}") from error
            if number % 20 == 0:
                print(f"{number} rounds, {statistics.median(self.times):.2f} s at the median", flush=True)

    def look_at_all(self) -> None:
        """What takes too long for every round."""
        if wrong := oracle.listed(self.daemon, self.name, self.editor):
            raise Broken(wrong)

    # -- the end -------------------------------------------------------------------------------------------

    def table(self) -> str:
        """What was done and what was lost."""
        points = _lines(self.place / "f" / "points")
        struck = Counter(_lines(self.place / "f" / "struck"))
        times = sorted(self.times) or [0.0]
        rows = [(f"fault: {name}", count) for name, count in sorted(self.faults.items())]
        rows += [
            ("faults in all", sum(self.faults.values())),
            ("points met, and struck", f"{len(set(points))}, {len({one.removesuffix(' (done)') for one in struck})}"),
            ("strikes at points", sum(struck.values())),
            ("starts of the daemon, ended by itself", f"{self.daemon.starts}, {self.daemon.ends}"),
            ("saves made", self.editor.saves),
            ("edits in the host made, of these recovered", f"{self.editor.edits}, {len(self.editor.recovered)}"),
            *((column, self.losses[column]) for column in oracle.LOSSES),
            ("time to converge: median, 95 %, most", " ".join(f"{_at(times, part):.2f} s" for part in (0.5, 0.95, 1))),
        ]
        return "\n".join(f"{name:44} {value}" for name, value in rows)


def _at(times: list[float], part: float) -> float:
    return times[min(len(times) - 1, int(part * len(times)))]


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@contextlib.contextmanager
def world(seed: int) -> Iterator[World]:
    """A world on a small file system of its own, taken down at the end."""
    place = Path(tempfile.mkdtemp(prefix="kf"))
    made = World(place, seed)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={STATE_SIZE},mode=700", "kaosd-faults", str(made.daemon.state)]
    subprocess.run(mount, check=True)
    try:
        yield made
    finally:
        if made.daemon.running:
            made.daemon.kill()
        while left := made.daemon.hosts():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, 9)
        subprocess.run(["umount", "-l", made.daemon.state], check=True)
        shutil.rmtree(place, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Run by hand; 0 when nothing was lost."""
    rounds = int(arguments[0]) if arguments else 100
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(10**6)
    print(f"seed {seed}, {rounds} rounds", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))
    with world(seed) as made:
        try:
            made.run(rounds)
        except Exception:
            traceback.print_exc()
            print(made.daemon.output())
            print(f"again: make faults ROUNDS={rounds} SEED={seed}")
            return 1
        except SystemExit as error:
            print(error)
        print(made.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

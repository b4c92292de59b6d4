"""Rounds of work under faults: `python -m tests.faults.rounds ROUNDS [SEED [BESIDE]]`, or `make faults ROUNDS=1000`.

BESIDE: so many worlds at once share the rounds, with seeds one after the other.

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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.faults import oracle
from tests.faults.daemon import Struck, Unreachable
from tests.faults.editor import Editor
from tests.faults.figures import Figures, merged
from tests.faults.strikes import STRIKES, Strike
from tests.faults.surroundings import SURROUNDINGS

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
    """One daemon, one notebook, one person.

    damaged: the file of the state that the present round has damaged, "" for none; amnesia: that was the journal.
    """

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
        self.hosted_edits = True  # whether the person edits in the host as well
        self.patience = PATIENCE

    # -- for strikes ---------------------------------------------------------------------------------------

    def host(self) -> int:
        """The process that serves JupyterLab now."""
        return self.daemon.launchers()[0]

    def struck(self) -> int:
        """How often something was struck at a point so far."""
        return len(_lines(self.place / "f" / "struck"))

    def met_point(self) -> None:
        """No more strikes; count where the daemon was struck."""
        self.daemon.plan()

    def redeploy(self, *, force: bool = False) -> None:
        """What a person does when something has failed for good."""
        with contextlib.suppress(Unreachable):
            self.daemon.ask("POST", f"/v1/notebooks/{self.name}/redeploy", {"force": force})

    def accept(self) -> dict[str, Any]:
        """What a person does when most files are gone and that is meant; the notebook's status, or nothing."""
        try:
            shown: dict[str, Any] = self.daemon.ask("GET", f"/v1/notebooks/{self.name}")
        except Unreachable:
            return {}
        if shown.get("hold") == "mass change":
            self.redeploy(force=True)
        return shown

    # -- rounds --------------------------------------------------------------------------------------------

    def first(self) -> None:
        """The first deployment."""
        self.daemon.start()
        self.settle()

    def round(self, strike: Strike) -> None:
        """One round."""
        self.amnesia, self.damaged = False, ""
        if self.hosted_edits and self.chance.random() < 0.6:
            self.editor.edit(self.chance.randint(1, 3), at_rest=True)
        self.faults[strike.__name__] += 1
        for turn, _ in enumerate(strike(self, self.chance)):
            self.editor.change(self.chance.randint(0 if turn else 1, 5))
            if self.hosted_edits and self.chance.random() < 0.2:
                self.editor.edit(1, at_rest=False)
        began = time.monotonic()
        self.settle()
        self.times.append(time.monotonic() - began)
        if self.times[-1] > SLOW:
            print(f"{strike.__name__} {self.damaged}took {self.times[-1]:.1f} s to converge", flush=True)

    def settle(self) -> None:
        """Wait until all is at rest, and hold it against the oracle."""
        deadline = time.monotonic() + self.patience
        while wrong := self._wrong_now():
            if time.monotonic() > deadline:
                raise Broken(wrong)
            time.sleep(0.03)
        told = self.daemon.ask("POST", f"/v1/notebooks/{self.name}/wait", {"timeout": 60}, patience=90)
        wrong = [] if told.get("outcome") == "live" else [("wrong content", f"wait says {told}")]
        wrong += self.compare() + oracle.lost(self.editor)
        if wrong:
            raise Broken(wrong)
        oracle.settle(self.editor)

    def _wrong_now(self) -> list[tuple[str, str]]:
        """What is not as it must be, or not at rest yet."""
        self.daemon.ensure()
        shown = self.accept()
        if shown.get("state") != "live":
            return [("wrong content", f"{shown.get('state')}: {shown.get('reason')}")]
        wrong = self.compare()
        if wrong:
            return wrong
        baseline = self.baselines.setdefault(self.daemon.pid, self.daemon.descriptors())
        wrong = self.machine(baseline)
        if not self.amnesia:
            wrong += oracle.history(self.daemon, self.name)
        return wrong

    def compare(self) -> list[tuple[str, str]]:
        """What is wrong with the content that is served."""
        told = bool(self.damaged) and self._told_undecided()
        return oracle.compare(self.editor, damaged=bool(self.damaged), told=told)

    def _told_undecided(self) -> bool:
        """Whether status says that files may be left over, or be the person's."""
        try:
            problems = self.daemon.ask("GET", "/v1/status")["daemon"]["problems"]
        except Unreachable:
            return False
        return any(problem["code"] == "undecided" for problem in problems)

    def machine(self, baseline: int) -> list[tuple[str, str]]:
        """What is wrong with processes, files and descriptors."""
        return oracle.machine(self.daemon, self.name, baseline)

    def run(self, rounds: int, drawn: Mapping[Any, int] = STRIKES | SURROUNDINGS) -> None:
        """So many rounds; Broken at the first that goes wrong. drawn: strikes, and how often."""
        strikes, weights = list(drawn), list(drawn.values())
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

    def figures(self) -> Figures:
        """What was done and what was lost so far."""
        editor, daemon = self.editor, self.daemon
        sums = {"starts": daemon.starts, "ends": daemon.ends, "saves": editor.saves, "edits": editor.edits}
        return Figures(
            self.faults,
            self.losses,
            Counter(sums | {"recovered": len(editor.recovered)}),
            self.times,
            set(_lines(self.place / "f" / "points")),
            Counter(_lines(self.place / "f" / "struck")),
        )

    def table(self) -> str:
        """The same for people."""
        return self.figures().table()


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
        for line in reversed(Path("/proc/mounts").read_text().splitlines()):
            if (mounted := line.split()[1]).startswith(f"{place}/"):  # a strike's own, if it did not get to its end
                subprocess.run(["umount", "-l", mounted], check=True)
        shutil.rmtree(place, ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Run by hand; 0 when nothing was lost."""
    rounds = int(arguments[0]) if arguments else 100
    seed = int(arguments[1]) if len(arguments) > 1 else random.SystemRandom().randrange(10**6)
    beside = int(arguments[2]) if len(arguments) > 2 else 1
    return alone(rounds, seed, None) if beside == 1 else side_by_side(rounds, seed, beside)


def alone(rounds: int, seed: int, figures: Path | None) -> int:
    """One world; its figures go to a file if one is named."""
    print(f"seed {seed}, {rounds} rounds", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))
    lost = 0
    with world(seed) as made:
        try:
            made.run(rounds)
        except Exception:
            traceback.print_exc()
            print(made.daemon.output())
            print(f"again: make faults ROUNDS={rounds} SEED={seed}")
            lost = 1
        except SystemExit as error:
            print(error)
        if figures is not None:
            made.figures().save(figures)
        elif not lost:
            print(made.table())
    return lost


def side_by_side(rounds: int, seed: int, beside: int) -> int:
    """Several worlds at once, of one seed after the other, and one table of them all."""
    with tempfile.TemporaryDirectory(prefix="kf") as place:
        files = [Path(place) / str(number) for number in range(beside)]
        code = "import sys, pathlib; from tests.faults.rounds import alone; "
        code += "sys.exit(alone(int(sys.argv[1]), int(sys.argv[2]), pathlib.Path(sys.argv[3])))"
        shares = [rounds // beside + (number < rounds % beside) for number in range(beside)]
        processes = [
            subprocess.Popen([sys.executable, "-c", code, str(share), str(seed + number), str(files[number])])
            for number, share in enumerate(shares)
        ]
        signal.signal(signal.SIGTERM, lambda *_: [process.terminate() for process in processes])
        ends = [process.wait() for process in processes]
        print(merged(path for path in files if path.exists()).table())
    return int(any(ends))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

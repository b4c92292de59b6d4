"""Rounds in which the engine goes away and comes back at any step: `make faults ENGINE=docker ROUNDS=50 [SEED=7]`.

As rounds.py, with the same person and the same oracle; the notebook lives in a container of a real Docker, or on the
stand-in for pachd. The engine is reached by a cable that is pulled before or after it has got a request, for a while,
and now and then the daemon is killed meanwhile, or the engine itself is.
"""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

from kaosd.engines.pachyderm.names import MANIFEST
from tests.engines.containers import Containers, started
from tests.faults import oracle
from tests.faults.cable import Cable
from tests.faults.editor import read_tree
from tests.faults.rounds import World
from tests.pachd.program import Pachd

NEAR = (3, 10, 30)  # pieces within which the cable is pulled
CONFIG = """\
engine = "{engine}"
max_backoff = 1
keep_versions = 5

[docker]
socket = "unix://{docker}"

[pachyderm]
address = "grpc://{pachd}"
registry = "registry.test/kaosd"
buildkit = "tcp://buildkitd:1234"

[[notebook]]
name = "faults"
source = "{source}"
data = "{data}"
"""


class Away(World):
    """A world whose engine is at the end of a cable. patience is longer: images are built."""

    def __init__(self, place: Path, seed: int, cable: Cable) -> None:
        super().__init__(place, seed)
        self.cable = cable
        self.patience = 600.0

    def configure(self, engine: str) -> None:
        """Write the configuration for this engine, reached by the cable."""
        where = {"docker": "/nowhere", "pachd": "127.0.0.1:1"} | {
            "docker" if engine == "docker" else "pachd": self.cable.address
        }
        text = CONFIG.format(engine=engine, source=self.editor.source, data=self.editor.data, **where)
        self.daemon.config.write_text(text)

    def again(self) -> None:
        """End the engine itself and start it again."""
        raise NotImplementedError


class InContainers(Away):
    """On a real Docker."""

    def __init__(self, place: Path, seed: int, cable: Cable, containers: Containers) -> None:
        super().__init__(place, seed, cable)
        self.containers = containers
        self.configure("docker")

    def machine(self, baseline: int) -> list[tuple[str, str]]:
        """One container that runs (ended ones go every ten minutes), no temporary files, no descriptors."""
        client = self.containers.client()
        try:
            label = f"kaosd.home={self.daemon.home(self.name)}"
            found = client.containers(filters={"label": label})
        finally:
            client.close()
        wrong = [] if len(found) == 1 else [("orphans", f"{len(found)} containers run")]
        return wrong + oracle.leftovers(self.daemon, self.name, baseline)

    def again(self) -> None:
        """Docker ends with all its containers, and starts again."""
        self.containers.stop()
        self.containers.start()


class InPachyderm(Away):
    """On the stand-in for pachd, whose pods see what was committed; nobody edits there."""

    def __init__(self, place: Path, seed: int, cable: Cable, pachd: Pachd) -> None:
        super().__init__(place, seed, cable)
        self.pachd = pachd
        self.hosted_edits = False
        self.editor.plain = True
        self.configure("pachyderm")

    def compare(self) -> list[tuple[str, str]]:
        """What the running notebook serves, against what is on disk."""
        here, there = {path: file.content for path, file in read_tree(self.editor.model).items()}, self._served()
        different = sorted(path for path in here.keys() | there.keys() if here.get(path) != there.get(path))
        wrong = [("saves lost", f"{path} is {there.get(path)!r:.40} in the host") for path in different]
        data = {path: file.content for path, file in read_tree(self.editor.data).items()}
        return wrong if self._attached() == data else [*wrong, ("saves lost", "the data in the host is another one")]

    def _attached(self) -> dict[str, bytes]:
        """The data as the newest pod of the host sees it."""
        pods = (self.pachd.place / "pods").glob(f"default-{self.name}-v*")
        newest = max(pods, key=lambda pod: (pod / "pfs").stat().st_mtime_ns)
        (data,) = (newest / "pfs").glob("*data*")
        tree = read_tree(data.resolve())
        return {path: file.content for path, file in tree.items() if path != MANIFEST}

    def machine(self, baseline: int) -> list[tuple[str, str]]:
        """Two pipelines, of each one job that runs at most."""
        jobs = self.pachd.told()["jobs"]
        wrong = [("orphans", f"pipelines {sorted(jobs)}")] if len(jobs) != 2 else []
        running = [state for state, _ in jobs.get(f"default/{self.name}", []) if state == "JOB_RUNNING"]
        wrong += [("orphans", f"{len(running)} hosts run")] if len(running) > 1 else []
        return wrong + oracle.leftovers(self.daemon, self.name, baseline)

    def _served(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        pending = [""]
        while pending:
            listed = self._contents(pending.pop())
            for one in listed["content"]:
                if one["type"] == "directory":
                    pending.append(one["path"])
                elif not one["path"].endswith(".pyc"):
                    found[one["path"]] = str(self._contents(one["path"], "text")["content"]).encode()
        return found

    def _contents(self, path: str, form: str = "") -> dict[str, object]:
        url = f"{self.daemon.url(self.name)}/api/contents/{urllib.parse.quote(path)}"
        request = urllib.request.Request(url + (f"?type=file&format={form}" if form else ""))
        request.add_header("Authorization", f"token {self.daemon.token(self.name)}")
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, object] = json.load(answer)
        return found


# -- faults ------------------------------------------------------------------------------------------------------------


def away_at_a_step(world: Away, chance: random.Random) -> Iterator[None]:
    """The engine goes away at some step, for a moment or for longer than one try."""
    world.cable.pull_at(chance.randint(1, chance.choice(NEAR)), late=chance.random() < 0.5)
    yield
    world.cable.pulled.wait(chance.choice([1.0, 8.0]))
    yield
    time.sleep(chance.choice([0.0, 0.3, 2.0]))
    world.cable.put_back()
    yield


def away_and_killed(world: Away, chance: random.Random) -> Iterator[None]:
    """And the daemon is killed, and starts while nobody answers."""
    world.cable.pull_at(chance.randint(1, chance.choice(NEAR)), late=chance.random() < 0.5)
    yield
    world.cable.pulled.wait(8.0)
    world.daemon.kill()
    yield
    world.daemon.start()
    yield
    world.cable.put_back()


def killed_at_a_step(world: Away, chance: random.Random) -> Iterator[None]:
    """The daemon is killed at the very step, and the engine is there."""
    world.cable.pull_at(chance.randint(1, chance.choice(NEAR)), late=True)
    yield
    world.cable.pulled.wait(8.0)
    world.daemon.kill()
    world.cable.put_back()
    yield
    world.daemon.start()


def away_from_the_start(world: Away, chance: random.Random) -> Iterator[None]:
    """The engine is away before the daemon starts."""
    world.daemon.kill()
    world.cable.pull()
    yield
    world.daemon.start()
    yield
    world.cable.put_back()


def ended_and_started(world: Away, chance: random.Random) -> Iterator[None]:
    """The engine itself ends, with all that runs in it where it is of that kind."""
    yield
    world.again()
    yield


AWAY: dict[Callable[[Away, random.Random], Iterator[None]], int] = {
    away_at_a_step: 10, away_and_killed: 4, killed_at_a_step: 4, away_from_the_start: 2, ended_and_started: 1,
}  # fmt: skip


@contextlib.contextmanager
def world(engine: str, seed: int) -> Iterator[Away]:
    """A world on *engine*, "docker" or "pachyderm", taken down at the end."""
    place = Path(tempfile.mkdtemp(prefix="kf"))
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        made: Away
        if engine == "docker":
            containers = stack.enter_context(started("docker"))
            cable = Cable(place / "cable", containers.socket)
            made = InContainers(place, seed, cable, containers)
        else:
            pachd = Pachd(
                Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kp", ignore_cleanup_errors=True)))
            )
            stack.callback(pachd.close)
            host, _, port = pachd.address.partition(":")
            cable = Cable(None, (host, int(port)))
            made = InPachyderm(place, seed, cable, pachd)
        stack.callback(cable.close)
        stack.callback(lambda: made.daemon.kill() if made.daemon.running else None)
        yield made


def main(arguments: list[str]) -> int:
    """Run by hand; 0 when nothing was lost."""
    engine, rounds = arguments[0], int(arguments[1])
    seed = int(arguments[2]) if len(arguments) > 2 else random.SystemRandom().randrange(10**6)
    print(f"{engine}, seed {seed}, {rounds} rounds", flush=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))
    # the stand-in for pachd has its state in memory, and a real pachd ends without its pods
    drawn = (
        AWAY
        if engine == "docker"
        else {strike: often for strike, often in AWAY.items() if strike is not ended_and_started}
    )
    with world(engine, seed) as made:
        try:
            made.run(rounds, drawn)
        except AssertionError:
            print(made.daemon.output())
            raise
        except SystemExit as error:
            print(error)
        print(made.table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

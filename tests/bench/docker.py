"""How long a save takes to be live in a container, and `docker build --no-cache` and `docker run` of the same bundle.

    python -m tests.bench.docker [--rounds N]

Starts a Docker of its own, for which it needs root. All figures are of this run; seconds, median.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.daemon import Daemon, until
from tests.engines.containers import Containers, started

DOCKERFILE = """\
FROM python:3.11
WORKDIR /opt/program
ADD . /opt/program/
RUN pip install --no-cache-dir jupyterlab -r requirements.txt
"""
REQUIREMENTS = ("iniconfig", "six", "humanize", "toolz", "tabulate")


def timed(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def plain(containers: Containers, bundle: Path) -> float:
    """What a person does without kaosd: build, run, wait for the first answer."""
    docker = ["docker", "-H", containers.address]
    with tempfile.TemporaryDirectory() as place:

        def deploy() -> None:
            build = [*docker, "build", "-q", "--no-cache", "-t", "plain", "-f", str(bundle / "Dockerfile")]
            subprocess.run([*build, str(bundle / "model")], check=True, capture_output=True)
            serve = ["jupyter", "lab", "--allow-root", "--no-browser", "--sock=/s/s", "--IdentityProvider.token=t"]
            run = [*docker, "run", "-d", "--name", "plain", "-v", f"{place}:/s", "plain", *serve]
            subprocess.run(run, check=True, capture_output=True)
            ask = ["curl", "-sf", "--unix-socket", f"{place}/s", "http://localhost/api/status?token=t"]
            until(lambda: subprocess.run(ask, capture_output=True, check=False).returncode == 0, "an answer")

        seconds = timed(deploy)
        subprocess.run([*docker, "rm", "-f", "plain"], check=True, capture_output=True)
    return seconds


def builds(daemon: Daemon) -> int:
    return sum(job["stage"] == "build" for one in daemon.history("bench") for job in one["jobs"])


def measure(containers: Containers, rounds: int) -> None:
    place = Path(tempfile.mkdtemp(prefix="kb"))
    bundle = place / "example"
    (bundle / "model").mkdir(parents=True)
    (bundle / "Dockerfile").write_text(DOCKERFILE)
    (bundle / "model/requirements.txt").write_text("")
    (bundle / "model/code.py").write_text("0\n")
    environ = {"KAOSD_ENGINE": "docker", "KAOSD_DOCKER_SOCKET": containers.address}
    daemon = Daemon(Path(tempfile.mkdtemp(prefix="kd")), **environ).start()
    try:
        print(f"first deployment                      {timed(lambda: daemon.deploy('bench', bundle)):8.2f}")
        save, built = daemon.home("bench") / "work/code.py", builds(daemon)

        def edit(number: int) -> None:
            (bundle / "model/code.py").write_text(f"{number}\n")
            until(lambda: save.read_text() == f"{number}\n", "the code")

        code = statistics.median(timed(lambda number=number: edit(number)) for number in range(1, 4 * rounds))
        same = timed(lambda: (daemon.ctl("redeploy", "bench"), daemon.live("bench")))
        daemon.stop()
        again = timed(lambda: (daemon.start(), daemon.live("bench")))
        assert builds(daemon) == built
        swaps, plains = [], []
        for name in REQUIREMENTS[:rounds]:
            (bundle / "model/requirements.txt").write_text(f"{name}\n")
            swaps.append(timed(lambda: daemon.live("bench")))
            plains.append(plain(containers, bundle))
        swap, bare = statistics.median(swaps), statistics.median(plains)
        print(f"code change -> in the container       {code:8.3f}   {code / bare:.4f} of plain")
        print(f"environment unchanged, redeploy       {same:8.3f}   0 builds")
        print(f"environment unchanged, daemon restart {again:8.3f}   0 builds")
        print(f"requirement added -> swapped          {swap:8.2f}   {swap / bare:.2f} of plain")
        print(f"plain: build --no-cache, run, answer  {bare:8.2f}")
    finally:
        daemon.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, choices=range(1, len(REQUIREMENTS) + 1))
    rounds = parser.parse_args().rounds
    with started("docker") as containers:
        measure(containers, rounds)


if __name__ == "__main__":
    main()

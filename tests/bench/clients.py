"""Clients that tell the state of one running thing: kaosctl, and those of others; a bare interpreter as the bound."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.bench.bench import PYTHON, Bench, absent, checked, timed
from tests.bench.report import BOUND, OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import until
from tests.engines.containers import started

WHAT = "client: status"
BARE = f"{BOUND}python -c pass"
SUPERVISOR = "supervisorctl status"
_SUPERVISED = """\
[unix_http_server]
file={place}/supervisor.sock
[supervisord]
logfile={place}/supervisord.log
pidfile={place}/supervisord.pid
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{place}/supervisor.sock
[program:one]
command=sleep infinity
"""


def measure(bench: Bench, report: Report) -> None:
    """All of them in turn, each with its daemon at work and one thing to tell of."""
    with contextlib.ExitStack() as stack:
        daemon = stack.enter_context(bench.daemon())
        daemon.deploy("client", make_bundle(bench.place / "client"))
        ways = {
            OWN: [str(Path(PYTHON).parent / "kaosctl"), "status"],
            BARE: [PYTHON, "-c", "pass"],
        }
        for who, make in (
            (SUPERVISOR, _supervisord), ("docker ps", _dockerd), ("systemctl --user status", _systemd),
        ):  # fmt: skip
            try:
                ways[who] = stack.enter_context(make(bench.place))
            except (RuntimeError, AssertionError) as error:
                report.missing.append(f"{who}: {error}"[:200])
        times: dict[str, list[float]] = {who: [] for who in ways}
        for _ in range(bench.choose(20, 200)):
            for who, argv in ways.items():
                times[who].append(timed(lambda argv=argv: checked(argv, env=daemon.environ)))  # type: ignore[misc]
    for who, seconds in times.items():
        report.add(WHAT, 0, who, seconds)
    report.target("kaosctl status: of python -c pass", report.ratio(WHAT, 0, BARE), 2.5)
    report.target("kaosctl status: of supervisorctl status", report.ratio(WHAT, 0, SUPERVISOR), 0.3)


@contextlib.contextmanager
def _supervisord(place: Path) -> Iterator[list[str]]:
    if lacking := absent(["supervisord", "supervisorctl"]):
        raise RuntimeError(lacking)
    settings = place / "supervisord.conf"
    settings.write_text(_SUPERVISED.format(place=place))
    ask = ["supervisorctl", "-c", str(settings), "status"]
    with subprocess.Popen(["supervisord", "-n", "-c", str(settings)], stdout=subprocess.DEVNULL) as process:
        try:
            until(lambda: b"RUNNING" in subprocess.run(ask, capture_output=True, check=False).stdout, "supervisord")
            yield ask
        finally:
            process.terminate()


@contextlib.contextmanager
def _dockerd(_place: Path) -> Iterator[list[str]]:
    if lacking := absent(["dockerd", "docker"]):
        raise RuntimeError(lacking)
    with started("docker") as containers:
        yield ["docker", "-H", containers.address, "ps"]


@contextlib.contextmanager
def _systemd(_place: Path) -> Iterator[list[str]]:
    if lacking := absent(["systemctl"]):
        raise RuntimeError(lacking)
    ask = ["systemctl", "--user", "status", "--no-pager"]
    checked(ask)
    yield ask

"""JupyterLab's start to its first answer: as kaosd starts it, and plain `jupyter lab`, in the same environment."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.bench import Bench
from tests.bench.processes import memory
from tests.bench.report import OWN, Report
from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import PATIENCE

WHAT, PLAIN = "JupyterLab start to first answer", "plain jupyter lab"
_AGAIN = 0.005  # seconds between two questions
_OK = 200


def measure(bench: Bench, report: Report) -> None:
    """The very command of a notebook's host, and the plain one, in turn; the daemon is held and starts nothing."""
    own, plain = [], []
    sizes: dict[str, list[float]] = {OWN: [], PLAIN: []}
    with bench.daemon() as daemon:
        daemon.deploy("lab", make_bundle(bench.place / "lab"))
        environment = (daemon.home("lab") / "environment").resolve()
        pid = daemon.host_pid("lab")
        argv = _words(Path(f"/proc/{pid}/cmdline"))
        environ = dict(one.partition("=")[::2] for one in _words(Path(f"/proc/{pid}/environ")))
        settings = json.loads(Path(argv[-1]).read_text())
        token = Path(settings["token_file"]).read_text()
        assert daemon.process is not None
        os.kill(daemon.process.pid, signal.SIGSTOP)
        try:
            os.kill(pid, signal.SIGKILL)
            for number in range(bench.choose(3, 15) + 1):
                Path(settings["socket"]).unlink(missing_ok=True)
                address = (settings["socket"], f"{settings['base_url']}api/status", token)
                ours = _answered(argv, environ, Path(settings["root_dir"]), address, sizes[OWN])
                with tempfile.TemporaryDirectory(prefix="kj") as place:
                    theirs = _plain(environment, Path(place), sizes[PLAIN])
                if number:  # the first ones compile what they import
                    own.append(ours)
                    plain.append(theirs)
        finally:
            os.kill(daemon.process.pid, signal.SIGCONT)
    report.add(WHAT, 0, OWN, own)
    report.add(WHAT, 0, PLAIN, plain)
    report.facts.append(f"memory after the first answer: {min(sizes[OWN]):.0f} MB, plain {min(sizes[PLAIN]):.0f} MB")
    report.target("JupyterLab start to first answer: of plain", report.ratio(WHAT, 0, PLAIN), 0.4)


def _plain(environment: Path, place: Path, sizes: list[float]) -> float:
    """With nothing of a person's own settings, as ours has none."""
    (place / "work").mkdir()
    environ = {**os.environ, "HOME": str(place), "JUPYTER_CONFIG_DIR": str(place / "c"),
               "JUPYTER_DATA_DIR": str(place / "d"), "JUPYTER_RUNTIME_DIR": str(place / "r")}  # fmt: skip
    options = ["--no-browser", "--allow-root", f"--sock={place}/s", "--IdentityProvider.token=t"]
    argv = [f"{environment}/bin/jupyter", "lab", *options]
    return _answered(argv, environ, place / "work", (f"{place}/s", "/api/status", "t"), sizes)


def _answered(
    argv: Sequence[str], environ: Mapping[str, str], work: Path, address: tuple[str, str, str], sizes: list[float]
) -> float:
    """Start it; seconds to its first answer; end it."""
    began = time.perf_counter()
    with subprocess.Popen(
        argv, env=environ, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as process:
        try:
            while not _answers(*address):
                assert process.poll() is None, f"{argv[0]} ended with {process.returncode}"
                assert time.perf_counter() - began < PATIENCE, f"{argv[0]} does not answer"
                time.sleep(_AGAIN)
            seconds = time.perf_counter() - began
            sizes.append(memory(process.pid))
            return seconds
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def _answers(path: str, url: str, token: str) -> bool:
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX) as end:
        try:
            end.connect(path)
            connection.sock = end
            connection.request("GET", url, headers={"Authorization": f"token {token}"})
            return connection.getresponse().status == _OK
        except OSError:
            return False


def _words(path: Path) -> list[str]:
    return [os.fsdecode(word) for word in path.read_bytes().split(b"\0") if word]

"""Web servers of peers, each as its documentation starts it, and the environments that are made for them by hand."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.bench import checked
from tests.bench.peers import stop_session
from tests.e2e.daemon import free_port, until

MARIMO = Path(sys.prefix) / "bench" / "bin" / "marimo"  # .ci/bench-peers installs it
UV = str(Path(sys.executable).parent / "uv")
_TOKEN = "t"  # the server listens on this machine only, and for some minutes


def environment(path: Path, packages: Sequence[str]) -> None:
    """Make a virtual environment at *path* with *packages*, as a person does by hand with uv."""
    checked([UV, "venv", "-q", str(path)])
    checked([UV, "pip", "install", "-q", "-p", f"{path}/bin/python", *packages])


@contextlib.contextmanager
def jupyter_lab(environment: Path, work: Path) -> Iterator[str]:
    """`jupyter lab` in the directory *work*; yields the address of its page, with its token, when it answers."""
    port = free_port()
    options = ["--no-browser", "--allow-root", f"--port={port}", "--ServerApp.port_retries=0"]
    argv = [f"{environment}/bin/jupyter", "lab", *options, f"--IdentityProvider.token={_TOKEN}"]
    with _serving(argv, work, f"http://127.0.0.1:{port}/api"):
        yield f"http://127.0.0.1:{port}/lab{{}}?token={_TOKEN}"


@contextlib.contextmanager
def marimo(notebook: Path) -> Iterator[str]:
    """`marimo edit --watch` of *notebook*; yields the address of its page when it answers."""
    port = free_port()
    options = ["--watch", "--headless", "--no-token", "--skip-update-check", "--port", str(port)]
    with _serving([str(MARIMO), "edit", *options, str(notebook)], notebook.parent, f"http://127.0.0.1:{port}/health"):
        yield f"http://127.0.0.1:{port}/"


@contextlib.contextmanager
def _serving(argv: Sequence[str], work: Path, asked: str) -> Iterator[None]:
    """A server in a session of its own, with an empty home, from when it answers at the address *asked*."""
    with tempfile.TemporaryDirectory(prefix="kh", ignore_cleanup_errors=True) as home:
        own = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "XDG_"))}
        log = Path(home, "log")
        with log.open("wb") as output, subprocess.Popen(
            argv, env={**own, "HOME": home}, cwd=work, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        ) as process:  # fmt: skip

            def answers() -> bool:
                if process.poll() is not None:
                    raise RuntimeError(f"{' '.join(argv[:2])} stopped: {log.read_text(errors='replace')[-300:]}")
                return answered(asked)

            try:
                until(answers, f"{' '.join(argv[:2])} to answer")
                yield
            finally:
                stop_session(process.pid)


def answered(url: str) -> bool:
    """Whether a server answers a request for *url* with success."""
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False

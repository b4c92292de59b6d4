"""Starts the daemon where none runs: by the person's systemd where kaosd is installed there, else in the background."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from kaosd.ctl import failure, places
from kaosd.ctl.client import Client
from kaosd.ctl.failure import Failure

PATIENCE = 30.0  # seconds that the daemon may take until it answers
PAUSE = 0.02  # seconds between two questions: outside of systemd nothing reports that the daemon is ready
NAMED = ("KAOSD_CONFIG", "KAOSD_STATE_DIR", "KAOSD_SOCKET")  # paths that may be relative to the working directory
SEE = "`kaosctl logs --stage daemon` shows its log"


def ensure(client: Client) -> bool:
    """Return once a daemon answers; True when this call started it. Raises Failure when none comes up."""
    if _answers(client):  # where systemd listens on the socket, the question itself has started the daemon
        return False
    if unit := _installed():
        _by_systemd(unit)
        _await(client, lambda: None)
    else:
        _in_background(client)
    return True


def _answers(client: Client) -> bool:
    try:
        client.get("/v1/version", timeout=PATIENCE)
    except Failure as error:
        if error.exit_code == failure.NOT_RUNNING and error.code == "not_running":
            return False
        raise
    return True


def _installed() -> str:
    """The path of the socket unit that `kaosd install-service` has written, "" where there is none."""
    base = os.environ.get("XDG_CONFIG_HOME", "")
    place = base if base.startswith("/") else os.path.expanduser("~/.config")
    unit = f"{place}/systemd/user/kaosd.socket"
    return unit if os.path.exists(unit) and os.environ.get("XDG_RUNTIME_DIR") else ""


def _by_systemd(unit: str) -> None:
    command = ["systemctl", "--user", "start", "kaosd.socket", "kaosd.service"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    except OSError as error:
        raise Failure(
            f"{unit} is there, but systemctl cannot be run: {error.strerror}", hint="run `kaosd run`"
        ) from None
    if done.returncode != 0:
        said = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
        raise Failure(f"`{' '.join(command)}` failed: {said}", hint="see `journalctl --user -u kaosd`")


def _in_background(client: Client) -> None:
    """Start `kaosd run` in a session of its own, which outlives this terminal."""
    ours, its = os.pipe()
    with open(ours, "rb") as errors:  # closed once it answers: from then on its log is in its file alone
        try:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "kaosd", "run"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=its,
                start_new_session=True,
                cwd="/",
                env=os.environ | {name: places.absolute(os.environ[name]) for name in NAMED if os.environ.get(name)},
            )
        except OSError as error:
            raise Failure(f"the daemon cannot be started: {error.strerror}", hint="try `kaosd run`") from None
        finally:
            os.close(its)

        def ended() -> str | None:
            return None if daemon.poll() is None else _last_words(errors.read(), daemon.returncode)

        _await(client, ended)


def _await(client: Client, ended: Callable[[], str | None]) -> None:
    """Return once the daemon answers. Failure when it takes too long, or has ended, with the words of *ended*."""
    deadline = time.monotonic() + PATIENCE
    while not _answers(client):
        if (why := ended()) is not None:
            raise Failure(f"the daemon did not start: {why}", hint=SEE)
        if time.monotonic() > deadline:
            raise Failure(f"the daemon did not answer within {PATIENCE:.0f} s", hint=SEE, exit_code=failure.TIMED_OUT)
        time.sleep(PAUSE)


def _last_words(errors: bytes, code: int) -> str:
    """The last line that the daemon printed for people, or how it ended."""
    lines = [line for line in errors.decode(errors="replace").splitlines() if line and not line.startswith("{")]
    said = [line.removeprefix("kaosd: ") for line in lines if line.startswith("kaosd: ")] or lines[-1:]
    return said[-1] if said else f"it ended with {f'signal {-code}' if code < 0 else f'exit code {code}'}"

"""Doctor's checks on real files, sockets and ports: each trouble is found, with what mends it."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kaosd import doctor
from kaosd.doctor import Examined, examine


@pytest.fixture
def healthy(short: Path) -> Iterator[Examined]:
    """Places as a running daemon has them."""
    state, run = short / "state", short / "run"
    for directory in (state, run, state / "notebooks", state / "notebooks" / "n"):
        directory.mkdir(mode=0o700)
    for token in (state / "token", state / "notebooks" / "n" / "token"):
        token.write_text("x")
        token.chmod(0o600)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(run / "s"))
        (run / "s").chmod(0o600)
        yield Examined(state, run / "s", directories=7, engines=("process",))


def findings(examined: Examined) -> dict[str, dict[str, Any]]:
    """The worst finding of each code."""
    worst: dict[str, dict[str, Any]] = {}
    for check in examine(examined):
        if check["code"] not in worst or check["severity"] != "ok":
            worst[check["code"]] = check
    return worst


def test_all_is_well_where_it_is(healthy: Examined) -> None:
    found = findings(healthy)
    expected = {"places", "socket", "tokens", "space", "inotify", "instances", "descriptors", "uv", "clock"}
    assert expected <= found.keys()
    for code in expected - {"inotify", "instances", "space"}:  # these depend on who else is on the machine
        assert (found[code]["severity"], found[code]["mend"]) == ("ok", ""), found[code]


Spoil = Callable[[Examined], object]
TROUBLES: dict[str, tuple[Spoil, str, str]] = {
    "others enter the state directory": (lambda e: e.state_dir.chmod(0o755), "places", "chmod 700 {state}"),
    "others enter the socket's directory": (lambda e: e.socket.parent.chmod(0o710), "places", "chmod 700 {run}"),
    "the socket is gone": (lambda e: e.socket.unlink(), "socket", "restart kaosd"),
    "others use the socket": (lambda e: e.socket.chmod(0o666), "socket", "chmod 600 {run}/s"),
    "a file in place of the socket": (
        lambda e: (e.socket.unlink(), e.socket.write_text("")), "socket", "rm {run}/s, and restart kaosd",
    ),
    "others read a token": (
        lambda e: (e.state_dir / "notebooks" / "n" / "token").chmod(0o640),
        "tokens", "chmod 600 {state}/notebooks/n/token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_trouble_is_found_with_its_mend(healthy: Examined, trouble: str) -> None:
    spoil, code, mend = TROUBLES[trouble]
    spoil(healthy)
    found = findings(healthy)[code]
    assert found["severity"] == "error"
    assert found["mend"] == mend.format(state=healthy.state_dir, run=healthy.socket.parent)


@pytest.mark.parametrize(
    ("name", "limit", "mend"),
    [
        ("inotify", 8, "sudo sysctl fs.inotify.max_user_watches=524288"),
        ("inotify", 400_000_000, ""),
        ("instances", 0, "sudo sysctl fs.inotify.max_user_instances=512"),
        ("instances", 400_000_000, ""),
    ],
)
def test_limits_are_judged_by_what_is_in_use(
    healthy: Examined, monkeypatch: pytest.MonkeyPatch, name: str, limit: int, mend: str
) -> None:
    monkeypatch.setattr(doctor, "_number", lambda path: limit)
    monkeypatch.setattr(doctor, "_instances_in_use", lambda: 5)
    found = findings(healthy)[name]
    assert (found["severity"], found["mend"]) == ("warning" if mend else "ok", mend)


def test_inotify_instances_are_counted() -> None:
    """Another process of ours holds some for as long as it is asked; only a lower bound is certain."""
    program = (
        "import ctypes, sys; c = ctypes.CDLL(None); [c.inotify_init() for _ in range(9)]; print(); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert doctor._instances_in_use() >= 9
        process.communicate()


def test_a_front_that_does_not_answer_is_found(healthy: Examined) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    found = findings(Examined(healthy.state_dir, healthy.socket, 0, (), front=f"http://127.0.0.1:{port}"))["front"]
    assert found["severity"] == "error"
    assert "KAOSD_FRONT_PORT" in found["mend"]

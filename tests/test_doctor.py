"""Doctor's checks on real files, sockets and ports: each trouble is found, with what mends it."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uv

from kaosd import __version__, doctor, unitfiles
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
    assert "limits" in found  # how it is depends on the machine
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


@pytest.mark.parametrize(
    ("controllers", "is_there", "severity", "says"),
    [
        (["cpu", "memory", "pids"], True, "ok", "enforces limits on processors and memory"),
        (["memory", "pids"], True, "warning", "may not limit cpu,"),
        ([], True, "warning", "may not limit cpu and memory,"),
        ([], False, "warning", "your own systemd does not run here"),
    ],
)
def test_why_limits_are_not_enforced_is_found(controllers: list[str], is_there: bool, severity: str, says: str) -> None:
    found = doctor.judge_limits(controllers, is_there=is_there)
    assert (found.severity, bool(found.mend)) == (severity, severity != "ok")
    assert says in found.text


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


@pytest.fixture
def units(healthy: Examined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the person's unit files are; there are none yet."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    found = unitfiles.directory(os.environ)
    found.mkdir(parents=True)
    return found


def unit(interpreter: str = sys.executable, version: str = __version__) -> str:
    """A unit file as it is installed."""
    return unitfiles.render(
        (unitfiles.SHIPPED / "kaosd.service").read_text(), interpreter, version, 257, port=1, ipv6=True
    )


def of_code(examined: Examined, code: str) -> list[tuple[str, str, str]]:
    """Severity, text and mend of all findings with this code."""
    return [(one["severity"], one["text"], one["mend"]) for one in examine(examined) if one["code"] == code]


INSTALL = "kaosd install-service --now"
UNITS = {
    "ours": (unit(), [("ok", "{path} is of this kaosd", "")]),
    "the interpreter is gone": (
        unit("/nowhere/python"), [("error", "{path} starts /nowhere/python, which is not there", INSTALL)],
    ),
    "another interpreter": (
        unit("/bin/true"), [("warning", "{path} starts /bin/true, and this kaosd runs in " + sys.executable, INSTALL)],
    ),
    "another version's": (
        unit(version="9.9"), [("warning", "{path} is of kaosd 9.9, this is " + __version__, INSTALL)],
    ),
    "changed by hand": (unit().replace("WatchdogSec=60", "WatchdogSec=90"), [(
        "warning", "{path} was changed by hand, and kaosd install-service leaves it alone",
        "mv {path} {path}.mine; " + INSTALL + "; systemctl --user edit kaosd.service "
        "(edit keeps changes in a file of their own)",
    )]),
    "the person's own": ("[Service]\nExecStart=/bin/true\n", []),
    "the person's own, which starts nothing": ("[Service]\nExecStart=/nowhere/kaosd run\n", [
        ("error", "{path} starts /nowhere/kaosd, which is not there", INSTALL),
    ]),
    "no unit of a program": ("[Unit]\n", []),
}  # fmt: skip


@pytest.mark.parametrize("case", UNITS)
def test_a_unit_file_is_held_against_the_kaosd_that_runs(healthy: Examined, units: Path, case: str) -> None:
    text, expected = UNITS[case]
    path = units / "kaosd.service"
    path.write_text(text)
    assert of_code(healthy, "unit") == [
        (severity, told.format(path=path), mend.format(path=path)) for severity, told, mend in expected
    ]


def test_a_unit_file_that_cannot_be_read_is_a_finding(healthy: Examined, units: Path) -> None:
    (units / "kaosd.service").mkdir()
    [(severity, text, mend)] = of_code(healthy, "unit")
    assert (severity, mend) == ("warning", "move it away")
    assert text.startswith(f"{units}/kaosd.service cannot be read")


@pytest.mark.parametrize(("there", "named"), [('__version__ = "9.9"\n', "9.9"), ("", "nothing")])
def test_another_version_on_disk_than_the_one_that_runs_is_found(
    healthy: Examined, monkeypatch: pytest.MonkeyPatch, there: str, named: str
) -> None:
    assert of_code(healthy, "upgrade") == []
    monkeypatch.setattr(doctor, "_init_text", lambda: there)
    text = f"kaosd {__version__} runs, and {named} is installed in its place"
    assert of_code(healthy, "upgrade") == [("warning", text, "systemctl --user restart kaosd")]


@pytest.mark.parametrize(
    ("environ", "warned"),
    [({}, True), ({"XDG_RUNTIME_DIR": "/run/user/1"}, False), ({"INVOCATION_ID": "ab"}, False)],
)
def test_a_login_without_a_runtime_directory_is_found(
    healthy: Examined, monkeypatch: pytest.MonkeyPatch, environ: dict[str, str], warned: bool
) -> None:
    for name in ("XDG_RUNTIME_DIR", "INVOCATION_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert bool(of_code(healthy, "runtime_dir")) == warned


@pytest.mark.parametrize("broken", ["not there", "fails"])
def test_a_builder_that_does_not_run_is_found(healthy: Examined, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    monkeypatch.setattr(uv, "find_uv_bin", lambda: "/nowhere/uv" if broken == "not there" else "/bin/false")
    [(severity, text, mend)] = of_code(healthy, "uv")
    assert (severity, mend) == ("error", "reinstall kaosd")
    assert "does not run" in text


def test_what_is_scarce_is_found(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOW_SPACE", 10**18)
    assert of_code(healthy, "space")[0][::2] == ("warning", "make room, or move it with KAOSD_STATE_DIR")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (doctor.FEW_FILES - 1, hard))
    try:
        assert of_code(healthy, "descriptors")[0][::2] == ("warning", "ulimit -n 65536")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_clocks_that_differ_are_found(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 60)
    [(severity, text, mend)] = of_code(healthy, "clock")
    assert (severity, mend) == ("warning", "sync clocks")
    assert "+60" in text or "+59" in text


def test_a_kernel_without_inotify_is_named(healthy: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_number", lambda path: None)
    assert of_code(healthy, "inotify") == [("warning", "this kernel has no inotify; directories are polled", "")]
    assert of_code(healthy, "instances") == []


def test_a_front_that_answers_is_well(healthy: Examined, start_front: str) -> None:
    examined = Examined(healthy.state_dir, healthy.socket, 0, (), front=start_front)
    assert of_code(examined, "front") == [("ok", f"{start_front} answers", "")]


@pytest.fixture
def start_front() -> Iterator[str]:
    """The address of a server that refuses everybody, as the front does without a token."""
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_places_that_are_gone_are_found(healthy: Examined) -> None:
    shutil.rmtree(healthy.socket.parent)
    assert findings(healthy)["places"]["mend"] == "restart kaosd"


@pytest.mark.parametrize(
    ("control", "port", "expected"),
    [
        (False, None, ""),
        (True, None, "systemd does not keep the front's port: another user can take it while kaosd is down"),
        (True, 8890, ""),
        (True, 9999, "keeps port 9999, and the front is at http://127.0.0.1:8890"),
    ],
)
def test_the_port_of_the_front_is_kept_where_kaosd_is_a_service(
    healthy: Examined, units: Path, control: bool, port: int | None, expected: str
) -> None:
    names = [("kaosd.socket", 1)] * control + ([("kaosd-front.socket", port)] if port else [])
    for name, its in names:
        template = (unitfiles.SHIPPED / name).read_text()
        text = unitfiles.render(template, sys.executable, __version__, 257, port=its, ipv6=True)
        (units / name).write_text(text)
    found = list(doctor._kept_port(replace(healthy, front="http://127.0.0.1:8890")))
    assert [check.text for check in found if check.severity != "ok"] == [
        text for text in [f"{units}/kaosd-front.socket {expected}" if port == 9999 else expected] if expected
    ]

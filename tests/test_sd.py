"""sd_notify against real datagram sockets."""

import os
import secrets
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from kaosd import sd
from kaosd.sd import Notifier


@pytest.fixture(params=["path", "abstract"])
def systemd(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, socket.socket]]:
    """The value of NOTIFY_SOCKET and the socket that listens there."""
    name = (
        f"@kaosd-test-{secrets.token_hex(8)}"
        if request.param == "abstract"
        else str(tmp_path_factory.mktemp("sd") / "n")
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name[1:] if name.startswith("@") else name)
        listening.settimeout(10)
        yield name, listening


def test_a_state_arrives_as_one_datagram(systemd: tuple[str, socket.socket]) -> None:
    name, listening = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.notify("READY=1")
    notifier.notify(f"WATCHDOG=1\n{sd.status('2 hosts live: Zürich')}")
    notifier.close()
    assert listening.recv(4096) == b"READY=1"
    assert listening.recv(4096).decode() == "WATCHDOG=1\nSTATUS=2 hosts live: Zürich"


def test_the_variables_are_gone_for_children() -> None:
    environ = {"NOTIFY_SOCKET": "/none", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "PATH": "/bin"}
    Notifier(environ)
    assert environ == {"PATH": "/bin"}


def test_module_functions_take_the_address_of_this_process(
    systemd: tuple[str, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, listening = systemd
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    monkeypatch.setenv("WATCHDOG_USEC", "60000000")
    sd._own.cache_clear()
    try:
        sd.notify("STOPPING=1")
        assert listening.recv(4096) == b"STOPPING=1"
        assert sd.watchdog_interval() == 30.0
        assert "NOTIFY_SOCKET" not in os.environ
        sd._own().close()
    finally:
        sd._own.cache_clear()


def test_without_systemd_nothing_is_sent() -> None:
    notifier = Notifier({})
    with capture_logs() as logs:
        notifier.notify("READY=1")
    assert logs == []
    assert notifier.watchdog_interval is None


def test_a_systemd_that_is_gone_is_told_once(tmp_path: Path) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")})
    with capture_logs() as logs:
        notifier.notify("READY=1")
        notifier.notify("WATCHDOG=1")
    notifier.close()
    assert [entry["event"] for entry in logs] == ["systemd_does_not_listen"]


def test_a_systemd_that_does_not_read_does_not_block_the_daemon(systemd: tuple[str, socket.socket]) -> None:
    name, listening = systemd
    notifier = Notifier({"NOTIFY_SOCKET": name})
    with capture_logs() as logs:
        for _ in range(5000):
            notifier.notify("WATCHDOG=1")
    notifier.close()
    assert [entry["event"] for entry in logs] == ["systemd_does_not_listen"]
    assert listening.recv(4096) == b"WATCHDOG=1"


@pytest.mark.parametrize(
    ("microseconds", "pid", "expected"),
    [
        ("60000000", "", 30.0),
        pytest.param("60000000", str(os.getpid()), 30.0, id="our own"),
        ("60000000", "1", None),
        ("0", "", None),
        ("", "", None),
        ("soon", "", None),
    ],
)
def test_the_watchdog_interval_is_half_of_what_is_tolerated(
    microseconds: str, pid: str, expected: float | None
) -> None:
    assert Notifier({"WATCHDOG_USEC": microseconds, "WATCHDOG_PID": pid}).watchdog_interval == expected


def test_reloading_carries_the_time_that_systemd_compares_with() -> None:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = sd.reloading().split("\n")
    assert first == "RELOADING=1"
    assert before <= int(second.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


def test_a_status_cannot_forge_another_state() -> None:
    assert sd.status("fine\nREADY=1\x1b[31m") == "STATUS=fine\\x0aREADY=1\\x1b[31m"


Given = dict[str, tuple[socket.socket, ...]]


def given(names: str, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch) -> Given:
    """What `listening` makes of *sockets*, handed over from some descriptor on as systemd hands them from 3 on."""
    first = 200
    for offset, one in enumerate(sockets):
        os.dup2(one.fileno(), first + offset)
    monkeypatch.setattr(sd, "FIRST_GIVEN", first)
    environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(sockets)), "LISTEN_FDNAMES": names, "PATH": "/"}
    found = sd.listening(environ)
    assert environ == {"PATH": "/"}
    return found


def test_the_sockets_are_taken_by_name_and_others_are_closed(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        other, control, again, one, two, three = (stack.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(6))
        control.bind(str(short / "s"))
        control.listen()
        names = "other:control:control:front:front:front"
        found = given(names, [other, control, again, one, two, three], monkeypatch)
        assert {name: len(sockets) for name, sockets in found.items()} == {"control": 1, "front": 2}
        for taken in (*found["control"], *found["front"]):
            assert not os.get_inheritable(taken.fileno())
            stack.enter_context(taken)
        assert found["control"][0].getsockname() == str(short / "s")
        for closed in (200, 202, 205):
            with pytest.raises(OSError, match="Bad file descriptor"):
                os.fstat(closed)


def test_a_socket_without_a_name_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as two:
        assert given("other", [one, two], monkeypatch) == {}


def test_what_is_meant_for_another_process_is_not_taken() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "control"}
    assert sd.listening(environ) == {}
    assert environ == {}
    assert sd.listening({}) == {}

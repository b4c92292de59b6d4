"""Unit files as they are written and known again: tables, and real files."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from kaosd import unitfiles
from kaosd.errors import KaosError

TEMPLATE = (unitfiles.SHIPPED / "kaosd.service").read_text()


def write(path: Path, interpreter: str = "/usr/bin/python3", version: str = "0.1.0") -> Path:
    path.write_text(unitfiles.render(TEMPLATE, interpreter, version, 257, port=8890, ipv6=True))
    return path


@pytest.mark.parametrize("interpreter", ["/usr/bin/python3", "/home/a b/x", "/home/100%h/x"])
def test_what_is_written_is_known_again(tmp_path: Path, interpreter: str) -> None:
    found = unitfiles.read(write(tmp_path / "kaosd.service", interpreter))
    assert found is not None
    assert (found.version, found.intact, found.program) == ("0.1.0", True, interpreter)


@pytest.mark.not_quick
def test_systemd_reads_the_interpreter_as_it_was_meant(tmp_path: Path) -> None:
    program = tmp_path / "a b 100%h" / "python"
    program.parent.mkdir()
    program.symlink_to("/bin/true")
    unit = write(tmp_path / "kaosd.service", str(program))
    argv = ["systemd-analyze", "--user", "--man=no", "verify", str(unit)]
    environ = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "PATH": "/usr/bin:/bin"}
    assert "python" not in subprocess.run(argv, env=environ, capture_output=True, text=True, check=False).stderr
    program.unlink()
    assert "python" in subprocess.run(argv, env=environ, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize(
    "interpreter", ["/home/$x/python", "/home/a\nb/python", '/home/"q"/python', "/home/a\\b/python"]
)
def test_a_path_that_systemd_cannot_start_is_a_sentence(interpreter: str) -> None:
    with pytest.raises(KaosError, match="systemd cannot start"):
        unitfiles.quoted(interpreter)


def test_a_change_by_hand_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "kaosd.service")
    path.write_text(path.read_text().replace("WatchdogSec=60", "WatchdogSec=90"))
    found = unitfiles.read(path)
    assert found is not None
    assert (found.version, found.intact) == ("0.1.0", False)


def test_a_file_of_the_persons_own_and_a_link_are_not_ours(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("[Service]\nExecStart=/opt/kaosd run\n")
    (tmp_path / "link").symlink_to(write(tmp_path / "kaosd.service"))
    own, link = unitfiles.read(tmp_path / "own"), unitfiles.read(tmp_path / "link")
    assert own is not None
    assert link is not None
    assert (own.version, own.intact, own.program) == (None, False, "/opt/kaosd")
    assert (link.version, link.intact) == (None, False)
    assert unitfiles.read(tmp_path / "none") is None


@pytest.mark.parametrize(("systemd", "there"), [(249, False), (252, False), (254, True)])
def test_keys_that_an_older_systemd_complains_about_are_left_out(systemd: int, there: bool) -> None:
    text = unitfiles.render(TEMPLATE, "/usr/bin/python3", "0.1.0", systemd, port=8890, ipv6=True)
    assert ("\nRestartSteps=" in text, "\nRestartMaxDelaySec=" in text) == (there, there)
    assert "\nRestartSec=1\n" in text


@pytest.mark.parametrize(
    ("port", "ipv6", "listens"),
    [
        (8890, True, ["127.0.0.1:8890", "[::1]:8890"]),
        (9, True, ["127.0.0.1:9", "[::1]:9"]),
        (65535, False, ["127.0.0.1:65535"]),
    ],
)
def test_the_front_s_socket_holds_the_port_of_the_settings(port: int, ipv6: bool, listens: list[str]) -> None:
    template = (unitfiles.SHIPPED / "kaosd-front.socket").read_text()
    text = unitfiles.render(template, "/usr/bin/python3", "0.1.0", 257, port=port, ipv6=ipv6)
    found = [line.removeprefix("ListenStream=") for line in text.splitlines() if line.startswith("ListenStream=")]
    assert found == listens


def test_the_control_socket_keeps_its_path() -> None:
    template = (unitfiles.SHIPPED / "kaosd.socket").read_text()
    text = unitfiles.render(template, "/usr/bin/python3", "0.1.0", 257, port=9, ipv6=False)
    assert "ListenStream=%t/kaosd/kaosd.sock\n" in text

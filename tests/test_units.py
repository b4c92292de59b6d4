"""The unit file: what systemd itself says about it, and what it has to promise."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaosd import unitfiles
from kaosd.settings import load

UNITS = Path(__file__).parent.parent / "systemd"
UNIT = UNITS / "kaosd.service"
FROM_254 = ("RestartSteps", "RestartMaxDelaySec")


def parsed() -> configparser.ConfigParser:
    """The unit; keys keep their case, % is no sign of interpolation."""
    parser = configparser.ConfigParser(interpolation=None, delimiters="=", comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(UNIT.read_text())
    return parser


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("Unit", "ConditionUser", "!root"),
        ("Service", "Type", "notify"),
        ("Service", "NotifyAccess", "main"),
        ("Service", "WatchdogSec", "60"),
        ("Service", "Restart", "on-failure"),
        ("Service", "RestartPreventExitStatus", "78"),
        ("Service", "KillMode", "mixed"),
        ("Service", "OOMPolicy", "continue"),
        ("Service", "ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Install", "WantedBy", "default.target"),
    ],
)
def test_the_unit_promises(section: str, key: str, value: str) -> None:
    assert parsed()[section][key] == value


def test_nothing_restricts_notebooks_or_fails_in_user_units() -> None:
    """Directives that do nothing in user units, or that keep them from starting on 252."""
    unwanted = re.compile(
        "MemoryDenyWriteExecute|Protect.*|Private.*|RuntimeDirectory|"
        "CapabilityBoundingSet|AmbientCapabilities|User|DynamicUser|StateDirectory|ConfigurationDirectory"
    )
    assert [key for key in parsed()["Service"] if unwanted.fullmatch(key)] == []


def test_the_daemon_gets_more_time_to_stop_than_it_gives_itself() -> None:
    assert float(parsed()["Service"]["TimeoutStopSec"]) >= 2 * load(environ={"HOME": "/nowhere"}).stop_grace


def complaints(unit: Path, home: Path, manager: str = "--user") -> list[str]:
    """What `systemd-analyze verify` says about *unit*, but for the keys that its version is too old for."""
    done = subprocess.run(
        ["systemd-analyze", manager, "--man=no", "verify", str(unit)],
        env=os.environ | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    too_new = re.compile(rf"Unknown key( name)? '({'|'.join(FROM_254)})' in section")
    said = [line for line in done.stderr.splitlines() if not too_new.search(line)]
    return said or ([f"exit code {done.returncode}"] if done.returncode else [])


@pytest.mark.not_quick
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = tmp_path / ".local" / "bin" / "kaosd"
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    assert complaints(UNIT, tmp_path) == []
    assert complaints(UNITS / "kaosd.socket", tmp_path) == []


@pytest.fixture
def template(tmp_path: Path) -> Path:
    """The system's unit, with a program that is there."""
    path = tmp_path / "kaosd@.service"
    path.write_text((UNITS / "kaosd@.service").read_text().replace("/usr/local/bin/kaosd", sys.executable))
    return path


@pytest.mark.not_quick
def test_systemd_accepts_the_template_of_the_system(template: Path, tmp_path: Path) -> None:
    assert complaints(template, tmp_path, "--system") == []


@pytest.mark.not_quick
def test_the_template_of_the_system_exposes_little(template: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", "--offline=yes", "security", str(template)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert level is not None, done.stdout
    assert float(level[1]) < 3


@pytest.mark.parametrize("name", ["kaosd.service", "kaosd.socket", "kaosd-front.socket", "kaosd@.service"])
def test_every_shipped_unit_is_in_the_package(name: str) -> None:
    assert (unitfiles.SHIPPED / name).read_text() == (UNITS / name).read_text()


@pytest.mark.not_quick
@pytest.mark.parametrize(
    ("right", "wrong"), [("Type=notify", "Type=notfy"), ("WatchdogSec=60", "WatchdogSecs=60"), ("%h/", "/nowhere/")]
)
def test_systemd_complains_about_a_broken_unit(tmp_path: Path, right: str, wrong: str) -> None:
    """So that the test above can fail."""
    (tmp_path / "kaosd.service").write_text(UNIT.read_text().replace(right, wrong))
    assert complaints(tmp_path / "kaosd.service", tmp_path) != []

"""The unit file: what systemd itself says about it, and what it has to promise."""

import configparser
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from kaosd.settings import load

UNIT = Path(__file__).parent.parent / "systemd" / "kaosd.service"
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
        ("Service", "KillMode", "process"),
        ("Service", "OOMPolicy", "continue"),
        ("Service", "ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Install", "WantedBy", "default.target"),
    ],
)
def test_the_unit_promises(section: str, key: str, value: str) -> None:
    assert parsed()[section][key] == value


def test_nothing_restricts_notebooks_or_fails_in_user_units() -> None:
    """Directives that hosts inherit, that do nothing in user units, or that keep them from starting on 252."""
    unwanted = re.compile(
        "NoNewPrivileges|SystemCall.*|Restrict.*|LockPersonality|MemoryDenyWriteExecute|Protect.*|Private.*|"
        "CapabilityBoundingSet|AmbientCapabilities|User|DynamicUser|StateDirectory|ConfigurationDirectory|UMask"
    )
    assert [key for key in parsed()["Service"] if unwanted.fullmatch(key)] == []


def test_the_daemon_gets_more_time_to_stop_than_it_gives_itself() -> None:
    assert float(parsed()["Service"]["TimeoutStopSec"]) >= 2 * load(environ={"HOME": "/nowhere"}).stop_grace


def complaints(unit: Path, home: Path) -> list[str]:
    """What `systemd-analyze verify` says about *unit*, but for the keys that its version is too old for."""
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", str(unit)],
        env=os.environ | {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    too_new = re.compile(rf"Unknown key( name)? '({'|'.join(FROM_254)})' in section")
    said = [line for line in done.stderr.splitlines() if not too_new.search(line)]
    return said or ([f"exit code {done.returncode}"] if done.returncode else [])


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = tmp_path / ".local" / "bin" / "kaosd"
    program.parent.mkdir(parents=True)
    program.symlink_to(sys.executable)
    assert complaints(UNIT, tmp_path) == []


@pytest.mark.parametrize(
    ("right", "wrong"), [("Type=notify", "Type=notfy"), ("WatchdogSec=60", "WatchdogSecs=60"), ("%h/", "/nowhere/")]
)
def test_systemd_complains_about_a_broken_unit(tmp_path: Path, right: str, wrong: str) -> None:
    """So that the test above can fail."""
    (tmp_path / "kaosd.service").write_text(UNIT.read_text().replace(right, wrong))
    assert complaints(tmp_path / "kaosd.service", tmp_path) != []

"""The system's template unit, started for a plain person: what she and root see of it. One story in one test."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import free_port, until
from tests.systemd.machine import CHECKOUT, USER, Machine
from tests.systemd.service import NAME, cell, hosts

UNIT = f"kaosd@{USER}.service"
pytestmark = pytest.mark.timeout(600)


def install(machine: Machine) -> None:
    """As the README says, with this checkout's program, and a home that is not below /home."""
    units = Path(f"/proc/{machine.init}/root", "etc/systemd/system")
    shipped = (CHECKOUT / "systemd" / "kaosd@.service").read_text()
    (units / "kaosd@.service").write_text(shipped.replace("/usr/local/bin/kaosd", f"{CHECKOUT}/.venv/bin/kaosd"))
    (units / "kaosd@.service.d").mkdir()
    (units / "kaosd@.service.d" / "here.conf").write_text(
        # the checkout and the home may be below /tmp, of which the unit has one of its own; the package cache of the
        # tests is not in the home
        f"[Service]\nBindReadOnlyPaths={CHECKOUT}\nBindPaths={machine.place}\n"
        f"ReadWritePaths={os.environ['UV_CACHE_DIR']}\n"
        f"EnvironmentFile={machine.home}/.config/environment.d/network.conf\n"
    )
    config = machine.home / ".config" / "kaosd"
    machine.run("mkdir", "-p", str(config))
    (config / "kaosd.toml").write_text(f"[front]\nport = {free_port()}\n")
    machine.root("systemctl", "daemon-reload")


def test_the_system_starts_kaosd_for_a_person(machine: Machine) -> None:
    def show(name: str) -> str:
        return machine.root("systemctl", "show", "--value", f"--property={name}", UNIT).strip()

    install(machine)
    assert machine.code("kaosctl", "status") == 3
    machine.root("systemctl", "start", UNIT)  # returns when it is ready
    assert show("ActiveState") == "active"
    assert re.match(r"0|no ", until(lambda: show("StatusText"), "its status, which follows its being ready"))
    assert (
        machine.root("stat", "--format=%U %a", f"/run/kaosd-{USER}", f"/var/lib/kaosd/{USER}").splitlines()
        == [f"{USER} 700"] * 2
    )

    # the client finds it without being told where it is
    found = json.loads(machine.run("kaosctl", "status", "--json"))
    assert found["daemon"]["state_dir"] == f"/var/lib/kaosd/{USER}"
    assert found["daemon"]["pid"] == int(show("MainPID"))
    asked = ("journalctl", "--no-pager", "--quiet", "-o", "json", "-n", "1", "KAOS_EVENT=daemon_ready")
    entry = json.loads(until(lambda: machine.root(*asked), "the line that follows its being ready"))
    assert (entry["PRIORITY"], entry["_SYSTEMD_UNIT"]) == ("6", UNIT)
    told = machine.root("systemd-analyze", "--no-pager", "security", UNIT, check=False)
    level = re.search(r"Overall exposure level for \S+: ([0-9.]+)", told)
    assert level is not None, told
    assert float(level[1]) < 3

    # she lingers: her notebooks run in units of her own systemd, and outlive a restart
    source = make_bundle(machine.place / "example")
    machine.run("chmod", "755", str(source), check=False)
    source.chmod(0o755)
    machine.run("kaosctl", "notebook", "deploy", "--name", NAME, "-s", str(source))
    [unit] = hosts(machine)
    assert cell(machine, "kept = 41; print(kept)", state=f"/var/lib/kaosd/{USER}") == "41"
    before = show("MainPID")
    machine.root("systemctl", "restart", UNIT)
    assert show("MainPID") != before
    assert hosts(machine) == [unit]
    assert cell(machine, "print(kept + 1)", state=f"/var/lib/kaosd/{USER}") == "42"

    # a crash is mended, a stop is a stop; the logs are found without the daemon
    machine.root("systemctl", "kill", "--kill-whom=main", "--signal=KILL", UNIT)
    until(lambda: show("NRestarts") == "1" and show("ActiveState") == "active", "the daemon to be back")
    assert cell(machine, "print(kept + 1)", state=f"/var/lib/kaosd/{USER}") == "42"
    machine.root("systemctl", "stop", UNIT)
    assert machine.code("kaosctl", "status") == 3
    assert hosts(machine) == [unit]
    assert "JupyterLab answers" in machine.run("kaosctl", "logs", NAME, "--stage", "host")

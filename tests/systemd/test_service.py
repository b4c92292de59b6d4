"""The life of kaosd as a service, as a person meets it: one story, each test a chapter that needs those before it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import free_port, until
from tests.systemd.machine import UID, USER, Machine
from tests.systemd.service import NAME, cell, hosts, live, notebook, pid_of, status

pytestmark = pytest.mark.timeout(600)

# The sitecustomize, which Python runs at its start: on a signal the daemon's loop hangs for ever.
HANG = "import signal, time\nsignal.signal(signal.SIGUSR1, lambda *_: time.sleep(10**6))\n"


def drop_in(machine: Machine, name: str, text: str) -> None:
    """Change kaosd's unit as a person does."""
    directory = machine.home / ".config" / "systemd" / "user" / "kaosd.service.d"
    machine.run("mkdir", "-p", str(directory))
    (directory / name).write_text(text)
    machine.systemctl("daemon-reload")


def test_root_is_refused_and_nothing_is_written(machine: Machine) -> None:
    kaosd = str(Path(__file__).parents[2] / ".venv" / "bin" / "kaosd")
    told = machine.root("env", f"HOME={machine.place}", kaosd, "install-service", check=False)
    assert re.fullmatch(r"kaosd: root has no notebooks.*\n", told)
    assert not (machine.place / ".config").exists()


def test_without_a_manager_of_ones_own_installing_ends_with_a_sentence(machine: Machine) -> None:
    told = machine.run("kaosd", "install-service", check=False, XDG_RUNTIME_DIR="/nowhere")
    assert re.fullmatch(r"kaosd: no systemd of yours runs here \(log in directly.*\)\n", told)
    assert not (machine.home / ".config" / "systemd").exists()


def test_install_starts_it_and_explains_lingering(machine: Machine) -> None:
    config = machine.home / ".config" / "kaosd"
    machine.run("mkdir", "-p", str(config))
    (config / "kaosd.toml").write_text(f"[front]\nport = {free_port()}\n")
    told = machine.run("kaosd", "install-service", "--now")
    assert "you linger" in told
    assert machine.property("kaosd.service", "ActiveState") == "active"
    assert (
        machine.systemctl("is-enabled", "kaosd.service", "kaosd.socket", "kaosd-front.socket").split()
        == ["enabled"] * 3
    )
    told = until(lambda: machine.property("kaosd.service", "StatusText"), "its status, which follows its being ready")
    assert re.match(r"\d+ notebooks?|no notebooks?|0 ", told), told
    assert machine.property("kaosd.service", "FragmentPath").startswith(str(machine.home))


def test_installing_again_is_no_harm_and_a_changed_file_is_left_alone(machine: Machine) -> None:
    assert "wrote" in machine.run("kaosd", "install-service")
    unit = machine.home / ".config" / "systemd" / "user" / "kaosd.service"
    written = unit.read_text()
    unit.write_text(written.replace("WatchdogSec=60", "WatchdogSec=90"))
    told = machine.run("kaosd", "install-service", check=False)
    assert "was changed by hand, and is left as it is" in told
    assert "WatchdogSec=90" in unit.read_text()
    told = " ".join(machine.run("kaosctl", "doctor", check=False).split())
    assert "was changed by hand" in told
    assert "systemd goes by an older" in told  # nobody has told it yet
    machine.systemctl("daemon-reload")
    told = " ".join(machine.run("kaosctl", "doctor", check=False).split())
    assert "was changed by hand" in told
    assert "systemd goes by an older" not in told
    unit.write_text(written)
    machine.systemctl("daemon-reload")
    told = machine.run("kaosctl", "doctor", check=False)
    assert "is of this kaosd" in told
    assert "keeps running after you log out" in told


def test_doctor_says_what_ends_with_the_login(machine: Machine) -> None:
    lingering = f"/var/lib/systemd/linger/{USER}"
    machine.root("rm", lingering)
    assert f"sudo loginctl enable-linger {USER}" in machine.run("kaosctl", "doctor", check=False)
    assert f"unless you linger: sudo loginctl enable-linger {USER}" in machine.run("kaosd", "install-service")
    machine.root("touch", lingering)
    assert "enable-linger" not in machine.run("kaosctl", "doctor", check=False)


def test_the_journal_has_priorities_and_fields(machine: Machine) -> None:
    entry = json.loads(machine.journal("-o", "json", "-n", "1", "KAOS_EVENT=daemon_ready"))
    assert entry["PRIORITY"] == "6"
    assert entry["SYSLOG_IDENTIFIER"] == "kaosd"
    assert entry["_SYSTEMD_USER_UNIT"] == "kaosd.service"


def test_a_reload_keeps_the_daemon_and_reads_the_file(machine: Machine) -> None:
    before = pid_of(machine)
    config = machine.home / ".config" / "kaosd" / "kaosd.toml"
    good = config.read_text()
    config.write_text("engine = 7\n")
    machine.systemctl("reload", "kaosd")
    until(lambda: machine.journal("-p", "err", "KAOS_EVENT=configuration_refused"), "the refusal in the journal")
    config.write_text(good)
    machine.systemctl("reload", "kaosd")
    until(lambda: not status(machine)["daemon"]["problems"], "the problem to go")
    assert pid_of(machine) == before


def test_a_host_runs_in_a_unit_of_its_own_and_says_that_nothing_is_enforced(machine: Machine) -> None:
    source = make_bundle(machine.place / "example")
    os.chmod(source, 0o755)
    machine.run("kaosctl", "notebook", "deploy", "--name", NAME, "-s", str(source), "--memory", "2Gi")
    [unit] = hosts(machine)
    assert machine.property(unit, "Slice") == "kaos-hosts.slice"
    assert machine.property(unit, "MemoryMax") == str(2 * 2**30)
    assert machine.property(unit, "OOMPolicy") == "continue"
    # this guest has no controllers: systemd takes the limit, and the kernel does not hold it
    assert notebook(machine)["resources"]["enforced"] is False
    assert cell(machine, "kept = 41; print(kept)") == "41"


def test_a_restart_leaves_a_live_kernel_its_variable(machine: Machine) -> None:
    before, units = pid_of(machine), hosts(machine)
    machine.systemctl("restart", "kaosd")
    assert pid_of(machine) != before
    assert hosts(machine) == units
    assert cell(machine, "print(kept + 1)") == "42"
    live(machine)


def test_a_daemon_killed_is_back_and_its_hosts_were_not_touched(machine: Machine) -> None:
    before = pid_of(machine)
    machine.systemctl("kill", "--kill-whom=main", "--signal=KILL", "kaosd.service")
    until(lambda: pid_of(machine) not in ("0", before), "a new daemon")
    until(lambda: machine.property("kaosd.service", "ActiveState") == "active", "the new daemon to be ready")
    assert cell(machine, "print(kept + 1)") == "42"


def test_a_hung_loop_is_seen_ended_and_mended(machine: Machine) -> None:
    hang = machine.place / "hang"
    hang.mkdir()
    (hang / "sitecustomize.py").write_text(HANG)
    hang.chmod(0o755)
    drop_in(machine, "test.conf", f"[Service]\nWatchdogSec=5\nEnvironment=PYTHONPATH={hang}\n")
    machine.systemctl("restart", "kaosd")
    before = pid_of(machine)
    machine.systemctl("kill", "--kill-whom=main", "--signal=USR1", "kaosd.service")
    until(lambda: pid_of(machine) not in ("0", before), "a new daemon")
    until(lambda: machine.property("kaosd.service", "ActiveState") == "active", "the new daemon to be ready")
    until(lambda: "Watchdog timeout (limit 5s)!" in machine.journal("-u", "kaosd.service"), "the cause in the journal")
    until(lambda: "sitecustomize.py" in machine.journal("-u", "kaosd.service"), "the stack, by faulthandler")
    assert cell(machine, "print(kept + 1)") == "42"
    drop_in(machine, "test.conf", "")


def test_asking_starts_it_again(machine: Machine) -> None:
    machine.systemctl("stop", "kaosd.service")
    assert machine.property("kaosd.service", "ActiveState") == "inactive"
    assert hosts(machine), "a stop of the daemon is no stop of the notebook"
    assert notebook(machine)["name"] == NAME
    until(lambda: machine.property("kaosd.service", "ActiveState") == "active", "the daemon")  # it may be reloading
    assert cell(machine, "print(kept + 1)") == "42"
    socket = Path(f"/proc/{machine.init}/root", f"run/user/{UID}/kaosd/kaosd.sock")
    assert socket.stat().st_mode & 0o777 == 0o600


def test_a_notebook_that_an_older_kaosd_started_survives_the_upgrade(machine: Machine) -> None:
    """The unit of the version before ran hosts as children, with KillMode=process."""
    machine.run("kaosctl", "notebook", "kill", "-n", NAME, "-y")
    directory = machine.place / "without"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(
        "import kaosd.units\nasync def no(_self): return False\nkaosd.units.UserUnits.available = no\n"
    )
    directory.chmod(0o755)
    drop_in(machine, "test.conf", f"[Service]\nKillMode=process\nEnvironment=PYTHONPATH={directory}\n")
    machine.systemctl("restart", "kaosd")
    machine.run("kaosctl", "notebook", "deploy", "--name", NAME, "-s", str(machine.place / "example"))
    assert cell(machine, "kept = 41; print(kept)") == "41"
    assert hosts(machine) == []
    (machine.home / ".config" / "systemd" / "user" / "kaosd.service.d" / "test.conf").unlink()
    assert "keep running in a unit of their own" in machine.run("kaosd", "install-service", "--now")
    assert machine.property("kaosd.service", "KillMode") == "mixed"
    assert cell(machine, "print(kept + 1)") == "42"
    live(machine)


def test_uninstall_leaves_notebooks_and_state(machine: Machine) -> None:
    told = machine.run("kaosd", "uninstall-service")
    assert "removed" in told
    assert machine.systemctl("is-active", "kaosd.service", "kaosd.socket", check=False).split() == ["inactive"] * 2
    assert list((machine.home / ".config" / "systemd" / "user").glob("kaosd.s*t*")) == []
    assert cell(machine, "print(kept + 1)") == "42"
    assert machine.code("kaosctl", "status") == 3
    assert "nothing to do" in machine.run("kaosd", "uninstall-service")

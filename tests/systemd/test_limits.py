"""Limits that a kernel holds: kaosd as a service on a guest with its own kernel, and a cell that wants too much."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon, until
from tests.systemd.machine import UID, Kernel
from tests.systemd.service import NAME, cell, cell_command, hosts, live, notebook, pid_of

pytestmark = pytest.mark.timeout(1200)  # the guest's kernel needs ten times as long for each system call
GREEDY = "kept = 41; data = bytearray(1 << 30); data[::4096] = bytes(len(data[::4096])); print('never')"


@pytest.fixture(scope="module")
def kernel() -> Iterator[Kernel]:
    """A guest whose person has used kaosd before, with a notebook; it has no network to build one."""
    guest = Kernel(Path(tempfile.mkdtemp(prefix="ks")), _use_kaosd)
    yield guest
    guest.close()


def _use_kaosd(place: Path) -> None:
    """Deploy a notebook here, where there is a network, and leave its state as if the person had done it."""
    subprocess.run(["chown", "-R", "0:0", str(place / "home")], check=True)  # root's own for as long as root uses it
    source = make_bundle(place / "example")
    state = place / "home" / ".local" / "state" / "kaosd"
    state.parent.mkdir(parents=True)
    earlier = Daemon(place, KAOSD_STATE_DIR=str(state), KAOSD_STOP_HOSTS_ON_EXIT="true")
    earlier.state = state
    earlier.start()
    earlier.deploy(NAME, source)
    earlier.stop()
    config = place / "home" / ".config" / "kaosd" / "kaosd.toml"
    config.parent.mkdir()
    config.write_text(f"[front]\nport = {earlier.port}\n")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", str(place / "home"), str(source)], check=True)


def kernel_text(machine: Kernel, name: str) -> str:
    """A file of the host's control group."""
    [unit] = hosts(machine)
    return machine.root("cat", f"/sys/fs/cgroup{machine.property(unit, 'ControlGroup')}/{name}").strip()


def test_the_kernel_holds_a_host_to_its_limits_and_what_it_does_is_told(kernel: Kernel) -> None:
    kernel.run("kaosd", "install-service", "--now")
    kernel.run("kaosctl", "notebook", "deploy", "--name", NAME, "-s", str(kernel.place / "example"),
               "--memory", "400Mi", "--cpu", "0.5")  # fmt: skip
    resources = notebook(kernel)["resources"]
    assert resources["enforced"] is True, resources
    assert kernel_text(kernel, "memory.max") == str(400 << 20)
    assert kernel_text(kernel, "memory.swap.max") == "0"
    assert kernel_text(kernel, "cpu.max") == "50000 100000"
    live(kernel)
    assert "not enforced" not in kernel.run("kaosctl", "status")


def test_a_greedy_cell_is_ended_its_host_goes_on_and_everyone_is_told(kernel: Kernel) -> None:
    [before] = hosts(kernel)
    server = kernel.property(before, "MainPID")
    assert cell(kernel, "kept = 41; print(kept)") == "41"
    # JupyterLab starts the dead kernel again; the cell itself has no answer, so nobody waits for it
    kernel.run("sh", "-c", '"$@" >/dev/null 2>&1 &', "sh", *cell_command(kernel, GREEDY))
    until(lambda: _told_and_idle(notebook(kernel)["host"]), "the sentence in the status, and another kernel")
    assert re.search(r"^oom_kill [1-9]", kernel_text(kernel, "memory.events"), re.M)
    assert hosts(kernel) == [before]
    assert kernel.property(before, "MainPID") == server
    assert cell(kernel, "print('kept' in globals())") == "False"
    said = "the system ended a process of this notebook, which used up its memory of 400Mi"
    assert said in notebook(kernel)["host"]["notice"]
    assert said in " ".join(kernel.run("kaosctl", "status", check=False).split())
    assert said in kernel.run("kaosctl", "logs", NAME, "--stage", "host")
    until(lambda: kernel.journal("KAOS_EVENT=host_out_of_memory"), "the line in the journal")


def _told_and_idle(host: dict[str, Any]) -> bool:
    """Whether the status names what was killed, and the kernel, busy until then, has been started again."""
    return bool(host["notice"]) and host["kernels"] == 1 and host["busy"] == 0


def test_limits_change_in_place(kernel: Kernel) -> None:
    [before] = hosts(kernel)
    assert cell(kernel, "kept = 43; print(kept)") == "43"
    kernel.run("kaosctl", "notebook", "deploy", "--name", NAME, "-s", str(kernel.place / "example"),
               "--memory", "600Mi", "--cpu", "0.75")  # fmt: skip
    assert kernel_text(kernel, "memory.max") == str(600 << 20)
    assert kernel_text(kernel, "cpu.max") == "75000 100000"
    assert notebook(kernel)["resources"]["enforced"] is True
    assert hosts(kernel) == [before]
    assert cell(kernel, "data = bytearray(400 << 20); print(kept)") == "43"


def test_a_limit_too_low_for_the_server_is_named_as_the_cause_and_a_higher_one_mends_it(kernel: Kernel) -> None:
    daemon = pid_of(kernel)
    deploy = ("kaosctl", "notebook", "deploy", "--name", NAME, "-s", str(kernel.place / "example"))
    kernel.run(*deploy, "--memory", "20Mi", "--detach")
    told = re.compile("its limit is 20Mi|used up its memory of 20Mi")
    until(lambda: told.search(notebook(kernel)["reason"] or ""), "the cause in the status")
    assert pid_of(kernel) == daemon
    kernel.run(*deploy, "--memory", "600Mi")
    live(kernel)
    assert cell(kernel, "print(6 * 7)") == "42"

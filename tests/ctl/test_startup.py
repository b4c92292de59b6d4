"""Starting fast: what the client loads."""

from __future__ import annotations

import subprocess
import sys

from tests.ctl.standin import Daemon, notebook

HEAVY = {"argparse", "typing", "dataclasses", "http.client", "socket", "kaosd.model"}
OWN = {
    "kaosd",
    "kaosd.ctl",
    "kaosd.ctl.client",
    "kaosd.ctl.failure",
    "kaosd.ctl.picture",
    "kaosd.ctl.places",
    "kaosd.ctl.screen",
    "kaosd.ctl.status",
    "kaosd.errors",
    "kaosd.standard_streams",
    "kaosd.display",
}
COMMANDS = (
    "status",
    "status --json",
    "logs",
    "notebook list",
    "notebook deploy --detach",
    "history n",
    "why x",
    "wait n",
    "open n",
    "template list",
    "doctor",
    "doctor --bundle {root}/bundle.zip",
    "recovered n --restore x",
    "completion bash",
    "__complete status ",
    "help notebook deploy",
    "version",
    "--help",
)


def loaded(daemon: Daemon, *arguments: str) -> set[str]:
    """The modules that kaosctl has loaded at its end, beyond those that the interpreter starts with."""
    code = (
        "import sys; before = set(sys.modules)\nfrom kaosd.ctl import main\n"
        "try: main(sys.argv[1:])\nexcept SystemExit: pass\n"
        "print(*sorted(set(sys.modules) - before), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=daemon.environment, capture_output=True, text=True, check=True
    )
    return set(done.stderr.splitlines()[-1].split())


def test_status_loads_next_to_nothing(daemon: Daemon) -> None:
    daemon.serves(notebook())
    assert not loaded(daemon, "status") & HEAVY


def test_status_loads_these_modules_of_ours_and_no_more(daemon: Daemon) -> None:
    daemon.serves(notebook())
    found = {name for name in loaded(daemon, "status") if name.startswith("kaosd")}
    assert found == OWN


def test_no_command_loads_a_third_party_module(daemon: Daemon) -> None:
    daemon.serves(notebook())
    daemon.log("notebook-mnist-ada", 1, "build", "x", job="ab" * 16)
    for command in COMMANDS:
        names = {name.partition(".")[0] for name in loaded(daemon, *command.format(root=daemon.root).split(" "))}
        assert names <= set(sys.stdlib_module_names) | {"kaosd"}, command

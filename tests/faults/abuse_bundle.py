"""What a bundle, or the notebook in its own directory, tries."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.e2e.daemon import until
from tests.faults.abuse_wire import API
from tests.faults.prey import MARK, NAME, Case, Prey


def planted(make: Callable[[Path, Prey], object], name: str) -> Callable[[Prey], str]:
    """Something in the bundle that must be left out by name while the rest goes on."""

    def attack(prey: Prey) -> str:
        path = prey.model / name
        make(path, prey)
        try:
            return prey.refuses(name)
        finally:
            path.unlink()

    return attack


def hard_link(prey: Prey) -> str:
    """A hard link to a file outside: its content is copied, and no write in the host reaches it."""
    path = prey.model / "hard.txt"
    path.hardlink_to(prey.outside / "secret.txt")
    prey.save()
    (prey.work / "hard.txt").write_text("overwritten in the host")
    path.unlink()
    prey.save()
    return "copied" if (prey.outside / "secret.txt").read_text() == MARK else "overwritten outside"


def setuid(prey: Prey) -> str:
    """A program with the setuid bit."""
    path = prey.model / "root.sh"
    path.write_text("#!/bin/sh\n")
    path.chmod(0o6755)
    prey.save()
    mode = stat.S_IMODE((prey.work / "root.sh").stat().st_mode)
    path.unlink()
    return "no such bit" if mode == 0o755 else oct(mode)


def odd_names(prey: Prey) -> str:
    """Names with escapes and line breaks: bundled, and never printed as they are."""
    path = prey.model / "x\x1b[2J\nINFO forged"
    path.write_text("1")
    prey.save()
    there = (prey.work / path.name).exists()
    shown = prey.daemon.ctl("status", NAME).stdout + prey.daemon.ctl("history", NAME).stdout
    shown += prey.daemon.ctl("logs", NAME).stdout + prey.daemon.ctl("why", str(path)).stdout + prey.daemon.output()
    path.unlink()
    forged = [line for line in shown.splitlines() if line.startswith("INFO forged")]
    return "bundled and escaped" if there and "\x1b" not in shown and not forged else f"{there} {forged}"


def link_in_host(prey: Prey) -> str:
    """The notebook puts a link to a file outside in the place of one that is about to be synced."""
    target = prey.outside / "secret.txt"
    (prey.model / "swap.py").write_text("1\n")
    prey.save()
    (prey.work / "swap.py").unlink()
    (prey.work / "swap.py").symlink_to(target)
    (prey.model / "swap.py").write_text("2\n")
    prey.save()
    return "not followed" if target.read_text() == MARK else "written outside"


def directory_link_in_host(prey: Prey) -> str:
    """The same with a directory."""
    (prey.model / "sub").mkdir()
    (prey.model / "sub" / "secret.txt").write_text("1\n")
    prey.save()
    (prey.work / "sub").rename(prey.work / "sub-mine")
    (prey.work / "sub").symlink_to(prey.outside)
    (prey.model / "sub" / "secret.txt").write_text("2\n")
    prey.save()
    return "not followed" if (prey.outside / "secret.txt").read_text() == MARK else "written outside"


def swapped_while_copied(prey: Prey) -> str:
    """A file takes turns with a link to a secret while saves make the daemon read it."""
    swap, secret = prey.model / "turns.txt", prey.outside / "never.txt"
    secret.write_text(NEVER)
    code = (
        "import os, sys\nfile, secret = sys.argv[1:]\n"
        "while True:\n    open(file + '.part', 'w').write('mine')\n    os.replace(file + '.part', file)\n"
        "    os.symlink(secret, file + '.part')\n    os.replace(file + '.part', file)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, swap, secret]) as child:
        try:
            for _ in range(20):
                (prey.model / "marker.py").write_text(f"{time.monotonic_ns()}\n")
                prey.daemon.ctl("wait", NAME, "--timeout", "1", check=False)
        finally:
            child.kill()
    for path in (swap, swap.with_name("turns.txt.part")):
        path.unlink(missing_ok=True)
    prey.save()
    secret.unlink()
    stored = subprocess.run(
        ["grep", "-rlaF", NEVER, prey.daemon.state / "store", prey.work], capture_output=True, check=False
    )
    return "never read" if not stored.stdout else stored.stdout.decode()


def hostile_requirements(text: str) -> Callable[[Prey], str]:
    """Requirements that reach out of the bundle: the build fails, and the old host serves on."""

    def attack(prey: Prey) -> str:
        requirements = prey.model / "requirements.txt"
        before = requirements.read_text()
        requirements.write_text(text.format(outside=prey.outside))
        try:
            until(lambda: prey.daemon.notebook(NAME)["state"] == "failed", "the refusal")
            serving = prey.visit(API) == "200"
        finally:
            requirements.write_text(before)
            prey.daemon.live(NAME)
        outside = sorted(path.name for path in prey.outside.iterdir())
        return "fails, and the old one serves" if serving and outside == ["secret.txt"] else f"{serving} {outside}"

    return attack


def _bind(path: Path, prey: Prey) -> None:
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)
    os.chdir(here)


NEVER = "nobody-may-read-this"
LEFT_OUT = ("left out by name",)
BUNDLE = [
    Case(
        "bundle",
        "a link to a file outside",
        LEFT_OUT,
        planted(lambda f, p: f.symlink_to(p.outside / "secret.txt"), "a1"),
    ),
    Case(
        "bundle",
        "a link that climbs",
        LEFT_OUT,
        planted(lambda f, p: f.symlink_to("../../../outside/secret.txt"), "a2"),
    ),
    Case("bundle", "a link to a directory outside", LEFT_OUT, planted(lambda f, p: f.symlink_to(p.outside), "a3")),
    Case("bundle", "a link to the token", LEFT_OUT, planted(lambda f, p: f.symlink_to(p.daemon.state / "token"), "a4")),
    Case("bundle", "a FIFO", LEFT_OUT, planted(lambda f, p: os.mkfifo(f), "a5")),
    Case("bundle", "a socket", LEFT_OUT, planted(_bind, "a6")),
    Case(
        "bundle", "a device", LEFT_OUT, planted(lambda f, p: os.mknod(f, stat.S_IFCHR | 0o666, os.makedev(1, 5)), "a7")
    ),
    Case("bundle", "a hard link to a file outside", ("copied",), hard_link),
    Case("bundle", "a setuid program", ("no such bit",), setuid),
    Case("bundle", "names with escapes and line breaks", ("bundled and escaped",), odd_names),
    Case("bundle", "a link in the host instead of a file", ("not followed",), link_in_host),
    Case("bundle", "a link in the host instead of a directory", ("not followed",), directory_link_in_host),
    Case("bundle", "a file and a link to a secret in turns", ("never read",), swapped_while_copied),
    Case(
        "bundle",
        "requirements out of a file outside",
        ("fails, and the old one serves",),
        hostile_requirements("-r {outside}/secret.txt\n"),
    ),
    Case(
        "bundle",
        "requirements that are a directory outside",
        ("fails, and the old one serves",),
        hostile_requirements("-e {outside}\n"),
    ),
]

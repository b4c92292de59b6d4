"""Where secrets must not stand, and what others may read."""

from __future__ import annotations

import contextlib
import os
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from tests.faults.abuse_wire import READ
from tests.faults.prey import MARK, NAME, Case, Prey, as_nobody

PASSWORD = "correct-horse-battery-staple"


def _processes(prey: Prey) -> Iterator[int]:
    assert prey.daemon.process is not None
    yield from (prey.daemon.process.pid, *prey.daemon.hosts())


def in_processes(prey: Prey, kind: str, *secrets: str) -> str:
    """Where a secret stands in what /proc shows of the daemon and its hosts."""
    found = []
    for pid in _processes(prey):
        with contextlib.suppress(OSError):
            shown = Path(f"/proc/{pid}/{kind}").read_bytes()
            found += [f"{pid}" for secret in secrets if secret.encode() in shown]
    return "nowhere" if not found else f"in {kind} of {found}"


def in_host_environ(prey: Prey) -> str:
    """Whether the daemon's variables reach the notebook."""
    shown = Path(f"/proc/{prey.daemon.host_pid(NAME)}/environ").read_bytes().split(b"\0")
    names = {entry.partition(b"=")[0].decode() for entry in shown}
    bad = {name for name in names if name.startswith(("KAOSD_", "AWS_", "NOTIFY_", "LISTEN_", "JUPYTER_TOKEN"))}
    return "nowhere" if not bad else f"{sorted(bad)}"


def in_host_descriptors(prey: Prey) -> str:
    """Whether the notebook has the daemon's files open."""
    opened = []
    for path in Path(f"/proc/{prey.daemon.host_pid(NAME)}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            opened.append(os.readlink(path))
    bad = [
        path for path in opened if any(each in path for each in ("journal", "index.db", "store", "/lock", "kaosd.sock"))
    ]
    return "nowhere" if not bad else f"{bad}"


def in_files(prey: Prey) -> str:
    """Whether a token stands in logs, journal, store or what the daemon prints."""
    places = [
        prey.daemon.place / "output",
        prey.daemon.state / "logs",
        *prey.daemon.state.glob("journal*"),
        prey.daemon.state / "store",
        prey.daemon.home(NAME) / "logs",
        prey.work,
    ]
    found = []
    for place in places:
        for path in [place] if place.is_file() else _files_below(place):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                if path.is_file() and any(each.encode() in path.read_bytes() for each in (prey.token, prey.master)):
                    found.append(str(path))
    return "nowhere" if not found else f"in {found}"


def _files_below(top: Path) -> Iterator[Path]:
    """Also where directories come and go meanwhile."""
    yield from (Path(directory, name) for directory, _, names in os.walk(top) for name in names)


def in_answers(prey: Prey) -> str:
    """Whether a token stands in what the client prints."""
    shown = [
        prey.daemon.ctl(*each, check=False).stdout
        for each in (
            ("status", "--json"),
            ("history", NAME, "--json"),
            ("logs", NAME),
            ("doctor",),
            ("notebook", "list"),
        )
    ]
    return (
        "nowhere" if not any(each in text for text in shown for each in (prey.token, prey.master)) else "in an answer"
    )


def in_bundle(prey: Prey) -> str:
    """Whether a secret stands in the bundle of doctor, though a log, the configuration and the environment say it."""
    target, config = prey.daemon.place / "doctor.zip", prey.daemon.config
    before = config.read_text()
    spoken = max((prey.daemon.home(NAME) / "logs").glob("*host*"))
    with open(spoken, "a") as log:
        log.write(f"http://127.0.0.1/lab?token={prey.token} {prey.master}\n")
    config.write_text(f"{before}\n# password = {PASSWORD}\n")
    try:
        prey.daemon.ctl("doctor", "--bundle", str(target), check=False)
        with zipfile.ZipFile(target) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        mode = stat.S_IMODE(target.stat().st_mode)
    finally:
        config.write_text(before)
        target.unlink(missing_ok=True)
    secrets = (prey.token, prey.master, MARK, PASSWORD)
    bad = sorted(name for name, content in members.items() if any(each.encode() in content for each in secrets))
    whole = {"status.json", "doctor.json", "kaosd.toml"} <= members.keys() and any("host" in name for name in members)
    return "nowhere" if not bad and whole and mode == 0o600 else f"{bad} of {sorted(members)}, mode {mode:o}"


def modes(prey: Prey) -> str:
    """What others may read of the state directory, though it starts with umask 000."""
    top = prey.daemon.state
    bad = [
        str(path)
        for path in (
            top,
            top / "token",
            prey.daemon.home(NAME),
            prey.daemon.home(NAME) / "token",
            top / "journal.sqlite",
            top / "store",
            top / "run",
        )
        if stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    return "nothing" if not bad else f"{bad}"


SECRETS = [
    Case("secrets", "a token in a command line", ("nowhere",), lambda p: in_processes(p, "cmdline", p.token, p.master)),
    Case("secrets", "a token in an environment", ("nowhere",), lambda p: in_processes(p, "environ", p.token, p.master)),
    Case("secrets", "the daemon's variables in the notebook", ("nowhere",), in_host_environ),
    Case("secrets", "the daemon's files open in the notebook", ("nowhere",), in_host_descriptors),
    Case("secrets", "a token in logs, journal, store", ("nowhere",), in_files),
    Case("secrets", "a token in the client's answers", ("nowhere",), in_answers),
    Case("secrets", "a secret in the bundle of doctor", ("nowhere",), in_bundle),
    Case("secrets", "what others may read of the state", ("nothing",), modes),
    Case(
        "secrets",
        "another user reads the token",
        ("PermissionError",),
        lambda p: as_nobody(READ, str(p.daemon.home(NAME) / "token")),
    ),
]

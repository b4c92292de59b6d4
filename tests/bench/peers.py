"""What people would use to keep a copy of a tree up to date, each as its own documentation sets it up for this.

None is slowed down: where one waits by default until changes have come to rest (lsyncd 15 s, syncthing 10 s), it is set
to the least that its documentation allows.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.bench import absent
from tests.e2e.daemon import free_port

_PYTHON = Path(sys.prefix) / "bench" / "bin" / "python"  # has what .ci/bench-peers installs from PyPI
_EVENTS = "close_write,create,delete,move,attrib"
_RSYNC = "rsync -a --delete {source}/ {target}/"
_COPYING = """\
import os, shutil, sys
from watchfiles import watch
source, target = sys.argv[1:]
shutil.copytree(source, target, dirs_exist_ok=True)
for changes in watch(source):
    for _, path in changes:
        if os.path.isfile(path):
            shutil.copy2(path, os.path.join(target, os.path.relpath(path, source)))
"""


@dataclass(frozen=True, slots=True)
class Peer:
    """programs: what it needs. line: its command line as bash takes it; prepare: writes its settings into {home}."""

    name: str
    programs: tuple[str, ...]
    line: str
    prepare: Callable[[Path, Path, Path], None] = lambda _home, _source, _target: None

    @property
    def absent(self) -> str:
        """What keeps it from running here, in words; "" when nothing does."""
        return absent(self.programs)


class Running:
    """A peer at work in a process group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def hold(self) -> None:
        """Let it do nothing, while another one is measured."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it work again."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGCONT)

    def last_words(self) -> str:
        """The last line that it printed; "" when there is none."""
        lines = self._log.read_text(errors="replace").strip().splitlines()
        return re.sub(r"\x1b\[[0-9;]*m", "", lines[-1])[:120] if lines else ""


def stop_session(session: int) -> None:
    """End all that a peer has started; some put what they start into groups of its own."""
    while found := [pid for pid in map(int, filter(str.isdecimal, os.listdir("/proc"))) if _session(pid) == session]:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.01)


def _session(pid: int) -> int | None:
    """The session of a process that runs; None when it has ended, also when nobody has waited for it yet."""
    try:
        state, _, _, session = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return None
    return int(session) if state not in "ZX" else None


@contextlib.contextmanager
def running(peer: Peer, source: Path, target: Path) -> Iterator[Running]:
    """*peer*, keeping *target* like *source*."""
    with tempfile.TemporaryDirectory(prefix="kp", ignore_cleanup_errors=True) as place:
        home = Path(place)
        (home / "copying.py").write_text(_COPYING)
        peer.prepare(home, source, target)
        line = peer.line.format(source=source, target=target, home=home, python=_PYTHON)
        environ = {**os.environ, "HOME": place, "UNISON": place}
        log = home / "log"
        with log.open("wb") as output, subprocess.Popen(
            ["bash", "-c", line], env=environ, start_new_session=True, cwd=home,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        ) as process:  # fmt: skip
            try:
                yield Running(process, log)
            finally:
                stop_session(process.pid)


# -- syncthing: two of them, who know each other and nobody else ---------------------------------------------

_SETTINGS = """\
<configuration version="36">
  <folder id="f" path="{path}" type="{kind}" rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="1">
    <device id="{one}"></device><device id="{other}"></device><markerName>.</markerName>
  </folder>
  <device id="{one}"><address>tcp://127.0.0.1:{one_port}</address></device>
  <device id="{other}"><address>tcp://127.0.0.1:{other_port}</address></device>
  <gui enabled="false"></gui>
  <options>
    <listenAddress>tcp://127.0.0.1:{port}</listenAddress>
    <globalAnnounceEnabled>false</globalAnnounceEnabled><localAnnounceEnabled>false</localAnnounceEnabled>
    <relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled><urAccepted>-1</urAccepted>
    <crashReportingEnabled>false</crashReportingEnabled><startBrowser>false</startBrowser>
    <reconnectionIntervalS>1</reconnectionIntervalS>
  </options>
</configuration>
"""


def _syncthing(home: Path, source: Path, target: Path) -> None:
    ids, ports = [], []
    for side in ("a", "b"):
        subprocess.run(["syncthing", "generate", f"--home={home}/{side}"], check=True, capture_output=True)
        found = re.search(r'<device id="([A-Z0-9-]+)"', (home / side / "config.xml").read_text())
        assert found is not None
        ids.append(found[1])
        ports.append(free_port())
    common: Mapping[str, object] = {"one": ids[0], "other": ids[1], "one_port": ports[0], "other_port": ports[1]}
    for side, path, kind, port in (
        ("a", source, "sendonly", ports[0]), ("b", target, "receiveonly", ports[1]),
    ):  # fmt: skip
        text = _SETTINGS.format(path=path, kind=kind, port=port, **common)
        (home / side / "config.xml").write_text(text)


_THING = "syncthing serve --no-browser --no-restart --home={home}"

PEERS = (
    Peer("lsyncd", ("lsyncd", "rsync"), "exec lsyncd -nodaemon -delay 0 -rsync {source} {target}"),
    Peer(
        "watchexec+rsync",
        ("watchexec", "rsync"),
        "exec watchexec -w {source} --no-vcs-ignore --on-busy-update queue -- " + _RSYNC,
    ),
    Peer(
        "unison -repeat watch",
        ("unison", "unison-fsmonitor"),
        "exec unison {source} {target} -batch -auto -silent -repeat watch",
    ),
    Peer("syncthing", ("syncthing",), f"{_THING}/a & {_THING}/b & wait", _syncthing),
    Peer(
        "inotifywait+rsync",
        ("inotifywait", "rsync"),
        # what comes in the same moment is one rsync
        f"{_RSYNC}; inotifywait -mrq -e {_EVENTS} --format %w%f {{source}} | while read -r changed; do "
        f"while read -r -t 0.01 changed; do :; done; {_RSYNC}; done",
    ),
    Peer(
        "entr+rsync",
        ("entr", "rsync"),
        f'ulimit -n "$(ulimit -Hn)"; while :; do find {{source}} | entr -dn {_RSYNC}; done',
    ),
    Peer("watchfiles+copy", (str(_PYTHON),), "exec {python} {home}/copying.py {source} {target}"),
)

"""A person of this machine who is not root, made for tests, and the view of the file system that rootless engines need.

That view is a mount namespace: nothing outside of it changes. In it /dev/net/tun may be opened by everybody, as on any
installed Debian, and directories that only root may enter let this checkout and its Python be read.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from kaosd import proc

ROOT = Path(__file__).parents[2]
_NEEDED = (ROOT, Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent)
_NETWORK = ("PIP_", "SSL_", "REQUESTS_", "http_", "https_", "no_proxy", "HTTP_", "HTTPS_", "NO_PROXY")
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin:/usr/share/docker.io/contrib"
_INSIDE = """\
set -e
place=$1
shift
mount --make-rslave /
mount --make-rshared /
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
number=0
for directory; do # outermost first: what lies below one that was laid over is changed in the overlay
    if [ "$(stat -f -c %T "$directory")" != overlayfs ]; then
        number=$((number + 1))
        upper=$place/over/$number
        mkdir -p "$upper/u" "$upper/w"
        mount -t overlay -o "lowerdir=$directory,upperdir=$upper/u,workdir=$upper/w" overlay "$directory"
    fi
    chmod o+rx "$directory"
done
echo ready
exec sleep infinity
"""


class Person:
    """A user with a home, a runtime directory and subordinate ids. place: belongs to them, short enough for sockets."""

    def __init__(self, place: Path, *groups: str) -> None:
        self.name = f"kt{secrets.token_hex(4)}"
        self.place = place
        self.home, self.runtime = place / "home", place / "run"
        others = ["--groups", ",".join(groups)] if groups else []
        subprocess.run(
            ["useradd", "--create-home", "--home-dir", str(self.home), "--shell", "/bin/sh", *others, self.name],
            check=True,
        )
        self.uid, self.gid = pwd.getpwnam(self.name)[2:4]
        self.runtime.mkdir(mode=0o700)
        for path in (place, self.runtime):
            os.chown(path, self.uid, self.gid)
        place.chmod(0o755)
        view = place.with_name(f"{place.name}v")  # an overlay is no place for another one
        view.mkdir()
        self._view = view
        argv = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _INSIDE, "sh", str(view), *_closed()]
        self._holder = subprocess.Popen(argv, stdout=subprocess.PIPE)
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"ready\n"

    @property
    def environ(self) -> dict[str, str]:
        """The environment after logging in."""
        network = {name: value for name, value in os.environ.items() if name.startswith(_NETWORK)}
        return network | {
            "HOME": str(self.home),
            "USER": self.name,
            "LOGNAME": self.name,
            "XDG_RUNTIME_DIR": str(self.runtime),
            "PATH": _PATH,
            "PYTHONPATH": str(ROOT),  # the checkout, from wherever they are
            "LANG": "C.UTF-8",
        }

    def command(self, *argv: str) -> list[str]:
        """The command by which root runs *argv* as this person; in place of itself, so that it has one pid."""
        become = ["setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", "--init-groups", "--inh-caps=-all"]
        return ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt", *become, "--", *argv]

    def run(self, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, whatever comes of it."""
        return subprocess.run(
            self.command(*argv), env=self.environ | environ, cwd=self.home, capture_output=True, text=True, check=False
        )

    def remove(self) -> None:
        """End all that runs as them, and take them away with their files."""
        deadline = time.monotonic() + 30
        while pids := self._pids():
            assert time.monotonic() < deadline, pids
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
        self._holder.kill()
        self._holder.communicate()
        subprocess.run(["userdel", self.name], check=True, capture_output=True)
        for path in (self.place, self._view):
            shutil.rmtree(path, ignore_errors=True)

    def _pids(self) -> list[int]:
        """Processes of this person, and of the users that they are inside of their containers."""
        ours = {self.uid, *_subordinate(self.name)}
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                if _real_uid(entry) in ours and proc.identify(int(entry.name)) is not None:  # a zombie has ended
                    found.append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found


def _closed() -> list[str]:
    """Directories on the way to what a person must read that they may not enter, outermost first."""
    ways = {above for path in _NEEDED for above in (path, *path.parents)}
    return [
        str(path) for path in sorted(ways, key=lambda path: len(path.parts)) if path.stat().st_mode & 0o005 != 0o005
    ]


def _subordinate(name: str) -> range:
    """The user ids that the person may give out."""
    lines = [line.split(":") for line in Path("/etc/subuid").read_text().splitlines()]
    begin, count = next((int(one[1]), int(one[2])) for one in lines if one[0] == name)
    return range(begin, begin + count)


def _real_uid(entry: Path) -> int:
    """The real user of a process."""
    line = next(line for line in (entry / "status").read_text().splitlines() if line.startswith("Uid:"))
    return int(line.split()[1])

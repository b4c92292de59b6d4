"""Both programs in surroundings that nobody planned: one sentence or the work done, never a traceback."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaosd import settings, standard_streams
from kaosd.ctl import places
from kaosd.ctl.failure import Failure
from kaosd.errors import ConfigError

CODES = {0, 1, 2, 3, 4, 5, 78, 141}
LONG = "/" + "x" * 5000
ENVIRONMENTS: dict[str, dict[str, str | None]] = {
    "no home": {"HOME": None, "XDG_STATE_HOME": None, "XDG_CONFIG_HOME": None, "XDG_RUNTIME_DIR": None},
    "empty home": {"HOME": "", "XDG_STATE_HOME": "", "XDG_CONFIG_HOME": "", "XDG_RUNTIME_DIR": ""},
    "relative": {"HOME": "h", "XDG_STATE_HOME": "s", "XDG_CONFIG_HOME": "c", "XDG_RUNTIME_DIR": "r"},
    "home is a file": {"HOME": "/etc/passwd", "XDG_STATE_HOME": None, "XDG_CONFIG_HOME": None, "XDG_RUNTIME_DIR": None},
    "line breaks": {"XDG_STATE_HOME": "{top}/a\nb", "XDG_CONFIG_HOME": "{top}/c\nd", "XDG_RUNTIME_DIR": "{top}/e\nf"},
    "no text": {"XDG_STATE_HOME": "{top}/\udcff", "XDG_CONFIG_HOME": "{top}/\udcfe", "XDG_RUNTIME_DIR": "{top}/\udcfd"},
    "own variables no text": {
        "KAOSD_STATE_DIR": "{top}/\udcff",
        "KAOSD_SOCKET": "{top}/\udcfe",
        "KAOSD_FRONT_PORT": "\udcff",
    },
    "endless": {"XDG_STATE_HOME": LONG, "XDG_CONFIG_HOME": LONG, "XDG_RUNTIME_DIR": LONG},
    "nobody's": {"KAOSD_STATE_DIR": "~no-such-user/s", "KAOSD_SOCKET": "~no-such-user/s"},
    "configuration of nobody": {"KAOSD_CONFIG": "~no-such-user/c"},
    "configuration is a directory": {"KAOSD_CONFIG": "/etc"},
    "configuration is a device": {"KAOSD_CONFIG": "/dev/zero"},
    "configuration below a file": {"KAOSD_CONFIG": "/etc/passwd/c"},
    "state is a file": {"KAOSD_STATE_DIR": "/etc/passwd"},
    "state in /proc": {"KAOSD_STATE_DIR": "/proc/self/s"},
    "socket is a directory": {"KAOSD_SOCKET": "/etc"},
    "no path": {"PATH": None},
    "path of nothing": {"PATH": "/nonexistent:/etc/passwd:\n:\udcff"},
    "terminal": {"TERM": "\udcff\n", "COLUMNS": "x", "LINES": "-1"},
    "one column": {"TERM": "dumb", "COLUMNS": "1"},
    "endless columns": {"COLUMNS": "9" * 5000},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii:strict"},
    "locale of nowhere": {"LC_ALL": "xx_YY.none", "LANGUAGE": "zz", "TZ": "\udcff/../x"},
    "no temporary files": {"TMPDIR": "/nonexistent"},
    "systemd that is none": {"NOTIFY_SOCKET": "/" + "x" * 300, "WATCHDOG_USEC": "x", "JOURNAL_STREAM": "x"},
    "descriptors that are none": {"LISTEN_PID": "1", "LISTEN_FDS": "99", "LISTEN_FDNAMES": "control"},
    "proxies": {"http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://x"},
}
CIRCUMSTANCES = {
    "closed input": ("", "<&-"),
    "closed output": ("", ">&-"),
    "closed errors": ("", "2>&-"),
    "all closed": ("", "<&- >&- 2>&-"),
    "full output": ("", ">/dev/full"),
    "full errors": ("", "2>/dev/full"),
    "all full": ("", ">/dev/full 2>&1"),
    "output that is read only": ("", "1</dev/null"),
    "reader that leaves": ("", "| true"),
    "reader of one byte": ("", "| head -c1"),
    "removed directory": ("mkdir gone; cd gone; rmdir ../gone;", ""),
    "umask 0177": ("umask 0177;", ""),
    "umask 0777": ("umask 0777;", ""),
    "no file may grow": ("ulimit -f 0;", ""),
    "few descriptors": ("ulimit -n 16;", ""),
    "argument that is no text": ("", "$(printf '\\377')"),
    "option that is no text": ("", "$(printf -- '--\\377')"),
}
CLIENT = ("status", "notebook deploy -s . --detach", "doctor --bundle b.zip")
DAEMON = ("check",)


@pytest.fixture
def top() -> Iterator[Path]:
    path = Path(os.path.realpath(os.environ.get("TMPDIR", "/tmp"))) / f"kaos-odd-{os.getpid()}"
    path.mkdir(mode=0o700)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def environment(top: Path, changes: dict[str, str | None]) -> dict[bytes, bytes]:
    """What the program is started with: places of its own, and *changes* to that (None: not set)."""
    own: dict[str, str | None] = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": str(top / "home"),
        "XDG_STATE_HOME": str(top / "state"),
        "XDG_CONFIG_HOME": str(top / "config"),
        "XDG_RUNTIME_DIR": str(top / "run"),
        "KAOSD_FRONT_PORT": "19699",
    }
    return {
        os.fsencode(name): os.fsencode(value.replace("{top}", str(top)))
        for name, value in {**own, **changes}.items()
        if value is not None
    }


def run(top: Path, program: str, arguments: str, changes: dict[str, str | None], before: str, after: str) -> None:
    """Run a program in a shell; what it says must be short and no traceback."""
    line = f"{before} {sys.executable} -m {program} {arguments} {after}"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment(top, changes), cwd=top, capture_output=True, timeout=120, check=False
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert "Traceback" not in said, said
    assert "Exception ignored" not in said, said
    assert done.returncode in CODES, (done.returncode, said)
    if done.returncode not in (0, 2):
        assert len(done.stderr.splitlines()) <= 4, said


@pytest.mark.not_quick
@pytest.mark.parametrize("changes", ENVIRONMENTS.values(), ids=ENVIRONMENTS)
def test_no_environment_makes_a_traceback(top: Path, changes: dict[str, str | None]) -> None:
    for program, commands in (("kaosd.ctl", CLIENT), ("kaosd", DAEMON)):
        for arguments in commands:
            run(top, program, arguments, changes, "", "")


@pytest.mark.not_quick
@pytest.mark.parametrize(("before", "after"), CIRCUMSTANCES.values(), ids=CIRCUMSTANCES)
def test_no_circumstance_makes_a_traceback(top: Path, before: str, after: str) -> None:
    for program, commands in (("kaosd.ctl", (*CLIENT, "help")), ("kaosd", (*DAEMON, "--help"))):
        for arguments in commands:
            run(top, program, arguments, {}, before, after)


def test_a_full_output_is_a_failure_and_says_so(top: Path) -> None:
    line = f"{sys.executable} -m kaosd.ctl version >/dev/full"
    done = subprocess.run(
        ["/bin/sh", "-c", line], env=environment(top, {}), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (1, "kaosctl: the output cannot be written: No space left on device\n")


@pytest.mark.not_quick
@pytest.mark.parametrize(
    ("before", "after"),
    [("", ""), ("umask 0177;", ""), ("umask 0777;", ""), ("", "<&- >&- 2>&-"), ("", ">/dev/full 2>&1")],
    ids=["plain", "umask 0177", "umask 0777", "all closed", "all full"],
)
def test_the_daemon_runs_all_the_same(top: Path, before: str, after: str) -> None:
    (top / "run").mkdir(mode=0o700)
    surroundings = environment(top, {})
    line = f"{before} exec {sys.executable} -m kaosd run {after}"
    daemon = subprocess.Popen(["/bin/sh", "-c", line], env=surroundings, cwd=top, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while asked(surroundings) != 0:
            assert daemon.poll() is None
            assert time.monotonic() < deadline
        assert oct((top / "state/kaosd").stat().st_mode & 0o777) == "0o700"
    finally:
        daemon.terminate()
        assert daemon.wait(30) == 0


def asked(surroundings: dict[bytes, bytes]) -> int:
    command = [sys.executable, "-m", "kaosd.ctl", "status"]
    return subprocess.run(command, env=surroundings, capture_output=True, check=False).returncode


@pytest.mark.parametrize("kind", ["fifo", "directory", "link"])
def test_a_lock_that_is_no_file_is_named(top: Path, kind: str) -> None:
    state = top / "state/kaosd"
    state.mkdir(parents=True, mode=0o700)
    lock = state / "lock"
    {"fifo": os.mkfifo, "directory": os.mkdir, "link": lambda path: os.symlink("/etc/passwd", path)}[kind](lock)
    command = [sys.executable, "-m", "kaosd", "run"]
    done = subprocess.run(
        command, env=environment(top, {}), cwd=top, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 78
    assert str(lock) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


VALUES = st.text(st.characters(exclude_characters="\0"), max_size=30) | st.sampled_from(
    ["", "/", "~", "~root", "~x/y", "..", "/proc/self", "/dev/null/x", LONG, "\udcff", "a:b", "1e999", "0x10", "nan"]
)
NAMES = ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "INVOCATION_ID", "STATE_DIRECTORY",
         "RUNTIME_DIRECTORY", "KAOSD_CONFIG", "KAOSD_STATE_DIR", "KAOSD_SOCKET", "KAOSD_ENGINE", "KAOSD_FRONT_PORT",
         "KAOSD_WATCH_MODE", "KAOSD_WATCH_QUIET", "KAOSD_STOP_HOSTS_ON_EXIT", "KAOSD_PASS_ENVIRONMENT",
         "KAOSD_DOCKER_SOCKET", "KAOSD_PACHYDERM_REGISTRY")  # fmt: skip


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_settings_come_out_of_any_environment_or_one_sentence(environ: dict[str, str]) -> None:
    try:
        found = settings.load(None, environ)
    except ConfigError as error:
        assert error.text  # noqa: PT017 - either is fine
    else:
        assert found.state_dir.is_absolute()


@given(st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_the_client_finds_paths_in_any_environment_or_says_one_sentence(environ: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            patch.delenv(name, raising=False)
        for name, value in environ.items():
            patch.setenv(name, value.encode("utf-8", "replace").decode())
        try:
            found = (places.state_dir(), places.socket_path(), places.config_file())
        except Failure as error:
            assert error.text  # noqa: PT017 - either is fine
        else:
            assert all(path.startswith("/") for path in found)


def test_a_user_without_account_and_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> pwd.struct_passwd:
        raise KeyError(uid)

    for name in ("HOME", "XDG_STATE_HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    with pytest.raises(ConfigError, match="no home directory"):
        settings.load(None, {})
    for ask in (places.state_dir, places.config_file, places.socket_path):
        with pytest.raises(Failure, match="no home directory"):
            ask()


def test_streams_that_are_there_stay(capfd: pytest.CaptureFixture[str]) -> None:
    before = sys.stdin, sys.stdout, sys.stderr
    standard_streams.repair()
    assert (sys.stdin, sys.stdout, sys.stderr) == before
    assert standard_streams.flush() is None

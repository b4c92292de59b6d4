"""`kaosd check`: configurations on this machine, through the program itself."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.not_quick

GPUS = len([name for name in os.listdir("/dev") if name.startswith("nvidia") and name[6:].isdecimal()])


def check(place: Path, text: str, **variables: str) -> tuple[int, list[str]]:
    """Exit code and lines of `kaosd check` for a configuration file that holds *text*."""
    config = place / "kaosd.toml"
    config.write_text(text)
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environ = {**kept, "HOME": str(place), "KAOSD_STATE_DIR": str(place / "state"), **variables}
    command = [sys.executable, "-m", "kaosd", "check", "--config", str(config)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    assert not (place / "state").exists()  # nothing is changed
    return done.returncode, done.stdout.replace(str(place), "PLACE").splitlines()


def test_what_is_there_is_fine(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    text = '[[notebook]]\nname = "n"\nsource = "source"\nmemory = "64Mi"\ncpu = 0.5\n'
    assert check(tmp_path, text) == (
        0,
        ["PLACE/kaosd.toml: fine", "n: engine process, source PLACE/source, data none"],
    )


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ('source = "gone"', "error: n: source PLACE/gone does not exist; create it, or correct source in its table"),
        ('data = "gone"', "error: n: data PLACE/gone does not exist; create it, or correct data in its table"),
        ('source = "kaosd.toml"', "error: n: source PLACE/kaosd.toml is not a directory; correct source in its table"),
        (
            f"gpu = {GPUS + 1}",
            f"error: n: gpu {GPUS + 1} is more than there is; this machine has {GPUS} GPUs",
        ),
        ('memory = "900Pi"', "error: n: memory 900Pi is more than there is; this machine has "),
        ("cpu = 9999.0", "error: n: cpu 9999 is more than there is; this machine has "),
    ],
)
def test_what_this_machine_lacks_is_an_error(tmp_path: Path, keys: str, error: str) -> None:
    code, lines = check(tmp_path, f'[[notebook]]\nname = "n"\n{keys}\n')
    assert (code, lines[0]) == (1, "PLACE/kaosd.toml: 1 error")
    assert lines[1].startswith(error)


def test_an_engine_that_a_notebook_needs_must_answer(tmp_path: Path) -> None:
    nowhere = f'[docker]\nsocket = "unix://{tmp_path}/nowhere.sock"\n'
    code, lines = check(tmp_path, f'{nowhere}[[notebook]]\nname = "n"\nengine = "docker"\n')
    assert (code, lines[0]) == (1, "PLACE/kaosd.toml: 1 error")
    assert lines[1].startswith("error: engine docker: ")
    assert lines[1].endswith("(needed by n)")
    code, lines = check(tmp_path, f'engine = "docker"\n{nowhere}')
    assert (code, lines[0]) == (0, "PLACE/kaosd.toml: 1 warning")
    assert lines[1].startswith("warning: engine docker: ")


def test_a_cluster_that_is_not_set_up_is_an_error(tmp_path: Path) -> None:
    text = '[pachyderm]\nregistry = "registry.test/team"\n[[notebook]]\nname = "n"\nengine = "pachyderm"\n'
    code, lines = check(tmp_path, text)
    assert code == 1
    assert lines[1].startswith("error: engine pachyderm: pachyderm.address is missing")


def test_all_that_is_wrong_is_told_errors_first(tmp_path: Path) -> None:
    text = '[[notebook]]\nname = "n"\nsource = "gone"\ngpu = 99\ncpu = 9999.0\n'
    code, lines = check(tmp_path, text, KAOSD_NO_SUCH_KEY="1")
    assert (code, lines[0]) == (1, "PLACE/kaosd.toml: 3 errors, 1 warning")
    assert [line.partition(":")[0] for line in lines[1:]] == ["error", "error", "error", "warning", "n"]


def test_without_a_file_the_defaults_apply() -> None:
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    with tempfile.TemporaryDirectory(prefix="kc") as home:  # short: the socket's path has at most 107 bytes
        done = subprocess.run(
            [sys.executable, "-m", "kaosd", "check"], env={**kept, "HOME": home}, capture_output=True, text=True,
            check=False, timeout=120,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (
            0,
            f"{home}/.config/kaosd/kaosd.toml: absent, the defaults apply; fine\n",
        )

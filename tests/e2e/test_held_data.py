"""One directory is held: the other one is deployed as usual, and status says which one is held, and why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, until


def many(path: Path, number: int = 12) -> Path:
    """A directory with this many files."""
    path.mkdir()
    for each in range(number):
        (path / f"{each}.csv").write_text(f"{each}\n")
    return path


def vanish(data: Path) -> None:
    data.rename(data.with_name("away"))


def empty(data: Path) -> None:
    for file in data.iterdir():
        file.unlink()


def lose_most(data: Path) -> None:
    for each in range(8):
        (data / f"{each}.csv").unlink()


def be_a_file(data: Path) -> None:
    shutil.rmtree(data)
    data.write_text("not a directory\n")


@pytest.mark.parametrize("harm", [vanish, empty, lose_most, be_a_file])
def test_code_is_deployed_while_data_is_held(daemon: Daemon, bundle: Path, tmp_path: Path, harm) -> None:
    name = harm.__name__
    data = many(tmp_path / "data")
    daemon.deploy(name, bundle, data)
    served = daemon.notebook(name)["data"]["live"]
    with daemon.one_save(name):
        harm(data)
    held = until(lambda: daemon.notebook(name)["data"]["hold"], "the data to be held")
    (bundle / "model" / "train.py").write_text("ANSWER = 2\n")
    outcome = daemon.json("wait", name)
    assert (outcome["outcome"], outcome["reason"]) == ("held", held)
    assert (daemon.home(name) / "work" / "train.py").read_text() == "ANSWER = 2\n"
    shown = daemon.notebook(name)
    assert (shown["state"], shown["reason"]) == ("held", held)
    assert (shown["source"]["live"], shown["source"]["hold"]) == (shown["source"]["disk"], None)
    assert shown["data"]["live"] == served
    assert (shown["deployment"]["outcome"], shown["deployment"]["cause"]) == ("live", ["model/train.py"])
    assert len(list((daemon.home(name) / "data").iterdir())) == 12  # the version before is still attached


def test_data_is_attached_while_source_is_held_also_after_a_restart(
    own_daemon: Daemon, bundle: Path, data: Path
) -> None:
    daemon = own_daemon.start()
    daemon.deploy("back", bundle, data)
    away = bundle.rename(bundle.with_name("away"))
    until(lambda: daemon.notebook("back")["source"]["hold"], "the source to be held")
    for text in ("5,6\n", "7,8\n"):
        (data / "features" / "one.csv").write_text(text)
        assert daemon.json("wait", "back")["outcome"] == "held"
        assert (daemon.home("back") / "data" / "features" / "one.csv").read_text() == text
        daemon.kill()
        daemon.start()
    assert daemon.json("wait", "back")["outcome"] == "held"  # it has read both directories again
    shown = daemon.notebook("back")
    assert "does not exist" in shown["source"]["hold"]
    assert (shown["data"]["live"], shown["data"]["hold"]) == (shown["data"]["disk"], None)
    away.rename(bundle)
    assert daemon.live("back")["state"] == "live"


def test_a_requirement_is_built_while_data_is_held_and_force_takes_the_data_too(
    daemon: Daemon, bundle: Path, tmp_path: Path
) -> None:
    data = many(tmp_path / "data")
    daemon.deploy("built", bundle, data)
    with daemon.one_save("built"):
        lose_most(data)
    until(lambda: daemon.notebook("built")["data"]["hold"], "the data to be held")
    (bundle / "model" / "requirements.txt").write_text("six==1.17.0\n")
    assert daemon.json("wait", "built")["outcome"] == "held"
    shown = daemon.notebook("built")
    assert shown["source"]["live"] == shown["source"]["disk"]
    assert shown["build"]["state"] == "JOB_SUCCESS"
    daemon.ctl("redeploy", "built", "--force")
    assert daemon.live("built")["data"]["hold"] is None
    assert len(list((daemon.home("built") / "data").iterdir())) == 4

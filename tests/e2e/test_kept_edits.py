"""Edits of a notebook that is killed, or gets another source, are kept, listed, and come back."""

from __future__ import annotations

import os
from pathlib import Path

from tests.e2e.conftest import make_bundle
from tests.e2e.daemon import Daemon


def edit(work: Path) -> dict[str, str]:
    """Edits of every kind, and what is none; the edits."""
    edits = {"notes.txt": "only here\n", "deep/er/a b.ipynb": "{}\n", "train.py": "ANSWER = 'mine'\n", "ü.md": "ü\n"}
    for path, text in edits.items():
        (work / path).parent.mkdir(parents=True, exist_ok=True)
        (work / path).write_text(text)
    for cache in ("__pycache__/train.cpython-311.pyc", "deep/.ipynb_checkpoints/a-checkpoint.ipynb"):
        (work / cache).parent.mkdir(parents=True, exist_ok=True)
        (work / cache).write_text("nobody's")
    os.symlink("notes.txt", work / "link")
    return {**edits, "link": "only here\n"}


def listed(daemon: Daemon, name: str) -> dict[str, str]:
    """The newest copy of each path, with the reason."""
    return {one["path"]: one["reason"] for one in daemon.json("recovered", name)["recovered"]}


def test_edits_of_a_killed_notebook_are_listed_and_all_come_back(daemon: Daemon, bundle: Path) -> None:
    (bundle / "model" / "same.py").write_text("SAME = 1\n")
    daemon.deploy("again", bundle)
    work = daemon.home("again") / "work"
    edits = edit(work)
    said = daemon.ctl("notebook", "kill", "again", "-y").stdout
    assert "kept: 5 edited files   kaosctl recovered again" in said
    reasons = dict.fromkeys(edits, "the notebook was removed")
    assert listed(daemon, "again") == reasons  # also while there is no such notebook
    for _ in range(2):  # twice in a second
        said = daemon.deploy("again", bundle)
        assert "5 edited files kept from before   kaosctl recovered again" in said
        assert (work / "train.py").read_text() == "ANSWER = 1\n"
        assert not (work / "notes.txt").exists()
        daemon.ctl("notebook", "kill", "again", "-y")
    daemon.deploy("again", bundle)
    assert listed(daemon, "again") == reasons
    sizes = {one["path"]: one["size"] for one in daemon.json("recovered", "again")["recovered"]}
    assert sizes["notes.txt"] == len("only here\n")
    daemon.ctl("recovered", "again", "--restore", "notes.txt")
    assert (work / "notes.txt").read_text() == "only here\n"
    done = daemon.json("recovered", "again", "--restore", "--all")
    assert (sorted(one["restored"] for one in done["restored"]), done["failed"]) == (sorted(edits), [])
    assert {path: (work / path).read_text() for path in edits} == edits
    assert os.readlink(work / "link") == "notes.txt"
    daemon.stop()
    daemon.start()
    assert listed(daemon, "again") == reasons | {"train.py": "overwritten"}  # what stood there before it came back
    said = daemon.ctl("recovered", "again").stdout
    assert "the notebook was removed" in said
    assert daemon.json("recovered", "again", "--clear") == {"cleared": 6}
    assert daemon.json("recovered", "again") == {"recovered": []}
    assert daemon.notebook("again")["recovered"] == 0
    assert not list((daemon.home("again") / "recovered").glob("**/*"))
    assert {path: (work / path).read_text() for path in edits} == edits
    wrong = [("--restore",), ("--all",), ("--restore", "a", "--all"), ("--clear", "--restore", "a")]
    assert [daemon.ctl("recovered", "again", *one, check=False).returncode for one in wrong] == [2, 2, 2, 2]


def test_nothing_is_listed_of_a_killed_notebook_without_edits(daemon: Daemon, bundle: Path) -> None:
    daemon.deploy("plain", bundle)
    said = daemon.ctl("notebook", "kill", "plain", "-y").stdout
    assert "kept" not in said
    assert "kept from before" not in daemon.deploy("plain", bundle)
    assert daemon.ctl("recovered", "plain").stdout == "nothing had to be recovered\n"


def test_a_second_directory_never_touches_the_notebook_of_the_first(daemon: Daemon, tmp_path: Path) -> None:
    one, two = make_bundle(tmp_path / "one" / "proj"), make_bundle(tmp_path / "two" / "proj")
    names = [daemon.json("notebook", "deploy", "-s", str(path))["notebook"]["name"] for path in (one, two, two)]
    assert names[0] == "proj"
    assert names[1] == names[2] != "proj"
    work = daemon.home("proj") / "work"
    (work / "mine.txt").write_text("mine\n")
    host = daemon.host_pid("proj")
    refused = daemon.ctl("notebook", "deploy", "--name", "proj", "-s", str(two), check=False)
    assert refused.returncode == 1
    assert str(one) in refused.stderr
    assert str(two) in refused.stderr
    assert "--replace" in refused.stderr
    assert (daemon.host_pid("proj"), (work / "mine.txt").read_text()) == (host, "mine\n")
    assert daemon.live("proj")["source"]["path"] == str(one)


def test_replacing_a_source_keeps_the_edits_of_the_old_one(daemon: Daemon, tmp_path: Path) -> None:
    one, two = make_bundle(tmp_path / "one"), make_bundle(tmp_path / "two")
    (one / "model" / "old.py").write_text("OLD = 1\n")
    (two / "model" / "new.py").write_text("NEW = 1\n")
    daemon.deploy("swapped", one, None, "--memory", "4Gi")
    work = daemon.home("swapped") / "work"
    edits = edit(work)
    said = daemon.deploy("swapped", two, None, "--replace")
    assert "5 edited files kept from before" in said
    assert sorted(path.name for path in work.iterdir() if path.name != ".virtual_documents") == [
        "new.py", "requirements.txt", "train.py",
    ]  # fmt: skip
    assert listed(daemon, "swapped") == dict.fromkeys(edits, "another source")
    shown = daemon.notebook("swapped")
    assert (shown["source"]["path"], shown["resources"]["memory"]) == (str(two), "4Gi")
    daemon.ctl("notebook", "deploy", "--name", "swapped", "--unset", "memory")
    assert daemon.notebook("swapped")["resources"]["memory"] is None
    assert daemon.ctl("notebook", "deploy", "--unset", "cpu", "--cpu", "1", check=False).returncode == 2


def test_a_source_that_becomes_another_in_the_file_keeps_the_edits_also_over_a_restart(
    own_daemon: Daemon, tmp_path: Path
) -> None:
    daemon, sources = own_daemon, [make_bundle(tmp_path / name) for name in ("one", "two", "three")]
    text = "[[notebook]]\nname = 'n'\nsource = '{}'\n"
    daemon.config.write_text(text.format(sources[0]))
    daemon.start()
    daemon.live("n")
    work = daemon.home("n") / "work"
    (work / "first.txt").write_text("1\n")
    daemon.config.write_text(text.format(sources[1]))
    daemon.ctl("reload")
    daemon.live("n")
    assert listed(daemon, "n") == {"first.txt": "another source"}
    (work / "second.txt").write_text("2\n")
    daemon.kill()
    daemon.config.write_text(text.format(sources[2]))
    daemon.start()
    daemon.live("n")
    assert listed(daemon, "n") == {"first.txt": "another source", "second.txt": "another source"}
    assert not (work / "second.txt").exists()

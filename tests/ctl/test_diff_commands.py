"""kaosctl diff, pull and reset: what is drawn, what is asked for, and when nothing is done without being asked."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from typing import Any

import pytest

from kaosd.ctl.diff_screen import draw_between, draw_edits
from kaosd.ctl.screen import Screen
from kaosd.notebook import cells, diffs
from tests.ctl.standin import Daemon

NAME = "notebook-mnist-ada"
AT = f"/v1/notebooks/{NAME}"
COUNTS = {"edited": 2, "new": 1, "deleted": 0}


def side(content: bytes) -> diffs.Side:
    return diffs.Side("f", len(content), content)


def book(*sources: str, output: str = "") -> bytes:
    printed = [{"output_type": "stream", "name": "stdout", "text": output}] if output else []
    made = [
        {"cell_type": "code", "id": f"c{at}", "source": text, "metadata": {}, "outputs": printed}
        for at, text in enumerate(sources)
    ]
    return json.dumps({"cells": made, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}).encode()


def edits(*files: dict[str, Any], counts: dict[str, int] | None = None) -> dict[str, Any]:
    shown = COUNTS if counts is None else counts
    return {"name": NAME, "deployed": "example:1f3c9aa", "root": "model", "counts": shown, "files": list(files)}


TEXT = diffs.changed("train.py", side(b"a\nb\nc\n"), side(b"a\nB\nc\n"))
NOTEBOOK = diffs.changed("a.ipynb", side(book("x = 1", "y")), side(book("x = 2", "y", output="2")))
BINARY = diffs.changed("p.png", None, side(b"\x00\x01"))


def test_edits_are_drawn_as_a_patch_and_notebooks_cell_by_cell() -> None:
    lines = draw_edits(edits(TEXT, NOTEBOOK, BINARY), Screen(80))
    assert lines == [
        f"2 edited, 1 new in {NAME}   against example:1f3c9aa",
        "",
        "edited   train.py   6 B",
        "--- a/model/train.py",
        "+++ b/model/train.py",
        "@@ -1,3 +1,3 @@",
        " a",
        "-b",
        "+B",
        " c",
        "",
        f"edited   a.ipynb   {len(book('x = 1', 'y')):,} → {len(book('x = 2', 'y', output='2')):,} B",
        "  cell 1   code   edited   outputs added",
        "  @@ -1,1 +1,1 @@",
        "  -x = 1",
        "  +x = 2",
        "  cell 2   code   edited   outputs added",
        "",
        "new   p.png   2 B   binary",
        "",
        f"write them into the source directory:   kaosctl pull {NAME}",
        f"bring the deployed version back:   kaosctl reset {NAME}",
    ]
    assert draw_edits(edits(counts=dict.fromkeys(COUNTS, 0)), Screen(80)) == [
        f"nothing was edited in {NAME}; it is as deployed (example:1f3c9aa)"
    ]


def test_the_hunks_of_a_text_are_a_patch(tmp_path: Any) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "train.py").write_text("a\nb\nc\n")
    patch = "\n".join(draw_edits(edits(TEXT), Screen(), hints=False)) + "\n"
    subprocess.run(["git", "apply", "-"], input=patch, cwd=tmp_path, text=True, check=True, capture_output=True)
    assert (tmp_path / "model" / "train.py").read_text() == "a\nB\nc\n"


def test_two_deployments_are_drawn_with_packages_data_and_what_is_not_known() -> None:
    answer = {
        "name": NAME,
        "from": {"number": 3},
        "to": {"number": 5},
        "files": [TEXT],
        "packages": {
            "added": [{"name": "torch", "before": None, "after": "2.3"}],
            "removed": [],
            "changed": [{"name": "numpy", "before": "1.26", "after": "2.0"}],
        },
        "data": {"files": [{"path": "x.csv", "kind": "new", "size": 5, "size_before": None}], "total": 1},
        "missing": ["the environment of deployment 3 is not kept any more"],
    }
    lines = draw_between(answer, Screen(80))
    assert lines[:2] == [f"deployments 3 and 5 of {NAME}", "! the environment of deployment 3 is not kept any more"]
    assert lines[-7:] == [
        "",
        "packages",
        "  + torch 2.3",
        "  ~ numpy 1.26 → 2.0",
        "",
        "data   1 file differs",
        "  new       x.csv   5 B",
    ]
    nothing = {**answer, "files": [], "packages": None, "data": {"files": [], "total": 0}, "missing": []}
    assert draw_between(nothing, Screen(80)) == [f"deployments 3 and 5 of {NAME}", "nothing differs"]


def test_what_a_notebook_holds_cannot_steer_the_terminal() -> None:
    evil = diffs.changed("a\x1b[2J.py", side(b"a\n"), side(b"\x1b]0;x\x07\n"))
    text = "\n".join(draw_edits(edits(evil), Screen(80)))
    assert "\x1b" not in text
    assert "\x07" not in text


def test_diff_asks_for_edits_or_for_two_deployments(daemon: Daemon) -> None:
    daemon.answers[f"GET {AT}/diff"] = edits(TEXT)
    assert daemon.run("diff", NAME, "train.py").stdout.splitlines()[0].startswith("2 edited, 1 new")
    assert json.loads(daemon.run("diff", NAME, "--json").stdout)["files"][0]["path"] == "train.py"
    between = {
        "name": NAME, "from": {"number": 3}, "to": {"number": 5},
        "files": [], "packages": None, "data": None, "missing": [],
    }  # fmt: skip
    daemon.answers[f"GET {AT}/diff?from=3&to=5"] = between
    assert "nothing differs" in daemon.run("diff", NAME, "3", "5").stdout
    assert [path for _, path, _ in daemon.requests] == [
        f"{AT}/diff?path=train.py", f"{AT}/diff", f"{AT}/diff?from=3&to=5",
    ]  # fmt: skip
    assert daemon.run("diff", NAME, "a", "b").returncode == 2


def planned(*actions: str) -> dict[str, Any]:
    files = [{"path": f"{action}.py", "kind": "edited", "action": action, "kept": None} for action in actions]
    return {"name": NAME, "source": "/home/ada/example", "files": files}


def bodies(daemon: Daemon) -> list[dict[str, Any]]:
    return [body for _, _, body in daemon.requests]


def test_without_a_terminal_nothing_is_done_unless_it_is_said(daemon: Daemon) -> None:
    daemon.answers[f"POST {AT}/pull"] = planned("write")
    daemon.answers[f"POST {AT}/reset"] = planned("restored")
    for command in ("pull", "reset"):
        refused = daemon.run(command, NAME)
        assert (refused.returncode, "add -y" in refused.stderr) == (2, True)
    assert all(body["dry_run"] for body in bodies(daemon))
    assert daemon.run("pull", NAME, "-y", "--strip-outputs", "write.py").stdout == "write.py   written\n"
    assert bodies(daemon)[-1] == {
        "paths": ["write.py"], "force": False, "strip_outputs": True, "dry_run": False,
    }  # fmt: skip
    assert daemon.run("pull", "-y", NAME, "a", "--", "-b").returncode == 0
    assert bodies(daemon)[-1]["paths"] == ["a", "-b"]
    assert daemon.run("pull", NAME, "--dry-run").stdout == "write.py   write\n"
    assert bodies(daemon)[-1]["dry_run"] is True
    assert daemon.run("reset", NAME, "-y").stdout == "restored.py   as deployed again\n"
    assert bodies(daemon)[-1] == {"paths": [], "dry_run": False}


def test_what_was_changed_in_both_is_refused(daemon: Daemon) -> None:
    daemon.answers[f"POST {AT}/pull"] = planned("write", "conflict")
    refused = daemon.run("pull", NAME)
    assert refused.returncode == 1
    assert "conflict.py was changed in the notebook and on disk as well; nothing was written" in refused.stderr
    assert daemon.run("pull", NAME, "--dry-run").returncode == 1
    assert all(body["dry_run"] for body in bodies(daemon))


def test_nothing_to_do_is_no_question(daemon: Daemon) -> None:
    daemon.answers[f"POST {AT}/pull"] = daemon.answers[f"POST {AT}/reset"] = planned()
    for command in ("pull", "reset"):
        assert daemon.run(command, NAME).stdout == f"nothing was edited in {NAME}\n"


def at_a_terminal(daemon: Daemon, answer: str, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run kaosctl with a terminal as its standard input, on which *answer* is typed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, answer.encode() + b"\n")
        command = [sys.executable, "-m", "kaosd.ctl", *arguments]
        return subprocess.run(
            command, env=daemon.environment, stdin=theirs, capture_output=True, timeout=60, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("answer", ["y", "n"])
def test_on_a_terminal_it_asks_and_a_yes_names_what_is_deleted_too(daemon: Daemon, answer: str) -> None:
    daemon.answers[f"POST {AT}/pull"] = planned("write", "unnamed", "same")
    done = at_a_terminal(daemon, answer, "pull", NAME)
    assert b"unnamed.py   delete on disk" in done.stderr
    assert b"Do this in /home/ada/example? [y/N]" in done.stderr
    if answer == "n":
        assert (done.returncode, len(bodies(daemon))) == (1, 1)
        assert b"nothing was written" in done.stderr
        return
    assert done.returncode == 0
    assert bodies(daemon)[-1]["paths"] == ["write.py", "unnamed.py"]
    assert done.stdout.decode() == "● 1 file written in /home/ada/example\n"


def test_edited_files_complete(daemon: Daemon) -> None:
    daemon.answers[f"GET {AT}/edits"] = edits(TEXT, NOTEBOOK)
    for command in ("diff", "pull", "reset"):
        assert daemon.run("__complete", command, NAME, "t").stdout == "words\ntrain.py\tedited\n"


def test_the_notebooks_of_these_tests_are_notebooks() -> None:
    assert cells.parse(book("a")) is not None

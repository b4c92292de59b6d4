"""Which files of a work directory are edits, and that telling so again costs no reading."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from trees import Tree, put_tree, write_all

from kaosd.bundle import EditSurvey, HostedEdit, Matcher, Store
from kaosd.bundle.read_file import GRAIN

DEPLOYED: Tree = {
    b"a.py": b"one",
    b"run.sh": ("x", b"run"),
    b"link": ("l", b"a.py"),
    b"lib/b.py": b"two",
    b"lib/deep/c.py": b"three",
    b"kept.pyc": b"deployed although a rule leaves such names out",
}


def survey(store: Store, work: Path) -> EditSurvey:
    return EditSurvey(store, work, Matcher().ignored)


def aged(work: Path) -> None:
    """Wait until nothing below *work* is too young to be known by its times."""
    young = True
    while young:
        now = max(os.stat(path, follow_symlinks=False).st_ctime_ns for path in (work, *work.rglob("*")))
        probe = work.parent / "clock"
        probe.write_text("x")
        young = os.stat(probe).st_ctime_ns - now < 2 * GRAIN


def edit(work: Path, *steps: str) -> None:
    for step in steps:
        word, _, path = step.partition(" ")
        target = work / path
        match word:
            case "write":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text("edited in the notebook")
            case "touch":
                os.utime(target)
            case "same-size":
                target.write_text("eno")
            case "remove":
                target.unlink()
            case "remove-tree":
                shutil.rmtree(target)
            case "chmod":
                target.chmod(0o755)
            case "directory":
                target.mkdir()
            case "fifo":
                os.mkfifo(target)
            case "relink":
                target.unlink()
                target.symlink_to("run.sh")


CASES = {
    "nothing": ([], []),
    "only times": (["touch a.py"], []),
    "only the executable bit": (["chmod a.py"], []),
    "edited": (["write a.py"], ["edited a.py"]),
    "edited with the size it had": (["same-size a.py"], ["edited a.py"]),
    "an empty directory is no edit": (["directory x"], []),
    "new": (["write x/y.ipynb"], ["new x/y.ipynb"]),
    "deleted": (["remove lib/b.py"], ["deleted lib/b.py"]),
    "a directory deleted": (["remove-tree lib"], ["deleted lib/b.py", "deleted lib/deep/c.py"]),
    "a file in the place of a directory": (
        ["remove-tree lib", "write lib"],
        ["new lib", "deleted lib/b.py", "deleted lib/deep/c.py"],
    ),
    "a directory in the place of a file": (
        ["remove a.py", "write a.py/x"],
        ["deleted a.py", "new a.py/x"],
    ),
    "a link that leads elsewhere": (["relink link"], ["edited link"]),
    "a link in the place of a file": (["relink a.py"], ["edited a.py"]),
    "caches": (["write __pycache__/a.pyc", "write lib/.ipynb_checkpoints/b.py", "write .virtual_documents/a.py"], []),
    "temporary files of editors and of kaosd": (["write .kaosd-syncing", "write a.py~", "write .~a.ipynb"], []),
    "a file that was deployed against the rules": (["write kept.pyc"], ["edited kept.pyc"]),
    "a named pipe": (["fifo pipe"], []),
}


@pytest.mark.parametrize("case", CASES)
def test_the_edits_of_a_work_directory(case: str, store: Store, tmp_path: Path) -> None:
    tree = put_tree(store, DEPLOYED)
    work = tmp_path / "work"
    write_all(work, DEPLOYED)
    steps, expected = CASES[case]
    one = survey(store, work)
    assert one.run(tree) == ()
    edit(work, *steps)
    for found in (one.run(tree), one.run(tree), survey(store, work).run(tree)):
        assert found is not None
        assert [f"{edited.kind} {os.fsdecode(edited.path)}" for edited in found] == expected


def test_an_edit_tells_its_size_and_what_was_deployed(store: Store, tmp_path: Path) -> None:
    tree = put_tree(store, DEPLOYED)
    work = tmp_path / "work"
    write_all(work, DEPLOYED)
    edit(work, "write a.py", "write new.py", "remove lib/b.py")
    found = survey(store, work).run(tree)
    assert found is not None
    shown = {one.path: (one.deployed.size if one.deployed else None, one.size) for one in found}
    assert shown == {b"a.py": (3, 22), b"new.py": (None, 22), b"lib/b.py": (3, None)}
    assert all((one.modified_at is None) == (one.kind == "deleted") for one in found)
    assert isinstance(found[0], HostedEdit)


def test_a_second_look_reads_nothing_and_one_after_a_save_reads_that_file(store: Store, tmp_path: Path) -> None:
    files: Tree = {b"d%d/f%d.py" % (each % 7, each): b"%d" % each for each in range(300)}
    tree, work = put_tree(store, files), tmp_path / "work"
    write_all(work, files)
    one = survey(store, work)
    aged(work)
    assert (one.run(tree), one.read) == ((), 300)
    assert (one.run(tree), one.read) == ((), 300)
    edit(work, "write d3/f3.py")
    aged(work)
    found = one.run(tree)
    assert found is not None
    assert ([each.path for each in found], one.read) == ([b"d3/f3.py"], 301)
    assert (one.run(tree), one.read) == (found, 301)


def test_a_deployment_is_followed_by_reading_what_it_changed(store: Store, tmp_path: Path) -> None:
    files: Tree = {b"f%d.py" % each: b"%d" % each for each in range(100)}
    work = tmp_path / "work"
    write_all(work, files)
    one = survey(store, work)
    aged(work)
    one.run(put_tree(store, files))
    later: Tree = {**files, b"f5.py": b"new"}
    (work / "f5.py").write_bytes(b"new")
    aged(work)
    assert (one.run(put_tree(store, later)), one.read) == ((), 101)


def test_a_young_file_is_read_again_until_its_times_tell(store: Store, tmp_path: Path) -> None:
    """A change within the grain of the clock that stamps files leaves the same times."""
    tree, work = put_tree(store, {b"a": b"one"}), tmp_path / "work"
    write_all(work, {b"a": b"one"})
    one = survey(store, work)
    os.utime(work / "a", ns=(0, 0))
    assert one.run(tree) == ()
    (work / "a").write_bytes(b"eno")
    os.utime(work / "a", ns=(0, 0))
    found = one.run(tree)
    assert found is not None
    assert [each.path for each in found] == [b"a"]


def test_a_look_stops_when_it_is_told_to_and_knows_nothing_then(store: Store, tmp_path: Path) -> None:
    tree, work = put_tree(store, DEPLOYED), tmp_path / "work"
    write_all(work, DEPLOYED)
    assert survey(store, work).run(tree, lambda: True) is None


def test_what_means_the_same_is_no_edit(store: Store, tmp_path: Path) -> None:
    tree, work = put_tree(store, DEPLOYED), tmp_path / "work"
    write_all(work, DEPLOYED)
    edit(work, "write a.py", "write lib/b.py")
    one = EditSurvey(store, work, Matcher().ignored, lambda _parent, path, _entry: path == b"a.py")
    found = one.run(tree)
    assert found is not None
    assert [each.path for each in found] == [b"lib/b.py"]

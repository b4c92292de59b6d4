"""The directory of a host that sees none of this machine's: the same rule, and the same outcome, as on this machine.

The host's own side is asked directly, without HTTP. Each case is played twice, by `bundle.sync` and by a host.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import py_compile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import pytest

from kaosd import bundle
from kaosd.bundle import Store
from kaosd.engines.base import EditOutcome, FileEdit
from kaosd.hosted import podtree
from kaosd.hosted.states import State
from kaosd.notebook.elsewhere import Digests, Elsewhere
from kaosd.notebook.parking import Parking
from tests.pachyderm.trees import tree

Made = dict[str, str]  # path -> text; "->x" is a link to x, "!x" a program, "/" a directory


class Directory:
    """A host's directory, as kaosd/hosted/podfiles.py answers for it. meanwhile: called before each change."""

    def __init__(self, root: Path, trees: tuple[str, ...] | None = None) -> None:
        self.root = os.fsencode(root)
        self.trees = trees
        self.meanwhile: list[Callable[[], None]] = []
        self.asked: list[str] = []

    async def holds(self) -> tuple[str, ...] | None:
        return self.trees

    async def look(self, paths: Sequence[bytes] | None) -> dict[bytes, State | None]:
        self.asked.append("look")
        if paths is None:
            return podtree.everything(self.root)
        return {path: podtree.state(os.path.join(self.root, path)) for path in paths}

    async def read(self, path: bytes, file: BinaryIO) -> str:
        content = b"".join(podtree.parts(os.path.join(self.root, path)))
        file.write(content)
        return hashlib.sha256(content).hexdigest()

    async def change(
        self, edits: Sequence[FileEdit], before: Sequence[str] | None, after: Sequence[str] | None
    ) -> list[EditOutcome]:
        self.asked.append("change")
        if self.meanwhile:
            self.meanwhile.pop(0)()
        outcomes: list[EditOutcome] = []
        for edit in edits:
            content = b"".join(edit.chunks(1 << 20)) if edit.kind not in (None, "d") else b""
            change = {"path": os.fsdecode(edit.path), "expected": edit.expected, "kind": edit.kind}
            told = podtree.make(self.root, json.loads(json.dumps(change)), content, None)
            outcomes.append(
                EditOutcome(True) if told.get("done") else EditOutcome(False, os.fsencode(told["at"]), told["found"])
            )
            if not outcomes[-1].done:
                return outcomes
        self.trees = tuple(after) if after is not None else self.trees
        return outcomes

    async def leave(self, why: str) -> None:
        self.asked.append("leave")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "store")) as found:
        yield found


def lay(root: Path, files: Made) -> None:
    """Make *files* all that there is below *root*."""
    root.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        full = root / path.rstrip("/")
        full.parent.mkdir(parents=True, exist_ok=True)
        if path.endswith("/"):
            full.mkdir(exist_ok=True)
        elif text.startswith("->"):
            full.symlink_to(text[2:])
        else:
            full.write_text(text.removeprefix("!"))
            full.chmod(0o755 if text.startswith("!") else 0o644)


def laid(root: Path) -> Made:
    """The same read back; a directory only when nothing is in it."""
    found: Made = {}
    for path in sorted(root.rglob("*")) if root.exists() else ():
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = f"->{os.readlink(path)}"
        elif path.is_file():
            found[name] = ("!" if os.access(path, os.X_OK) else "") + path.read_text()
        elif not any(path.iterdir()):
            found[name + "/"] = ""
    return found


def version(store: Store, files: Made) -> str:
    return tree(store, {path: text.encode() for path, text in files.items()})


def copies(recovered: Sequence[bundle.SavedCopy]) -> dict[str, str]:
    """What was kept, by path; of a directory what is in it."""
    found = {}
    for path, file in recovered:
        inside = sorted(file.rglob("*")) if file.is_dir() and not file.is_symlink() else [file]
        for one in inside:
            name = "/".join([os.fsdecode(path), *one.relative_to(file).parts])
            found[name] = f"->{os.readlink(one)}" if one.is_symlink() else one.read_text()
    return found


def test_a_file_that_is_put_leaves_nothing_of_what_python_compiled_before(tmp_path: Path) -> None:
    def put(content: bytes, expected: State | None) -> None:
        change = {"path": "a.py", "expected": expected, "kind": "f"}
        assert podtree.make(os.fsencode(tmp_path), change, content, None) == {"done": True}

    other = tmp_path / "b.py"
    other.write_text("B = 1\n")
    put(b"A = 1\n", None)
    for path in (tmp_path / "a.py", other):
        py_compile.compile(str(path))
    put(b"A = 2\n", podtree.state(os.fsencode(tmp_path / "a.py")))
    assert [path.name.partition(".")[0] for path in (tmp_path / "__pycache__").iterdir()] == ["b"]


CASES: list[tuple[str, Made, Made, Made]] = [  # what it is, deployed, hosted, incoming
    ("nothing", {"a": "1"}, {"a": "1"}, {"a": "1"}),
    ("only the code changed", {"a": "1"}, {"a": "1"}, {"a": "2"}),
    ("only the person changed", {"a": "1"}, {"a": "mine"}, {"a": "1"}),
    ("both changed", {"a": "1"}, {"a": "mine"}, {"a": "2"}),
    ("both changed alike", {"a": "1"}, {"a": "2"}, {"a": "2"}),
    ("a new file", {}, {}, {"deep/er/a": "1"}),
    ("a new file where the person has one", {}, {"a": "mine"}, {"a": "1"}),
    ("a file that goes", {"a": "1", "b": "1"}, {"a": "1", "b": "1"}, {"b": "1"}),
    ("an edited file that goes", {"a": "1", "b": "1"}, {"a": "mine", "b": "1"}, {"b": "1"}),
    ("a file that the person deleted", {"a": "1"}, {}, {"a": "1"}),
    ("a file that the person deleted and the code changed", {"a": "1"}, {}, {"a": "2"}),
    ("files of the person alone", {"a": "1"}, {"a": "1", "mine": "x", "d/mine": "y"}, {"a": "2"}),
    ("a directory that goes", {"d/a": "1", "d/e/b": "1"}, {"d/a": "1", "d/e/b": "1"}, {}),
    ("a directory that goes with a file of the person in it", {"d/a": "1"}, {"d/a": "1", "d/mine": "x"}, {}),
    ("a directory that goes with caches in it", {"d/a": "1"}, {"d/a": "1", "d/__pycache__/a.pyc": "x"}, {}),
    ("a file becomes a directory", {"a": "1"}, {"a": "1"}, {"a/b": "1"}),
    ("an edited file becomes a directory", {"a": "1"}, {"a": "mine"}, {"a/b": "1"}),
    ("a directory becomes a file", {"a/b": "1"}, {"a/b": "1"}, {"a": "1"}),
    ("a directory of the person becomes a file", {"a/b": "1"}, {"a/b": "1", "a/mine": "x"}, {"a": "1"}),
    ("a link", {"a": "->b", "b": "1"}, {"a": "->b", "b": "1"}, {"a": "->c", "b": "1"}),
    ("an edited link", {"a": "->b"}, {"a": "->mine"}, {"a": "->c"}),
    ("a link becomes a file", {"a": "->b"}, {"a": "->b"}, {"a": "1"}),
    ("a file becomes a link", {"a": "1"}, {"a": "mine"}, {"a": "->b"}),
    ("a link in the place of a directory", {"d/a": "1"}, {"d": "->elsewhere"}, {"d/a": "2"}),
    ("a file in the place of a directory", {"d/a": "1"}, {"d": "mine"}, {"d/a": "2", "d/b": "1"}),
    ("the person's executable bit", {"a": "1"}, {"a": "!1"}, {"a": "2"}),
    ("odd names", {"a b": "1"}, {"a b": "1"}, {"a b": "2", "-n": "1", "ü\udcff": "1", "'": "1", "a\nb": "1"}),
    ("an empty file", {"a": "1"}, {"a": "1"}, {"a": "", "b": ""}),
    ("everything goes", {"a": "1", "d/b": "2"}, {"a": "1", "d/b": "2"}, {}),
    ("twenty directories that stay", {f"d{n}/a": "1" for n in range(20)},
     {f"d{n}/{name}": "1" for n in range(20) for name in ("a", "mine")}, {}),
]  # fmt: skip


@pytest.mark.parametrize(("deployed", "hosted", "incoming"), [case[1:] for case in CASES], ids=[c[0] for c in CASES])
async def test_a_host_elsewhere_ends_as_one_on_this_machine(
    store: Store, tmp_path: Path, deployed: Made, hosted: Made, incoming: Made
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    base, new = version(store, deployed), version(store, incoming)
    for root in (here, there):
        lay(root, hosted)
    mine = bundle.sync(store, here, (base,), new, tmp_path / "copies-here")
    files = Directory(there, (base,))
    elsewhere = Elsewhere(files, Digests(store, tmp_path), tmp_path / "copies-there")
    theirs = await elsewhere.bring((base,), new, frozenset(), fresh=False, last=True)
    expected = laid(here)
    if any("__pycache__" in path for path in expected):  # a host takes caches away with their directory
        expected = {path: text for path, text in expected.items() if "__pycache__" not in path}
    assert laid(there) == expected
    assert files.trees == (new,)
    assert copies(theirs.recovered) == copies(mine.recovered)
    assert (theirs.written, theirs.kept) == (mine.written, mine.kept)


async def test_a_save_is_two_requests(store: Store, tmp_path: Path) -> None:
    base, new = version(store, {"a": "1", "b": "1"}), version(store, {"a": "2", "b": "1"})
    lay(tmp_path / "there", {"a": "1", "b": "1"})
    files = Directory(tmp_path / "there", (base,))
    await Elsewhere(files, Digests(store, tmp_path), tmp_path / "c").bring(
        (base,), new, frozenset(), fresh=False, last=True
    )
    assert files.asked == ["look", "change"]


@pytest.mark.parametrize(
    ("hosted", "left"),
    [({"a": "mine"}, {"a": "2"}), ({}, {"a": "2"}), ({"a/x": "mine"}, {"a": "2"}), ({"a": "->x"}, {"a": "2"})],
)
async def test_what_is_written_at_the_last_moment_is_kept(
    store: Store, tmp_path: Path, hosted: Made, left: Made
) -> None:
    """Between the look and the change a kernel writes: the change is not made, and the new state judged."""
    base, new = version(store, {"a": "1"}), version(store, {"a": "2"})
    there = tmp_path / "there"
    lay(there, {"a": "1"})
    files = Directory(there, (base,))

    def writes() -> None:
        (there / "a").unlink()
        lay(there, hosted)

    files.meanwhile.append(writes)
    elsewhere = Elsewhere(files, Digests(store, tmp_path), tmp_path / "copies")
    report = await elsewhere.bring((base,), new, frozenset(), fresh=False, last=True)
    assert laid(there) == left
    assert sorted(copies(report.recovered).values()) == sorted(hosted.values())


async def test_a_host_that_begins_anew_gets_all_and_nothing_counts_as_an_edit(store: Store, tmp_path: Path) -> None:
    """What the build has put there is replaced without a copy; what it made besides stays."""
    there, new = tmp_path / "there", version(store, {"a": "1", "d/b": "2"})
    lay(there, {"a": "baked", "made/by": "the build"})
    files = Directory(there, None)
    elsewhere = Elsewhere(files, Digests(store, tmp_path), tmp_path / "copies")
    report = await elsewhere.bring((), new, frozenset(), fresh=True, last=True)
    assert laid(there) == {"a": "1", "d/b": "2", "made/by": "the build"}
    assert (report.recovered, files.trees) == ((), (new,))


@pytest.mark.parametrize(
    ("hosted", "code", "left", "kept"),
    [
        ({"a": "1"}, {"a": "1"}, {"a": "1"}, {}),
        ({"a": "mine"}, {"a": "1"}, {"a": "mine"}, {}),
        ({"a": "mine"}, {"a": "2"}, {"a": "2"}, {"a": "mine"}),
        ({"a": "2"}, {"a": "2"}, {"a": "2"}, {}),
        ({}, {"a": "1"}, {}, {}),
        ({}, {"a": "2"}, {"a": "2"}, {}),
        ({"a": "1", "new": "x", "d/e": "y"}, {"a": "2"}, {"a": "2", "new": "x", "d/e": "y"}, {}),
        ({"a": "1", "new": "x"}, {"a": "1", "new": "code"}, {"a": "1", "new": "code"}, {"new": "x"}),
        ({"a": "->x"}, {"a": "1"}, {"a": "->x"}, {}),
        ({"a": "!mine"}, {"a": "1"}, {"a": "!mine"}, {}),
        ({"a/b": "mine"}, {"a": "1"}, {"a/b": "mine"}, {}),
        ({"a": "1", "empty/": ""}, {"a": "1"}, {"a": "1", "empty/": ""}, {}),
    ],
)
async def test_edits_move_into_the_next_host(
    store: Store, tmp_path: Path, hosted: Made, code: Made, left: Made, kept: Made
) -> None:
    """A host with edits is replaced by one that begins with nothing, with the same code or another one."""
    old, new = tmp_path / "old", tmp_path / "new"
    base, incoming = version(store, {"a": "1"}), version(store, code)
    lay(old, hosted)
    digests, parking = Digests(store, tmp_path), Parking(tmp_path / "home")
    (tmp_path / "home").mkdir()
    await parking.park(Directory(old, (base,)), digests, (base,))
    new.mkdir()
    files = Directory(new, None)
    await Elsewhere(files, digests, tmp_path / "c").bring((), incoming, frozenset(), fresh=True, last=False)
    assert parking
    _, saved = await Parking(tmp_path / "home").put_back(files, digests, incoming, tmp_path / "copies")
    assert laid(new) == left
    assert copies(saved) == kept
    assert not parking


async def test_edits_that_no_host_will_get_are_kept_as_copies(store: Store, tmp_path: Path) -> None:
    base = version(store, {"a": "1"})
    lay(tmp_path / "old", {"a": "mine", "new": "x"})
    (tmp_path / "home").mkdir()
    parking = Parking(tmp_path / "home")
    assert parking.give_up(tmp_path / "copies") == []
    await parking.park(Directory(tmp_path / "old", (base,)), Digests(store, tmp_path), (base,))
    assert copies(parking.give_up(tmp_path / "copies")) == {"a": "mine", "new": "x"}
    assert not parking


async def test_a_copy_goes_back_and_what_stood_there_becomes_one(store: Store, tmp_path: Path) -> None:
    lay(tmp_path / "there", {"d": "in the way"})
    (tmp_path / "copy").write_text("old edit")
    files = Directory(tmp_path / "there", ("t",))
    saved = await Elsewhere(files, Digests(store, tmp_path), tmp_path / "c").put(b"d/a", tmp_path / "copy")
    assert laid(tmp_path / "there") == {"d/a": "old edit"}
    assert copies(saved) == {"d": "in the way"}

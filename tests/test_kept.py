"""What of a work directory counts as edits when it is set aside, how copies are listed, and how they end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from kaosd.bundle import Store, keep_edits
from kaosd.engines.base import Home
from kaosd.journal import Journal, Live, Recovered
from kaosd.notebook import deployed, kept
from kaosd.notebook.record import saved_copies
from tests.bundle.trees import put_tree


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store(tmp_path / "store")) as found:
        yield found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "journal.sqlite", 1.0) as found:
        yield found


@pytest.fixture
def home(tmp_path: Path) -> Home:
    root = tmp_path / "notebooks" / "n"
    (root / "work").mkdir(parents=True)
    return Home(root, root / "work", root / "data", root / "jupyter", root / "logs", root / "token", root / "run")


def fill(top: Path, files: dict[str, str]) -> None:
    for path, text in files.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(text)


EDITS = [
    # what stands there, what was deployed, what is left
    ({"a.py": "1"}, [{b"a.py": b"1"}], []),
    ({"a.py": "2"}, [{b"a.py": b"1"}], [b"a.py"]),
    ({"a.py": "1", "b.py": "1"}, [{b"a.py": b"1"}], [b"b.py"]),
    ({"a.py": "1"}, [], [b"a.py"]),
    ({"a.py": "1"}, [{b"a.py": b"2"}, {b"a.py": b"1"}], []),  # an interrupted sync has written it
    ({"d/a.py": "1", "d/e/b.py": "2"}, [{b"d/a.py": b"1"}], [b"d/e/b.py"]),
    ({"d/a.py": "1"}, [{b"d": b"1"}], [b"d/a.py"]),  # a directory where a file was deployed
    ({"__pycache__/a.pyc": "x", "d/.ipynb_checkpoints/n.ipynb": "x", "d/__pycache__/e/f": "x"}, [], []),
    ({"a.py": "1", ".kaosd-syncing": "", ".kaosd-part": "half", ".kaosd-swap-0123": "mine"}, [{b"a.py": b"1"}],
     [b".kaosd-swap-0123"]),
    ({"notes__pycache__.txt": "1"}, [], [b"notes__pycache__.txt"]),
]  # fmt: skip


@pytest.mark.parametrize(("there", "deployed", "left"), EDITS)
def test_what_was_deployed_and_caches_are_no_edits(
    store: Store, tmp_path: Path, there: dict[str, str], deployed: list[dict[bytes, bytes]], left: list[bytes]
) -> None:
    top = tmp_path / "top"
    top.mkdir()
    fill(top, there)
    assert list(keep_edits(store, top, [put_tree(store, tree) for tree in deployed])) == left
    files = sorted(os.fsencode(path.relative_to(top)) for path in top.rglob("*") if path.is_file())
    assert files == left
    assert all(any(path.iterdir()) for path in top.rglob("*") if path.is_dir())


def test_a_link_counts_by_its_target_and_is_never_followed(store: Store, tmp_path: Path) -> None:
    top, outside = tmp_path / "top", tmp_path / "outside"
    fill(outside, {"precious.txt": "1"})
    top.mkdir()
    (top / "link").symlink_to(outside)
    assert keep_edits(store, top, [None]) == (b"link",)
    assert (outside / "precious.txt").read_text() == "1"


def test_what_the_store_has_lost_is_kept(store: Store, tmp_path: Path) -> None:
    top = tmp_path / "top"
    fill(top, {"a.py": "1"})
    assert keep_edits(store, top, ["ab" * 32]) == (b"a.py",)


def test_a_directory_set_aside_is_listed_once_with_its_reason_also_after_a_kill(
    store: Store, journal: Journal, home: Home
) -> None:
    live = Live(model_tree=put_tree(store, {b"a.py": b"1"}))
    for why, reason in ((kept.REMOVED, "the notebook was removed"), (kept.SOURCE, "another source")):
        fill(home.work, {"a.py": "1", "d/mine.py": why})
        assert kept.set_aside(store, journal, "n", home, live, why) == ["d/mine.py"]
        assert os.listdir(home.work) == []
        newest = kept.listed(journal.recovered("n"), home.root / "recovered")[-1]
        assert (newest["path"], newest["reason"], newest["size"]) == ("d/mine.py", reason, len(why))
        assert Path(newest["file"]).read_text() == why
    listed = {one.file for one in journal.recovered("n")}
    assert {file for _, file in saved_copies(home.root / "recovered")} == listed  # what a killed daemon leaves to find
    assert kept.set_aside(store, journal, "n", home, live, kept.REMOVED) == []


def test_what_the_file_beside_it_tells_of_a_directory_ends_with_the_directory(
    store: Store, journal: Journal, home: Home
) -> None:
    """Else the files that are not there any more would pass for deleted by the person, and never come back."""
    deployed.write(home, [put_tree(store, {b"a.py": b"1"})])
    fill(home.work, {"a.py": "1", "b.py": "2"})
    assert kept.set_aside(store, journal, "n", home, Live(), kept.REMOVED) == ["b.py"]
    assert deployed.read(home) == ()


def test_what_earlier_versions_set_aside_is_found(home: Home) -> None:
    recovered = home.root / "recovered"
    fill(recovered, {"work-20261118T101439/d/n.ipynb": "{}", "work-20261118T101439/tabs/t.py": "1"})
    fill(recovered, {"work-20261118T101439/work/x/w.py": "1", "work-20261118T101439/__pycache__/c.pyc": "1"})
    found = saved_copies(recovered)
    assert sorted(path for path, _ in found) == ["d/n.ipynb", "tabs/t.py", "work/x/w.py"]
    assert {kept.reason(file, recovered) for _, file in found} == {"the notebook was removed"}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("20261118T101439-000000001/tabs/a.py", "merged"),
        ("20261118T101439-000000001/work/2026-11-18T10-14-39Z/a.py", "overwritten"),
        ("20261118T101439-000000001/work/2026-11-18T10-14-39Z/tabs/a.py", "overwritten"),
        ("work-20261118T101439-000000001-engine/tabs/a.py", "another engine"),
        ("work-20261118T101439/a.py", "the notebook was removed"),
        ("20261118T101439-000000001/reset/2026-11-18T10-14-39Z/a.py", "reset"),
        ("20261118T101439-000000001/reset/tabs/a.py", "reset"),
        ("20261118T101439-000000001/pull/1/a.py", "pulled over, on disk"),
        ("7/a.py", "kept"),
    ],
)
def test_the_place_of_a_copy_says_why_it_was_kept(tmp_path: Path, path: str, reason: str) -> None:
    recovered = tmp_path / "recovered" / "work" / "tabs" / "recovered"  # whatever lies above
    assert kept.reason(str(recovered / path), recovered) == reason


def test_clearing_deletes_the_copies_and_nothing_else(journal: Journal, home: Home, tmp_path: Path) -> None:
    recovered = home.root / "recovered"
    fill(recovered, {"1/tabs/a.py": "1", "1/mine/b.py": "not listed"})
    (recovered / "1/tabs/empty").mkdir()
    fill(tmp_path, {"outside.py": "1"})
    (recovered / "1/tabs/link").symlink_to(tmp_path)
    files = [recovered / "1/tabs/a.py", recovered / "1/tabs/empty", recovered / "1/tabs/link", recovered / "gone.py"]
    files += [tmp_path / "outside.py", recovered / ".." / ".." / ".." / "outside.py"]
    journal.note_recovered(Recovered("n", 1, file.name, str(file), 1, 1.0) for file in files)
    journal.note_recovered([Recovered("other", 1, "a", "/x/a", 1, 1.0)])
    assert kept.clear(journal, "n", recovered) == len(files)
    assert journal.recovered("n") == ()
    assert len(journal.recovered("other")) == 1
    assert [path.name for path in recovered.rglob("*") if not path.is_dir()] == ["b.py"]
    assert (tmp_path / "outside.py").read_text() == "1"
    assert kept.clear(journal, "n", recovered) == 0


def test_what_the_journal_does_not_know_is_listed_and_cleared_too(journal: Journal, home: Home) -> None:
    recovered = home.root / "recovered"
    files = ("t/tabs/a.py", "t/reset/tabs/b.py", "t/reset/2026/c.py", "t/pull/1/d.py", "work-t-source/sub/e.py")
    fill(recovered, dict.fromkeys(files, "mine"))
    journal.note_recovered([Recovered("n", 1, "a.py", str(recovered / files[0]), 4, 1.0)])
    journal.note_recovered([Recovered("n", 1, "gone.py", str(recovered / "t/tabs/gone.py"), 4, 1.0)])
    shown = {one["path"]: one["reason"] for one in kept.listed(kept.all_copies(journal, "n", recovered), recovered)}
    assert shown == {
        "a.py": "merged",
        "b.py": "reset",
        "c.py": "reset",
        "d.py": "pulled over, on disk",
        "sub/e.py": "another source",
    }
    assert kept.clear(journal, "n", recovered) == 6
    assert kept.all_copies(journal, "n", recovered) == ()
    assert not recovered.exists()

"""Three-way sync: the rule as a table, and on disk byte for byte, while someone else writes as well."""

from __future__ import annotations

import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
from drawn import trees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import Tree, full, on_disk, parents, put_tree, remove, write, write_all

from kaosd.bundle import UNKNOWN, Action, State, Store, decide, lookup, replacer, sync
from kaosd.bundle.ignore import Matcher
from kaosd.errors import ContentLost, StoreError
from kaosd.hosted import renaming

ONE, TWO, THREE = State("f", "1"), State("f", "2"), State("f", "3")
RUN, LINK, DIRECTORY, SOCKET = State("x", "1"), State("l", "1"), State("d"), State("?")
PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)

RULE = {
    "nothing anywhere": ([None], None, None, Action.NOTHING),
    "nobody changed": ([ONE], ONE, ONE, Action.NOTHING),
    "both made the same change": ([ONE], TWO, TWO, Action.NOTHING),
    "both deleted": ([ONE], None, None, Action.NOTHING),
    "both made the same file": ([None], ONE, ONE, Action.NOTHING),
    "changed here": ([ONE], ONE, TWO, Action.WRITE),
    "created here": ([None], None, ONE, Action.WRITE),
    "deleted here": ([ONE], ONE, None, Action.DELETE),
    "changed in the host": ([ONE], TWO, ONE, Action.KEEP),
    "deleted in the host": ([ONE], None, ONE, Action.KEEP),
    "created in the host": ([None], ONE, None, Action.KEEP),
    "changed in both": ([ONE], TWO, THREE, Action.RECOVER),
    "created in both": ([None], ONE, TWO, Action.RECOVER),
    "changed in the host, deleted here": ([ONE], TWO, None, Action.RECOVER),
    "deleted in the host, changed here": ([ONE], None, TWO, Action.WRITE),
    "made executable here": ([ONE], ONE, RUN, Action.WRITE),
    "made executable in the host, changed here": ([ONE], RUN, TWO, Action.WRITE),
    "made executable in the host, deleted here": ([ONE], RUN, None, Action.DELETE),
    "made a link in the host, changed here": ([ONE], LINK, TWO, Action.RECOVER),
    "file becomes a directory here": ([ONE], ONE, DIRECTORY, Action.WRITE),
    "directory becomes a file here": ([DIRECTORY], DIRECTORY, ONE, Action.WRITE),
    "directory deleted here": ([DIRECTORY], DIRECTORY, None, Action.DELETE),
    "file deleted here, a directory in the host": ([ONE], DIRECTORY, None, Action.KEEP),
    "file changed here, a directory in the host": ([ONE], DIRECTORY, TWO, Action.RECOVER),
    "directory made here, a file in the host": ([None], ONE, DIRECTORY, Action.RECOVER),
    "a socket in the host": ([ONE], SOCKET, TWO, Action.RECOVER),
    "interrupted, written already": ([ONE, TWO], TWO, THREE, Action.WRITE),
    "interrupted, not written yet": ([ONE, TWO], ONE, THREE, Action.WRITE),
    "interrupted, back to the first": ([ONE, TWO], TWO, ONE, Action.WRITE),
    "interrupted, edited in the host": ([ONE, TWO], THREE, RUN, Action.RECOVER),
    "interrupted, edited in the host, same target": ([ONE, TWO], THREE, TWO, Action.RECOVER),
    "interrupted, deleted in the host, same target": ([ONE, TWO], None, TWO, Action.WRITE),
    "interrupted, deletion done, same target": ([ONE, None], None, None, Action.NOTHING),
    "interrupted, creation not done": ([None, ONE], None, ONE, Action.WRITE),
}


@pytest.mark.parametrize(("bases", "hosted", "incoming", "action"), RULE.values(), ids=RULE)
def test_the_three_way_rule(bases, hosted, incoming, action):
    assert decide(bases, hosted, incoming) is action


class Place:
    """A work directory with its recovered files."""

    def __init__(self, top: Path, store: Store) -> None:
        self.store, self.work, self.recovered = store, top / "work", top / "recovered"
        self.deployed: str | None = None

    def sync(self, files: Tree, **options: object):
        incoming = put_tree(self.store, files)
        report = sync(self.store, self.work, [self.deployed], incoming, self.recovered, **options)
        self.deployed = incoming
        return report

    def saved(self) -> dict[bytes, object]:
        """What was recovered, by path, over all syncs."""
        if not self.recovered.exists():
            return {}
        return {path.partition(b"/")[2]: content for path, content in on_disk(self.recovered).items() if b"/" in path}


@pytest.fixture
def place(tmp_path: Path, store: Store) -> Place:
    return Place(tmp_path, store)


def test_the_first_sync_writes_all_and_the_next_only_changes(place):
    files = full({b"a": b"1", b"d/b": ("x", b"2"), b"d/l": ("l", b"b"), b"empty": None})
    report = place.sync(files)
    assert on_disk(place.work) == files
    assert report.written == (b"a", b"d/b", b"d/l")
    untouched = (place.work / "a").stat()
    report = place.sync(full({b"a": b"1", b"d/b": b"2", b"e": b"new"}))
    assert (report.written, report.deleted) == ((b"d/b", b"e"), (b"d/l",))
    assert on_disk(place.work) == full({b"a": b"1", b"d/b": b"2", b"e": b"new"})
    assert (place.work / "a").stat() == untouched
    assert place.saved() == {}


def test_hosted_edits_stay_or_are_saved_and_files_of_the_host_are_never_touched(place):
    place.sync({b"mine": b"1", b"both": b"1", b"gone": b"1", b"here": b"1", b"dropped/a": b"1"})
    write_all(place.work, {b"mine": b"hosted", b"both": b"hosted", b"gone": b"hosted", b"dropped/own": b"hosted"})
    write(place.work, b"other/own", b"hosted")
    report = place.sync({b"mine": b"1", b"both": b"2", b"here": b"2"})
    assert on_disk(place.work) == full(
        {b"mine": b"hosted", b"both": b"2", b"here": b"2", b"dropped/own": b"hosted", b"other/own": b"hosted"}
    )
    assert report.written == (b"both", b"here")
    assert report.deleted == (b"dropped/a", b"gone")
    assert place.saved() == {b"both": ("f", b"hosted"), b"gone": ("f", b"hosted")}
    assert {path: file.read_bytes() for path, file in report.recovered} == {b"both": b"hosted", b"gone": b"hosted"}


def test_recovered_files_are_never_overwritten(place):
    for turn in range(4):
        place.sync({b"a": b"%d" % turn})
        write(place.work, b"a", b"hosted %d" % turn)
    place.sync({b"a": b"end"})
    kept = sorted(content for content in on_disk(place.recovered).values() if content)
    assert kept == [("f", b"hosted %d" % turn) for turn in range(4)]


def test_skipped_paths_are_not_touched(place):
    place.sync({b"open": b"1", b"a": b"1", b"d/open": b"1"})
    report = place.sync({b"open": b"2", b"a": b"2"}, skip=frozenset({b"open", b"d/open"}))
    assert report.skipped == (b"d/open", b"open")
    assert on_disk(place.work) == full({b"open": b"1", b"a": b"2", b"d/open": b"1"})


def test_a_hosted_link_in_the_place_of_a_directory_is_saved_and_never_followed(place, tmp_path):
    outside = tmp_path / "outside"
    write(outside, b"a", b"precious")
    place.sync({b"d/a": b"1", b"d/b": b"1"})
    write(place.work, b"d", ("l", os.fsencode(outside)))
    report = place.sync({b"d/a": b"2", b"d/b": b"1"})
    assert on_disk(outside) == {b"a": ("f", b"precious")}
    assert on_disk(place.work) == full({b"d/a": b"2"})
    assert place.saved() == {b"d": ("l", os.fsencode(outside))}
    assert [path for path, _ in report.recovered] == [b"d"]


def test_a_hosted_link_in_the_place_of_a_file_is_saved_and_never_followed(place, tmp_path):
    write(tmp_path, b"outside", b"precious")
    place.sync({b"a": b"1"})
    write(place.work, b"a", ("l", b"../outside"))
    place.sync({b"a": b"2"})
    assert (tmp_path / "outside").read_bytes() == b"precious"
    assert on_disk(place.work) == {b"a": ("f", b"2")}
    assert place.saved() == {b"a": ("l", b"../outside")}


def test_deletions_below_a_hosted_link_do_not_reach_through_it(place, tmp_path):
    write(tmp_path / "outside", b"a", b"1")
    place.sync({b"d/a": b"1", b"b": b"1"})
    write(place.work, b"d", ("l", os.fsencode(tmp_path / "outside")))
    place.sync({b"b": b"1"})
    assert on_disk(tmp_path / "outside") == {b"a": ("f", b"1")}


def test_a_directory_with_files_of_the_host_that_must_become_a_file_is_saved(place):
    place.sync({b"d/a": b"1"})
    write(place.work, b"d/own", b"hosted")
    place.sync({b"d": b"a file now"})
    assert on_disk(place.work) == {b"d": ("f", b"a file now")}
    assert place.saved() == {b"d": None, b"d/own": ("f", b"hosted")}


def test_a_fifo_in_the_host_does_not_hang(place):
    place.sync({b"a": b"1"})
    remove(place.work, b"a")
    os.mkfifo(place.work / "a")
    report = place.sync({b"a": b"2"})
    assert on_disk(place.work) == {b"a": ("f", b"2")}
    assert [path for path, _ in report.recovered] == [b"a"]


def test_names_that_are_not_utf8_are_synced_and_saved(place):
    place.sync({b"caf\xe9/\xff": b"1"})
    write(place.work, b"caf\xe9/\xff", b"hosted")
    place.sync({b"caf\xe9/\xff": b"2"})
    assert place.saved()[b"caf\xe9/\xff"] == ("f", b"hosted")


def test_an_edit_in_the_last_instant_is_saved(place, monkeypatch):
    place.sync({b"a": b"1", b"b": b"1", b"c/x": b"1"})
    real, edits = replacer.create, iter([b"a", b"new"])

    def create(store, entry, name, parent, **options):
        real(store, entry, name, parent, **options)
        write(place.work, next(edits, b"other"), b"typed meanwhile")  # after the old content was found to be ours

    monkeypatch.setattr(replacer, "create", create)
    place.sync({b"a": b"2", b"new": b"2", b"b": b"1", b"c/x": b"1"})
    files = {b"a": b"2", b"new": b"2", b"b": b"1", b"c/x": b"1", b"other": b"typed meanwhile"}
    assert on_disk(place.work) == full(files)
    assert place.saved() == {b"a": ("f", b"typed meanwhile"), b"new": ("f", b"typed meanwhile")}


def test_an_edit_in_the_instant_of_a_deletion_is_saved(place, monkeypatch):
    place.sync({b"a": b"1", b"b": b"1"})
    real = replacer.Replacer.delete

    def delete(self, parent, path, kind):
        write(place.work, path, b"typed meanwhile")
        return real(self, parent, path, kind)

    monkeypatch.setattr(replacer.Replacer, "delete", delete)
    place.sync({b"b": b"1"})
    assert on_disk(place.work) == {b"b": ("f", b"1")}
    assert place.saved() == {b"a": ("f", b"typed meanwhile")}


@pytest.fixture
def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a file system that has no renameat2."""
    monkeypatch.setattr(renaming, "_renameat2", None)


def test_file_systems_without_exchange_serve_as_well(place, without_exchange):
    files = full({b"a": b"1", b"d/b": b"2", b"l": ("l", b"a")})
    place.sync(files)
    write(place.work, b"a", b"hosted")
    place.sync({b"a": b"2", b"d": b"a file", b"l": ("l", b"d")})
    assert on_disk(place.work) == {b"a": ("f", b"2"), b"d": ("f", b"a file"), b"l": ("l", b"d")}
    assert place.saved() == {b"a": ("f", b"hosted")}


def test_a_place_that_is_taken_is_not_overwritten_without_exchange(tmp_path, without_exchange):
    write_all(tmp_path, {b"temporary": b"1", b"name": b"2"})
    parent = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileExistsError):
        renaming.place(parent, b"temporary", b"name")
    os.close(parent)
    assert (tmp_path / "name").read_bytes() == b"2"


def test_temporary_names_are_ignored_and_judged_by_the_next_sync(place):
    place.sync({b"a": b"1", b"d/b": b"1"})
    swaps = {path: b"d/" * (b"/" in path) + replacer._swap_name(path[-1:]) for path in (b"a", b"d/b")}
    write_all(place.work, {swaps[b"a"]: b"a hosted edit", swaps[b"d/b"]: b"1", b"d/.kaosd-part": b"half"})
    write(place.work, b".kaosd-syncing", b"")
    assert all(Matcher().ignored(path, is_dir=False) for path in [*swaps.values(), b"d/.kaosd-part"])
    place.sync({b"a": b"1", b"d/b": b"1"})
    assert on_disk(place.work) == full({b"a": b"1", b"d/b": b"1"})
    assert place.saved() == {b"a": ("f", b"a hosted edit")}


def test_what_an_interrupted_sync_has_saved_is_told_by_the_next(place, monkeypatch):
    place.sync({b"a": b"1", b"b": b"1", b"l/x": b"1"})
    write_all(place.work, {b"a": b"hosted", b"l": ("l", b"hosted")})
    target = put_tree(place.store, {b"a": b"2", b"b": b"2", b"l/x": b"2"})
    for last in (b"b", b"l/x"):  # interrupted twice
        real = replacer.Replacer.write

        def failing(self, parent, path, entry, last=last, real=real, **told):
            if path == last:
                raise OSError(28, "No space left on device")
            real(self, parent, path, entry, **told)

        monkeypatch.setattr(replacer.Replacer, "write", failing)
        with pytest.raises(StoreError, match="is full"):
            sync(place.store, place.work, [place.deployed, target], target, place.recovered)
        monkeypatch.undo()
    report = sync(place.store, place.work, [place.deployed, target], target, place.recovered)
    assert {path: os.path.lexists(file) for path, file in report.recovered} == {b"a": True, b"l": True}
    assert on_disk(place.work) == full({b"a": b"2", b"b": b"2", b"l/x": b"2"})


def test_a_kill_in_the_middle_of_a_fallback_swap_is_undone(place):
    place.sync({b"a": b"1"})
    os.rename(place.work / "a", os.path.join(os.fsencode(place.work), replacer._swap_name(b"a") + b"-old"))
    write_all(place.work, {replacer._swap_name(b"a"): b"2", b".kaosd-syncing": b""})
    target = put_tree(place.store, {b"a": b"2"})
    sync(place.store, place.work, [place.deployed, target], target, place.recovered)
    assert on_disk(place.work) == {b"a": ("f", b"2")}
    assert place.saved() == {}


def test_a_work_directory_that_cannot_be_made_is_a_sentence(store, tmp_path):
    write(tmp_path, b"file", b"")
    with pytest.raises(StoreError, match=r"cannot write to .*file/work"):
        sync(store, tmp_path / "file" / "work", [None], put_tree(store, {}), tmp_path / "recovered")


def rule(base: Tree, hosted: Tree, incoming: Tree) -> Tree:
    """The three-way rule for files and links, spelled out on whole trees; directories follow from them."""
    result = dict(hosted)
    for path in base.keys() | incoming.keys():
        was, now = base.get(path), incoming.get(path)
        if was != now:
            result.pop(path, None)
            if now is not None:
                result[path] = now
    return result


def leaves_of(files: Tree) -> Tree:
    return {path: content for path, content in files.items() if content is not None}


@st.composite
def three_trees(draw: st.DrawFn) -> tuple[Tree, Tree, Tree]:
    """A base, and two trees that keep some of it."""
    base = draw(trees())

    def edited() -> Tree:
        kept = {path: content for path, content in leaves_of(base).items() if draw(st.booleans())}
        for path, content in leaves_of(draw(trees())).items():
            blocked = any(above in kept for above in parents(path))
            if not blocked and not any(other.startswith(path + b"/") for other in kept):
                kept[path] = content
        return full(kept)

    return base, edited(), edited()


@given(three=three_trees())
@PROPERTY
def test_sync_converges_to_the_three_way_rule_and_loses_nothing(tmp_path_factory, three):
    base, hosted, incoming = three
    top = tmp_path_factory.mktemp("p")
    store = Store(top / "store")
    place = Place(top, store)
    place.sync(base)
    for path in base:
        remove(place.work, path)
    write_all(place.work, hosted)
    place.sync(incoming)
    result, saved = on_disk(place.work), place.saved()
    store.close()
    found = leaves_of(result)
    expected = leaves_of(rule(base, hosted, incoming))
    clashing = {path for path in expected if any(path.startswith(other + b"/") for other in expected)}
    for path, content in leaves_of(incoming).items():
        if base.get(path) != content:  # what comes in is there, byte for byte
            assert found[path] == content
    for path, content in found.items():  # nothing is there that the rule does not put there
        assert expected[path] == content
    for path, content in leaves_of(hosted).items():  # no edit of the host is lost
        ours = content in (base.get(path), incoming.get(path))
        exec_only = any(
            isinstance(other, tuple) and {other[0], content[0]} == {"f", "x"} and other[1] == content[1]
            for other in (base.get(path), incoming.get(path))
        )
        assert ours or exec_only or found.get(path) == content or saved.get(path) == content
    for path, content in expected.items():  # and where names do not clash, all that the rule keeps is kept
        blocked = path in clashing or any(found.get(above) is not None for above in parents(path))
        assert found.get(path) == content or blocked or saved.get(path) == content
    assert not any(b".kaosd" in path for path in result)


@given(first=trees(), second=trees())
@PROPERTY
def test_without_hosted_edits_the_work_directory_is_the_incoming_tree(tmp_path_factory, first, second):
    top = tmp_path_factory.mktemp("p")
    store = Store(top / "store")
    place = Place(top, store)
    place.sync(first)
    place.sync(second)
    assert on_disk(place.work) == second
    assert place.saved() == {}
    store.close()


UNKNOWN_RULE = {
    "as it comes in": (ONE, ONE, False, Action.NOTHING),
    "absent, comes in": (None, ONE, False, Action.WRITE),
    "the store's, another comes in": (TWO, ONE, True, Action.WRITE),
    "a person's, another comes in": (TWO, ONE, False, Action.RECOVER),
    "the store's, nothing comes in": (TWO, None, True, Action.RECOVER),
    "a person's, nothing comes in": (TWO, None, False, Action.KEEP),
    "a directory, nothing comes in": (DIRECTORY, None, False, Action.DELETE),
    "a directory, a file comes in": (DIRECTORY, ONE, False, Action.RECOVER),
}


@pytest.mark.parametrize("bases", [[], [None], [THREE]], ids=["no base", "one was nothing", "one was another"])
@pytest.mark.parametrize(("hosted", "incoming", "ours", "action"), UNKNOWN_RULE.values(), ids=UNKNOWN_RULE)
def test_the_rule_where_what_was_deployed_is_not_known(bases, hosted, incoming, ours, action):
    assert decide(bases, hosted, incoming, unknown=True, ours=ours) is action


def test_a_base_that_can_be_told_decides_although_another_cannot():
    assert decide([ONE], ONE, None, unknown=True, ours=False) is Action.DELETE
    assert decide([ONE], ONE, TWO, unknown=True, ours=False) is Action.WRITE


def lose(store: Store, tree: str, path: bytes = b"") -> None:
    """Damage the node of a directory of *tree* in its pack."""
    node = tree if not path else lookup(store, tree, path).digest
    store.flush()
    spot = store._index.find(node)
    pack = next((store._directory / "packs").glob(f"{spot.pack}.pack"))
    with pack.open("r+b") as file:
        file.seek(spot.offset)
        file.write(b"#")
    store.forget_nodes()


def deployed(place: Place) -> None:
    """Sixteen files, of which the person has edited, deleted and added some; no two directories are alike."""
    place.sync({b"%s/%d" % (above, n): b"old %d" % n for above in (b"d", b"e", b"e/f") for n in range(5)}
               | {b"d/5": b"old 5"})  # fmt: skip
    write_all(
        place.work, {b"d/0": b"mine", b"d/own": b"own", b"e/f/0": b"mine too", b"e/f/own": b"own", b"top": b"own"}
    )
    (place.work / "d" / "1").unlink()
    write(place.work, b"d/__pycache__/x.pyc", b"cache")
    write(place.work, b".git/objects/1", b"own")


WANTED = {b"d/0": b"new 0", b"d/2": b"new 2", b"d/3": b"old 3", b"e/f/0": b"old 0", b"e/f/6": b"new"}


@pytest.mark.parametrize("path", [b"", b"d", b"e", b"e/f"])
def test_after_a_lost_base_all_that_comes_in_is_served_and_no_edit_is_lost(place, path):
    deployed(place)
    lose(place.store, place.deployed, path)
    report = place.sync(WANTED)
    found = {path: content for path, content in on_disk(place.work).items() if content is not None}
    served = {path: ("f", content) for path, content in WANTED.items()}
    own = dict.fromkeys((b"d/own", b"e/f/own", b"top", b".git/objects/1"), ("f", b"own"))
    kept = {b"e/f/0": ("f", b"mine too")} if path == b"d" else {}  # its base is known there: changed only in the host
    assert found == served | own | kept | {b"d/__pycache__/x.pyc": ("f", b"cache")}
    saved = {content for content in place.saved().values() if content is not None}
    assert {("f", b"mine")} | (set() if path == b"d" else {("f", b"mine too")}) <= saved
    assert set(report.undecided) <= {b"d/own", b"e/f/own", b"top"}
    assert report.undecided


def test_a_base_that_is_not_known_at_all_is_compared_file_by_file(place):
    deployed(place)
    incoming = put_tree(place.store, WANTED)
    report = sync(place.store, place.work, [UNKNOWN], incoming, place.recovered)
    found = on_disk(place.work)
    assert {path: found[path] for path in WANTED} == {path: ("f", content) for path, content in WANTED.items()}
    assert b"e/1" not in found
    assert b"d/4" not in found
    assert b"e" in found  # e/f comes in
    assert report.undecided == (b"d/own", b"e/f/own", b"top")
    assert ("f", b"mine") in place.saved().values()


def test_a_lost_base_whose_files_are_all_there_changes_nothing(place):
    files = {b"d/%d" % n: b"%d" % n for n in range(5)}
    place.sync(files)
    before = {path: (place.work / os.fsdecode(path)).stat() for path in files}
    lose(place.store, place.deployed)
    report = place.sync(files | {b"more": b"1"})
    assert (report.written, report.recovered, report.undecided) == ((b"more",), (), ())
    assert {path: (place.work / os.fsdecode(path)).stat() for path in files} == before


def test_a_lost_base_of_directories_that_became_files_and_links(place, tmp_path):
    place.sync({b"d/a": b"1", b"f": b"2", b"l": ("l", b"f"), b"gone/x/y": b"3"})
    lose(place.store, place.deployed)
    outside = tmp_path / "outside"
    outside.mkdir()
    write(outside, b"precious", b"not ours")
    os.symlink(outside, place.work / "way")
    place.sync({b"d": b"a file", b"f/in": b"a directory", b"l": b"a file as well"})
    found = on_disk(place.work)
    assert found == full({b"d": b"a file", b"f/in": b"a directory", b"l": b"a file as well",
                          b"way": ("l", os.fsencode(outside))})  # fmt: skip
    assert (outside / "precious").read_bytes() == b"not ours"


def test_a_lost_incoming_tree_changes_nothing(place):
    place.sync({b"d/a": b"1"})
    incoming = put_tree(place.store, {b"d/a": b"2", b"e": b"3"})
    lose(place.store, incoming, b"d")
    with pytest.raises(ContentLost):
        sync(place.store, place.work, [place.deployed], incoming, place.recovered)
    assert on_disk(place.work) == full({b"d/a": b"1"})


CACHES = [b"__pycache__/m.cpython-311.pyc", b".ipynb_checkpoints/a-checkpoint.ipynb", b".pytest_cache/v/x"]


@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("deep", [b"", b"sub/", b"sub/sub/"])
def test_caches_keep_no_deleted_directory_alive(place, cache, deep):
    place.sync({b"pkg/__init__.py": b"1", b"pkg/sub/__init__.py": b"1", b"pkg/sub/sub/a": b"1", b"a": b"1"})
    write(place.work, b"pkg/" + deep + cache, b"cache")
    report = place.sync({b"a": b"1"})
    assert on_disk(place.work) == full({b"a": b"1"})
    assert (report.recovered, place.saved()) == ((), {})


@pytest.mark.parametrize("cache", CACHES)
def test_caches_of_a_directory_that_becomes_a_file_are_no_recovered_work(place, cache):
    place.sync({b"pkg/__init__.py": b"1", b"pkg/sub/a": b"1"})
    write(place.work, b"pkg/" + cache, b"cache")
    write(place.work, b"pkg/sub/" + cache, b"cache")
    report = place.sync({b"pkg": b"a file"})
    assert on_disk(place.work) == full({b"pkg": b"a file"})
    assert (report.recovered, place.saved()) == ((), {})


def test_caches_beside_work_of_the_person_stay_with_it_and_are_not_listed(place):
    place.sync({b"pkg/__init__.py": b"1", b"other/a": b"1"})
    for above in (b"pkg", b"other"):
        write(place.work, above + b"/own.txt", b"own")
        write(place.work, above + b"/__pycache__/m.pyc", b"cache")
    report = place.sync({b"pkg": b"a file"})
    assert [path for path, _ in report.recovered] == [b"pkg/own.txt"] or [
        os.path.basename(path) for path, _ in report.recovered
    ] == [b"pkg"]
    assert (place.work / "other" / "own.txt").read_bytes() == b"own"
    assert (place.work / "other" / "__pycache__" / "m.pyc").exists()


def test_an_empty_directory_of_the_person_keeps_its_parent(place):
    place.sync({b"pkg/__init__.py": b"1"})
    (place.work / "pkg" / "results").mkdir()
    write(place.work, b"pkg/__pycache__/m.pyc", b"cache")
    place.sync({b"a": b"1"})
    assert (place.work / "pkg" / "results").is_dir()


def test_a_link_that_is_called_like_a_cache_is_not_followed(place, tmp_path):
    place.sync({b"pkg/a": b"1"})
    write(tmp_path / "outside", b"precious", b"1")
    os.symlink(tmp_path / "outside", place.work / "pkg" / "__pycache__")
    place.sync({b"a": b"1"})
    assert (tmp_path / "outside" / "precious").exists()


def test_what_is_compiled_of_a_file_goes_also_after_a_kill_right_after_the_file_was_replaced(place, monkeypatch):
    old, new = ({b"d/a.py": content, b"d/b.py": b"B = 1\n"} for content in (b"A = 1\n", b"A = 2\n"))
    place.sync(old)
    for name in ("a", "b"):
        py_compile.compile(str(place.work / "d" / f"{name}.py"))
    target = put_tree(place.store, new)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(replacer.bytecode, "forget", killed)
    with pytest.raises(KeyboardInterrupt):
        sync(place.store, place.work, [place.deployed], target, place.recovered)
    monkeypatch.undo()
    assert (place.work / "d" / "a.py").read_bytes() == b"A = 2\n"
    sync(place.store, place.work, [place.deployed, target], target, place.recovered)
    left = {path.name.partition(".")[0] for path in (place.work / "d" / "__pycache__").iterdir()}
    assert left == {"b"}


@pytest.mark.parametrize("steps", [(b"A = 1\n", b"A = 2\n"), (b"A = 1\n", None, b"A = 2\n")], ids=["changed", "again"])
def test_python_imports_what_is_there_after_two_saves_within_a_second(tmp_path, store, steps):
    """Bytecode is taken for a file's own while the file has as many bytes, and is of the same whole second."""
    place, now, old = tmp_path / "work", 1_000_000_000, None
    for number, content in enumerate(steps):
        new = put_tree(store, {b"a.py": content, b"a": b"", b"b.py": b"B = 1\n"} if content else {b"b.py": b"B = 1\n"})
        sync(store, place, (old,), new, tmp_path / "recovered")
        old = new
        for path in (place / "a.py", place / "b.py"):
            if path.exists():
                os.utime(path, (now, now))
                if number == 0:
                    py_compile.compile(str(path))
    imported = subprocess.check_output([sys.executable, "-c", "import a; print(a.A)"], cwd=place)
    assert imported == b"2\n"
    assert {path.name.partition(".")[0] for path in (place / "__pycache__").iterdir()} >= {"b"}

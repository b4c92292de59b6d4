"""Nodes, lookup and the difference of two trees."""

from __future__ import annotations

import pytest
from drawn import trees
from hypothesis import HealthCheck, given, settings
from trees import full, in_store, put_tree

from kaosd.bundle import Entry, diff, lookup
from kaosd.bundle.tree import decode, digest_of, encode

A, B = digest_of(b"a"), digest_of(b"b")
PROPERTY = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def test_a_node_survives_encoding():
    entries = (Entry(b"a", "d", A, 0), Entry(b"b", "x", A, 1), Entry(b"\xff", "l", B, 2))
    assert decode(encode(entries)) == entries


def test_the_order_of_entries_does_not_make_another_node(store):
    entries = (Entry(b"b", "x", A, 1), Entry(b"\xff", "l", B, 2), Entry(b"a", "d", A, 0))
    assert store.put_node(entries) == store.put_node(entries[::-1])
    assert store.node(store.put_node(entries)) == tuple(sorted(entries))


@pytest.mark.parametrize("name", [b"", b".", b"..", b"a/b", b"a\0b"])
def test_a_name_that_no_directory_can_hold_is_refused(name):
    with pytest.raises(ValueError, match="cannot be one directory"):
        encode([Entry(name, "f", A, 1)])


def test_a_name_cannot_be_there_twice():
    with pytest.raises(ValueError, match="cannot be one directory"):
        encode([Entry(b"a", "f", A, 1), Entry(b"a", "l", A, 1)])


def test_a_content_is_not_taken_for_a_node():
    with pytest.raises(ValueError, match="not a directory node"):
        decode(b"some file")


DIFFERENCES = {
    "nothing": ({b"a": b"1"}, {b"a": b"1"}, []),
    "changed": ({b"a": b"1"}, {b"a": b"2"}, [(b"a", "f", "f")]),
    "created": ({}, {b"a": b"1"}, [(b"a", None, "f")]),
    "removed": ({b"a": b"1"}, {}, [(b"a", "f", None)]),
    "made executable": ({b"a": b"1"}, {b"a": ("x", b"1")}, [(b"a", "f", "x")]),
    "deep": ({b"d/e/a": b"1", b"d/b": b""}, {b"d/e/a": b"2", b"d/b": b""}, [(b"d/e/a", "f", "f")]),
    "directory created": ({}, {b"d/a": b"1"}, [(b"d", None, "d"), (b"d/a", None, "f")]),
    "directory removed": ({b"d/a": b"1"}, {}, [(b"d", "d", None), (b"d/a", "f", None)]),
    "empty directory": ({}, {b"d": None}, [(b"d", None, "d")]),
    "file to directory": ({b"d": b"1"}, {b"d/a": b"1"}, [(b"d", "f", "d"), (b"d/a", None, "f")]),
    "directory to link": ({b"d/a": b"1"}, {b"d": ("l", b"x")}, [(b"d", "d", "l"), (b"d/a", "f", None)]),
    "names like prefixes": ({b"a/x": b"", b"a-b": b""}, {b"a-b": b""}, [(b"a", "d", None), (b"a/x", "f", None)]),
}  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_difference_of_two_trees(store, old, new, expected):
    changes = diff(store, put_tree(store, old), put_tree(store, new))
    kinds = [(c.path, c.old.kind if c.old else None, c.new.kind if c.new else None) for c in changes]
    assert kinds == expected


def test_no_tree_is_the_empty_tree(store):
    tree = put_tree(store, {b"a": b"1"})
    assert diff(store, None, None) == ()
    assert [change.path for change in diff(store, None, tree)] == [b"a"]
    assert [change.path for change in diff(store, tree, None)] == [b"a"]


def test_equal_subtrees_are_not_read(store):
    old = put_tree(store, {b"same/deep/a": b"1", b"b": b"1"})
    new = put_tree(store, {b"same/deep/a": b"1", b"b": b"2"})

    class Counting:
        read = 0

        def node(self, digest):
            self.read += 1
            return store.node(digest)

    nodes = Counting()
    diff(nodes, old, new)
    assert nodes.read == 2


@given(old=trees(), new=trees())
@PROPERTY
def test_a_difference_applied_to_the_old_tree_gives_the_new_one(store, old, new):
    result = dict(old)
    for change in diff(store, put_tree(store, old), put_tree(store, new)):
        assert lookup(store, put_tree(store, new), change.path) == change.new
        result.pop(change.path, None)
        if change.new is not None:
            result[change.path] = None if change.new.kind == "d" else (change.new.kind, store.get(change.new.digest))
    assert result == new


@given(tree=trees())
@PROPERTY
def test_walk_and_lookup_find_every_entry(store, tree):
    digest = put_tree(store, tree)
    assert in_store(store, digest) == full(tree)
    for path in tree:
        assert lookup(store, digest, path) is not None
        assert lookup(store, digest, path + b"/no") is None

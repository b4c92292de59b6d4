"""Three-way merge of texts: named cases, and what holds for all texts."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaosd.hosted.text import apply, edits, merge_text

CASES = {
    # each: the base, the live text, the incoming one, what they merge to, whether there was a conflict
    "nothing changed": ("a\nb\n", "a\nb\n", "a\nb\n", "a\nb\n", False),
    "only incoming": ("a\nb\n", "a\nb\n", "a\nc\n", "a\nc\n", False),
    "only the person": ("a\nb\n", "a\nx\n", "a\nb\n", "a\nx\n", False),
    "both the same": ("a\nb\n", "a\nc\n", "a\nc\n", "a\nc\n", False),
    "different lines": ("a\nb\nc\n", "a1\nb\nc\n", "a\nb\nc2\n", "a1\nb\nc2\n", False),
    "neighbouring lines": ("a\nb\n", "a1\nb\n", "a\nb2\n", "a1\nb2\n", False),
    "different words of a line": (
        "x = 1  # why\n",
        "x = 1  # because\n",
        "x = 2  # why\n",
        "x = 2  # because\n",
        False,
    ),
    "the same word": ("x = 1\n", "x = 2\n", "x = 3\n", "x = 3\n", True),
    "typing at the end of a line without line break": ("x", "x = compute()", "x\ny", "x = compute()\ny", False),
    "person types at the end, incoming adds lines there": ("a\n", "a\nmine", "a\nb\n", "a\nb\nmine", False),
    "person adds a line where incoming adds a word": ("a", "a\nmine", "a # why", "a # why\nmine", False),
    "incoming deletes a line, the person edits another": ("a\nb\nc\n", "a\nb\nc!\n", "a\nc\n", "a\nc!\n", False),
    "incoming deletes what the person edits": ("a\nb = 1\nc\n", "a\nb = 12\nc\n", "a\nc\n", "a\nc\n", True),
    "the same change again while the person goes on": ("", "foo bar", "foo", "foo bar", False),
    "everything deleted": ("a\nb\n", "a\nb\n", "", "", False),
    "from nothing": ("", "", "a\nb", "a\nb", False),
    "characters outside the basic plane": ("é\n😀\n", "é!\n😀\n", "é\n😀😀\n", "é!\n😀😀\n", False),
    "rewritten beyond likeness": (
        "for i in range(3):\n    go(i)\nend\n",
        "for i in range(3):\n    go(i)\nend of mine\n",
        "while True:\n    stop\nend\n",
        "while True:\n    stop\nend of mine\n",
        False,
    ),
}


@pytest.mark.parametrize(("base", "live", "incoming", "merged", "conflict"), CASES.values(), ids=CASES)
def test_merge_of_texts(base, live, incoming, merged, conflict):
    merge = merge_text(base, live, incoming)
    assert (merge.text, merge.conflict) == (merged, conflict)
    assert apply(live, merge.splices) == merged


def test_a_change_of_one_line_splices_nothing_else():
    base = "".join(f"line {number}\n" for number in range(1000))
    merge = merge_text(base, "typed\n" + base, base.replace("line 500\n", "line 500!\n"))
    assert [(splice.end - splice.start, splice.text) for splice in merge.splices] == [(0, "!")]


texts = st.lists(st.sampled_from(["a", "b", "\n", " ", "x = 1\n", "é", "😀", "foo", "\r\n"]), max_size=30).map("".join)


@given(texts, texts)
def test_edits_lead_from_the_old_text_to_the_new(old, new):
    found = edits(old, new)
    assert apply(old, found) == new
    assert all(left.end <= right.start for left, right in pairwise(found))


@given(texts, texts)
def test_an_untouched_live_text_becomes_the_incoming_one(base, incoming):
    merge = merge_text(base, base, incoming)
    assert (merge.text, merge.conflict) == (incoming, False)


@given(texts, texts)
def test_an_unchanged_incoming_text_touches_nothing(base, live):
    merge = merge_text(base, live, base)
    assert (merge.text, merge.splices, merge.conflict) == (live, (), False)


@given(texts, texts, texts)
def test_splices_lead_from_the_live_text_to_the_merged_one(base, live, incoming):
    merge = merge_text(base, live, incoming)
    assert apply(live, merge.splices) == merge.text
    if live == incoming:
        assert not merge.splices


@given(st.data(), st.integers(2, 40))
def test_no_typed_text_outside_the_changed_lines_is_lost(data, count):
    lines = [f"statement_{number} = {number}\n" for number in range(count)]
    changed = data.draw(st.sets(st.integers(0, count - 1)))
    incoming = "".join(f"{number} is_new\n" if number in changed else line for number, line in enumerate(lines))
    typed = {}
    for number in data.draw(st.sets(st.integers(0, count - 1))) - changed:
        typed[number] = data.draw(st.integers(0, len(lines[number]) - 1))
    live = "".join(
        line[: typed[number]] + f"<typed{number}>" + line[typed[number] :] if number in typed else line
        for number, line in enumerate(lines)
    )
    merge = merge_text("".join(lines), live, incoming)
    assert not merge.conflict
    assert all(f"<typed{number}>" in merge.text for number in typed)
    assert all(f"{number} is_new\n" in merge.text for number in changed)

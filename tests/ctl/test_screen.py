"""Layout: widths, wrapping, colours, spans of time."""

from __future__ import annotations

import pytest

from kaosd.ctl.screen import Screen, age, columns, span


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0 s"),
        (0, "0 s"),
        (59.9, "59 s"),
        (60, "1 min"),
        (3599, "59 min"),
        (3600, "1 h"),
        (3900, "1 h 5 min"),
        (86400, "1 d"),
        (93600, "1 d 2 h"),
    ],
)
def test_ages(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "40 ms"), (0.3, "0.3 s"), (9.99, "10 s"), (41.2, "41 s"), (125, "2 min")]
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text


@pytest.mark.parametrize(("text", "width"), [("abc", 3), ("● x", 3), ("日本", 4), ("e\u0301", 1), ("é", 1)])
def test_columns_that_text_takes(text: str, width: int) -> None:
    assert columns(text) == width


def test_pieces_flow_into_the_width_and_nothing_is_cut() -> None:
    pieces = [("", "one two"), ("", "three"), ("", "a sentence that is longer than the line"), ("", "x" * 30)]
    assert Screen(20).flow(pieces, 4) == [
        "one two   three",
        "    a sentence that",
        "    is longer than",
        "    the line",
        "    " + "x" * 30,
    ]
    assert Screen().flow(pieces, 4) == ["   ".join(text for _, text in pieces)]
    assert Screen(20).flow([]) == []


def test_a_sentence_that_is_broken_keeps_its_indent() -> None:
    assert Screen(20).flow([("bad", "    one two three four")], 4) == ["    one two", "    three four"]


def test_commands_are_kept_whole() -> None:
    assert Screen(20).flow([("strong", "see: kaosctl logs notebook-a --deploy failed")], 4) == [
        "see: kaosctl logs notebook-a --deploy failed"
    ]


def test_colour_does_not_count_as_width_and_strings_cannot_bring_their_own() -> None:
    assert Screen(9, colour=True).flow([("good", "live"), ("bad", "x\x1b[2J")], 2) == [
        "\x1b[32mlive\x1b[0m",
        "  \x1b[31mx\\x1b[2J\x1b[0m",
    ]


def test_symbols_have_a_plain_form() -> None:
    assert Screen(plain=True).paint("", "● a → b…") == "* a -> b..."


def test_a_table_is_as_wide_as_its_cells() -> None:
    assert Screen().table(("name", "size"), [("日本", "1"), ("a\x07", "200")]) == [
        "name    size",
        "日本    1",
        "a\\x07   200",
    ]


def test_a_table_that_is_too_wide_becomes_paragraphs() -> None:
    assert Screen(30).table(
        ("name", "state", "url"), [("a", "live", "http://x/a"), ("b", "-", "http://x/" + "b" * 30)]
    ) == [
        "a   state live",
        "    url http://x/a",
        "b   state -   url",
        "    http://x/" + "b" * 30,
    ]

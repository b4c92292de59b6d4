"""What is safe to print, and times as text."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaosd.display import epoch, printable, rfc3339


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, äöü, 日本", "plain text, äöü, 日本"),
        ("a\tb", "a\tb"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("line\r\nbreak", "line\\x0d\\x0abreak"),
        ("c1 \x9b31m", "c1 \\x9b31m"),
        ("delete \x7f", "delete \\x7f"),
        ("evil\u202egpj.exe", "evil\\u202egpj.exe"),
        ("isolate \u2066x\u2069", "isolate \\u2066x\\u2069"),
        ("line\u2028separator", "line\\u2028separator"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("private \U000f0000", "private \\U000f0000"),
        ("family 👨\u200d👩", "family 👨\u200d👩"),
    ],
)
def test_what_could_steer_a_terminal_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_printable_text_holds_no_control_character_and_stays_as_it_is(text: str) -> None:
    once = printable(text)
    assert not any((ord(char) < 32 and char != "\t") or 0x7F <= ord(char) < 0xA0 for char in once)
    assert printable(once) == once


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2200, 1, 1)))  # noqa: DTZ001
def test_a_time_survives_being_text(moment: datetime) -> None:
    at = moment.replace(tzinfo=UTC).timestamp()
    told = epoch(rfc3339(at))
    assert told is not None
    assert abs(told - at) < 0.002


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00.000Z", 0.0),
        ("2000-02-29T12:00:00Z", 951_825_600.0),
        ("2026-11-18T10:26:40.250Z", 1_794_997_600.25),
        ("2026-11-18 10:26:40Z", None),
        ("2026-11-18T10:26:40+01:00", None),
        ("2026-11-18T10:26Z", None),
        ("yesterday", None),
        ("", None),
        (None, None),
    ],
)
def test_only_times_in_utc_are_times(text: str | None, at: float | None) -> None:
    assert epoch(text) == at

"""JSON read by the bare scanner is what the json module reads."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaosd.ctl.json_parsing import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES, st.sampled_from([None, 2]), st.booleans())
def test_it_reads_what_json_wrote(value: object, indent: int | None, ascii_only: bool) -> None:
    try:
        written = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:  # a lone surrogate can only be written as an escape
        written = json.dumps(value, indent=indent).encode()
    assert parse_json(b" " + written + b"\n") == value


@pytest.mark.parametrize(
    "content", [b"", b" ", b"{", b"{'a': 1}", b"[1,]", b"{} {}", b"hi", b'"\xff"', b"\xef\xbb\xbf{}"]
)
def test_anything_else_is_an_error(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        parse_json(content)


def test_without_the_scanner_the_json_module_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_json", None)
    assert parse_json(b'{"a": [1, 2.5, null]}') == {"a": [1, 2.5, None]}

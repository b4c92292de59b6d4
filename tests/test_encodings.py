"""Text is read by its byte order mark, or refused; nothing is guessed."""

from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from kaosd import encodings
from kaosd.encodings import NotTextError

TEXT = "größe = 1\r\n你好 🙂\n"


@pytest.mark.parametrize(
    "content",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF32_BE + TEXT.encode("utf-32-be"),
    ],
)
def test_a_text_is_read_by_its_mark(tmp_path: Path, content: bytes) -> None:
    assert encodings.text(content) == TEXT
    (tmp_path / "x").write_bytes(content)
    assert encodings.rewrite(tmp_path / "x") == TEXT
    assert (tmp_path / "x").read_bytes() == TEXT.encode()


@pytest.mark.parametrize("content", [b"", *(mark for mark, _, _ in encodings._MARKS)])
def test_nothing_and_a_mark_alone_are_no_text(content: bytes) -> None:
    assert encodings.text(content) == ""


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a\nb\n\xe9\n", "is not UTF-8 in line 3; save it as UTF-8"),
        (b"\xef\xbb\xbf\n\xe9", "is not the UTF-8 that it starts as; save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"a\0b", "is not the UTF-16 that it starts as; save it as UTF-8"),
        (codecs.BOM_UTF16_BE + b"\xd8\0", "is not the UTF-16 that it starts as; save it as UTF-8"),
        (codecs.BOM_UTF16_LE + b"\0\xd8a\0", "is not the UTF-16 that it starts as; save it as UTF-8"),
        ("six\n".encode("utf-16-le"), "holds NUL bytes; save it as UTF-8"),
        (b"six\n\0", "holds NUL bytes; save it as UTF-8"),
    ],
)
def test_what_is_no_text_is_refused_with_the_reason(tmp_path: Path, content: bytes, why: str) -> None:
    with pytest.raises(NotTextError) as caught:
        encodings.text(content)
    assert str(caught.value) == why
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(NotTextError):
        encodings.rewrite(tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == content


def test_bytes_of_a_file_without_a_mark_may_be_any_names() -> None:
    assert encodings.as_utf8(b"caf\xe9\n") == b"caf\xe9\n"

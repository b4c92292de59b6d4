"""Reads text that people wrote: UTF-8, or what a byte order mark at its start says. The only module that guesses."""

from __future__ import annotations

import codecs
import os

# the longer marks first: that of UTF-16 starts that of UTF-32
_MARKS = (
    (codecs.BOM_UTF8, "utf-8", "UTF-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le", "UTF-32"),
    (codecs.BOM_UTF32_BE, "utf-32-be", "UTF-32"),
    (codecs.BOM_UTF16_LE, "utf-16-le", "UTF-16"),
    (codecs.BOM_UTF16_BE, "utf-16-be", "UTF-16"),
)


class NotTextError(ValueError):
    """Why some content is not text, as the rest of a sentence that starts with the file's name."""


def text(content: bytes) -> str:
    """The text of *content*, without its mark. NotTextError when it is none."""
    utf8 = as_utf8(content)
    try:
        return utf8.decode()
    except UnicodeDecodeError as error:
        line = utf8.count(b"\n", 0, error.start) + 1
        raise NotTextError(f"is not UTF-8 in line {line}; save it as UTF-8") from error


def as_utf8(content: bytes) -> bytes:
    """*content* in UTF-8 without its mark; bytes of a file without one are left as they are, since names may be any.

    NotTextError when it is not what its mark says, or has no mark and holds NUL bytes, as UTF-16 does.
    """
    for mark, encoding, shown in _MARKS:
        if content.startswith(mark):
            try:
                found = content[len(mark) :].decode(encoding).encode()
            except UnicodeError as error:
                raise NotTextError(f"is not the {shown} that it starts as; save it as UTF-8") from error
            break
    else:
        found = content
    if b"\0" in found:
        raise NotTextError("holds NUL bytes; save it as UTF-8")
    return found


def like(content: bytes, found: str) -> bytes:
    """*found* in the encoding of *content*, with its mark. NotTextError when *content* is not text."""
    text(content)
    for mark, encoding, _ in _MARKS:
        if content.startswith(mark):
            return mark + found.encode(encoding)
    return found.encode()


def rewrite(path: str | os.PathLike[str]) -> str:
    """Write the file at *path* as UTF-8 without a mark, and return its text. NotTextError, OSError."""
    with open(path, "rb") as file:
        content = file.read()
    found = text(content)
    if found.encode() != content:
        with open(path, "wb") as file:
            file.write(found.encode())
    return found

"""JSON read by the scanner in C that the json module has, without the module.

`json` compiles regular expressions while it is imported: they, and the enums and collections below them, take
8 ms, more than the rest of `kaosctl status` together. The scanner alone takes none. Where an interpreter has no
such scanner, or one that wants something else, the json module reads.
"""

from __future__ import annotations


class _Context:
    """What json.decoder.JSONDecoder hands to the scanner by default."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float


def parse_json(content: bytes) -> object:
    """The value that *content* holds; ValueError when it is not JSON."""
    text = content.decode()
    try:
        from _json import make_scanner

        scan = make_scanner(_Context())  # type: ignore[arg-type] # typeshed has no name for such a context
    except (ImportError, AttributeError, TypeError):
        import json

        return json.loads(text)
    text = text.strip(" \t\r\n")
    try:
        value, end = scan(text, 0)
    except StopIteration:
        raise ValueError("no JSON value") from None
    if end != len(text):
        raise ValueError("more than one JSON value")
    return value

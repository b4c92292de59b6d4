"""HTML that cannot forget to escape: elements are built from plain text and from other elements."""

from __future__ import annotations

from html import escape

from kaosd.display import printable

_VOID = frozenset({"input", "link", "meta"})


class Markup(str):
    """HTML: made by element() and join(), so that what is in it has been escaped, or out of our own files."""

    __slots__ = ()


def element(name: str, /, *content: Markup | str, **attributes: str | bool) -> Markup:
    """One element. Text is escaped, control characters in it are shown; True makes an attribute without a value.

    Attribute names are written with underscores for hyphens, and one at the end where Python needs it (class_).
    """
    shown = "".join(_attribute(key, value) for key, value in attributes.items() if value is not False)
    return Markup(f"<{name}{shown}>" if name in _VOID else f"<{name}{shown}>{join(*content)}</{name}>")


def join(*content: Markup | str) -> Markup:
    """Elements and texts one after the other."""
    return Markup("".join(one if isinstance(one, Markup) else _text(one) for one in content))


def _attribute(key: str, value: str | bool) -> str:
    name = key.rstrip("_").replace("_", "-")
    return f" {name}" if value is True else f' {name}="{_text(str(value))}"'


def _text(text: str) -> str:
    return escape("\n".join(printable(line) for line in text.split("\n")))

"""Patterns of .gitignore and .dockerignore as regular expressions that match in time linear in the path.

Ordinary translations backtrack: `*a*a*a*b` takes hours for one long name. Here every wildcard but the last one of its
part is an atomic group that takes the first match, which is enough: whatever follows can only gain by what an earlier
match leaves over. Names are bytes, as they are for git.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_STAR: Final = "*"  # any bytes of one name
_DEEP: Final = "**/"  # any number of whole directories, none too
_DEEPER: Final = "**\\/"  # at least one directory
_ALL: Final = "**"  # whatever follows; always the last token
_LAZY: Final = {_STAR: b"[^/]*?", _DEEP: b"(?:[^/]*+/)*?", _DEEPER: b"(?:[^/]*+/)+?"}

_ALPHABET: Final = bytes(range(1, 128))
_CLASSES: Final = {
    b"alnum": bytes(c for c in _ALPHABET if chr(c).isalnum()),
    b"alpha": bytes(c for c in _ALPHABET if chr(c).isalpha()),
    b"blank": b" \t",
    b"cntrl": bytes((*range(1, 32), 127)),
    b"digit": b"0123456789",
    b"graph": bytes(range(33, 127)),
    b"lower": bytes(c for c in _ALPHABET if chr(c).islower()),
    b"print": bytes(range(32, 127)),
    b"punct": bytes(c for c in range(33, 127) if not chr(c).isalnum()),
    b"space": b" \t\n\v\f\r",
    b"upper": bytes(c for c in _ALPHABET if chr(c).isupper()),
    b"xdigit": b"0123456789abcdefABCDEF",
}

Token = bytes | str  # the expression of one byte, or one of the wildcards above


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of .gitignore. excludes: false after "!". directories: it names only those.

    by_name: the expression is held against the last part of a path, otherwise against all of it.
    """

    excludes: bool
    directories: bool
    by_name: bool
    expression: re.Pattern[bytes]

    def matches(self, path: bytes, name: bytes, *, is_dir: bool) -> bool:
        """Whether the rule names exactly *path*, whose last part is *name*; what is below a match is not asked."""
        if self.directories and not is_dir:
            return False
        return self.expression.match(name if self.by_name else path) is not None


def gitignore(line: bytes) -> Rule | None:
    """The rule of a *line* without its end, as git reads it; None for a blank line or a comment.

    ValueError says why the line can match nothing. Where the documentation and versions of git differ, in "x**/y",
    the documentation counts: the asterisks are one.
    """
    pattern = _trimmed(line)
    if not pattern or pattern.startswith(b"#"):
        return None
    excludes = not pattern.startswith(b"!")
    pattern = pattern if excludes else pattern[1:]
    directories = pattern.endswith(b"/")
    pattern = pattern.removesuffix(b"/")
    if not pattern:
        raise ValueError("it names nothing")
    by_name = b"/" not in pattern
    return Rule(excludes, directories, by_name, _expression(_git_tokens(pattern.removeprefix(b"/"), by_name=by_name)))


def dockerignore(pattern: bytes) -> re.Pattern[bytes]:
    """The expression of a cleaned *pattern* of .dockerignore, without "!" and outer slashes, for whole paths.

    ValueError says why it can match nothing. Where "**" follows a "*" within one name, the first match counts.
    """
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith(b"**", at):
            end = _after(pattern, at, b"*")
            end += pattern.startswith(b"/", end)
            tokens.append(_DEEP if end < len(pattern) else _ALL)
            at = end
        else:
            token, at = _token(pattern, at)
            tokens.append(token)
    return _expression(tokens)


def _trimmed(line: bytes) -> bytes:
    """*line* without the spaces at its end that no backslash quotes."""
    kept = line.rstrip(b" ")
    quotes = len(kept) - len(kept.rstrip(b"\\"))
    return kept + b" " if quotes % 2 and len(kept) < len(line) else kept


def _git_tokens(pattern: bytes, *, by_name: bool) -> list[Token]:
    tokens: list[Token] = []
    at = 0
    while at < len(pattern):
        end = _after(pattern, at, b"*")
        if end - at >= 2 and not by_name and (at == 0 or pattern[at - 1 : at] == b"/"):
            if end == len(pattern):
                return [*tokens, _ALL]
            gap, at = _gap(pattern, end)
            tokens.append(gap)
        else:
            token, at = _token(pattern, at)
            tokens.append(token)
    return tokens


def _gap(pattern: bytes, end: int) -> tuple[Token, int]:
    """The token of two or more asterisks at the start of a name that end at *end*, and where the next one is."""
    for text, token in ((b"/", _DEEP), (b"\\/", _DEEPER)):
        if pattern.startswith(text, end):
            return token, end + len(text)
    return _STAR, end


def _token(pattern: bytes, at: int) -> tuple[Token, int]:
    """The token at *at*, and where the next one is."""
    first = pattern[at : at + 1]
    if first == b"*":
        return _STAR, _after(pattern, at, b"*")
    if first == b"?":
        return b"[^/]", at + 1
    if first == b"[":
        return _bracket(pattern, at + 1)
    if first == b"\\":
        return re.escape(_quoted(pattern, at)), at + 2
    return re.escape(first), at + 1


def _after(pattern: bytes, at: int, byte: bytes) -> int:
    while pattern.startswith(byte, at):
        at += 1
    return at


def _quoted(pattern: bytes, at: int) -> bytes:
    if at + 1 >= len(pattern):
        raise ValueError("nothing follows the backslash at its end")
    return pattern[at + 1 : at + 2]


def _bracket(pattern: bytes, at: int) -> tuple[bytes, int]:
    """The expression of the bracket whose inside starts at *at*, and where the next token is."""
    negated = pattern[at : at + 1] in {b"!", b"^"}
    at += negated
    members: set[int] = set()
    before = 0  # the byte that a range may start with; 0 for none
    begin = at
    while at == begin or pattern[at : at + 1] != b"]":
        byte = pattern[at : at + 1]
        if not byte:
            raise ValueError("a [ is not closed")
        named = _class_end(pattern, at)
        if byte == b"-" and before and pattern[at + 1 : at + 2] not in {b"", b"]"}:
            at += 2 if pattern[at + 1 : at + 2] == b"\\" else 1
            members.update(range(before, (pattern[at : at + 1] or _quoted(pattern, at))[0] + 1))
            before = 0
        elif named is not None:
            name = pattern[at + 2 : named - 2]
            if name not in _CLASSES:
                raise ValueError(f"there is no class [:{name.decode('ascii', 'replace')}:]")
            members.update(_CLASSES[name])
            before, at = 0, named - 1
        else:
            byte, at = (_quoted(pattern, at), at + 1) if byte == b"\\" else (byte, at)
            members.update(byte)
            before = byte[0]
        at += 1
    chosen = (set(range(1, 256)) - members if negated else members) - {ord("/")}
    if not chosen:
        raise ValueError("a [ ] names no character")
    return b"[" + b"".join(b"\\x%02x" % byte for byte in sorted(chosen)) + b"]", at + 1


def _class_end(pattern: bytes, at: int) -> int | None:
    """Where a [:class:] that starts at *at* ends; None when none does."""
    if not pattern.startswith(b"[:", at):
        return None
    close = pattern.find(b"]", at + 2)
    return close + 1 if close > at + 2 and pattern[close - 1 : close] == b":" else None


def _expression(tokens: list[Token]) -> re.Pattern[bytes]:
    """The expression of a whole path; see the module for why it does not backtrack."""
    end = b"\\Z"
    if tokens and tokens[-1] == _ALL:
        tokens, end = tokens[:-1], b""
    units: list[tuple[str, list[Token]]] = [("", [])]  # what starts it, and the tokens up to the next of those
    for token in tokens:
        if isinstance(token, str) and token != _STAR:
            units.append((token, []))
        else:
            units[-1][1].append(token)
    parts = []
    for number, (gap, unit) in enumerate(units, 1):
        last = number == len(units)
        text = _LAZY.get(gap, b"") + _within(unit, end if last else b"")
        parts.append(text if last else b"(?>" + text + b")")
    return re.compile(b"".join(parts), re.DOTALL)


def _within(unit: list[Token], end: bytes) -> bytes:
    """The expression of tokens among which no wildcard but _STAR is."""
    chunks: list[bytes] = [b""]
    for token in unit:
        if isinstance(token, bytes):
            chunks[-1] += token
        elif token == _STAR:
            chunks.append(b"")
    first, *rest = chunks
    if not rest:
        return first + end
    *middle, tail = rest
    inner = b"".join(b"(?>[^/]*?" + chunk + b")" for chunk in middle)
    if end:
        return first + inner + b"[^/]*" + tail + end  # the only one that goes back, once over the last name
    return first + inner + b"(?>[^/]*?" + tail + b")"

"""Takes secrets out of text before it leaves the machine. Better a word too many than one too few.

Known secrets (tokens in files, values of variables) go wherever they stand, also percent-encoded. What is not known
goes by where it stands (password=..., Authorization: ..., https://user:password@host, ?token=...) or by its shape.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote

MASK = "********"
SHORTEST = 6  # characters; a known secret that is shorter would mask words
_TELLING = (
    r"token|secret|passw(?:or)?d|passwd|passphrase|passcode|pwd|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|account[_-]?key|auth[_-]?key|ssh[_-]?key|credential|cookie|signature|\bsig\b|\bpin\b|auth(?![a-z])"
)
_REST = r"[\w.-]{0,40}"
_SECRET_NAME = re.compile(rf".*(?:{_TELLING}).*|(?:.*_)?key", re.IGNORECASE)
_BLOCK = re.compile(r"-----BEGIN [^-]*PRIVATE KEY-----.*?(?:-----END [^-]*PRIVATE KEY-----|\Z)", re.DOTALL)
_BLOCK_END = re.compile(r"\A.*?-----END [^-]*PRIVATE KEY-----", re.DOTALL)
_IN_URL = re.compile(r"(\b[a-z][a-z0-9+.-]{0,20}://)[^\s/?#\"'<>]+@", re.IGNORECASE)
_HEADER = re.compile(r"\b((?:proxy-)?authorization|(?:set-)?cookie)(['\"]?\s*[:=]\s*)([^\r\n]+)", re.IGNORECASE)
_ASSIGNED = re.compile(
    rf"((?:{_TELLING}){_REST})(\\?[\"']?\s*(?:=>|:=|[=:])\s*|%3d|\\?[\"']\s*,\s*)"
    r"(\\\"[^\"\\]*\\\"|\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"'&,;)\]}]+)",
    re.IGNORECASE,
)
_SCHEME = re.compile(r"\b(bearer|basic|token)(\s+)[\w.~+/=-]{8,}", re.IGNORECASE)
_SHAPES = re.compile(
    r"\b(?:gh[opsur]_\w{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|xox[a-z]-[\w-]{10,}|(?:AKIA|ASIA)[0-9A-Z]{16}"
    r"|sk-[\w-]{16,}|hf_\w{16,}|npm_\w{16,}|pypi-[\w-]{16,}|AIza[\w-]{30,}"
    r"|eyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*|[0-9a-f]{48}\b)"
)  # the last: what our own tokens look like, also those of notebooks that are no more


def names_a_secret(name: str) -> bool:
    """Whether a variable or key of this name holds a secret."""
    return _SECRET_NAME.fullmatch(name) is not None


class Masks:
    """Masks the secrets *known*, and what looks like one."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        found = {one.strip() for one in known}
        forms = {form for one in found if len(one) >= SHORTEST for form in _forms(one)}
        self._known = sorted(forms, key=len, reverse=True)  # one may be a part of another

    def text(self, text: str) -> str:
        """*text* without secrets."""
        for known in self._known:
            text = text.replace(known, MASK)
        text = _BLOCK.sub(MASK, text)
        text = _BLOCK_END.sub(MASK, text)
        text = _IN_URL.sub(rf"\1{MASK}@", text)
        text = _HEADER.sub(rf"\1\2{MASK}", text)
        text = _ASSIGNED.sub(lambda found: found[1] + found[2] + _quoted(found[3]), text)
        text = _SCHEME.sub(rf"\1\2{MASK}", text)
        return _SHAPES.sub(MASK, text)

    def value(self, value: object) -> object:
        """A value of JSON without secrets: strings masked, and whole what stands under a secret's name."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return {
                self.text(str(key)): MASK if isinstance(one, str) and names_a_secret(str(key)) else self.value(one)
                for key, one in value.items()
            }
        if isinstance(value, list | tuple):
            return [self.value(one) for one in value]
        return value


def _forms(secret: str) -> set[str]:
    """A secret as it may stand in a text: as it is, in an address, in JSON."""
    return {secret, quote(secret, safe=""), quote(secret), json.dumps(secret)[1:-1]}


def _quoted(value: str) -> str:
    """The mask between the quotes that *value* has."""
    opening = re.match(r"\\?[\"']", value)
    return f"{opening[0]}{MASK}{opening[0]}" if opening else MASK

"""pip's own settings in the words of uv, which does not read them: who has only those means them all the same."""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping

_TRUE = ("1", "true", "yes", "on", "y", "t")
# by pip's name: uv's variable, and what separates several values there
_LISTS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_EXTRA_INDEX_URL", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "constraint": ("UV_CONSTRAINT", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "proxy": ("ALL_PROXY", " "),
}
_SWITCHES = {"no-index": ("UV_NO_INDEX", "1"), "pre": ("UV_PRERELEASE", "allow")}


def for_uv(own: Mapping[str, str]) -> dict[str, str]:
    """Variables of uv for what pip is given by the files and the variables of the environment *own*.

    A file that cannot be read counts as absent, as one with a mistake does: pip itself is not what runs here.
    """
    values: dict[str, str] = {}
    for path in _files(own):
        values |= _read(path)
    values |= {name[4:].lower().replace("_", "-"): text for name, text in own.items() if name.startswith("PIP_")}
    found = {}
    for name, (variable, separator) in _LISTS.items():
        if words := values.get(name, "").split():
            found[variable] = separator.join(os.path.expanduser(word) for word in words)
    for name, (variable, value) in _SWITCHES.items():
        if values.get(name, "").strip().lower() in _TRUE:
            found[variable] = value
    return found


def _files(own: Mapping[str, str]) -> Iterator[str]:
    """Where pip looks, what counts most last."""
    named = own.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return
    yield "/etc/pip.conf"
    for directory in own.get("XDG_CONFIG_DIRS", "/etc/xdg").split(os.pathsep):
        yield os.path.join(directory, "pip/pip.conf")
    home = own.get("HOME")
    if home:
        yield os.path.join(home, ".pip/pip.conf")
    if home or own.get("XDG_CONFIG_HOME"):
        yield os.path.join(own.get("XDG_CONFIG_HOME") or os.path.join(home or "", ".config"), "pip/pip.conf")
    if named:
        yield named


def _read(path: str) -> dict[str, str]:
    parser = configparser.RawConfigParser()
    try:
        parser.read(path, encoding="utf-8")
        sections = [section for section in ("global", "install") if parser.has_section(section)]
        return {name.replace("_", "-"): text for section in sections for name, text in parser.items(section)}
    except (configparser.Error, UnicodeDecodeError, OSError):
        return {}

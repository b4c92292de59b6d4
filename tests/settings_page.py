"""config/SETTINGS.md and `kaosctl help settings`: every setting, from the schema and the words of config/kaosd.toml.

`python -m tests.settings_page` writes both again; a test fails while they are not what the schema says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from kaosd.settings.schema import PREFIX, File, NotebookTable, Table

CONFIG = Path(__file__).parent.parent / "config"
PAGE = CONFIG / "SETTINGS.md"
TOPIC = CONFIG.parent / "kaosd/docs/settings.md"
SECONDS = {"600.0": "10m", "0.05": "50ms", "0.5": "500ms", "0.4": "400ms"}
HEAD = """\
# Settings

Every key of `kaosd.toml` with its default. `python -m tests.settings_page` makes this page out of the settings
themselves; do not edit it by hand. The file is `~/.config/kaosd/kaosd.toml`, or what `KAOSD_CONFIG` or `kaosd run
--config` names; it may be absent. A save of it is applied at once, except for the keys that are read only when kaosd
starts: `kaosctl status` says so then. Every key outside of `[[notebook]]` is a variable as well, which goes before the
file. [kaosd.toml](kaosd.toml) is a file to start from.
"""
TOPIC_HEAD = """\
# Settings: every key of kaosd.toml

The file is `~/.config/kaosd/kaosd.toml`, see [configuration](configuration.md). Each key with its default, what it may
be, and its meaning. A variable goes before the file.
"""
TITLES = {
    "": "The daemon",
    "front": "`[front]`: the local address",
    "watch": "`[watch]`: how changes are noticed",
    "log": "`[log]`: the daemon's own log",
    "hooks": "`[hooks]`: commands of yours",
    "docker": "`[docker]`: the engine of containers",
    "pachyderm": "`[pachyderm]`: the cluster",
    "notebook": "`[[notebook]]`: a notebook, any number of times",
}


def render() -> str:
    """The page."""
    words = meanings((CONFIG / "kaosd.toml").read_text())
    tables = dict(_tables())
    parts = [HEAD]
    for name, title in TITLES.items():
        rows = [_row(name, key, field, words) for key, field in tables[name].model_fields.items() if _is_value(field)]
        parts.append(
            "\n".join([f"## {title}", "", "| key | default | what it may be | meaning |", "|---|---|---|---|", *rows])
        )
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def render_topic() -> str:
    """The same as a list, which a terminal can show."""
    words = meanings((CONFIG / "kaosd.toml").read_text())
    tables = dict(_tables())
    parts = [TOPIC_HEAD]
    for name, title in TITLES.items():
        fields = [(key, field) for key, field in tables[name].model_fields.items() if _is_value(field)]
        parts.append("\n".join([f"## {title.replace('`', '')}", "", *(_item(name, *one, words) for one in fields)]))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def meanings(text: str) -> dict[tuple[str, str], str]:
    """The comment right above each key of kaosd.toml, by table and key; one without a comment of its own has none."""
    found: dict[tuple[str, str], str] = {}
    table, fresh = "", True
    comment: list[str] = []
    for line in text.splitlines():
        if opened := re.fullmatch(r"#\[+(\w+)\]+", line):
            table, fresh = opened[1], True
        elif key := re.match(r"#(\w+) = ", line):
            found[table, key[1]] = " ".join(comment)
            comment, fresh = [], True
        elif line.startswith("# "):
            comment = [line[2:]] if fresh else [*comment, line[2:]]
            fresh = False
        elif not line:
            comment, fresh = [], True
    return found


def _tables() -> Iterator[tuple[str, type[BaseModel]]]:
    yield "", File
    for name, field in File.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Table):
            yield name, field.annotation
    yield "notebook", NotebookTable


def _is_value(field: FieldInfo) -> bool:
    """Whether a field is a key with a value, and not a table."""
    return "[" not in (field.description or "").partition("table")[2]


def _row(table: str, key: str, field: FieldInfo, words: dict[tuple[str, str], str]) -> str:
    name = f"`{key}`"
    if table != "notebook":
        name += f"<br>`{_variable(table, key)}`"
    cells = (name, _default(field), field.description or "", words[table, key])
    plain = [name, *(cell.replace("|", "\\|").replace("<", "&lt;") for cell in cells[1:])]
    return "| " + " | ".join(plain) + " |"


def _item(table: str, key: str, field: FieldInfo, words: dict[tuple[str, str], str]) -> str:
    default = _default(field).strip("`")
    head = f"`{key}`" if default == "none" else f"`{key} = {default}`"
    variable = "" if table == "notebook" else f" Variable: `{_variable(table, key)}`."
    return f"- {head}: {words[table, key]} Value: {field.description}.{variable}"


def _variable(table: str, key: str) -> str:
    return f"{PREFIX}{f'{table}_{key}'.lstrip('_').upper()}"


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "none"
    text = json.dumps(list(value) if isinstance(value, tuple) else value)
    if isinstance(value, float):
        text = json.dumps(SECONDS[text]) if text in SECONDS else text.removesuffix(".0")
    return f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(render())
    TOPIC.write_text(render_topic())

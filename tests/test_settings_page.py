"""The page of settings is the settings: every key with its default, as the schema has them now."""

from __future__ import annotations

import re

from kaosd.settings.schema import (
    DockerTable,
    File,
    FrontTable,
    HooksTable,
    LogTable,
    NotebookTable,
    PachydermTable,
    WatchTable,
)
from tests.settings_page import PAGE, TOPIC, meanings, render, render_topic


def test_the_page_is_what_the_schema_says() -> None:
    assert PAGE.read_text() == render(), "run: python -m tests.settings_page"
    assert TOPIC.read_text() == render_topic(), "run: python -m tests.settings_page"


def test_every_key_has_a_row_with_a_meaning() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)`.*\| ([^|]+) \|$", render())
    tables = {"front", "watch", "log", "hooks", "docker", "pachyderm", "notebook"}
    models = (File, FrontTable, WatchTable, LogTable, HooksTable, DockerTable, PachydermTable, NotebookTable)
    keys = [key for model in models for key in model.model_fields]
    assert sorted(name for name, _ in rows) == sorted(key for key in keys if key not in tables)
    assert all(len(meaning) > 10 for _, meaning in rows)


def test_a_default_that_changes_changes_the_page() -> None:
    assert "| `keep_versions`<br>`KAOSD_KEEP_VERSIONS` | `20` |" in render()
    assert "| `port`<br>`KAOSD_FRONT_PORT` | `8890` |" in render()
    assert '| `swap_when_idle`<br>`KAOSD_SWAP_WHEN_IDLE` | `"10m"` |' in render()


def test_every_key_has_a_meaning_of_its_own() -> None:
    rows = re.findall(r"(?m)^\| `(\w+)`.*\| ([^|]+) \|$", render())
    said = [meaning for _, meaning in rows]
    assert sorted(meaning for meaning in said if said.count(meaning) > 1) == []


def test_the_comment_right_above_a_key_is_its_meaning() -> None:
    text = "# One\n# and more.\n#a = 1\n\n#[t]\n# Two.\n#b = 2\n#c = 3\n\n# Alone.\n#d = 4\n"
    assert meanings(text) == {
        ("", "a"): "One and more.", ("t", "b"): "Two.", ("t", "c"): "", ("t", "d"): "Alone.",
    }  # fmt: skip

"""The layout of the state directory: taken, kept, or refused without a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from kaosd import schema
from kaosd.errors import ConfigError


def test_a_directory_without_the_file_is_taken_and_known_from_then_on(tmp_path: Path) -> None:
    schema.check(tmp_path)
    schema.check(tmp_path)
    assert (tmp_path / "schema").read_text() == f"{schema.SCHEMA}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["schema"]


def test_one_of_an_older_layout_is_known_as_ours_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schema.check(tmp_path)
    monkeypatch.setattr(schema, "SCHEMA", 7)
    schema.check(tmp_path)
    assert (tmp_path / "schema").read_text() == "7\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [(f"{schema.SCHEMA + 1}\n", "belongs to a newer kaosd"), ("one", "holds no number"), ("", "no num")],
)
def test_what_is_newer_or_no_number_is_refused_and_left_alone(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "schema").write_text(text)
    with pytest.raises(ConfigError, match=told):
        schema.check(tmp_path)
    assert (tmp_path / "schema").read_text() == text

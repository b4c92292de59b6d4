"""The layout of the state directory: taken, kept, or refused without a change."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from kaosd import state_layout
from kaosd.errors import ConfigError


def test_a_directory_without_the_file_is_taken_and_known_from_then_on(tmp_path: Path) -> None:
    state_layout.check(tmp_path)
    state_layout.check(tmp_path)
    assert (tmp_path / "schema").read_text() == f"{state_layout.SCHEMA}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["schema"]


def test_one_of_an_older_layout_is_known_as_ours_from_then_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state_layout.check(tmp_path)
    monkeypatch.setattr(state_layout, "SCHEMA", 7)
    state_layout.check(tmp_path)
    assert (tmp_path / "schema").read_text() == "7\n"


@pytest.mark.parametrize(
    ("text", "told"),
    [(f"{state_layout.SCHEMA + 1}\n", "belongs to a newer kaosd"), ("one", "holds no number"), ("1.5\n", "no num")],
)
def test_what_is_newer_or_no_number_is_refused_and_left_alone(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "schema").write_text(text)
    with pytest.raises(ConfigError, match=told):
        state_layout.check(tmp_path)
    assert (tmp_path / "schema").read_text() == text


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\n"])
def test_what_a_power_cut_has_emptied_is_written_again(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "schema").write_bytes(content)
    (tmp_path / ".schema.new").mkdir()  # what else was left does not matter
    state_layout.check(tmp_path)
    assert (tmp_path / "schema").read_text() == f"{state_layout.SCHEMA}\n"


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_what_is_not_a_file_is_named_with_the_fix(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "schema")
    with pytest.raises(ConfigError, match=r"is not a regular file \(remove it"):
        state_layout.check(tmp_path)


@pytest.mark.parametrize("content", [b"\xff\xfe", b"x" * 5000, "\u0661".encode()])
def test_what_nobody_can_read_is_named_with_the_fix(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "schema").write_bytes(content)
    with pytest.raises(ConfigError, match="puts it right"):
        state_layout.check(tmp_path)

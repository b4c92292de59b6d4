"""An environment that is replaced is out of the way at once, also where the file system does not move directories."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from kaosd.engines.process import environment


def _filled(path: Path) -> Path:
    (path / "bin").mkdir(parents=True)
    (path / "bin/python").write_text("old")
    return path


def _refuse(number: int):
    def rename(self: Path, target: Path) -> Path:
        raise OSError(number, "refused")

    return rename


def test_it_is_moved_aside_and_what_is_not_there_is_nothing(tmp_path: Path) -> None:
    old = _filled(tmp_path / "e")
    trash = environment._trashed(old)
    assert not old.exists()
    assert trash is not None
    assert (trash / "e/bin/python").read_text() == "old"
    assert environment._trashed(old) is None


def test_the_lower_layer_of_an_overlay_is_removed_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _filled(tmp_path / "e")
    monkeypatch.setattr(Path, "rename", _refuse(errno.EXDEV))
    trash = environment._trashed(old)
    assert not old.exists()
    assert trash is not None
    assert list(trash.iterdir()) == []


def test_any_other_refusal_leaves_it_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = _filled(tmp_path / "e")
    monkeypatch.setattr(Path, "rename", _refuse(errno.EACCES))
    with pytest.raises(PermissionError):
        environment._trashed(old)
    assert (old / "bin/python").read_text() == "old"

"""A requirement written into the environment file of a source directory, on a real disk."""

from __future__ import annotations

import codecs
import os
from dataclasses import replace
from pathlib import Path

import pytest

from kaosd.declared import Declared
from kaosd.errors import BundleError, ConfigError, ConflictError
from kaosd.notebook.environment_file import _add

PLAIN = Declared("", "", "requirements", "requirements.txt")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A source directory with a requirements.txt."""
    (tmp_path / "requirements.txt").write_text("a\n")
    return tmp_path


def test_encoding_mode_and_other_files_stay(source: Path) -> None:
    file = source / "requirements.txt"
    file.write_bytes(codecs.BOM_UTF16_LE + "# grüße\r\n".encode("utf-16-le"))
    file.chmod(0o640)
    answer = _add(source, PLAIN, ["b>=1"], "process")
    assert answer == {"file": "requirements.txt", "added": ["b>=1"], "changed": [], "there": []}
    assert file.read_bytes() == codecs.BOM_UTF16_LE + "# grüße\r\nb>=1\r\n".encode("utf-16-le")
    assert (file.stat().st_mode & 0o777, os.listdir(source)) == (0o640, ["requirements.txt"])


def test_a_file_that_is_a_link_stays_one(source: Path) -> None:
    (source / "requirements.txt").rename(source / "real.txt")
    (source / "requirements.txt").symlink_to("real.txt")
    _add(source, PLAIN, ["b"], "process")
    assert (source / "requirements.txt").is_symlink()
    assert (source / "real.txt").read_text() == "a\nb\n"


@pytest.mark.parametrize("declared", [PLAIN, Declared("", "")])
def test_what_root_writes_stays_the_persons(source: Path, declared: Declared, monkeypatch: pytest.MonkeyPatch) -> None:
    given = list[tuple[int, int]]()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, *owner: given.append(owner))
    if declared is not PLAIN:
        (source / "requirements.txt").unlink()
    _add(source, declared, ["b"], "process")
    assert given == [(source.stat().st_uid, source.stat().st_gid)]


def test_what_is_there_already_writes_nothing(source: Path) -> None:
    before = (source / "requirements.txt").stat().st_ino
    assert _add(source, PLAIN, ["a"], "process")["there"] == ["a"]
    assert (source / "requirements.txt").stat().st_ino == before


def test_a_source_without_an_environment_file_gets_one(tmp_path: Path) -> None:
    (tmp_path / "binder").mkdir()
    answer = _add(tmp_path, Declared("", "binder"), ["b"], "process")
    assert answer["file"] == "binder/requirements.txt"
    assert (tmp_path / "binder/requirements.txt").read_text() == "b\n"


@pytest.mark.parametrize(
    ("declared", "engine", "content", "error", "said"),
    [
        (
            replace(PLAIN, kind="pyproject", file="pyproject.toml", lock="uv.lock"),
            "process",
            b"",
            ConflictError,
            "uv.lock",
        ),
        (replace(PLAIN, dockerfile="Dockerfile"), "docker", b"", ConflictError, "does not read requirements.txt"),
        (replace(PLAIN, kind="pipfile"), "process", b"{}", ConfigError, "cannot take"),
        (PLAIN, "process", b"\xff\n", BundleError, "is not UTF-8 in line 1"),
    ],
)
def test_a_refusal_changes_nothing(
    source: Path, declared: Declared, engine: str, content: bytes, error: type[Exception], said: str
) -> None:
    (source / "requirements.txt").write_bytes(content)
    (source / "Dockerfile").write_text("FROM a\nRUN pip install b\n")
    with pytest.raises(error, match=said):
        _add(source, declared, ["c"], engine)
    assert (source / "requirements.txt").read_bytes() == content
    assert sorted(os.listdir(source)) == ["Dockerfile", "requirements.txt"]


def test_a_dockerfile_that_reads_the_file_is_no_obstacle(source: Path) -> None:
    (source / "Dockerfile").write_text("FROM a\nRUN pip install -r requirements.txt\n")
    _add(source, replace(PLAIN, dockerfile="Dockerfile"), ["c"], "docker")
    assert (source / "requirements.txt").read_text() == "a\nc\n"

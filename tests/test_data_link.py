"""The link `data` in the notebook's directory: there while data is attached, and never in anybody's way."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaosd.notebook import data_link


@pytest.fixture
def work(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.mark.parametrize("before", [None, "../data", "/pfs/data-one"], ids=["nothing", "process", "docker"])
@pytest.mark.parametrize("target", [None, "../data", "/pfs/data-one"], ids=["no data", "process", "docker"])
def test_it_leads_to_the_data_of_the_engine_that_hosts_now(work: Path, before: str | None, target: str | None) -> None:
    if before is not None:
        (work / "data").symlink_to(before)
    data_link.show(work, target)
    assert [os.readlink(link) for link in work.iterdir()] == ([] if target is None else [target])


def _directory(path: Path) -> None:
    path.mkdir()
    (path / "own.csv").write_text("1\n")


@pytest.mark.parametrize("target", [None, "../data"])
@pytest.mark.parametrize(
    "theirs", [_directory, Path.touch, lambda path: path.symlink_to("../elsewhere")], ids=["directory", "file", "link"]
)
def test_what_else_has_the_name_stays(work: Path, theirs, target: str | None) -> None:
    theirs(work / "data")
    before = os.lstat(work / "data")
    data_link.show(work, target)
    data_link.withdraw(work)
    assert os.lstat(work / "data") == before


def test_without_a_directory_there_is_no_link(tmp_path: Path) -> None:
    data_link.show(tmp_path / "work", "../data")
    data_link.withdraw(tmp_path / "work")
    assert list(tmp_path.iterdir()) == []

"""Small files and directories of the state directory: whatever stands in their place, they are made again."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from kaosd.aside import discard, is_file, set_aside
from kaosd.bundle import UNKNOWN
from kaosd.engines.base import Home
from kaosd.notebook import deployed, secret_file
from kaosd.notebook.record import LogFile
from kaosd.notebook.workshop import Workshop

TREE, OTHER = "a" * 64, "b" * 64


def absent(path: Path) -> None:
    path.unlink(missing_ok=True)


def directory(path: Path) -> None:
    path.mkdir()
    (path / "inside").touch()


STANDS: dict[str, Callable[[Path], object]] = {
    "nothing": absent,
    "an empty file": Path.touch,
    "a file cut short": lambda path: path.write_text("0123456789abcdef"),
    "zeros": lambda path: path.write_bytes(bytes(48)),
    "garbage": lambda path: path.write_bytes(b"\xff\xfe" * 24),
    "a line break": lambda path: path.write_text("0123456789abcdef" * 3 + "\n"),
    "a directory": directory,
    "a FIFO": os.mkfifo,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("make", STANDS.values(), ids=STANDS)
def test_a_token_is_whole_and_stays(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "token"
    make(path)
    token = secret_file(path)
    assert len(token) == 48
    assert secret_file(path) == token == path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["token"]


def test_a_token_that_was_made_before_stays_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef" * 3)
    (tmp_path / "token").chmod(0)
    assert secret_file(tmp_path / "token") == "0123456789abcdef" * 3


def test_two_tokens_are_not_alike(tmp_path: Path) -> None:
    assert secret_file(tmp_path / "one") != secret_file(tmp_path / "two")


@pytest.mark.parametrize("name", ["work", "jupyter", "logs", "../../run", "../n", ".."])
@pytest.mark.parametrize("make", [Path.touch, os.mkfifo, lambda path: path.symlink_to("nowhere")])
def test_a_directory_is_made_where_something_else_stands(
    tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    shop = cast(Workshop, SimpleNamespace(state_dir=tmp_path))
    home = Workshop.home(shop, "n")
    place = Path(os.path.normpath(home.root / name))
    discard(place)
    make(place)
    again = Workshop.home(shop, "n")
    assert all(each.is_dir() for each in (again.work, again.jupyter, again.logs, again.run))
    assert len(list(place.parent.glob(f"{place.name}.damaged-*"))) == 1


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo])
def test_a_log_is_written_where_something_else_stands(tmp_path: Path, make: Callable[[Path], None]) -> None:
    make(tmp_path / "x.log")
    log = LogFile(tmp_path / "x.log")
    log.line("said")
    log.close()
    assert (tmp_path / "x.log").read_text().endswith("said\n")


def home_at(path: Path) -> Home:
    return Home(path, path, path, path, path, path, path)


@pytest.mark.parametrize("trees", [(TREE,), (TREE, OTHER), (UNKNOWN, TREE)])
def test_where_the_files_come_from_is_told_beside_them(tmp_path: Path, trees: tuple[str, ...]) -> None:
    assert deployed.read(home_at(tmp_path)) == ()
    deployed.write(home_at(tmp_path), trees)
    assert deployed.read(home_at(tmp_path)) == trees
    deployed.write(home_at(tmp_path), (*trees, None, *trees))
    assert deployed.read(home_at(tmp_path)) == trees


@pytest.mark.parametrize("make", STANDS.values(), ids=STANDS)
def test_half_of_that_is_nothing(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "deployed")
    assert deployed.read(home_at(tmp_path)) == ()
    deployed.write(home_at(tmp_path), (TREE,))
    assert deployed.read(home_at(tmp_path)) == (TREE,)


@pytest.mark.parametrize("length", range(0, 134, 7))
def test_any_part_of_that_is_nothing(tmp_path: Path, length: int) -> None:
    deployed.write(home_at(tmp_path), (TREE, OTHER))
    os.truncate(tmp_path / "deployed", length)
    assert deployed.read(home_at(tmp_path)) == ()


@pytest.mark.parametrize("make", STANDS.values(), ids=STANDS)
def test_what_is_set_aside_is_kept_once(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "file"
    for at in (1.0, 2.0):
        discard(path)
        make(path)
        if os.path.lexists(path):
            assert set_aside(path, at).name == f"file.damaged-19700101T00000{int(at)}Z"
    assert len(list(tmp_path.iterdir())) == (0 if make is absent else 1)


def test_only_a_regular_file_is_a_file_and_it_can_be_read_then(tmp_path: Path) -> None:
    for name, make in STANDS.items():
        make(tmp_path / name)
    found = {name for name in STANDS if is_file(tmp_path / name)}
    assert found == set(STANDS) - {"nothing", "a directory", "a FIFO", "a dangling link"}
    (tmp_path / "zeros").chmod(0)
    assert is_file(tmp_path / "zeros")
    assert (tmp_path / "zeros").stat().st_mode & 0o777 == 0o600

"""Which name a notebook gets that nobody named, as a table of directories."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kaosd.model import NAME_MAX, check_name
from kaosd.settings.naming import NAMELESS, base_name, candidates, choose

BASES = {
    "/home/ada/mnist": "mnist",
    "/home/ada/mnist/": "mnist",
    "/home/ada/kaosd": "kaosd-notebook",
    "/home/ada/x/../mnist": "mnist",
    "/home/ada/My Project (old)": "My-Project-old",
    "/home/ada/-rf": "rf",
    "/home/ada/__init__": "init",
    "/home/ada/.config": "config",
    "/home/ada/Überprüfung": "Uberprufung",
    "/home/ada/données.v2": "donnees-v2",
    "/home/ada/数据": NAMELESS,
    "/home/ada/---": NAMELESS,
    "/home/ada/" + os.fsdecode(b"caf\xe9"): "caf",
    "/home/ada/a\nb": "a-b",
    "/": NAMELESS,
    "": NAMELESS,
    "/home/ada/" + "x" * 200: "x" * 27,
    "/home/ada/" + "x" * 26 + "-y": "x" * 26,
    "/home/ada/" + "é" * 100: "e" * 27,
}


@pytest.mark.parametrize("directory", BASES)
def test_a_name_is_made_from_the_last_part_of_the_path(directory: str) -> None:
    assert base_name(directory) == BASES[directory]


@pytest.mark.parametrize("directory", BASES)
def test_every_name_that_a_directory_can_get_is_valid_and_they_differ(directory: str) -> None:
    names = candidates(directory)
    assert [check_name(name) for name in names] == list(names)
    assert len(set(names)) == len(names)
    assert max(map(len, names)) <= NAME_MAX
    assert candidates(directory) == names  # the same each time


A, B, C = "/a/mnist", "/b/mnist", "/c/mnist"
A0, A1, _, _ = candidates(A)
_, B1, B2, B3 = candidates(B)
OLD = "notebook-default-ada"


@pytest.mark.parametrize(
    ("directory", "taken", "known", "name"),
    [
        (A, {}, (), "mnist"),
        (A, {"other": C}, (), "mnist"),
        (A, {"mnist": A}, (), "mnist"),
        (B, {"mnist": A}, (), B1),
        (B, {"mnist": None}, (), B1),  # of something without a directory
        (B, {"mnist": A, B1: B}, (), B1),
        (B, {"mnist": C, B1: B}, (), B1),  # the first one has gone, another has come
        (B, {B1: B}, (), B1),  # the other one was killed: the name stays
        (B, {}, (B1,), B1),  # and also when this one was killed as well
        (B, {"mnist": A, B1: C}, (), B2),  # somebody chose that very name
        (B, {"mnist": A, B1: C, B2: C}, (), B3),
        (A, {OLD: A}, (), OLD),  # as an earlier version called it
        (A, {OLD: B}, (), "mnist"),
        (A, {OLD: None}, (), "mnist"),
        (A, {"mnist": "/a/../a/mnist/"}, (), "mnist"),
    ],
)
def test_the_same_directory_keeps_its_name_and_another_one_gets_another(
    directory: str, taken: dict[str, str | None], known: tuple[str, ...], name: str
) -> None:
    assert choose(directory, OLD, taken, known.__contains__) == name


def test_a_link_to_a_directory_is_that_directory(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert choose(str(tmp_path / "link"), OLD, {"link": str(tmp_path / "real")}) == "link"
    assert choose(str(tmp_path / "real"), OLD, {"real": str(tmp_path / "link")}) == "real"

"""Small parts of the docker engine: what a build's failure means, where the engine is, what is brought. No engine."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from conftest import SPEC, make_home

from kaosd.engines.base import Order
from kaosd.engines.docker import limits, place, seed
from kaosd.engines.docker.connection import Facts, candidates, choose, refusal, unreachable
from kaosd.engines.docker.dockerfile import failure, instructions
from kaosd.engines.docker.host import user, variables
from kaosd.errors import BuildFailed, EngineError, EngineUnavailable
from kaosd.model import DataMode, Environment, NotebookSpec, Resources

TEXT = "ARG V=3\nFROM python:3.11\n# a comment\nRUN one \\\n    # another\n    two\n\nRUN pip install -r x\n"


def test_instructions_begin_where_their_first_line_is() -> None:
    assert [(one.line, one.text) for one in instructions(TEXT)] == [
        (1, "ARG V=3"),
        (2, "FROM python:3.11"),
        (4, "RUN one two"),
        (8, "RUN pip install -r x"),
    ]


@pytest.mark.parametrize(
    ("output", "message", "kind", "told"),
    [
        (
            ["Step 4/4 : RUN pip install -r x", "Collecting y", "ERROR: No matching distribution found for y"],
            "The command '/bin/sh -c pip install -r x' returned a non-zero code: 1",
            BuildFailed,
            "Dockerfile:8: RUN pip install -r x: No matching distribution found for y",
        ),
        (
            ["STEP 3/3: RUN one     two", "sh: one: not found"],  # as Podman says it, numbered from FROM
            "building at STEP: exit status 127",
            BuildFailed,
            "Dockerfile:4: RUN one two: sh: one: not found",
        ),
        (
            ["Step 4/4 : RUN pip install -r x", "WARNING: Retrying: NewConnectionError('x')", "ERROR: No matching y"],
            "code 1",
            EngineUnavailable,
            "Dockerfile:8: RUN pip install -r x: the network failed: WARNING: Retrying: NewConnectionError('x')",
        ),
        (
            ["Step 2/4 : FROM python:3.11"],
            "pull access denied for python, repository does not exist or may require 'docker login'",
            BuildFailed,
            "Dockerfile:2: FROM python:3.11: there is no image python:3.11",
        ),
        (
            ["Step 2/4 : FROM python:3.11"],
            'Get "https://registry-1/v2/": dial tcp: lookup registry-1: no such host',
            EngineUnavailable,
            "Dockerfile:2: FROM python:3.11: the registry of python:3.11 cannot be reached",
        ),
        ([], "dockerfile parse error line 3: unknown instruction: FORM", BuildFailed, "Dockerfile:3: unknown"),
        (
            ["Step 3/4 : RUN one two"],
            "write /x: no space left on device",
            EngineUnavailable,
            "the disk of the container engine is full",
        ),
    ],
)
def test_a_failed_build_is_one_sentence(output: list[str], message: str, kind: type[EngineError], told: str) -> None:
    error = failure(TEXT, output, message)
    assert type(error) is kind
    assert str(error).startswith(told)


def test_where_the_engine_is_looked_for() -> None:
    assert candidates("/a.sock", {"DOCKER_HOST": "unix:///b"}, 7) == ("unix:///a.sock",)
    assert candidates(None, {"DOCKER_HOST": "unix:///b"}, 7) == ("unix:///b",)
    usual = candidates(None, {}, 7)
    assert usual[0] == "unix:///var/run/docker.sock"
    assert "unix:///run/user/7/podman/podman.sock" in usual


def test_one_that_may_be_used_is_preferred_and_a_remote_one_refused() -> None:
    two = ("unix:///a", "unix:///b")
    assert choose(two, lambda path: path == "/b", lambda _: True) == "unix:///b"
    assert choose(two, lambda _: False, lambda path: path == "/a") == "unix:///a"
    with pytest.raises(EngineUnavailable, match="there is no container engine at /a or /b"):
        choose(two, lambda _: False, lambda _: False)
    with pytest.raises(EngineUnavailable, match="tcp://there is not on this machine"):
        choose(("tcp://there",), lambda _: True, lambda _: True)


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("PermissionError(13, 'Permission denied')", "you may not use the container engine at /a"),
        ("FileNotFoundError(2, 'No such file or directory')", "there is no container engine at /a"),
        ("ConnectionRefusedError(111, 'Connection refused')", "the container engine at /a does not run"),
        ("Read timed out. (read timeout=120)", "the container engine at /a does not answer"),
        ("boom", "the container engine at /a cannot be reached: boom"),
    ],
)
def test_an_engine_that_cannot_be_reached_is_one_sentence(error: str, told: str) -> None:
    assert unreachable("unix:///a", OSError(error)).text == told


def test_what_the_engine_refuses() -> None:
    assert refusal("mkdir x: no space left on device").text == "the disk of the container engine is full"
    assert "no GPU runtime" in refusal('could not select device driver "nvidia" with capabilities: [[gpu]]').text
    assert refusal("odd").retryable


def test_what_an_engine_is() -> None:
    podman = Facts.of("a", {"SecurityOptions": ["name=rootless", "name=selinux"]}, {"Components": [{"Name": "Podman"}]})
    assert (podman.podman, podman.rootless, podman.selinux, podman.desktop) == (True, True, True, False)
    desktop = Facts.of("a", {"OperatingSystem": "Docker Desktop", "MemTotal": 5}, {})
    assert (desktop.podman, desktop.desktop, desktop.memory) == (False, True, 5)


def test_limits_are_always_given_because_an_update_takes_none_away() -> None:
    given = limits.options(Resources(cpu=0.5, memory="1Gi"), 9)
    assert (given["cpu_quota"], given["mem_limit"], given["memswap_limit"]) == (50_000, 2**30, 2**30)
    none = limits.options(Resources(), 9)
    assert (none["cpu_quota"], none["mem_limit"]) == (-1, 9)


def packed(**files: str) -> seed.Pieces:
    """Files as the engine packs the directory `program`, in small pieces; a value "-> x" is a link to x."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"program/{name}")
            if text.startswith("-> "):
                member.type, member.linkname = tarfile.SYMTYPE, text[3:]
                archive.addfile(member)
            else:
                member.size = len(text)
                archive.addfile(member, io.BytesIO(text.encode()))
    content = stream.getvalue()
    return seed.Pieces(content[at : at + 700] for at in range(0, len(content), 700))


def test_only_what_the_build_made_is_brought_and_only_that_replaced(tmp_path: Path) -> None:
    work, listing, outside = tmp_path / "work", tmp_path / "list.json", tmp_path / "outside"
    work.mkdir()
    outside.mkdir()
    (work / "away").symlink_to(outside)
    (work / "file").write_text("a person's")
    context = frozenset({"code.py"})
    first = packed(
        **{"a": "1", "b": "1", "c": "1", "code.py": "x", "l": "-> a", "away/x": "1", "file/x": "1", "../e": "1"}
    )
    assert seed.bring(first, context, work, listing) == 4
    assert sorted(json.loads(listing.read_text())) == ["a", "b", "c", "l"]
    assert not (work / "code.py").exists()
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "e").exists()
    (work / "b").write_text("changed by a person")
    assert seed.bring(packed(a="2", b="2"), context, work, listing) == 1
    assert (work / "a").read_text() == "2"
    assert (work / "b").read_text() == "changed by a person"
    assert not (work / "c").exists()
    assert not (work / "l").is_symlink()


def test_who_works_in_a_container_is_the_person_outside() -> None:
    rootless, rootful = (Facts("a", False, flag, False, False, 1) for flag in (True, False))
    assert user(rootless, (1000, 1000)) == (0, 0)  # the person is root inside
    assert user(rootful, (1000, 1001)) == (1000, 1001)


def test_a_user_that_the_image_does_not_know_has_a_home_and_a_name(short: Path) -> None:
    home = make_home(short / "n")
    order = Order(SPEC, home, Environment("0" * 64, "x", "x"), "/x/", home.logs / "host.log", ())
    assert variables(order, (1000, 1000))["HOME"] == str(home.jupyter / "home")
    assert "HOME" not in variables(order, (0, 0))
    assert variables(order, (0, 0))["DATA_REPO"] == f"data-{SPEC.name}"


def test_data_that_is_used_where_it_is_is_mounted_read_only(short: Path) -> None:
    home, data = make_home(short / "n"), short / "data"
    data.mkdir()
    spec = NotebookSpec(SPEC.name, "w", "u", data=data, data_mode=DataMode.LINK)
    order = Order(spec, home, Environment("0" * 64, "x", "x"), "/x/", home.logs / "host.log", ())
    mounted = {one.inside: one for one in place.mounts(place.Place.of(home, "0" * 8), order, "/opt/program")}
    assert mounted[str(data)].read_only
    assert (mounted["/opt/program"].outside, mounted["/opt/program"].read_only) == (str(home.work), False)
    home.data.symlink_to(data)
    assert place.sees(home, str(data))
    assert not place.sees(home, None)
